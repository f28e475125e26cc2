"""The area under the curve against scikit-learn, by hand, and its resamples against areas computed anew.

Run: pytest tests/unit/test_auroc.py
"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fmlab.metrics import auroc
from fmlab.metrics.auroc import macro_auroc, ranked_scores, resampled_auroc
from fmlab.metrics.intervals import resampled_weights


def made_up(runs=3, images=80, classes=4, ties=False):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, images)
    scores = rng.normal(size=(runs, images, classes)) + 1.5 * np.eye(classes)[truth] * rng.random((runs, images, 1))
    return (np.round(scores) if ties else scores).astype(np.float32), truth


def test_by_hand():
    """Class 0 ranks 0.9 and 0.4 against 0.6 and 0.4: 2 + 0.5 of 4 pairs; class 1 is the mirror image."""
    scores = np.array([[[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]]])
    assert macro_auroc(scores, np.array([0, 0, 1, 1])) == pytest.approx([2.5 / 4])
    assert macro_auroc(np.zeros((1, 4, 2)), np.array([0, 0, 1, 1])) == [0.5]
    assert np.isnan(macro_auroc(scores, np.zeros(4, np.int64)))


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_it_is_scikit_learns(classes):
    scores, truth = made_up(classes=classes)
    probabilities = ranked_scores(scores, "finetune")
    expected = [
        roc_auc_score(truth, run[:, 1] if classes == 2 else run, multi_class="ovr", average="macro")
        for run in probabilities
    ]
    assert macro_auroc(probabilities, truth) == pytest.approx(expected, abs=1e-12)


def test_ties_are_scikit_learns_and_a_class_without_images_is_left_out():
    scores, truth = made_up(ties=True)
    present = truth != 3
    expected = [np.mean([roc_auc_score(truth[present] == k, run[present][:, k]) for k in range(3)]) for run in scores]
    assert macro_auroc(scores[:, present], truth[present]) == pytest.approx(expected, abs=1e-12)


def test_logits_are_ranked_by_probability_and_distances_as_they_stand():
    scores = np.array([[2.0, 3.0], [1.0, 0.0]], np.float32)
    assert ranked_scores(scores, "linear_svm") is scores
    assert ranked_scores(scores, "knn") is scores
    assert ranked_scores(scores, "linear_head")[0, 0] < ranked_scores(scores, "linear_head")[1, 0]


@pytest.mark.parametrize("at_once", [1, 500, 2_000_000])
@pytest.mark.parametrize("ties", [False, True])
def test_resamples_are_the_areas_of_what_was_drawn(monkeypatch, at_once, ties):
    """Images of the groups that a resample draws, as often as it draws them, put together and measured anew."""
    monkeypatch.setattr(auroc, "NUMBERS_AT_ONCE", at_once)
    scores, truth = made_up(runs=2, images=60, classes=3, ties=ties)
    groups = np.random.default_rng(1).permutation(np.arange(60) % 9)
    drawn = resampled_auroc(scores, truth, groups, seed=5, resamples=20)
    for number, weights in enumerate(resampled_weights(9, 5, 20)):
        again = np.repeat(np.arange(60), weights[groups])
        assert drawn[number] == pytest.approx(macro_auroc(scores[:, again], truth[again]), abs=1e-12)


def test_a_class_that_a_resample_lacks_is_left_out_of_it():
    """Two groups: one holds all of class 1. Drawn twice, either of them alone has one class, and no area."""
    scores = np.array([[[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.0, 4.0]]])
    drawn = resampled_auroc(scores, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), resamples=50)[:, 0]
    weights = resampled_weights(2, 0, 50)
    assert np.array_equal(np.isnan(drawn), (weights == 0).any(axis=1))
    assert np.isnan(drawn).any()
    assert (drawn[~np.isnan(drawn)] == 1).all()
