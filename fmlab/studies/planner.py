"""The price before the button: what a study would compute, how long it takes, what it needs.

In: a config. Out: a `Plan`: cells cached and to compute, images to embed per backbone, seconds, bytes on disk and in
memory, and sentences: what was dropped, what to beware of, why it cannot be launched.

Speeds are those measured on this machine; before the first measurement they are guessed from the number of parameters,
and the plan says so.
"""

from collections import Counter
from dataclasses import dataclass

from fmlab.backbones.cards import BackboneCard
from fmlab.data.manifest import open_dataset
from fmlab.data.preprocessing import Preprocessing
from fmlab.data.subsets import Subset
from fmlab.embeddings.keys import request_embeddings
from fmlab.errors import FMLabError
from fmlab.runs.launcher import devices
from fmlab.runs.records import RunRequest
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.configs import StudyConfig
from fmlab.studies.grid import Grid, lay_out
from fmlab.studies.launch import refuse_leaks
from fmlab.studies.needed import count_embedded, labelled_codes, state_of

BYTES_PER_NUMBER = 4
MODEL_OVERHEAD_BYTES = 1 << 30  # the worker itself: Python, torch, buffers of one batch

# Before anything was measured: a model of n parameters embeds about this much / n images a second.
GUESSED_SPEED = {"cpu": 4e8, "cuda": 2e11}
GUESSED_FIT_SECONDS = 0.1


@dataclass(frozen=True)
class BackbonePlan:
    """What a study asks of one backbone."""

    key: str
    cells: int
    cells_cached: int
    images: int  # that its cells need embedded, test images included
    images_cached: int
    images_per_second: float
    measured: bool  # false: the speed is a guess
    seconds: float  # embedding and solving what is missing


@dataclass(frozen=True)
class Plan:
    """The price of a study."""

    cells: int
    cached: int
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]
    refusals: tuple[str, ...]  # not empty: the study cannot be launched
    backbones: tuple[BackbonePlan, ...]
    disk_bytes: int
    memory_bytes: int

    @property
    def to_compute(self) -> int:
        """Cells that are not done yet."""
        return self.cells - self.cached

    @property
    def seconds(self) -> float:
        """Everything that is missing, one backbone after the other."""
        return sum(backbone.seconds for backbone in self.backbones)


def plan(home: Home, store: Store, config: StudyConfig) -> Plan:
    """The price of a study; what would refuse its launch is in `refusals`, not raised."""
    try:
        grid = lay_out(home, open_dataset(home, config.dataset), config)
    except FMLabError as error:
        return Plan(0, 0, (), (), (str(error),), (), 0, 0)
    refusals = []
    try:
        refuse_leaks(grid)
    except FMLabError as error:
        refusals.append(str(error))
    finished = store.finished_keys([request.key for request in grid.requests])
    if not len(labelled_codes(state_of(grid.dataset))[1]):
        refusals.append(f"Dataset {config.dataset!r} has no labelled test images. Attach a test set, or draw a split.")
    backbones = tuple(_backbone_plan(home, store, grid, card, finished) for card in grid.cards)
    missing = [each.images - each.images_cached for each in backbones]
    widths = [card.width for card in grid.cards]
    return Plan(
        cells=len(grid.requests),
        cached=sum(each.cells_cached for each in backbones),
        dropped=grid.dropped,
        warnings=tuple(_warnings(grid)),
        refusals=tuple(refusals),
        backbones=backbones,
        disk_bytes=sum(n * width * BYTES_PER_NUMBER for n, width in zip(missing, widths, strict=True)),
        memory_bytes=MODEL_OVERHEAD_BYTES
        + max(
            each.images * card.width * BYTES_PER_NUMBER * 2 + card.parameters * BYTES_PER_NUMBER
            for each, card in zip(backbones, grid.cards, strict=True)
        ),
    )


def _backbone_plan(home: Home, store: Store, grid: Grid, card: BackboneCard, finished: set[str]) -> BackbonePlan:
    cells = [request for request in grid.requests if request.config["backbone"] == card.key]
    missing = [request for request in cells if request.key not in finished]
    images, cached = _images(home, grid, card, missing) if missing else (0, 0)
    device = devices()[0]
    measured = store.measurement(device, card.key, "images_per_second")
    speed = measured or GUESSED_SPEED[device.split(":")[0]] / max(card.parameters, 100_000)
    fits = Counter(request.config["adaptation"]["kind"] for request in missing)
    solving = sum(count * (store.mean_seconds(kind) or GUESSED_FIT_SECONDS) for kind, count in fits.items())
    return BackbonePlan(
        key=card.key,
        cells=len(cells),
        cells_cached=len(cells) - len(missing),
        images=images,
        images_cached=cached,
        images_per_second=speed,
        measured=measured is not None,
        seconds=(images - cached) / speed + solving,
    )


def _images(home: Home, grid: Grid, card: BackboneCard, missing: list[RunRequest]) -> tuple[int, int]:
    """How many images the missing cells of a backbone need embedded, and how many of them are."""
    cell = missing[0].config
    preprocessing = Preprocessing(cell["style"], cell["mask_sector"])
    pixels = grid.dataset.card.pixels_key
    request = request_embeddings(home, pixels, card, preprocessing, cell["feature"], cell["precision"])
    return count_embedded(home, state_of(grid.dataset), _largest(missing), request)


def _largest(missing: list[RunRequest]) -> tuple[Subset, ...]:
    """The subsets that hold all that some missing cell needs: they are nested, so the largest of each seed."""
    largest: dict[tuple[str, int], Subset] = {}
    for request in missing:
        subset = Subset(**request.config["subset"])
        key = (subset.scheme, subset.seed)
        if key not in largest or largest[key].size < subset.size:
            largest[key] = subset
    return tuple(largest.values())


def _warnings(grid: Grid) -> list[str]:
    card = grid.dataset.card
    sentences = []
    for name in grid.dataset.test_sets:
        absent = [label for label, images in card.split_classes[name].items() if images == 0]
        if absent:
            sentences.append(f"{name} has no images of {', '.join(absent)}; averages over classes leave them out.")
    if card.patients is None:
        sentences.append("Patients are unknown: intervals are resampled over sequences, and a leak cannot be seen.")
    if card.synthetic:
        sentences.append("The images are simulated: the numbers say nothing about real patients.")
    if grid.config.seeds < 3:
        sentences.append(
            f"With {grid.config.seeds} seed(s) the spread between subsets cannot be shown well; 20 are usual."
        )
    return sentences
