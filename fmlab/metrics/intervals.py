"""Intervals: how far a number can be trusted.

In: values over seeds, (S,); or values of images or sequences, (n,), with whom each belongs to, (n,) group numbers.
Out: (value, low, high), 95 % intervals.
"""

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
RESAMPLES = 2000


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean over seeds and its t interval (limited-data study, Figure 2); with one seed the interval is the value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean, mean
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def cluster_bootstrap(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """The mean of the values and its percentile interval when whole groups are resampled with replacement."""
    _, members = np.unique(groups, return_inverse=True)
    count = members.max() + 1
    totals = np.bincount(members, weights=values, minlength=count)
    sizes = np.bincount(members, minlength=count).astype(float)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    means = (drawn @ totals) / (drawn @ sizes)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.mean(values)), float(low), float(high)
