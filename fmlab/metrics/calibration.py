"""Calibration: whether a classifier that is 90 % sure is right in 90 % of such cases.

In: probabilities (m, K), rows that sum to 1; the truth, (m,) class indices; group numbers (m,).
Out: one row per bin of confidence; the expected calibration error and the Brier score, fractions.

Confidence is the probability of the predicted class. Bin i of B holds confidences in ((i − 1)/B, i/B]. The expected
calibration error is the mean over images of |accuracy − confidence| of their bin, the Brier score the mean over images
of the squared distance between the probabilities and the truth (0 to 2).

Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2 and 15 bins as in its tables;
G. Brier, Monthly Weather Review 78 (1950).
"""

import numpy as np
import pandas as pd

from fmlab.metrics.intervals import LEVEL, RESAMPLES, Interval, resampled_blocks

BINS = 15


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities from log-probabilities known up to a constant, over the last axis, float64."""
    shifted = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Per bin: bin_low, bin_high, count, confidence, accuracy (means; not a number where the bin is empty)."""
    sums = _bin_sums(probabilities, truth, np.zeros(len(truth), np.int64), bins)[0]
    counts = sums[:, 0]
    means = np.divide(sums[:, 1:], counts[:, None], out=np.full((bins, 2), np.nan), where=counts[:, None] > 0)
    edges = np.arange(bins + 1) / bins
    facts = {"bin_low": edges[:-1], "bin_high": edges[1:], "count": counts.astype(np.int64)}
    return pd.DataFrame(facts | {"confidence": means[:, 0], "accuracy": means[:, 1]})


def expected_calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> float:
    """The mean distance between accuracy and confidence of a bin, weighted by its images, 0–1."""
    return float(_error(_bin_sums(probabilities, truth, np.zeros(len(truth), np.int64), bins).sum(axis=0)))


def calibration_interval(probabilities: np.ndarray, truth: np.ndarray, groups: np.ndarray, seed: int = 0) -> Interval:
    """The expected calibration error with its interval when whole groups are resampled; R runs, (R, m, K): their mean.

    Chance alone opens gaps, so resamples have larger errors than what they are drawn from: their percentiles are shifted
    so that the mean of the resamples falls on the value, and end at zero.
    """
    runs = probabilities[None] if probabilities.ndim == 2 else probabilities
    _, members = np.unique(groups, return_inverse=True)
    sums = np.stack([_bin_sums(each, truth, members, BINS) for each in runs], axis=1)
    value = float(_error(sums.sum(axis=0)).mean())
    drawn = np.concatenate([_error(block).mean(axis=1) for block in resampled_blocks(sums, seed, RESAMPLES)])
    low, high = np.quantile(drawn - drawn.mean() + value, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, max(0.0, min(low, value)), max(high, value))


def brier_score(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The mean squared distance between the probabilities and the truth, 0–2."""
    return float(((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1).mean())


def _bin_sums(probabilities: np.ndarray, truth: np.ndarray, members: np.ndarray, bins: int) -> np.ndarray:
    """Of each group and bin the images, their confidences and those right, summed: (G, bins, 3) float64."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == truth
    # The lower edge is open and the upper closed; shares that rounding left a hair above 1 stay in the last bin.
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    groups = int(members.max()) + 1
    cells = members * bins + places
    sums = [np.bincount(cells, weights=each, minlength=groups * bins) for each in (None, confidence, right)]
    return np.stack(sums, axis=-1).reshape(groups, bins, 3)


def _error(sums: np.ndarray) -> np.ndarray:
    """The expected calibration error from sums per bin, (…, bins, 3) to (…): |right − confidence| over all images."""
    return np.abs(sums[..., 2] - sums[..., 1]).sum(axis=-1) / sums[..., 0].sum(axis=-1)
