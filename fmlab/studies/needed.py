"""Which images a study needs embedded, and how many of them are.

In: a dataset's state, subsets, a request for embeddings. Out: content codes, (n,) uint64; counts.

A page asks with every click. What does not change between two clicks is kept, named by what decides it: a dataset by
its content hash, a cache of embeddings by its chunks. A million images then cost their time once.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from fmlab.data.manifest import TRAIN, VALIDATION, Dataset, content_codes, read_manifest
from fmlab.data.subsets import Subset, TrainingItems, draw_all, training_items
from fmlab.embeddings.cache import chunks_of, make_items, open_cache
from fmlab.embeddings.keys import EmbeddingsRequest
from fmlab.settings import Home

DATASETS_KEPT = 4
SUBSETS_KEPT = 8  # sets of subsets, as a page goes through while someone changes sizes and seeds
COUNTS_KEPT = 256


@dataclass(frozen=True)
class DatasetState:
    """A dataset as it is now: one that is imported again, relabelled or split anew is another."""

    folder: Path
    content_hash: str
    classes: tuple[str, ...]


def state_of(dataset: Dataset) -> DatasetState:
    """The state of a dataset, by its card."""
    return DatasetState(dataset.folder, dataset.card.content_hash, dataset.card.classes)


@lru_cache(maxsize=DATASETS_KEPT)
def labelled_items(state: DatasetState) -> TrainingItems:
    """The labelled images of the training split, in manifest order."""
    table = read_manifest(state.folder, ["image_id", "label", "sequence_id", "split"])
    return training_items(table[(table["split"] == TRAIN) & table["label"].notna()], state.classes)


@lru_cache(maxsize=DATASETS_KEPT)
def labelled_codes(state: DatasetState) -> tuple[np.ndarray, np.ndarray]:
    """Content codes of the labelled training images and of the scored labelled test images, in manifest order."""
    rows = read_manifest(state.folder, ["label", "split", "scored", "content_hash"])
    rows = rows[rows["label"].notna() & rows["split"].notna()]
    testing = ~rows["split"].isin((TRAIN, VALIDATION)) & rows["scored"]
    return content_codes(rows["content_hash"][rows["split"] == TRAIN]), content_codes(rows["content_hash"][testing])


@lru_cache(maxsize=SUBSETS_KEPT)
def needed_codes(state: DatasetState, subsets: tuple[Subset, ...]) -> np.ndarray:
    """Content codes of the images that one of the subsets or a test set holds, each once."""
    train, tests = labelled_codes(state)
    used = np.zeros(len(train), bool)
    for positions in draw_all(labelled_items(state), subsets):
        used[positions] = True
    return pd.unique(np.concatenate([train[used], tests]))


def count_embedded(
    home: Home, state: DatasetState, subsets: tuple[Subset, ...], request: EmbeddingsRequest
) -> tuple[int, int]:
    """How many images these subsets and the test sets need embedded, and how many of them are."""
    return _counts(home, state, subsets, request, chunks_of(request.folder(home)))


@lru_cache(maxsize=COUNTS_KEPT)
def _counts(
    home: Home,
    state: DatasetState,
    subsets: tuple[Subset, ...],
    request: EmbeddingsRequest,
    chunks: tuple[tuple[str, int], ...],
) -> tuple[int, int]:
    codes = needed_codes(state, subsets)
    return len(codes), int(open_cache(home, request).have(make_items(codes)).sum()) if chunks else 0
