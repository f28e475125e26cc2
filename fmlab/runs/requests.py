"""What can be asked to run: a cell of a study, or a single run of another kind.

In: what decides the result. Out: a `RunRequest`, whose key is the digest of exactly that; or, for single runs, the
queued run itself.
"""

from dataclasses import asdict, dataclass
from typing import Any

from fmlab.backbones.cards import BackboneCard
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.data.preprocessing import Style
from fmlab.data.subsets import Subset
from fmlab.errors import BadInput
from fmlab.files import digest_config
from fmlab.runs.records import FILE_KINDS, Actor, Run, RunRequest, now
from fmlab.runs.store import Store

ORIGINAL_LABELS = "original"
SINGLE_KINDS = (*FILE_KINDS, "project", "latency")


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


def request_run(store: Store, kind: str, config: dict[str, Any], title: str, by: Actor) -> Run:
    """Queue a single run of one of `SINGLE_KINDS`. An import or a measurement asked for again is a new run."""
    if kind not in SINGLE_KINDS:
        raise BadInput(f"A run of kind {kind!r} cannot be requested alone; choose one of {', '.join(SINGLE_KINDS)}.")
    if kind == "project":  # the same map of the same images is one run; of images that changed it is another
        address = config | {"content_hash": open_dataset(store.home, config["dataset"]).card.content_hash}
    else:
        address = config | {"asked": now()}
    group = digest_config(f"group {kind}", address)
    return store.request(RunRequest(kind=kind, config=config, address=address, group=group, title=title), by)
