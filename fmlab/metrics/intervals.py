"""Intervals: how far a number can be trusted.

In: values over seeds, (S,); or values of images or sequences, (n,), with whom each belongs to, (n,) group numbers; or
confusion counts of groups, (G, K, K).
Out: (value, low, high), 95 % intervals; fractions where the values are.

Frames of one patient resemble each other, so an interval over single images is far too narrow: the bootstrap draws
whole patients, or sequences, with replacement. A resample is a weighted sum of what each group counted, so two thousand
of them are one matrix product.

Source: Student's t and percentile intervals as in Efron and Tibshirani, "An Introduction to the Bootstrap" (1993),
chapters 12 and 13; clusters as in Field and Welsh, JRSS B 69 (2007); Wilson, JASA 22 (1927).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
RESAMPLES = 2000  # between repetitions a bound then moves by under a tenth of the interval's width
BLOCK = 500  # resamples added up at a time
SPARSE = 0.1  # share of counts above zero


class Interval(NamedTuple):
    """A value between two bounds."""

    value: float
    low: float
    high: float


def mean_interval(values: np.ndarray) -> Interval:
    """The mean over seeds ± t·s/√S (limited-data study, Figure 2); with one seed the interval is the value.

    It speaks of the choice of training subsets, not of the choice of test patients.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, mean, mean)
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def cluster_bootstrap(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> Interval:
    """The mean of the values and its percentile interval when whole groups are resampled with replacement."""
    _, members = np.unique(groups, return_inverse=True)
    count = members.max() + 1
    totals = np.bincount(members, weights=values, minlength=count)
    drawn = resampled_counts(np.stack([totals, np.bincount(members, minlength=count)], axis=1), seed)
    return _percentiles(float(np.mean(values)), drawn[:, 0] / drawn[:, 1])


def group_confusions(predicted: np.ndarray, truth: np.ndarray, groups: np.ndarray, classes: int) -> np.ndarray:
    """Confusion counts of each group, (G, K, K) int64 in ascending order of the groups, from (n,) each."""
    names, members = np.unique(groups, return_inverse=True)
    cells = (members * classes + truth) * classes + predicted
    return np.bincount(cells, minlength=len(names) * classes * classes).reshape(len(names), classes, classes)


def resampled_counts(counts: np.ndarray, seed: int) -> np.ndarray:
    """What `RESAMPLES` draws of G groups with replacement add up to, (RESAMPLES, …) float64, from counts (G, …)."""
    return np.concatenate(list(resampled_blocks(counts, seed, RESAMPLES)))


def resampled_blocks(counts: np.ndarray, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """The same for any number of draws, a few hundred at a time, (≤ BLOCK, …) float64: all at once may be gigabytes.

    The same seed and number of groups draw the same groups, and fewer draws are the beginning of more.
    """
    groups = len(counts)
    flat: Any = counts.reshape(groups, -1).astype(np.float64)
    if np.count_nonzero(flat) < SPARSE * flat.size:
        from scipy.sparse import csr_array  # confusions of few images in many classes are nearly empty: 4 times as fast

        flat = csr_array(flat)
    weights = resampled_weights(groups, seed, resamples)
    for start in range(0, resamples, BLOCK):
        # In float64 counts are exact and the product is BLAS's; between integers it would be a slow loop.
        sums = weights[start : start + BLOCK].astype(np.float64) @ flat
        yield sums.reshape(len(sums), *counts.shape[1:])


@lru_cache(maxsize=4)
def resampled_weights(groups: int, seed: int, resamples: int) -> np.ndarray:
    """How often each group is drawn in each resample, (resamples, G) uint16; drawing them takes longest of all."""
    generator = np.random.default_rng(seed)
    shares = np.full(groups, 1 / groups)
    blocks = [
        generator.multinomial(groups, shares, size=min(BLOCK, resamples - start)).astype(np.uint16)
        for start in range(0, resamples, BLOCK)
    ]
    return np.concatenate(blocks)


def _percentiles(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
