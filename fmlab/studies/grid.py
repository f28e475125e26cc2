"""From a study to its runs.

In: a config, the dataset and the backbones' cards. Out: one run request per cell, in the order in which points shall
appear: probes before trainings, the smallest size first.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fmlab.adapt.configs import Adaptation, Scratch, Trained, ZeroShot
from fmlab.adapt.recipes import training_setting
from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone, on_disk, require_weights
from fmlab.data.manifest import Dataset
from fmlab.data.subsets import Subset, TrainingItems, largest_size
from fmlab.errors import BadInput
from fmlab.runs.launcher import devices
from fmlab.runs.records import RunRequest
from fmlab.runs.requests import CellFacts, cell_request, starting_digest
from fmlab.settings import Home
from fmlab.studies.configs import StudyConfig
from fmlab.studies.needed import labelled_items, smallest_pool, state_of


@dataclass(frozen=True)
class Line:
    """What becomes one line of the figure: a backbone under an adaptation, so many subsets at each size."""

    card: BackboneCard
    adaptation: Adaptation
    seeds: int


@dataclass(frozen=True)
class Grid:
    """A study laid out on its dataset: what will run, and what was left out."""

    config: StudyConfig
    dataset: Dataset
    cards: tuple[BackboneCard, ...]  # of the lines, each once
    lines: tuple[Line, ...]
    items: TrainingItems
    sizes: tuple[int, ...]
    dropped: tuple[str, ...]
    requests: tuple[RunRequest, ...]


def lay_out(home: Home, dataset: Dataset, config: StudyConfig) -> Grid:
    """Every cell of a study. What the dataset cannot serve raises `BadInput`, or is dropped if it came from a preset."""
    items = labelled_training_items(dataset, config)
    sizes, dropped = _possible_sizes(items, config, dataset)
    lines = tuple(_lines(home, config))
    for line in lines:
        if not on_disk(line.card, home) and not isinstance(line.adaptation, Scratch):
            require_weights(line.card, home)
    # A baseline may be a line of the grid as well; it is the same run.
    requests = tuple(
        {request.key: request for request in _requests(home, dataset, config, lines, items, sizes)}.values()
    )
    cards = {line.card.key: line.card for line in lines}
    return Grid(config, dataset, tuple(cards.values()), lines, items, sizes, dropped, requests)


def _lines(home: Home, config: StudyConfig) -> Iterator[Line]:
    for key in config.backbones:
        card = find_backbone(home, key)
        for adaptation in config.adaptations:
            yield Line(card, adaptation, config.seeds)
    for each in config.baselines:
        yield Line(find_backbone(home, each.backbone), each.adaptation, each.seeds)


def labelled_training_items(dataset: Dataset, config: StudyConfig) -> TrainingItems:
    """The items a study on this dataset can learn from; one class or none raises `BadInput`."""
    items = labelled_items(state_of(dataset, config.folds), config.copies)
    present = np.unique(items.labels)
    if len(present) < 2:
        found = f"only {dataset.card.classes[present[0]]!r}" if len(present) else "none"
        raise BadInput(
            f"A study needs at least two classes with labelled training images; dataset {dataset.name!r} has {found}. "
            "Import labels, or another dataset."
        )
    return items


def _possible_sizes(
    items: TrainingItems, config: StudyConfig, dataset: Dataset
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    if config.folds is None:
        largest = largest_size(items, config.scheme)
    else:
        largest = smallest_pool(state_of(dataset, config.folds), config.copies, config.scheme)
    named = {largest if size == "all" else size for size in config.sizes}
    possible = tuple(sorted(size for size in named if size <= largest))
    unit = "images" if config.scheme == "images" else "sequences per class"
    missing = sorted(size for size in named if size > largest)
    if missing and config.preset is None:
        raise BadInput(
            f"The training set has {largest} {unit}; the study asks for {', '.join(map(str, missing))}. "
            f"Choose sizes from 1 to {largest}."
        )
    if not possible:
        raise BadInput(f"The training set has {largest} {unit}, fewer than the smallest size {min(named)}.")
    sentence = f"Sizes {', '.join(map(str, missing))} were dropped: the training set has {largest} {unit}."
    return possible, (sentence,) if missing else ()


def _requests(
    home: Home,
    dataset: Dataset,
    config: StudyConfig,
    lines: tuple[Line, ...],
    items: TrainingItems,
    sizes: tuple[int, ...],
) -> Iterator[RunRequest]:
    """Probes line by line, since a backbone's are solved together; then trainings, all of a size before the next."""
    mask = dataset.card.mask_sector if config.mask_sector is None else config.mask_sector
    facts = [
        CellFacts(
            dataset=dataset,
            card=line.card,
            digest=starting_digest(line.adaptation, line.card, home),
            style=config.style,
            mask_sector=mask,
            precision=config.precision,
            folds=config.folds,
        )
        for line in lines
    ]
    trained: list[tuple[int, RunRequest]] = []
    for line, shared in zip(lines, facts, strict=True):
        for subset in _subsets(line, config, sizes, len(items.image_ids)):
            if isinstance(line.adaptation, Trained):
                setting = training_setting(line.adaptation, line.card, subset, devices()[0])
                trained.append((subset.size, cell_request(shared, line.adaptation, subset, setting)))
            else:
                yield cell_request(shared, line.adaptation, subset)
    yield from (request for _, request in sorted(trained, key=lambda pair: pair[0]))


def _subsets(line: Line, config: StudyConfig, sizes: tuple[int, ...], everything: int) -> list[Subset]:
    """The budgets of a line. Without a label, and with all of them, there is nothing that a seed could draw."""
    if isinstance(line.adaptation, ZeroShot):
        return [Subset(config.scheme, 0, 0)]
    # What trains depends on its seed besides: the order of the images, the first weights of its classifier.
    drawn = isinstance(line.adaptation, Trained) or config.scheme == "sequences"
    return [
        Subset(config.scheme, size, seed, config.copies)
        for size in sizes
        for seed in range(line.seeds if drawn or size < everything else 1)
    ]
