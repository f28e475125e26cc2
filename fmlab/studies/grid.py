"""From a study to its runs.

In: a config, the dataset and the backbones' cards. Out: one run request per cell, in the order in which points shall
appear: the smallest size first, all backbones of one size before the next seed's only where that costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone, on_disk, require_weights, weights_digest
from fmlab.data.manifest import Dataset
from fmlab.data.subsets import Subset, TrainingItems, largest_size
from fmlab.errors import BadInput
from fmlab.runs.records import RunRequest
from fmlab.runs.requests import CellFacts, cell_request
from fmlab.settings import Home
from fmlab.studies.configs import StudyConfig
from fmlab.studies.needed import labelled_items, state_of


@dataclass(frozen=True)
class Grid:
    """A study laid out on its dataset: what will run, and what was left out."""

    config: StudyConfig
    dataset: Dataset
    cards: tuple[BackboneCard, ...]
    items: TrainingItems
    sizes: tuple[int, ...]
    dropped: tuple[str, ...]
    requests: tuple[RunRequest, ...]


def lay_out(home: Home, dataset: Dataset, config: StudyConfig) -> Grid:
    """Every cell of a study. What the dataset cannot serve raises `BadInput`, or is dropped if it came from a preset."""
    items = labelled_training_items(dataset)
    sizes, dropped = _possible_sizes(items, config)
    cards = tuple(find_backbone(home, key) for key in config.backbones)
    for card in cards:
        if not on_disk(card, home):
            require_weights(card, home)
    requests = tuple(_requests(home, dataset, config, cards, sizes))
    return Grid(config, dataset, cards, items, sizes, dropped, requests)


def labelled_training_items(dataset: Dataset) -> TrainingItems:
    """The items a study on this dataset can learn from; one class or none raises `BadInput`."""
    items = labelled_items(state_of(dataset))
    present = np.unique(items.labels)
    if len(present) < 2:
        found = f"only {dataset.card.classes[present[0]]!r}" if len(present) else "none"
        raise BadInput(
            f"A study needs at least two classes with labelled training images; dataset {dataset.name!r} has {found}. "
            "Import labels, or another dataset."
        )
    return items


def _possible_sizes(items: TrainingItems, config: StudyConfig) -> tuple[tuple[int, ...], tuple[str, ...]]:
    largest = largest_size(items, config.scheme)
    possible = tuple(size for size in config.sizes if size <= largest)
    unit = "images" if config.scheme == "images" else "sequences per class"
    missing = [size for size in config.sizes if size > largest]
    if missing and config.preset is None:
        raise BadInput(
            f"The training set has {largest} {unit}; the study asks for {', '.join(map(str, missing))}. "
            f"Choose sizes from 1 to {largest}."
        )
    if not possible:
        raise BadInput(f"The training set has {largest} {unit}, fewer than the smallest size {min(config.sizes)}.")
    sentence = f"Sizes {', '.join(map(str, missing))} were dropped: the training set has {largest} {unit}."
    return possible, (sentence,) if missing else ()


def _requests(
    home: Home, dataset: Dataset, config: StudyConfig, cards: Sequence[BackboneCard], sizes: Sequence[int]
) -> list[RunRequest]:
    mask = dataset.card.mask_sector if config.mask_sector is None else config.mask_sector
    requests = []
    for card in cards:
        facts = CellFacts(
            dataset=dataset,
            card=card,
            digest=weights_digest(card, home),
            style=config.style,
            mask_sector=mask,
            precision=config.precision,
        )
        for size in sizes:
            for seed in range(config.seeds):
                subset = Subset(config.scheme, size, seed)
                requests += [cell_request(facts, _plain(adaptation), subset) for adaptation in config.adaptations]
    return requests


def _plain(adaptation: Any) -> dict[str, Any]:
    return adaptation.model_dump(mode="json")
