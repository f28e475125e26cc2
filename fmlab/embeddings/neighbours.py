"""The nearest embeddings by cosine distance, exactly, in the full space of the features.

In: queries (Q, D) and a pool (N, D) of finite float32 features, whole or in blocks.
Out: for each query the rows of its k nearest, nearest first, and their distances, float32 in 0–2.

The cosine distance is 1 − cos of the angle between two features: 0 for the same direction, 1 for unrelated ones. It is
the measure of the adaptation `knn`. A feature of zeros has no direction; its distance to everything is 1.

A product of matrices in float32 finds the candidates, block by block, so that a pool larger than the memory can pass by;
float64 then ranks them, equally near ones in the order of their rows.
"""

from collections.abc import Iterable

import numpy as np

from fmlab.errors import BadInput

BLOCK_ROWS = 8192  # of the pool at a time: 8 MB of similarities for 256 queries
QUERY_ROWS = 256  # at a time
# What float32 may be wrong by in the cosine of a thousand numbers: so near to the k-th, all are candidates.
ROUNDING = 1e-5


def nearest(queries: np.ndarray, pool: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the pool (Q, k) int64 and cosine distances (Q, k) float32; a pool of fewer than k rows gives them all."""
    starts = range(0, len(pool), BLOCK_ROWS)
    return nearest_in_blocks(queries, (pool[start : start + BLOCK_ROWS] for start in starts), k)


def nearest_in_blocks(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest` with the pool in blocks (n, D), each of which is looked at once."""
    if k < 1:
        raise BadInput(f"At least one neighbour is needed, got k = {k}.")
    if queries.ndim != 2 or not len(queries) or not np.isfinite(queries).all():
        raise BadInput(f"Neighbours are those of finite features (Q, D) of at least one image; got {queries.shape}.")
    rows = np.empty((len(queries), 0), np.int64)
    distances = np.empty((len(queries), 0), np.float64)
    passed = 0
    for block in blocks:
        if block.shape[1:] != queries.shape[1:]:
            raise BadInput(
                f"The queries have {queries.shape[1]} numbers each, the pool {block.shape[1:]}; embed alike."
            )
        starts = range(0, len(queries), QUERY_ROWS)
        parts = [_in_block(queries[start : start + QUERY_ROWS], block, k) for start in starts]
        rows = np.hstack([rows, passed + np.vstack([columns for columns, _ in parts])])
        distances = np.hstack([distances, np.vstack([exact for _, exact in parts])])
        # Stable, and earlier blocks stand first: equally near rows stay in their order.
        first = np.argsort(distances, axis=1, kind="stable")[:, :k]
        rows, distances = np.take_along_axis(rows, first, axis=1), np.take_along_axis(distances, first, axis=1)
        passed += len(block)
    if not passed:
        raise BadInput("There is nothing to search: the pool is empty.")
    return rows, distances.astype(np.float32)


def _in_block(queries: np.ndarray, block: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of a block (fewer if it is smaller) for some queries: columns (q, k) int64, distances (q, k) float64."""
    lengths, block_lengths = _lengths(queries), _lengths(block)
    similarity = (queries / lengths[:, None].astype(np.float32)) @ (block / block_lengths[:, None].astype(np.float32)).T
    k = min(k, len(block))
    edge = np.partition(similarity, len(block) - k, axis=1)[:, len(block) - k] - ROUNDING
    columns, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float64)
    for row, query in enumerate(queries.astype(np.float64)):
        candidates = np.flatnonzero(similarity[row] >= edge[row])
        products = np.einsum("cd,d->c", block[candidates].astype(np.float64), query)
        exact = 1 - np.clip(products / (lengths[row] * block_lengths[candidates]), -1, 1)
        first = np.argsort(exact, kind="stable")[:k]
        columns[row], distances[row] = candidates[first], exact[first]
    return columns, distances


def _lengths(features: np.ndarray) -> np.ndarray:
    """The Euclidean length of each row, (n,) float64; 1 for a row of zeros, which is then similar to nothing."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1)
    return np.where(lengths > 0, lengths, 1.0)
