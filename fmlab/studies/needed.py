"""Which images a study needs embedded, and how many of them are.

In: a dataset's state, subsets, a request for embeddings. Out: items, (n,) `ITEM`; counts.

A page asks with every click. What does not change between two clicks is kept, named by what decides it: a dataset by
its content hash, a cache of embeddings by its chunks. A million images then cost their time once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from fmlab.data.manifest import Dataset, content_codes, read_card
from fmlab.data.roles import Roles, roles
from fmlab.data.subsets import Scheme, Subset, TrainingItems, draw_all, largest_size, training_items
from fmlab.embeddings.cache import chunks_of, make_items, open_cache
from fmlab.embeddings.keys import EmbeddingsRequest
from fmlab.settings import Home

DATASETS_KEPT = 4
SUBSETS_KEPT = 8  # sets of subsets, as a page goes through while someone changes sizes and seeds
COUNTS_KEPT = 256
ROLE_COLUMNS = ("image_id", "label", "sequence_id", "content_hash")


@dataclass(frozen=True)
class DatasetState:
    """A dataset as it is now: one that is imported again, relabelled or split anew is another."""

    folder: Path
    content_hash: str
    classes: tuple[str, ...]
    folds: int | None  # of cross-validation; None: by its split


def state_of(dataset: Dataset, folds: int | None = None) -> DatasetState:
    """The state of a dataset, by its card."""
    return DatasetState(dataset.folder, dataset.card.content_hash, dataset.card.classes, folds)


@lru_cache(maxsize=DATASETS_KEPT)
def roles_of(state: DatasetState) -> Roles:
    """Who is learnt from and who is tested, with the columns `ROLE_COLUMNS`."""
    return roles(Dataset(state.folder, read_card(state.folder)), state.folds, ROLE_COLUMNS)


def is_tested(state: DatasetState) -> bool:
    """Whether the dataset has labelled test images."""
    return len(roles_of(state).test) > 0


@lru_cache(maxsize=DATASETS_KEPT)
def labelled_items(state: DatasetState, copies: int = 0) -> TrainingItems:
    """The labelled images to learn from and their augmented copies, in manifest order."""
    return training_items(roles_of(state).train, state.classes, copies)


def smallest_pool(state: DatasetState, copies: int, scheme: Scheme) -> int:
    """The largest size that every fold of a cross-validation can serve."""
    return min(largest_size(items, scheme) for items, _ in fold_items(state, copies))


def fold_items(state: DatasetState, copies: int) -> Iterator[tuple[TrainingItems, np.ndarray]]:
    """For each part of the dataset (one, or one per fold): what is learnt from, and its rows among the training rows."""
    found = roles_of(state)
    if state.folds is None:
        yield labelled_items(state, copies), np.arange(len(found.train))
        return
    for learnt, _ in found.parts:
        yield training_items(found.train.iloc[learnt], state.classes, copies), learnt


@lru_cache(maxsize=SUBSETS_KEPT)
def needed_items(state: DatasetState, subsets: tuple[Subset, ...]) -> np.ndarray:
    """The items that one of the subsets or a test set holds, each once, (n,) `ITEM`."""
    found = roles_of(state)
    train, test = content_codes(found.train["content_hash"]), content_codes(found.test["content_hash"])
    copies = max((subset.copies for subset in subsets), default=0)
    used = np.zeros((len(train), copies + 1), bool)
    for number in sorted({subset.copies for subset in subsets}):
        chosen = [subset for subset in subsets if subset.copies == number and subset.size]
        for items, rows in fold_items(state, number):
            for positions in draw_all(items, chosen):
                used[rows[positions // (number + 1)], positions % (number + 1)] = True
    originals = pd.unique(np.concatenate([train[used[:, 0]], test]))
    augmented = [make_items(pd.unique(train[used[:, copy]]), copy) for copy in range(1, copies + 1)]
    return np.concatenate([make_items(originals), *augmented])


def count_embedded(
    home: Home, state: DatasetState, subsets: tuple[Subset, ...], request: EmbeddingsRequest
) -> tuple[int, int]:
    """How many items these subsets and the test sets need embedded, and how many of them are."""
    return _counts(home, state, subsets, request, chunks_of(request.folder(home)))


@lru_cache(maxsize=COUNTS_KEPT)
def _counts(
    home: Home,
    state: DatasetState,
    subsets: tuple[Subset, ...],
    request: EmbeddingsRequest,
    chunks: tuple[tuple[str, int], ...],
) -> tuple[int, int]:
    items = needed_items(state, subsets)
    return len(items), int(open_cache(home, request).have(items).sum()) if chunks else 0


@lru_cache(maxsize=SUBSETS_KEPT)
def learnt_counts(state: DatasetState, subsets: tuple[Subset, ...]) -> tuple[tuple[int, ...], ...]:
    """How many items each subset has to learn from, in each part of the dataset (one, or one per fold)."""
    counts: list[list[int]] = [[] for _ in subsets]
    for number in sorted({subset.copies for subset in subsets}):
        places = [place for place, subset in enumerate(subsets) if subset.copies == number]
        for items, _ in fold_items(state, number):
            for place, positions in zip(places, draw_all(items, [subsets[each] for each in places]), strict=True):
                counts[place].append(len(positions))
    return tuple(tuple(each) for each in counts)
