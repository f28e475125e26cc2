"""The price before the button: what a study would compute, how long it takes, what it needs.

In: a config. Out: a `Plan`: cells cached and to compute, images per backbone, seconds, bytes on disk and in memory, and
sentences: what was dropped, how it differs from the paper, what to beware of, why it cannot be launched.

Speeds are those measured on this machine; before the first measurement they are guessed from the number of parameters,
and the plan says so.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fmlab.adapt.configs import short_name
from fmlab.adapt.recipes import TrainingSetting
from fmlab.backbones.cards import BackboneCard
from fmlab.data.manifest import open_dataset
from fmlab.data.preprocessing import Preprocessing
from fmlab.data.subsets import Subset
from fmlab.embeddings.keys import EmbeddingsRequest, request_embeddings
from fmlab.errors import FMLabError
from fmlab.runs.launcher import devices
from fmlab.runs.records import RunRequest
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.audits import audit_of, pictures_known
from fmlab.studies.configs import StudyConfig
from fmlab.studies.costs import (
    NUMBER,
    Cost,
    Speed,
    embedding_speed,
    fit_seconds,
    frozen_cost,
    training_cost,
    training_speed,
)
from fmlab.studies.differences import absent_classes, differences_from_paper
from fmlab.studies.grid import Grid, lay_out
from fmlab.studies.launch import refuse_leaks, refuse_seen
from fmlab.studies.needed import count_embedded, is_tested, learnt_counts, roles_of, state_of
from fmlab.studies.presets import FETAL, PRESETS, QUICK
from fmlab.studies.remarks import caution_notes
from fmlab.studies.resources import free_disk, free_memory, gpu_memory

FROZEN = "frozen"
LONG_SECONDS = 3600  # of training without a GPU, before the small preset is named


@dataclass(frozen=True)
class BackbonePlan:
    """What a study asks of one backbone: of its frozen features, or of one way of training it."""

    key: str
    work: str  # `frozen`, or the training's short name
    cells: int
    cells_cached: int
    images: int  # that its missing cells need embedded, or that they see in training and testing
    images_cached: int
    images_per_second: float
    measured: bool  # false: the speed is a guess
    cost: Cost

    @property
    def seconds(self) -> float:
        """Embedding, solving and training what is missing."""
        return self.cost.seconds


@dataclass(frozen=True)
class Plan:
    """The price of a study."""

    cells: int = 0
    cached: int = 0
    dropped: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()  # from the study whose protocol is followed
    warnings: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()  # not empty: the study cannot be launched
    backbones: tuple[BackbonePlan, ...] = ()
    devices: tuple[str, ...] = ()
    disk_bytes: int = 0  # at the most, while it runs
    memory_bytes: int = 0
    gpu_bytes: int = 0  # of each GPU

    @property
    def to_compute(self) -> int:
        """Cells that are not done yet."""
        return self.cells - self.cached

    @property
    def seconds(self) -> float:
        """Everything that is missing, one after the other on each device."""
        total = sum(each.seconds for each in self.backbones)
        return total / max(1, len(self.devices))


def plan(home: Home, store: Store, config: StudyConfig) -> Plan:
    """The price of a study; what would refuse its launch is in `refusals`, not raised."""
    try:
        grid = lay_out(home, open_dataset(home, config.dataset), config)
    except FMLabError as error:
        return Plan(refusals=(str(error),))
    state = state_of(grid.dataset, config.folds)
    tested = is_tested(state)
    finished = store.finished_keys([request.key for request in grid.requests])
    rows = tuple(_rows(home, store, grid, finished))
    names = devices()
    differences = tuple(differences_from_paper(config, grid.dataset, home))
    disk = _disk_bytes(grid, rows, len(names), len(roles_of(state).test) if tested else 0)
    refusals = list(_refused(home, store, grid, tested))
    price = Plan(
        cells=len(grid.requests),
        cached=sum(each.cells_cached for each in rows),
        dropped=grid.dropped,
        differences=differences,
        warnings=(
            *_unaudited(home, store, grid),
            *caution_notes(grid.cards),
            *_warnings(grid, rows, names[0], bool(differences)),
        ),
        backbones=rows,
        devices=names,
        disk_bytes=disk,
        memory_bytes=sum(sorted((each.cost.memory_bytes for each in rows), reverse=True)[: len(names)]),
        gpu_bytes=max((each.cost.gpu_bytes for each in rows), default=0),
    )
    return Plan(**(vars(price) | {"refusals": (*refusals, *_too_large(home, price))}))


def _refused(home: Home, store: Store, grid: Grid, tested: bool) -> Iterator[str]:
    for refuse in (lambda: refuse_leaks(home, store, grid), lambda: refuse_seen(home, grid)):
        try:
            refuse()
        except FMLabError as error:
            yield str(error)
    if not tested:
        yield (
            f"Dataset {grid.dataset.name!r} has no labelled test images. Attach a test set, or cross-validate it (folds)."
        )


# ------------------------------------------------------------------------------------------------- what each part costs


def _rows(home: Home, store: Store, grid: Grid, finished: set[str]) -> Iterator[BackbonePlan]:
    """Of each backbone in order: its frozen features, then each way of training it."""
    parts: dict[tuple[str, str], list[RunRequest]] = {}
    for request in grid.requests:
        work = FROZEN if request.kind == "adapt" else short_name(request.config["adaptation"])
        parts.setdefault((request.config["backbone"], work), []).append(request)
    cards = {card.key: card for card in grid.cards}
    order = {key: number for number, key in enumerate(cards)}
    for (key, work), cells in sorted(parts.items(), key=lambda part: (order[part[0][0]], part[0][1] != FROZEN)):
        missing = [request for request in cells if request.key not in finished]
        price = _frozen if work == FROZEN else _trained
        images, cached, speed, cost = price(home, store, grid, cards[key], missing)
        yield BackbonePlan(
            key=key,
            work=work,
            cells=len(cells),
            cells_cached=len(cells) - len(missing),
            images=images,
            images_cached=cached,
            images_per_second=speed.images_per_second,
            measured=speed.measured,
            cost=cost,
        )


Priced = tuple[int, int, Speed, Cost]  # images, those of them that are embedded, how fast, the cost


def _frozen(home: Home, store: Store, grid: Grid, card: BackboneCard, missing: list[RunRequest]) -> Priced:
    device = devices()[0]
    speed = embedding_speed(store, device, card, missing[0].config["input"]["size"] if missing else card.spec.size)
    if not missing:
        return 0, 0, speed, Cost()
    by_feature: dict[str, list[RunRequest]] = defaultdict(list)
    for request in missing:
        by_feature[request.config["feature"]].append(request)
    counts = [(*_images(home, grid, card, cells), card.width_of(feature)) for feature, cells in by_feature.items()]
    fits = Counter(request.config["adaptation"]["kind"] for request in missing)
    solving = sum(count * fit_seconds(store, kind) for kind, count in fits.items())
    needed, cached = sum(count[0] for count in counts), sum(count[1] for count in counts)
    widest = max(width for _, _, width in counts)
    seconds = (needed - cached) / speed.images_per_second + solving
    return needed, cached, speed, frozen_cost(device, card, needed - cached, needed, widest, seconds)


def _images(home: Home, grid: Grid, card: BackboneCard, missing: list[RunRequest]) -> tuple[int, int]:
    """How many images these cells, which share a feature, need embedded, and how many of them are."""
    request = _embeddings(home, grid, card, missing[0])
    return count_embedded(home, state_of(grid.dataset, grid.config.folds), _largest(missing), request)


def _embeddings(home: Home, grid: Grid, card: BackboneCard, cell: RunRequest) -> EmbeddingsRequest:
    config = cell.config
    preprocessing = Preprocessing(config["style"], config["mask_sector"])
    pixels = grid.dataset.card.pixels_key
    return request_embeddings(home, pixels, card, preprocessing, config["feature"], config["precision"])


def _largest(missing: list[RunRequest]) -> tuple[Subset, ...]:
    """The subsets that hold all that some missing cell needs: they are nested, so the largest of each seed."""
    largest: dict[tuple[str, int], Subset] = {}
    for request in missing:
        subset = Subset(**request.config["subset"])
        key = (subset.scheme, subset.seed)
        if key not in largest or largest[key].size < subset.size:
            largest[key] = subset
    return tuple(largest.values())


def _trained(home: Home, store: Store, grid: Grid, card: BackboneCard, missing: list[RunRequest]) -> Priced:
    device = devices()[0]
    config = (missing or [request for request in grid.requests if request.kind == "train"])[0].config
    size = config["input"]["size"]
    speed = training_speed(store, device, card, config["adaptation"]["kind"], size)
    if not missing:
        return 0, 0, speed, Cost()
    state = state_of(grid.dataset, grid.config.folds)
    counts = learnt_counts(state, tuple(Subset(**request.config["subset"]) for request in missing))
    settings = [TrainingSetting(**request.config["setting"]) for request in missing]
    seen = sum(each.images_for(n) for each, parts in zip(settings, counts, strict=True) for n in parts)
    tested = len(roles_of(state).test) * len(missing)
    testing = embedding_speed(store, device, card, size)
    largest = max(range(len(missing)), key=lambda place: max(counts[place]))
    cost = training_cost(device, card, missing[largest].config, max(counts[largest]), free_memory())
    seconds = seen / speed.images_per_second + tested / testing.images_per_second
    return seen + tested, 0, speed, Cost(**(vars(cost) | {"seconds": seconds}))


def _disk_bytes(grid: Grid, rows: Sequence[BackbonePlan], devices_used: int, tested: int) -> int:
    """Embeddings and predictions that stay, and the checkpoints of the trainings that run at once."""
    missing = sum(each.cells - each.cells_cached for each in rows)
    predictions = missing * tested * len(grid.dataset.card.classes) * NUMBER
    passing = sorted((each.cost.passing_bytes for each in rows), reverse=True)[:devices_used]
    return sum(each.cost.kept_bytes for each in rows) + predictions + sum(passing)


# ------------------------------------------------------------------------------------------------------ what to be told


def _too_large(home: Home, price: Plan) -> Iterator[str]:
    """Why a study does not fit on this machine."""
    memory, disk = free_memory(), free_disk(home)
    for each in price.backbones:
        if each.cost.memory_bytes > memory:
            yield _does_not_fit(each, "memory", each.cost.memory_bytes, memory)
        available = gpu_memory(price.devices[0])
        if available is not None and each.cost.gpu_least_bytes > available:
            yield _does_not_fit(each, f"memory on {price.devices[0]}", each.cost.gpu_least_bytes, available)
    if price.disk_bytes > disk:
        yield (
            f"The study writes about {_gigabytes(price.disk_bytes)} to disk, and {_gigabytes(disk)} are free. "
            "Free some, or choose fewer images or backbones."
        )


def _does_not_fit(part: BackbonePlan, where: str, needed: int, there: int) -> str:
    advice = (
        "Choose a smaller size or fewer copies, or another backbone"
        if part.work == FROZEN
        else "Choose a smaller batch or input size, or another backbone"
    )
    return (
        f"{part.key} ({part.work}) needs about {_gigabytes(needed)} of {where}; {_gigabytes(there)} are free. {advice}."
    )


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


def _unaudited(home: Home, store: Store, grid: Grid) -> Iterator[str]:
    if not pictures_known(audit_of(home, store, grid.dataset)):
        yield (
            "The pictures have not been audited: near-duplicates across the split and text that gives the label away are "
            f"unknown. `fmlab data check {grid.dataset.name}` looks for them, as does the page Datasets."
        )


def _warnings(grid: Grid, rows: Sequence[BackbonePlan], device: str, follows_paper: bool) -> Iterator[str]:
    card = grid.dataset.card
    if not follows_paper:
        yield from absent_classes(card, grid.dataset.test_sets)
    if card.patients is None:
        yield "Patients are unknown: intervals are resampled over sequences, and a leak cannot be seen."
    if card.synthetic:
        yield "The images are simulated: the numbers say nothing about real patients."
    if grid.config.seeds < 3:
        drawn = "One subset is" if grid.config.seeds == 1 else "Two subsets are"
        yield f"{drawn} drawn at every size, too few to show the spread between subsets; 20 are usual for probes."
    training = sum(each.seconds for each in rows if each.work != FROZEN)
    preset = grid.config.preset or ""
    if device == "cpu" and training > LONG_SECONDS and preset + QUICK in PRESETS:
        yield f"Training takes long without a GPU; the preset {preset}{QUICK} shows in minutes that all works."
    if device == "cpu" and training > LONG_SECONDS and preset.startswith(FETAL):
        yield (
            "Training takes long without a GPU; a few epochs of small images show that all works: "
            "`--adaptations finetune:recipe=fetal:epochs=2:input_size=96`."
        )
    available = gpu_memory(device)
    for each in rows:
        if available is not None and each.cost.gpu_least_bytes <= available < each.cost.gpu_bytes:
            yield f"A batch of {each.key} ({each.work}) may not fit into {device}; it is then worked through in parts."
