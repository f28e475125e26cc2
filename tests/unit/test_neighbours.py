"""Neighbours: the same as by brute force and as scikit-learn's, ties by row, blocks of any size.

Run: pytest tests/unit/test_neighbours.py
"""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from fmlab.embeddings import neighbours
from fmlab.embeddings.neighbours import nearest, nearest_in_blocks
from fmlab.errors import BadInput


def cloud(count, width=20, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def by_brute_force(queries, pool, k):
    """One pair at a time, in float64."""
    found = []
    for query in queries.astype(np.float64):
        distances = []
        for row in pool.astype(np.float64):
            lengths = np.sqrt(query @ query) * np.sqrt(row @ row)
            distances.append(1 - query @ row / lengths if lengths else 1.0)
        order = sorted(range(len(pool)), key=lambda place: (distances[place], place))[:k]
        found.append([(place, distances[place]) for place in order])
    return np.array([[place for place, _ in row] for row in found]), np.array([[d for _, d in row] for row in found])


def test_three_directions_by_hand():
    pool = np.array([[1, 0], [0, 5], [-2, 0], [3, 3]], np.float32)
    rows, distances = nearest(np.array([[7, 0]], np.float32), pool, 4)
    assert rows.tolist() == [[0, 3, 1, 2]]
    assert np.allclose(distances, [[0, 1 - np.sqrt(0.5), 1, 2]], atol=1e-7)


@pytest.mark.parametrize("k", [1, 5, 60])
def test_as_by_brute_force_and_as_scikit_learn(k):
    queries, pool = cloud(17, seed=1), cloud(60)
    rows, distances = nearest(queries, pool, k)
    expected_rows, expected = by_brute_force(queries, pool, k)
    assert np.array_equal(rows, expected_rows)
    assert np.allclose(distances, expected, atol=1e-6)
    reference = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(pool)
    reference_distances, reference_rows = reference.kneighbors(queries)
    assert np.array_equal(rows, reference_rows)
    assert np.allclose(distances, reference_distances, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_blocks_of_any_size_give_the_same(monkeypatch, size):
    monkeypatch.setattr(neighbours, "QUERY_ROWS", 4)
    queries, pool = cloud(9, seed=1), cloud(50)
    blocks = [pool[start : start + size] for start in range(0, len(pool), size)]
    for found, expected in zip(nearest_in_blocks(queries, blocks, 6), by_brute_force(queries, pool, 6), strict=True):
        assert np.allclose(found, expected, atol=1e-6)


def test_equally_near_rows_come_in_their_order_across_blocks():
    """Forty rows of one direction and different lengths: all at distance 0 of the query."""
    direction = cloud(1)
    pool = np.concatenate([direction * 2.0 ** (place % 5) for place in range(40)]).astype(np.float32)
    rows, distances = nearest_in_blocks(direction, [pool[:13], pool[13:]], 10)
    assert rows.tolist() == [list(range(10))]
    assert (distances == 0).all()


def test_near_copies_are_ranked_finer_than_float32_products_do():
    """Rows nearer to the query than a product in float32 tells apart: they are still those of brute force."""
    query = cloud(1, width=512)
    pool = query + np.float32(1e-4) * cloud(200, width=512, seed=5)
    rows, _ = nearest(query, pool, 3)
    assert np.array_equal(rows, by_brute_force(query, pool, 3)[0])


def test_a_small_pool_gives_what_it_has_and_zeros_are_unrelated():
    pool = np.concatenate([np.zeros((1, 4), np.float32), np.eye(2, 4, dtype=np.float32)])
    rows, distances = nearest(np.eye(1, 4, dtype=np.float32), pool, 8)
    assert rows.tolist() == [[1, 0, 2]]
    assert distances.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("queries", "pool", "k", "words"),
    [
        (cloud(2), cloud(3), 0, "k = 0"),
        (cloud(0), cloud(3), 1, "at least one image"),
        (np.full((1, 20), np.nan, np.float32), cloud(3), 1, "finite"),
        (cloud(2), cloud(0), 1, "pool is empty"),
        (cloud(2), cloud(3, width=7), 1, "embed alike"),
    ],
)
def test_what_cannot_be_searched_is_refused(queries, pool, k, words):
    with pytest.raises(BadInput, match=words):
        nearest(queries, pool, k)
