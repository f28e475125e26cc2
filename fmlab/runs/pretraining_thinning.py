"""Frames of a clip that look like the one before: a pretraining does without them.

In: rows of manifests. Out: the rows whose perceptual hash differs in more than so many bits from that of the last frame
kept before them in their sequence. The hash is pHash with 256 bits (`fmlab.audit.hashes`): unrelated frames differ in
about half of them, neighbouring ones of a clip in 14 at the median.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd

from fmlab.audit.hashes import WORDS, hash_pictures
from fmlab.audit.near import differing
from fmlab.data.manifest import open_dataset
from fmlab.data.store import ImageStore
from fmlab.errors import Cancelled
from fmlab.settings import Home

Progress = Callable[[int, int, str], None]


def by_sequence(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of rows sequence by sequence in the order of frames (N,), the sequence of each (N,), its rank there (N,).

    Frames of one number stand in the order of the manifest, as stills do whose reader knows of no number.
    """
    sequence = pd.factorize(rows["sequence_id"].fillna(rows["image_id"]))[0]
    sequence = sequence + len(rows) * pd.factorize(rows["dataset"])[0]
    order = np.lexsort((rows["frame"].to_numpy(np.int64), sequence))
    sequence = np.unique(sequence[order], return_inverse=True)[1]
    starts = np.searchsorted(sequence, np.arange(sequence.max(initial=-1) + 1))
    return order, sequence, np.arange(len(order)) - starts[sequence]


def without_lookalikes(
    home: Home, rows: pd.DataFrame, bits: int, on_progress: Progress, cancelled: Callable[[], bool]
) -> pd.DataFrame:
    """The rows without frames that look like the last one kept of their sequence. Stills are not looked at.

    Rows have `dataset` and the columns of a manifest. `on_progress` gets done, all, what is being done.
    """
    order, sequence, rank = by_sequence(rows)
    moving = np.bincount(sequence)[sequence] > 1 if len(order) else np.zeros(0, bool)
    order, sequence, rank = order[moving], sequence[moving], rank[moving]
    hashes = _hashes(home, rows.iloc[order], on_progress, cancelled)
    keep = np.ones(len(rows), bool)
    keep[order] = differs_from_last(hashes[:, :WORDS], rank, bits)
    return rows[keep].reset_index(drop=True)


def differs_from_last(hashes: np.ndarray, rank: np.ndarray, bits: int) -> np.ndarray:
    """Which frames differ in more than so many bits from the last one kept before them in their sequence, (N,) bool.

    In: hashes (N, W) uint64 and the rank of each frame in its sequence, 0, 1, …, one sequence after the other (N,).
    All sequences are gone through together, so Python goes through no more frames than the longest has.
    """
    keep = rank == 0
    place = np.cumsum(keep) - 1  # of the frame's sequence in `last`
    last = hashes[keep].copy()  # of each sequence, the last one kept
    by_rank = np.argsort(rank, kind="stable")
    borders = np.searchsorted(rank[by_rank], np.arange(1, rank.max(initial=0) + 2))
    for start, end in pairwise(borders.tolist()):
        here = by_rank[start:end]
        new = here[differing(hashes[here], last[place[here]]) > bits]
        keep[new] = True
        last[place[new]] = hashes[new]
    return keep


def _hashes(home: Home, rows: pd.DataFrame, on_progress: Progress, cancelled: Callable[[], bool]) -> np.ndarray:
    """Perceptual hashes of rows of several datasets, (N, 8) uint64; read in the order in which they are stored."""
    whose = rows["dataset"].to_numpy(str)
    places: list[tuple[ImageStore, int, int]] = []  # which store, where there, which row
    for name in pd.unique(whose):
        own = np.flatnonzero(whose == name)
        store = ImageStore(open_dataset(home, name).folder / "store")
        stored = store.positions(rows["image_id"].iloc[own])
        places += [(store, int(stored[each]), int(own[each])) for each in np.argsort(stored)]
    try:
        found, _ = hash_pictures(
            lambda index: places[index][0].read(places[index][1]),
            len(places),
            lambda done: on_progress(done, len(places), "comparing frames"),
            cancelled,
        )
    except Cancelled as error:
        raise Cancelled("The choice of frames was stopped.") from error
    hashes = np.empty_like(found)
    hashes[[row for _, _, row in places]] = found
    return hashes
