"""The area under the receiver operating characteristic, each class against the rest.

In: scores (R, M, K) float of R runs for M images, larger means more likely; the truth, (M,) class indices.
Out: the mean over the classes that the truth holds, (R,) float64, 0–1, 0.5 by chance; not a number where it holds one.

Of a class it is the chance that an image of it has a higher score for it than an image of another class; equal scores
count a half. It depends on how images rank, not on any threshold, so scores need not be probabilities: a score is what
is ranked. Those of a softmax are ranked by probability, which other classes' scores decide as well (`ranked_scores`).

Images are ranked once; a resample says how often each counts, so that it is a running sum along that order.

Source: J. Hanley, B. McNeil, Radiology 143 (1982); the mean over classes as scikit-learn's `roc_auc_score(multi_class="ovr",
average="macro")` and torchmetrics' `AUROC(task="multiclass")` have it.
"""

import numpy as np

from fmlab.metrics.calibration import softmax
from fmlab.metrics.intervals import RESAMPLES, resampled_weights

NUMBERS_AT_ONCE = 2_000_000  # of counts in memory
AS_THEY_STAND = ("linear_svm", "knn")  # distances from a class's own plane; shares. The others' are logits.


def ranked_scores(scores: np.ndarray, adaptation: str) -> np.ndarray:
    """Scores (…, K) of an adaptation's kind as images are ranked by them: probabilities, or distances from a plane."""
    return scores if adaptation in AS_THEY_STAND else softmax(scores)


def macro_auroc(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The area under the curve, the mean over the classes, (R,)."""
    areas = [_area(scores[:, :, k], truth == k) for k in _judged(truth)]
    return np.mean(areas, axis=0) if areas else np.full(len(scores), np.nan)


def _judged(truth: np.ndarray) -> np.ndarray:
    """The classes that some images are of and some are not."""
    present = np.unique(truth)
    return present if len(present) > 1 else present[:0]


def _area(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(R,) from scores (R, M) and which images are of the class, (M,) bool."""
    pairs = own.sum() * (~own).sum()
    return np.array([_below(run[own], np.sort(run[~own])).sum() / pairs for run in scores])


def _below(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many of the ascending `others` lie below each, equal ones as a half."""
    return (np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")) / 2


def resampled_auroc(
    scores: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    count: int | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """The mean over classes when whole groups are drawn again, (resamples, R).

    `groups` (M,) numbers 0 … `count` − 1, by default as many as there are. The same seed and number of groups draw the
    same groups as `fmlab.metrics.intervals.resampled_blocks`. A class that a resample lacks is left out of its mean.
    """
    weights = resampled_weights(count or int(groups.max()) + 1, seed, resamples)
    areas = np.zeros((resamples, len(scores)))
    present = np.zeros((resamples, 1))
    rows = max(1, NUMBERS_AT_ONCE // len(truth))
    for start in range(0, resamples, rows):
        block = slice(start, start + rows)
        drawn = weights[block][:, groups].astype(np.float32)  # how often each image, (b, M)
        for k in _judged(truth):
            own = truth == k
            pairs = drawn[:, own].sum(axis=1, dtype=np.float64) * drawn[:, ~own].sum(axis=1, dtype=np.float64)
            present[block, 0] += pairs > 0
            for run, theirs in enumerate(scores[:, :, k]):
                ordered = _ordered_pairs(theirs, own, drawn)
                areas[block, run] += np.divide(ordered, pairs, out=np.zeros(len(pairs)), where=pairs > 0)
    return np.divide(areas, present, out=np.full_like(areas, np.nan), where=present > 0)


def _ordered_pairs(scores: np.ndarray, own: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Pairs of an image of the class and another one of which the first has the higher score, each counted as often as
    both were drawn, (b,) float64."""
    order = np.argsort(scores[~own], kind="stable")
    others = scores[~own][order]
    # Whole numbers, which float32 holds exactly up to 16 million images.
    lower = np.zeros((len(drawn), len(others) + 1), np.float32)
    np.cumsum(drawn[:, np.flatnonzero(~own)[order]], axis=1, out=lower[:, 1:])
    below = sum(lower[:, np.searchsorted(others, scores[own], side)] for side in ("left", "right"))
    return (drawn[:, own] * below).sum(axis=1, dtype=np.float64) / 2
