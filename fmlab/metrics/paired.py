"""Is one better than the other? Comparisons on the same test items.

Two backbones scored on one test set err on the same hard images, so their difference is far better known than either
accuracy: everything here pairs item with item.

In: truth (M,), predicted classes (M,) or (R, M) of two sides, group numbers (M,).
Out: the difference as (value, low, high); p-values, 0 to 1.
Source: the bootstrap of intervals.py, on both sides at once; McNemar, Psychometrika 12 (1947), in its exact binomial
form; the sign test, its form for units of several items (Dixon and Mood, JASA 41, 1946); Holm, Scandinavian Journal of
Statistics 6 (1979); the p-value of a bootstrap with one added, Davison and Hinkley, "Bootstrap Methods and their
Application" (1997), section 4.4.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import bdtr

from fmlab.metrics.intervals import LEVEL, Interval, group_confusions, resampled_counts

EQUAL = 1e-9  # differences of shares below this are rounding


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    classes: int,
    measure: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
) -> Interval:
    """A measure of the first side minus that of the second, with its interval when whole groups are resampled.

    Every resample draws the same groups for both sides. A side may be several runs, (R, M): its measure is the mean over
    them. The difference is real, at this level, where the interval excludes zero.

    Args:
        first: (M,) or (R, M) int, predicted classes.
        second: (M,) or (R', M) int, on the same items.
        truth: (M,) int.
        groups: (M,) the patient or sequence of each item.
        classes: K.
        measure: confusion counts (…, K, K) to (…,), such as ``balanced_accuracy``.
        seed: of the resampling.
    """
    one, other = (
        np.stack([group_confusions(run, truth, groups, classes) for run in np.atleast_2d(side)], axis=1)
        for side in (first, second)
    )
    value = measure(one.sum(axis=0)).mean() - measure(other.sum(axis=0)).mean()
    # The same seed draws the same groups.
    drawn = measure(resampled_counts(one, seed)).mean(axis=-1) - measure(resampled_counts(other, seed)).mean(axis=-1)
    low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def mcnemar_of_groups(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided p-value from groups, one unit for each patient or sequence however many images and runs it has.

    `first` and `second` (G,) say how much of each group a side gets right. A group speaks for the side that gets more of
    it right; one that both get equally right says nothing. With one image and one run a group this is McNemar's test.
    """
    for_first, for_second = (int((gap > EQUAL).sum()) for gap in (first - second, second - first))
    differing = for_first + for_second
    return min(1.0, 2 * float(bdtr(min(for_first, for_second), differing, 0.5))) if differing else 1.0


def bootstrap_p_value(drawn: np.ndarray, differing: int) -> float:
    """Two-sided p-value of no difference from the differences of resamples, (B,): 2·(1 + those past zero)/(B + 1).

    Where few groups differ between the sides, the bootstrap is too sure of itself: no exact paired test over `differing`
    groups can fall below 2^(1 − differing), and this value is held to that.
    """
    drawn = drawn[np.isfinite(drawn)]
    past = min(int((drawn <= EQUAL).sum()), int((drawn >= -EQUAL).sum()))
    return min(1.0, max(2 * (1 + past) / (len(drawn) + 1), 2.0 ** (1 - differing)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values (m,) adjusted for m comparisons, step down: the i-th smallest times m − i + 1, at most 1, never falling."""
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values, kind="stable")
    stepped = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted
