"""Learning curves, crossings, calibration and tests over groups, against hand-worked numbers and the well-known libraries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.stats import binomtest, norm
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.descriptivestats import sign_test

from fmlab.metrics.accuracy import accuracy_of_counts, balanced_accuracy
from fmlab.metrics.calibration import (
    brier_score,
    calibration_interval,
    expected_calibration_error,
    reliability,
    softmax,
)
from fmlab.metrics.equal_sizes import crossing_nearest, crossings_of, size_reaching
from fmlab.metrics.intervals import RESAMPLES, group_confusions, resampled_blocks, resampled_counts
from fmlab.metrics.learning_curve import EXPONENTS, LearningCurve, fit_learning_curve
from fmlab.metrics.paired import bootstrap_p_value, mcnemar_of_groups, paired_difference

SIZES = np.array([1.0, 2, 4, 8, 16, 32, 64, 128])


# ------------------------------------------------------------------------------------------------------------ resampling


def test_blocks_are_the_beginning_of_one_long_draw():
    counts = np.arange(12.0).reshape(4, 3)
    whole = np.concatenate(list(resampled_blocks(counts, seed=2, resamples=1300)))
    assert whole.shape == (1300, 3)
    assert (resampled_counts(counts, seed=2)[:1300] == whole).all()


def test_nearly_empty_counts_are_summed_as_exactly():
    rng = np.random.default_rng(0)
    groups = np.arange(300) // 3
    counts = group_confusions(rng.integers(0, 12, 300), rng.integers(0, 12, 300), groups, 12)
    drawn = np.random.default_rng(5).multinomial(100, np.full(100, 1 / 100), size=RESAMPLES)
    assert np.count_nonzero(counts) < 0.1 * counts.size
    assert (resampled_counts(counts, seed=5) == np.einsum("bg,gij->bij", drawn, counts)).all()


# --------------------------------------------------------------------------------------------------------- paired tests


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 0), (3, 9), (20, 22)])
def test_one_image_a_group_is_mcnemars_test(b, c):
    first = np.concatenate([np.ones(b), np.zeros(c), np.ones(4)])
    second = np.concatenate([np.zeros(b), np.ones(c), np.ones(4)])
    found = mcnemar_of_groups(first, second)
    assert b + c or found == 1
    if b + c:
        assert found == pytest.approx(statsmodels_mcnemar([[4, b], [c, 0]], exact=True).pvalue)


def test_groups_of_several_images_are_the_sign_test():
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 6, 40) / 5, rng.integers(0, 5, 40) / 5
    assert mcnemar_of_groups(first, second) == pytest.approx(sign_test(first - second)[1])


def test_rounding_is_no_difference():
    assert mcnemar_of_groups(np.full(8, 0.1 + 0.2), np.full(8, 0.3)) == 1.0


def test_the_p_value_counts_the_resamples_past_zero():
    drawn = np.concatenate([np.full(990, 0.1), np.full(7, -0.1), np.zeros(2)])
    assert bootstrap_p_value(drawn, differing=100) == pytest.approx(2 * 10 / 1000)
    assert bootstrap_p_value(-drawn, differing=100) == pytest.approx(2 * 10 / 1000)
    assert bootstrap_p_value(np.zeros(999), differing=0) == 1.0


def test_few_groups_cannot_make_a_small_p_value():
    sure = np.full(9999, 0.3)
    assert bootstrap_p_value(sure, differing=4) == 2 * 0.5**4 == binomtest(4, 4).pvalue
    assert bootstrap_p_value(sure, differing=30) == pytest.approx(2 / 10_000)


def test_the_p_value_agrees_with_a_normal_approximation():
    rng = np.random.default_rng(8)
    gaps = rng.normal(0.25, 1, 200)  # one item a group: the mean's standard error is known
    drawn = resampled_counts(gaps[:, None], seed=0)[:, 0] / 200
    expected = 2 * norm.sf(gaps.mean() / (gaps.std() / np.sqrt(200)))
    assert bootstrap_p_value(drawn, 200) == pytest.approx(expected, abs=0.012)


def test_two_equal_sides_are_seldom_called_different():
    rng = np.random.default_rng(4)
    groups, truth = np.arange(200) // 5, np.zeros(200, int)
    called = 0
    for _ in range(200):
        hard = np.repeat(rng.beta(2, 6, 40), 5)
        first, second = (rng.random((2, 200)) < hard).astype(int)
        one, other = (group_confusions(side, truth, groups, 2) for side in (first, second))
        drawn = accuracy_of_counts(resampled_counts(one, 0)) - accuracy_of_counts(resampled_counts(other, 0))
        called += bootstrap_p_value(drawn, int((one != other).any(axis=(1, 2)).sum())) < 0.05
        interval = paired_difference(first, second, truth, groups, 2, balanced_accuracy)
        assert interval.low <= interval.value <= interval.high
    assert 2 <= called <= 19  # 10 expected


# ------------------------------------------------------------------------------------------------- equal sizes, crossings


def test_the_size_that_reaches_a_value_by_hand():
    curves = np.array([[0.5, 0.7, 0.9], [0.5, 0.7, 0.9], [0.5, 0.7, 0.9], [0.5, 0.7, 0.9], [0.6, 0.5, 0.9]])
    found = size_reaching(np.array([1.0, 4, 16]), curves, np.array([0.6, 0.95, 0.4, 0.5, 0.7]))
    # Half-way from 1 to 4 on a logarithmic axis is 2; the last row's curve dips, and rises from 0.5 at 4 to 0.9 at 16.
    assert found == pytest.approx([2, np.inf, 0, 1, 8])


def test_crossings_by_hand():
    sizes = np.array([1.0, 4, 16, 64])
    assert crossings_of(sizes, np.array([0.1, -0.1, -0.2, 0.2])) == [(pytest.approx(2), -1), (pytest.approx(32), 1)]
    assert crossings_of(sizes, np.array([0.1, 0.0, 0.1, 0.2])) == []
    assert crossings_of(sizes, np.array([0.1, 0.0, -0.1, -0.2])) == [(pytest.approx(4), -1)]
    assert crossings_of(sizes, np.array([0.0, 0.0, -0.1, -0.2])) == []
    # Two curves that run together cross where they part.
    assert crossings_of(sizes, np.array([0.1, 0.0, 0.0, -0.2])) == [(pytest.approx(16), -1)]


def test_the_nearest_crossing_in_each_resample():
    gaps = np.array(
        [
            [0.1, -0.1, -0.1, -0.1],  # at 2
            [0.1, 0.1, 0.1, -0.1],  # at 32
            [0.1, -0.1, 0.1, -0.1],  # falling at 2 and at 32: 32 is nearer to 16
            [0.1, 0.1, 0.1, 0.1],  # still ahead at the largest: beyond
            [-0.1, -0.1, -0.1, -0.1],  # behind from the smallest on: below
            [-0.1, 0.1, 0.1, 0.1],  # crosses the other way alone: what leads below is behind at the smallest
        ]
    )
    found = crossing_nearest(np.array([1.0, 4, 16, 64]), gaps, 16.0, -1)
    assert found == pytest.approx([2, 32, 32, np.inf, 0, 0])


# -------------------------------------------------------------------------------------------------------- learning curves


def test_an_exact_power_law_is_found_again():
    found = fit_learning_curve(SIZES, 0.95 - 0.5 * SIZES**-0.7)
    assert (found.asymptote, found.scale, found.exponent) == pytest.approx((0.95, 0.5, 0.7), rel=1e-4)
    assert found.at(np.array([10.0])) == pytest.approx([0.95 - 0.5 * 10**-0.7], abs=1e-5)
    # 0.95 − 0.5 n^−0.7 = 0.9 at n = 10^(1 / 0.7)
    assert found.size_for(0.9) == pytest.approx(10 ** (1 / 0.7), rel=1e-3)
    assert np.isinf(found.size_for(0.96))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_fit_is_scipys_or_better(seed):
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform([0.7, 0.2, 0.2], [1.0, 0.6, 1.5])
    values, weights = a - b * SIZES**-c + 0.01 * rng.normal(size=8), rng.uniform(0.5, 2, 8)
    found = fit_learning_curve(SIZES, values, weights)
    squares = (weights * (found.at(SIZES) - values) ** 2).sum()
    theirs = []
    for start in (0.1, 0.5, 2.0):
        fitted, _ = curve_fit(
            lambda n, a, b, c: a - b * n**-c,
            SIZES,
            values,
            p0=(0.9, 0.3, start),
            sigma=weights**-0.5,
            bounds=([0, 0, EXPONENTS[0]], [1, 2, EXPONENTS[1]]),
            max_nfev=10_000,
        )
        theirs.append((weights * (fitted[0] - fitted[1] * SIZES ** -fitted[2] - values) ** 2).sum())
    assert squares <= min(theirs) + 1e-8


def test_the_asymptote_stays_a_fraction_and_the_curve_never_falls():
    straight = np.linspace(0.3, 0.99, 8)  # on the logarithmic axis; the best curve of all would level off far above 1
    steep = fit_learning_curve(SIZES, straight)
    assert steep.asymptote == 1
    bounds = ([0, 0, EXPONENTS[0]], [1, 2, EXPONENTS[1]])
    fitted, _ = curve_fit(lambda n, a, b, c: a - b * n**-c, SIZES, straight, p0=(0.9, 0.5, 0.3), bounds=bounds)
    assert (steep.asymptote, steep.scale, steep.exponent) == pytest.approx(tuple(fitted), rel=1e-3)
    falling = fit_learning_curve(SIZES, np.linspace(0.9, 0.6, 8))
    assert falling.scale == 0
    assert falling.asymptote == pytest.approx(0.75)


def test_many_curves_at_once_are_each_curve_alone():
    rng = np.random.default_rng(1)
    rows = 0.9 - 0.4 * SIZES**-0.6 + 0.02 * rng.normal(size=(30, 8))
    together = fit_learning_curve(SIZES, rows)
    for place in (0, 7, 29):
        alone = fit_learning_curve(SIZES, rows[place])
        assert together.asymptote[place] == pytest.approx(alone.asymptote, abs=1e-6)
        assert together.at(SIZES)[place] == pytest.approx(alone.at(SIZES), abs=1e-6)
    assert together.size_for(0.8).shape == (30,)


def test_a_flat_curve_needs_no_label_and_reaches_nothing_above_it():
    flat = LearningCurve(np.float64(0.8), np.float64(0), np.float64(1))
    assert flat.size_for(0.7) == 0
    assert flat.size_for(0.8) == 0
    assert np.isinf(flat.size_for(0.9))


def test_two_sizes_settle_no_curve():
    with pytest.raises(ValueError, match="three unknowns"):
        fit_learning_curve(np.array([1.0, 2, 2]), np.array([0.5, 0.6, 0.6]))
    with pytest.raises(ValueError, match="three unknowns"):
        fit_learning_curve(np.array([0.0, 1, 2]), np.array([0.5, 0.6, 0.6]))


# ------------------------------------------------------------------------------------------------------------ calibration

MINIATURE = np.array([[0.95, 0.05], [0.97, 0.03], [0.6, 0.4], [0.42, 0.58], [0.5, 0.5]])
MINIATURE_TRUTH = np.array([0, 1, 0, 0, 1])


def test_reliability_of_a_miniature_by_hand():
    table = reliability(MINIATURE, MINIATURE_TRUTH, bins=10)
    assert table["count"].tolist() == [0, 0, 0, 0, 1, 2, 0, 0, 0, 2]  # 0.5 and 0.6 close their bins
    assert table["confidence"].dropna().tolist() == pytest.approx([0.5, 0.59, 0.96])
    assert table["accuracy"].dropna().tolist() == [0, 0.5, 0.5]
    assert table[["bin_low", "bin_high"]].iloc[4].tolist() == pytest.approx([0.4, 0.5])
    # (1·0.5 + 2·0.09 + 2·0.46) / 5
    assert expected_calibration_error(MINIATURE, MINIATURE_TRUTH, bins=10) == pytest.approx(1.6 / 5)
    # 2·(0.05² + 0.97² + 0.4² + 0.58² + 0.5²) / 5
    assert brier_score(MINIATURE, MINIATURE_TRUTH) == pytest.approx(2 * (0.0025 + 0.9409 + 0.16 + 0.3364 + 0.25) / 5)


def test_reliability_and_brier_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, truth = rng.dirichlet([0.6] * 4, 400), rng.integers(0, 4, 400)
    table = reliability(probabilities, truth).dropna()
    right = (probabilities.argmax(axis=1) == truth).astype(int)
    accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=15)
    assert table["accuracy"].tolist() == pytest.approx(accuracy)
    assert table["confidence"].tolist() == pytest.approx(confidence)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    assert expected_calibration_error(probabilities, truth) == pytest.approx((gaps * table["count"]).sum() / 400)
    assert brier_score(probabilities, truth) == pytest.approx(
        brier_score_loss(truth, probabilities, labels=range(4), scale_by_half=False)
    )


def test_a_shade_above_one_stays_in_the_last_bin():
    sure = np.array([[np.nextafter(1.0, 2.0), 0.0], [1.0, 0.0]])
    assert reliability(sure, np.zeros(2, int))["count"].iloc[-1] == 2


def test_softmax_of_large_logits():
    assert softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]])) == pytest.approx(
        np.array([[0.5, 0.5], [0.25, 0.75]])
    )


def test_the_interval_of_a_calibration_error():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 600)
    sure = np.where(rng.random(600) < 0.7, truth, 1 - truth)
    probabilities = np.where(np.eye(2)[sure] > 0, 0.9, 0.1)  # says 90 %, is right in 70 %
    by_image = calibration_interval(probabilities, truth, np.arange(600))
    assert by_image.value == pytest.approx(expected_calibration_error(probabilities, truth))
    assert by_image.low < 0.2 < by_image.high
    # The error is that of one share here, whose standard error is known.
    assert by_image.high - by_image.low == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 600), rel=0.15)
    order = np.argsort(sure == truth)  # patients all of whose images are right, or wrong
    groups = np.empty(600, int)
    groups[order] = np.arange(600) // 20
    by_patient = calibration_interval(probabilities, truth, groups)
    assert by_patient.high - by_patient.low > 3 * (by_image.high - by_image.low)
    two = calibration_interval(np.stack([probabilities, np.full((600, 2), 0.5)]), truth, np.arange(600))
    chance = expected_calibration_error(np.full((600, 2), 0.5), truth)
    assert two.value == pytest.approx((by_image.value + chance) / 2)


def test_the_gaps_that_chance_opens_do_not_move_the_interval():
    """Calibrated answers: resamples have errors above their source's by chance alone, yet the interval lies around it."""
    rng = np.random.default_rng(6)
    sure = rng.uniform(0.5, 1, 200)
    truth = (rng.random(200) > sure).astype(int)
    found = calibration_interval(np.stack([sure, 1 - sure], axis=1), truth, np.arange(200))
    assert found.low < found.value < found.high
    assert 0.4 < (found.value - found.low) / (found.high - found.value) < 2.5
