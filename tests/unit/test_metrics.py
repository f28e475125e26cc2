"""Measures, votes, intervals and paired tests, against numbers worked out by hand and the well-known libraries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, precision_score, recall_score
from statsmodels.stats.multitest import multipletests

from fmlab.metrics.accuracy import (
    accuracy_of_counts,
    balanced_accuracy,
    confusion_counts,
    f1,
    image_accuracy,
    macro_f1,
    majority_rate,
    precision,
    recall,
    sequence_vote,
)
from fmlab.metrics.intervals import (
    cluster_bootstrap,
    group_confusions,
    mean_interval,
    resampled_counts,
)
from fmlab.metrics.paired import holm, paired_difference

TRUTH = np.array([0, 0, 0, 1, 1, 3])
PREDICTED = np.array([[0, 0, 1, 1, 0, 3], [0, 0, 0, 0, 0, 0]])


# ------------------------------------------------------------------------------------------------------------- measures


def test_measures_of_a_miniature_by_hand():
    confusion = confusion_counts(PREDICTED, TRUTH, 4)
    assert confusion[0].tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert image_accuracy(PREDICTED, TRUTH).tolist() == [4 / 6, 3 / 6]
    assert accuracy_of_counts(confusion).tolist() == [4 / 6, 3 / 6]
    # Recalls 2/3, 1/2, 1 over the three classes with support; class 2 has none and does not count.
    assert balanced_accuracy(confusion)[0] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert macro_f1(confusion)[0] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert majority_rate(TRUTH) == 0.5


def test_what_has_nothing_to_divide_by_is_not_a_number():
    confusion = confusion_counts(PREDICTED, TRUTH, 4)
    assert np.isnan(recall(confusion)[0, 2])
    assert np.isnan(precision(confusion)[1, 3])
    assert f1(confusion)[1, 3] == 0
    assert np.isnan(balanced_accuracy(np.zeros((4, 4), int)))


@pytest.mark.filterwarnings("ignore:A single label was found")  # scikit-learn's remark on draws of one class
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), items=st.integers(1, 60), classes=st.integers(2, 6))
def test_measures_agree_with_scikit_learn(seed, items, classes):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, classes, items), rng.integers(0, classes, (3, items))
    confusion, present = confusion_counts(predicted, truth, classes), np.unique(truth)
    for run in range(3):
        assert (confusion[run] == confusion_matrix(truth, predicted[run], labels=range(classes))).all()
        options = {"labels": present, "average": None, "zero_division": 0}
        np.testing.assert_allclose(recall(confusion)[run, present], recall_score(truth, predicted[run], **options))
        np.testing.assert_allclose(f1(confusion)[run, present], f1_score(truth, predicted[run], **options))
        named = np.nan_to_num(precision(confusion)[run, present])
        np.testing.assert_allclose(named, precision_score(truth, predicted[run], **options))
        assert macro_f1(confusion)[run] == pytest.approx(
            f1_score(truth, predicted[run], labels=present, average="macro", zero_division=0)
        )
        if set(predicted[run]) <= set(present):
            assert balanced_accuracy(confusion)[run] == pytest.approx(balanced_accuracy_score(truth, predicted[run]))


# ---------------------------------------------------------------------------------------------------------------- votes


def test_a_sequence_is_what_most_of_its_frames_are():
    scores = np.eye(3)[[0, 1, 1, 2, 2, 2]][None] * 1.0
    assert sequence_vote(scores, np.array([0, 0, 0, 1, 1, 1]), 2).tolist() == [[1, 2]]


def test_a_tied_vote_goes_to_the_larger_sum_and_then_to_the_lower_class():
    by_sum = np.array([[[0.9, 0.0, 0.1], [0.0, 0.5, 0.0]]])
    assert sequence_vote(by_sum, np.array([0, 0]), 1).tolist() == [[0]]
    assert sequence_vote(by_sum[:, :, [1, 0, 2]], np.array([0, 0]), 1).tolist() == [[1]]
    level = np.array([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    assert sequence_vote(level, np.array([0, 0]), 1).tolist() == [[1]]


def test_a_large_sum_does_not_beat_more_votes():
    scores = np.array([[[0.0, 0.1], [0.0, 0.1], [9.0, 0.0]]])
    assert sequence_vote(scores, np.zeros(3, int), 1).tolist() == [[1]]


def test_a_sequence_without_frames_is_refused():
    with pytest.raises(ValueError, match="Sequence 1 has no scored image"):
        sequence_vote(np.ones((1, 2, 2)), np.array([0, 2]), 3)


# ------------------------------------------------------------------------------------------------------------ intervals


def test_interval_over_seeds_is_students():
    values = np.array([0.7, 0.8, 0.75, 0.72])
    low, high = student.interval(0.95, 3, loc=values.mean(), scale=values.std(ddof=1) / 2)
    assert mean_interval(values) == pytest.approx((values.mean(), low, high))
    assert mean_interval(values[:1]) == (0.7, 0.7, 0.7)


def test_groups_are_drawn_whole():
    """Ten patients, all of whose frames are right or all wrong: as uncertain as ten items, not as a hundred."""
    values = np.repeat([1.0, 0.0], 50)
    by_patient = cluster_bootstrap(values, np.arange(100) // 10)
    by_frame = cluster_bootstrap(values, np.arange(100))
    assert by_patient.high - by_patient.low > 2.5 * (by_frame.high - by_frame.low)


def test_the_bootstrap_of_accuracy_is_the_same_from_values_and_from_confusions():
    rng = np.random.default_rng(0)
    truth, predicted, groups = rng.integers(0, 3, 200), rng.integers(0, 3, 200), rng.integers(0, 17, 200)
    counts = group_confusions(predicted, truth, groups, 3)
    assert (counts.sum(axis=0) == confusion_counts(predicted[None], truth, 3)[0]).all()
    drawn = np.quantile(accuracy_of_counts(resampled_counts(counts, seed=3)), [0.025, 0.975])
    assert cluster_bootstrap((truth == predicted).astype(float), groups, seed=3)[1:] == pytest.approx(drawn)


def test_a_resample_is_the_sum_of_the_groups_drawn():
    drawn = resampled_counts(np.eye(4), seed=0)
    assert (drawn.sum(axis=1) == 4).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(4), abs=0.1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        rates = rng.beta(6, 2, 40)
        interval = cluster_bootstrap((rng.random(400) < np.repeat(rates, 10)) * 1.0, np.arange(400) // 10, seed=trial)
        covered += interval.low <= 0.75 <= interval.high
    assert 175 <= covered <= 199


# --------------------------------------------------------------------------------------------------------- paired tests


def test_a_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(0)
    hard = rng.random(40) < 0.4
    truth, groups = np.zeros(400, int), np.arange(400) // 10
    first = np.repeat(hard, 10).astype(int)
    second = np.where(rng.random(400) < 0.05, 1, first)
    found = paired_difference(first, second, truth, groups, 2, accuracy_of_counts)
    alone = cluster_bootstrap((first == truth) * 1.0, groups)
    assert found.value == pytest.approx((first == truth).mean() - (second == truth).mean())
    assert 0 < found.low < found.high
    assert found.high - found.low < (alone.high - alone.low) / 3


def test_the_same_predictions_differ_by_nothing():
    rng = np.random.default_rng(1)
    truth, runs, groups = rng.integers(0, 3, 60), rng.integers(0, 3, (4, 60)), np.arange(60) // 6
    assert paired_difference(runs, runs, truth, groups, 3, macro_f1) == (0, 0, 0)


def test_several_runs_count_by_their_mean():
    truth, groups = np.array([0, 1, 0, 1]), np.arange(4)
    runs = np.array([[0, 1, 0, 1], [0, 0, 0, 1]])
    value = paired_difference(runs, np.array([1, 1, 1, 1]), truth, groups, 2, accuracy_of_counts).value
    assert value == pytest.approx((1 + 0.75) / 2 - 0.5)


def test_holm_agrees_with_statsmodels():
    p_values = np.array([0.01, 0.04, 0.03, 0.005, 0.5])
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1])
