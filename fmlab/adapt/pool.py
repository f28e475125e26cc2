"""The training pool that all subsets of a study draw from, checked once.

In: features (N, D) float32 array or memory map, labels (N,) int, subsets of row indices.
Out: a ``Pool`` over the rows that are used; nothing is scaled or changed.
"""

from dataclasses import dataclass

import numpy as np

from fmlab.errors import BadInput


@dataclass(frozen=True)
class Pool:
    """Training features and labels, and the subsets of rows to learn from."""

    features: np.ndarray
    """(N, D) float32, all finite on the rows used."""
    labels: np.ndarray
    """(N,) int64; rows outside every subset may carry anything."""
    n_classes: int
    subsets: tuple[np.ndarray, ...]
    """Row indices (n,) int64, ascending, so that the order in which a subset was drawn cannot matter."""

    @classmethod
    def of(cls, features: np.ndarray, labels: np.ndarray, n_classes: int, subsets: list[np.ndarray]) -> "Pool":
        """Check and wrap.

        Raises:
            BadInput: shapes that do not fit each other, a subset that is empty, leaves the pool or holds one class
                only, a label outside 0 … n_classes − 1, or features that are not finite.
        """
        labels = np.asarray(labels)
        if features.ndim != 2 or labels.shape != (len(features),):
            raise BadInput(
                f"Features and labels do not fit: got shapes {features.shape} and {labels.shape}, "
                "expected (items, width) and (items,)."
            )
        checked = tuple(_checked_rows(rows, labels, n_classes, position) for position, rows in enumerate(subsets))
        _check_finite(features, checked)
        return cls(features, labels.astype(np.int64), n_classes, checked)


def _checked_rows(rows: np.ndarray, labels: np.ndarray, n_classes: int, position: int) -> np.ndarray:
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    if rows.ndim != 1 or len(rows) == 0:
        raise BadInput(f"Subset {position} is empty; give it at least one item of two classes.")
    if rows[0] < 0 or rows[-1] >= len(labels):
        raise BadInput(f"Subset {position} names row {rows[0] if rows[0] < 0 else rows[-1]} of {len(labels)}.")
    present = np.unique(labels[rows])
    if present[0] < 0 or present[-1] >= n_classes:
        raise BadInput(
            f"Subset {position} holds label {present[0] if present[0] < 0 else present[-1]}; "
            f"labels run from 0 to {n_classes - 1}."
        )
    if len(present) < 2:
        raise BadInput(
            f"Subset {position} holds {len(rows)} items of one class only; a classifier needs two. "
            "Use a larger size, or the scheme that takes the same number from each class."
        )
    return rows


def _check_finite(features: np.ndarray, subsets: tuple[np.ndarray, ...]) -> None:
    used = np.zeros(len(features), bool)
    for rows in subsets:
        used[rows] = True
    rows = np.flatnonzero(used)
    for first in range(0, len(rows), 4096):
        part = rows[first : first + 4096]
        finite = np.isfinite(features[part]).all(axis=1)
        if not finite.all():
            raise BadInput(
                f"Features of row {part[np.argmin(finite)]} are not finite; extract the embeddings again in float32."
            )
