"""What can be asked to run: a cell of a study, or a single run of another kind.

In: what decides the result. Out: a `RunRequest`, whose key is the digest of exactly that; or, for single runs, the
queued run itself.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fmlab.adapt.configs import Adaptation, LinearHead, Scratch, Trained, ZeroShot
from fmlab.adapt.linear_head_features import head_feature
from fmlab.adapt.recipes import TrainingSetting
from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone, weights_digest
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.data.preprocessing import InputSpec, Style, at_size, styled
from fmlab.data.subsets import Subset
from fmlab.embeddings.keys import PREPROCESSING_VERSION
from fmlab.errors import BadInput
from fmlab.files import digest_config
from fmlab.runs.pretraining_request import pretrain_request
from fmlab.runs.records import LANE_KINDS, Actor, Run, RunRequest, now
from fmlab.runs.store import Store
from fmlab.settings import Home

ORIGINAL_LABELS = "original"
SINGLE_KINDS = (*LANE_KINDS, "project", "latency", "verify", "audit", "suspects", "pretrain")


@dataclass(frozen=True)
class CellFacts:
    """What the cells of one backbone share: one dataset, looked at in one way."""

    dataset: Dataset
    card: BackboneCard
    digest: str  # of the weights, or of the architecture where training starts from scratch
    style: Style
    mask_sector: bool
    precision: str
    folds: int | None = None


def cell_request(
    facts: CellFacts, adaptation: Adaptation, subset: Subset, setting: TrainingSetting | None = None
) -> RunRequest:
    """The run of one cell: an adaptation of the backbone on a subset, scored on every test set of the dataset.

    `setting` belongs to adaptations that train, and to no others.
    """
    if isinstance(adaptation, Trained):
        if setting is None:
            raise BadInput(f"A run of kind {adaptation.kind!r} needs its training setting.")
        return _training_request(facts, adaptation, subset, setting)
    shared = _shared(facts, adaptation) | {"precision": facts.precision}
    cell = shared | {"adaptation": adaptation.model_dump(mode="json"), "subset": asdict(subset)}
    names = {"dataset": facts.dataset.name, "backbone": facts.card.key}
    return RunRequest(
        kind="adapt",
        config=names | cell,
        address=cell,
        group=digest_config("group adapt", names | shared | {"copies": subset.copies}),
        title=f"{facts.dataset.name} · {facts.card.key}",
    )


def _training_request(facts: CellFacts, adaptation: Trained, subset: Subset, setting: TrainingSetting) -> RunRequest:
    """A training is a group of its own: it has its own log, checkpoints and place in the queue."""
    shared = _shared(facts, adaptation, setting.input_size) | {"precision": setting.precision}
    cell = shared | {"setting": setting.plain, "subset": asdict(subset)}
    what = {name: value for name, value in adaptation.model_dump().items() if name not in Trained.model_fields}
    names = {"dataset": facts.dataset.name, "backbone": facts.card.key}
    address = cell | {"adaptation": what}
    unit = "images" if subset.scheme == "images" else "sequences per class"
    return RunRequest(
        kind="train",
        config=names | cell | {"adaptation": adaptation.model_dump(mode="json")},
        address=address,
        group=digest_config("group train", names | address),
        title=f"{facts.dataset.name} · {facts.card.key} · {adaptation.kind} · {subset.size:,} {unit}",
    )


def _shared(facts: CellFacts, adaptation: Adaptation, input_size: int | None = None) -> dict[str, Any]:
    return {
        "content_hash": facts.dataset.card.content_hash,
        "labels": ORIGINAL_LABELS,
        "weights": facts.digest,
        "feature": feature_for(adaptation, facts.card),
        "style": facts.style,
        "input": fed(facts.card, facts.style, input_size),
        "mask_sector": facts.mask_sector,
        "folds": facts.folds,
    }


def feature_for(adaptation: Adaptation, card: BackboneCard) -> str:
    """The kind of feature that an adaptation takes of a backbone; one that it does not have raises `BadInput`."""
    if isinstance(adaptation, ZeroShot):
        if "projected" not in card.features:
            raise BadInput(
                f"{card.key} reads no text, so zero_shot cannot use it; choose a backbone of type image+text."
            )
        return "projected"
    return head_feature(card) if isinstance(adaptation, LinearHead) else card.feature


def architecture_digest(card: BackboneCard) -> str:
    """What stands for the weights of a run that starts from random ones: the architecture, drawn under the run's seed."""
    facts = {"architecture": card.architecture, "options": dict(card.options), "norm_eps": card.norm_eps}
    return digest_config("random weights", facts)


def starting_digest(adaptation: Adaptation, card: BackboneCard, home: Home) -> str:
    """The digest of the weights that a cell starts from."""
    return architecture_digest(card) if isinstance(adaptation, Scratch) else weights_digest(card, home)


def spec_for(card: BackboneCard, style: Style, input_size: int | None = None) -> InputSpec:
    """The input of a backbone under a style, at another size in pixels where a training asks for one."""
    spec = styled(card.spec, style)
    return spec if input_size is None else at_size(spec, input_size)


def fed(card: BackboneCard, style: Style, input_size: int | None = None) -> dict[str, Any]:
    """What decides the pixels that a backbone gets of an image: two cards of the same weights may differ in it."""
    return asdict(spec_for(card, style, input_size)) | {"version": PREPROCESSING_VERSION}


def projection_request(home: Home, config: dict[str, Any]) -> RunRequest:
    """The map of a dataset under a backbone, as both are on this disk now; of other images or weights it is another run.

    `config`: dataset, backbone, method (`umap` or `pca`), style, mask_sector.
    """
    return _embedded_request(home, "project", config, ("method", "style", "mask_sector"))


def suspects_request(home: Home, config: dict[str, Any]) -> RunRequest:
    """The search for suspected label errors of a dataset under a backbone, as both are on this disk now.

    `config`: dataset, backbone, style, mask_sector, folds (5 is usual).
    """
    return _embedded_request(home, "suspects", config, ("folds", "style", "mask_sector"))


def _embedded_request(home: Home, kind: str, config: dict[str, Any], settings: Sequence[str]) -> RunRequest:
    """A run that the embeddings of a dataset and a few settings decide."""
    card = find_backbone(home, config["backbone"])
    address = {
        "content_hash": open_dataset(home, config["dataset"]).card.content_hash,
        "weights": weights_digest(card, home),
        "feature": card.feature,
        "input": fed(card, config["style"]),
        **{name: config[name] for name in settings},
    }
    return RunRequest(
        kind=kind,
        config=config,
        address=address,
        group=digest_config(f"group {kind}", address),
        title=f"{config['dataset']} · {card.key}",
    )


# Single runs that are known by what decides them: asked for again, such a run is the same run.
ADDRESSED = {"project": projection_request, "suspects": suspects_request, "pretrain": pretrain_request}


def request_run(store: Store, kind: str, config: dict[str, Any], title: str, by: Actor) -> Run:
    """Queue a single run of one of `SINGLE_KINDS`. An import or a measurement asked for again is a new run."""
    if kind not in SINGLE_KINDS:
        raise BadInput(f"A run of kind {kind!r} cannot be requested alone; choose one of {', '.join(SINGLE_KINDS)}.")
    if kind in ADDRESSED:
        return store.request(replace(ADDRESSED[kind](store.home, config), title=title), by)
    address = config | {"asked": now()}
    group = digest_config(f"group {kind}", address)
    return store.request(RunRequest(kind=kind, config=config, address=address, group=group, title=title), by)
