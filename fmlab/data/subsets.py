"""Subsets of the training set by label budget: nested, reproducible, and stable while the data grow.

In: the training images, a scheme, a size and a seed. Out: the items to learn from, as positions in the training table.

An item is (image, copy): copy 0 is the original, 1 … 4 the study's augmented copies. Order is hash(seed, item), so
the subset of size n is the beginning of the subset of any larger size, and new images slot in without a reshuffle.

Source: the limited-data study, section 4.3. `images`: at random over all items. `sequences`: the same number of
sequences of every class, with all their items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from fmlab.data.manifest import id_codes
from fmlab.data.splits import hash_order
from fmlab.errors import BadInput

Scheme = Literal["images", "sequences"]
COPIES = 4  # that the study makes of every training image (section 4.2)


@dataclass(frozen=True)
class Subset:
    """A label budget: `size` items in all (`images`) or `size` sequences of each class (`sequences`).

    `copies` augmented copies of every image (0 … 4) are items beside it. Size 0 is no label at all (zero-shot).
    """

    scheme: Scheme
    size: int
    seed: int
    copies: int = 0


@dataclass(frozen=True)
class TrainingItems:
    """The labelled items of the training split, in manifest order; copies of an image stand together."""

    image_ids: np.ndarray  # (N,) uint64
    copies: np.ndarray  # (N,) uint8
    labels: np.ndarray  # (N,) int64, index into the dataset's classes
    sequences: np.ndarray  # (N,) int64, number of the sequence
    sequence_codes: np.ndarray  # (S,) uint64, a digest of each sequence's name
    sequence_labels: np.ndarray  # (S,) int64, its most frequent label, the lower index in a tie
    classes: tuple[str, ...]


def training_items(images: pd.DataFrame, classes: tuple[str, ...], copies: int = 0) -> TrainingItems:
    """Items from the labelled rows of the training split (columns image_id, label, sequence_id)."""
    labels = pd.Index(classes, dtype="str").get_indexer(images["label"]).astype(np.int64)
    if (labels < 0).any():
        raise BadInput("The training rows hold a label outside the class list. Import the dataset again.")
    sequences, names = pd.factorize(images["sequence_id"])
    votes = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(votes, (sequences, labels), 1)
    each = copies + 1
    return TrainingItems(
        image_ids=np.repeat(id_codes(images["image_id"]), each),
        copies=np.tile(np.arange(each, dtype=np.uint8), len(images)),
        labels=np.repeat(labels, each),
        sequences=np.repeat(sequences.astype(np.int64), each),
        sequence_codes=hash_order(np.asarray(names, dtype=object), seed=0),
        sequence_labels=votes.argmax(axis=1),
        classes=classes,
    )


def largest_size(items: TrainingItems, scheme: Scheme) -> int:
    """The largest size the training set can serve under a scheme; a class without a training image does not count."""
    if scheme == "images":
        return len(items.image_ids)
    return int(np.unique(items.sequence_labels, return_counts=True)[1].min())


def draw(items: TrainingItems, subset: Subset) -> np.ndarray:
    """Positions of the subset's items, ascending, (n,) int64. A size that the data do not have raises `BadInput`."""
    return draw_all(items, [subset])[0]


def absent_classes(items: TrainingItems, drawn: np.ndarray) -> list[str]:
    """The classes that can be learnt from these items, but not from those drawn: nobody can predict them then."""
    missing = np.setdiff1d(items.labels, items.labels[drawn])
    return [items.classes[label] for label in missing]


def draw_all(items: TrainingItems, subsets: Sequence[Subset]) -> list[np.ndarray]:
    """As `draw` for many subsets; the order of a scheme and seed is worked out once for all its sizes."""
    largest: dict[tuple[Scheme, int], int] = {}
    for subset in subsets:
        _check_size(items, subset)
        key = (subset.scheme, subset.seed)
        largest[key] = max(subset.size, largest.get(key, 0))
    ordered: dict[tuple[Scheme, int], np.ndarray] = {}
    drawn = []
    for subset in subsets:
        key = (subset.scheme, subset.seed)
        if key not in ordered:
            images = subset.scheme == "images"
            ordered[key] = (
                _first_images(items, subset.seed, largest[key]) if images else _class_ranks(items, subset.seed)
            )
        if subset.scheme == "images":
            drawn.append(np.sort(ordered[key][: subset.size]))
        else:
            drawn.append(np.flatnonzero(ordered[key] < subset.size))
    return drawn


def _check_size(items: TrainingItems, subset: Subset) -> None:
    largest = largest_size(items, subset.scheme)
    if not 1 <= subset.size <= largest:
        unit = "images" if subset.scheme == "images" else "sequences per class"
        raise BadInput(
            f"A subset of {subset.size} {unit} was asked for; this training set has {largest}. Choose 1 to {largest}."
        )


def _first_images(items: TrainingItems, seed: int, count: int) -> np.ndarray:
    """The positions of the first `count` items in the seed's order, (count,) int64, without sorting all the others."""
    codes = _mixed(items.image_ids, items.copies, seed)
    last = np.partition(codes, count - 1)[count - 1]
    first = np.flatnonzero(codes <= last)
    return first[np.argsort(codes[first], kind="stable")][:count]


def _class_ranks(items: TrainingItems, seed: int) -> np.ndarray:
    """The place of each item's sequence among those of its class, (N,) int64."""
    by_class = np.lexsort((_mixed(items.sequence_codes, np.uint8(0), seed), items.sequence_labels))
    classes = items.sequence_labels[by_class]
    ranks = np.empty(len(by_class), np.int64)
    ranks[by_class] = np.arange(len(by_class)) - np.searchsorted(classes, classes)
    return ranks[items.sequences]


def _mixed(codes: np.ndarray, copies: np.ndarray | np.uint8, seed: int) -> np.ndarray:
    """Hash of (seed, code, copy), (N,) uint64: two rounds of splitmix64's finaliser (Steele et al. 2014)."""
    state = codes ^ _scramble(np.uint64(seed) * np.uint64(8) + copies.astype(np.uint64) + np.uint64(1))
    return _scramble(_scramble(state))


def _scramble(state: np.ndarray | np.uint64) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = np.atleast_1d(np.asarray(state, np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
