"""What can be asked to run: a cell of a study, or a single run of another kind.

In: what decides the result. Out: a `RunRequest`, whose key is the digest of exactly that; or, for single runs, the
queued run itself.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone, weights_digest
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.data.preprocessing import Style, styled
from fmlab.data.subsets import Subset
from fmlab.embeddings.keys import PREPROCESSING_VERSION
from fmlab.errors import BadInput
from fmlab.files import digest_config
from fmlab.runs.records import LANE_KINDS, Actor, Run, RunRequest, now
from fmlab.runs.store import Store
from fmlab.settings import Home

ORIGINAL_LABELS = "original"
SINGLE_KINDS = (*LANE_KINDS, "project", "latency", "verify")


@dataclass(frozen=True)
class CellFacts:
    """What the cells of one group share: a frozen backbone, looking at one dataset in one way."""

    dataset: Dataset
    card: BackboneCard
    digest: str  # of the weights
    style: Style
    mask_sector: bool
    precision: str


def cell_request(facts: CellFacts, adaptation: dict[str, Any], subset: Subset) -> RunRequest:
    """The run of one cell: an adaptation of the backbone on a subset, scored on every test set of the dataset."""
    shared = {
        "content_hash": facts.dataset.card.content_hash,
        "labels": ORIGINAL_LABELS,
        "weights": facts.digest,
        "feature": facts.card.features[0],
        "style": facts.style,
        "input": fed(facts.card, facts.style),
        "mask_sector": facts.mask_sector,
        "precision": facts.precision,
    }
    cell = shared | {"adaptation": adaptation, "subset": asdict(subset)}
    names = {"dataset": facts.dataset.name, "backbone": facts.card.key}
    return RunRequest(
        kind="adapt",
        config=names | cell,
        address=cell,
        group=digest_config("group adapt", names | shared),
        title=f"{facts.dataset.name} · {facts.card.key}",
    )


def fed(card: BackboneCard, style: Style) -> dict[str, Any]:
    """What decides the pixels that a backbone gets of an image: two cards of the same weights may differ in it."""
    return asdict(styled(card.spec, style)) | {"version": PREPROCESSING_VERSION}


def projection_request(home: Home, config: dict[str, Any]) -> RunRequest:
    """The map of a dataset under a backbone, as both are on this disk now; of other images or weights it is another run.

    `config`: dataset, backbone, method (`umap` or `pca`), style, mask_sector.
    """
    card = find_backbone(home, config["backbone"])
    address = {
        "content_hash": open_dataset(home, config["dataset"]).card.content_hash,
        "weights": weights_digest(card, home),
        "feature": card.feature,
        "input": fed(card, config["style"]),
        **{name: config[name] for name in ("method", "style", "mask_sector")},
    }
    return RunRequest(
        kind="project",
        config=config,
        address=address,
        group=digest_config("group project", address),
        title=f"{config['dataset']} · {card.key}",
    )


def request_run(store: Store, kind: str, config: dict[str, Any], title: str, by: Actor) -> Run:
    """Queue a single run of one of `SINGLE_KINDS`. An import or a measurement asked for again is a new run."""
    if kind not in SINGLE_KINDS:
        raise BadInput(f"A run of kind {kind!r} cannot be requested alone; choose one of {', '.join(SINGLE_KINDS)}.")
    if kind == "project":
        return store.request(replace(projection_request(store.home, config), title=title), by)
    address = config | {"asked": now()}
    group = digest_config(f"group {kind}", address)
    return store.request(RunRequest(kind=kind, config=config, address=address, group=group, title=title), by)
