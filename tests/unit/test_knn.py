"""Nearest neighbours: votes that can be counted by hand, and ties that always fall the same way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlab.adapt.configs import KNN
from fmlab.adapt.knn import score_knn
from fmlab.adapt.pool import Pool


def test_votes_are_weighted_by_similarity_as_in_dino():
    train = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    pool = Pool.of(train, np.array([0, 1, 1]), 2, [np.arange(3)])
    scores = score_knn(pool, KNN(k=20, temperature=0.5), np.array([[2, 0]], np.float32))
    weights = np.exp(np.array([1, 0, np.sqrt(0.5)]) / 0.5)
    np.testing.assert_allclose(scores[0, 0], [weights[0] / weights.sum(), weights[1:].sum() / weights.sum()], rtol=1e-5)


def test_only_the_k_nearest_vote():
    train = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    pool = Pool.of(train, np.array([0, 0, 1, 1]), 3, [np.arange(4)])
    np.testing.assert_allclose(score_knn(pool, KNN(k=2), train[:1])[0, 0], [1, 0, 0])


@settings(max_examples=25, deadline=None)
@given(k=st.integers(1, 8), n=st.integers(2, 120), seed=st.integers(0, 1000))
def test_equal_neighbours_are_taken_in_row_order(k, n, seed):
    """Against a full stable sort, on features of which many are the same."""
    rng = np.random.default_rng(seed)
    train = rng.integers(0, 2, (n, 3)).astype(np.float32)
    labels = np.concatenate([[0, 1], rng.integers(0, 2, n - 2)])
    test = rng.integers(0, 2, (7, 3)).astype(np.float32)
    scores = score_knn(Pool.of(train, labels, 2, [np.arange(n)]), KNN(k=k), test)[0]

    def unit(x):
        norm = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
        return (x / np.where(norm > 0, norm, 1)).astype(np.float32)

    similarity = unit(test) @ unit(train).T
    for item in range(7):
        nearest = np.argsort(-similarity[item], kind="stable")[:k]
        weight = np.exp(similarity[item, nearest].astype(np.float64) / 0.07)
        expected = np.bincount(labels[nearest], weights=weight, minlength=2) / weight.sum()
        np.testing.assert_allclose(scores[item], expected, atol=1e-5)


def test_subsets_share_one_similarity_matrix_and_stay_apart():
    rng = np.random.default_rng(0)
    train, labels = rng.standard_normal((30, 4)).astype(np.float32), np.arange(30) % 3
    subsets = [np.arange(10), np.arange(5, 30)]
    together = score_knn(Pool.of(train, labels, 3, subsets), KNN(k=3), train)
    for position, rows in enumerate(subsets):
        alone = score_knn(Pool.of(train, labels, 3, [rows]), KNN(k=3), train)[0]
        np.testing.assert_allclose(together[position], alone, atol=1e-6)


def test_a_row_of_zeros_is_similar_to_nothing_and_breaks_nothing():
    pool = Pool.of(np.array([[0, 0], [1, 0]], np.float32), np.array([0, 1]), 2, [np.arange(2)])
    assert score_knn(pool, KNN(k=1), np.array([[3, 0]], np.float32))[0, 0].argmax() == 1


def test_zero_neighbours_are_refused():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        KNN(k=0)
