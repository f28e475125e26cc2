"""k nearest neighbours by cosine similarity: what the features know with nothing trained on top.

Each of the k most similar training items of a test item votes for its class with weight exp(similarity / T). Equally
similar items are taken in the order of their rows, so that the result never depends on how a sort breaks ties.

In: ``Pool``, test features (M, D) float32.
Out: scores (S, M, K) float32, the votes as shares of 1; zero for a class without a vote.
Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, appendix F.1; the
weighting is that of Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018.
"""

from collections.abc import Callable

import numpy as np

from fmlab.adapt.configs import KNN
from fmlab.adapt.pool import Pool

# Similarities held at once: test items of a block x pool, 64 MB of float32.
_SIMILARITIES_AT_ONCE = 16_000_000


def score_knn(
    pool: Pool, config: KNN, test_features: np.ndarray, on_fit: Callable[[int], None] | None = None
) -> np.ndarray:
    """Scores (S, M, K) float32 of every subset; one similarity matrix against the pool serves them all."""
    used = np.unique(np.concatenate(pool.subsets))
    columns = [np.searchsorted(used, rows) for rows in pool.subsets]
    train = _unit(pool.features[used])
    scores = np.empty((len(pool.subsets), len(test_features), pool.n_classes), np.float32)
    block = max(1, _SIMILARITIES_AT_ONCE // len(used))
    for first in range(0, len(test_features), block):
        part = slice(first, first + block)
        similarity = _unit(test_features[part]) @ train.T
        for position, chosen in enumerate(columns):
            labels = pool.labels[pool.subsets[position]]
            scores[position, part] = _votes(similarity[:, chosen], labels, pool.n_classes, config)
            if on_fit is not None and first + block >= len(test_features):
                on_fit(position + 1)
    return scores


def _votes(similarity: np.ndarray, labels: np.ndarray, n_classes: int, config: KNN) -> np.ndarray:
    """Vote shares (m, K) of the nearest items by similarity (m, n)."""
    k = min(config.k, len(labels))
    nearest = _nearest(similarity, k)
    near = np.take_along_axis(similarity, nearest, axis=1).astype(np.float64)
    # Subtracting the largest changes every share by the same factor and keeps exp from overflowing at a small T.
    weight = np.exp((near - near[:, :1]) / config.temperature)
    votes = np.zeros((len(similarity), n_classes))
    for rank in range(k):
        votes[np.arange(len(votes)), labels[nearest[:, rank]]] += weight[:, rank]
    return votes / votes.sum(axis=1, keepdims=True)


def _nearest(similarity: np.ndarray, k: int) -> np.ndarray:
    """Columns (m, k) of the k largest of each row, most similar first, equal ones by column."""
    m, n = similarity.shape
    if n <= 4 * k:
        return np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    # Everything at least as similar as the k-th is a candidate, ties at the edge included; a stable sort decides.
    edge = np.partition(similarity, n - k, axis=1)[:, n - k]
    nearest = np.empty((m, k), np.int64)
    for row in range(m):
        candidates = np.flatnonzero(similarity[row] >= edge[row])
        nearest[row] = candidates[np.argsort(-similarity[row, candidates], kind="stable")[:k]]
    return nearest


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows divided by their norm, float32; a zero row stays zero and is similar to nothing."""
    norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.where(norms > 0, norms, 1)).astype(np.float32)
