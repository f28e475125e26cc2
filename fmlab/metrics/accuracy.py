"""Accuracy and its relatives, for many runs at once.

In: scores (R, M, K) float of R runs for M images, or predicted classes (R, M); the truth, (M,) class indices.
Out: a number per run, (R,) float64, as fractions 0–1; or confusion matrices (R, K, K) of counts, rows truth.

Definitions. Recall of class k: the share of images of class k predicted as k. Balanced accuracy: the mean recall over the
classes that the truth holds. F1 of class k: 2 TP / (2 TP + FP + FN). Macro-F1: the mean F1 over the classes that the
truth holds; how many these are has to stand beside it. Sequence vote: the class predicted for most of a sequence's
scored frames, of equal ones the class with the larger sum of scores, of equal sums the lower index
(limited-data study, section 4.8, which does not say how it breaks ties).

Source: Sokolova and Lapalme, Information Processing & Management 45 (2009); balanced accuracy as in Brodersen et al.,
"The balanced accuracy and its posterior distribution", ICPR 2010.
"""

import numpy as np


def image_accuracy(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of images predicted right, (R,)."""
    return (predicted == truth).mean(axis=1)


def majority_rate(truth: np.ndarray) -> float:
    """What always naming the most frequent class would score."""
    return float(np.bincount(truth).max() / len(truth))


def sequence_vote(scores: np.ndarray, sequences: np.ndarray, count: int) -> np.ndarray:
    """The class of each sequence by majority vote, (R, S) int64. `sequences` (M,) numbers each image's sequence 0 … S−1.

    A sequence without a scored frame has nothing to vote with, and is refused (ValueError).
    """
    runs, _, classes = scores.shape
    empty = np.flatnonzero(np.bincount(sequences, minlength=count) == 0)
    if len(empty):
        raise ValueError(f"Sequence {empty[0]} has no scored image; number the sequences 0 … {count - 1} without gaps.")
    ballots = (np.arange(runs)[:, None] * count + sequences) * classes + scores.argmax(axis=2)
    votes = np.bincount(ballots.ravel(), minlength=runs * count * classes).reshape(runs, count, classes)
    sums = np.empty((runs, count, classes))
    for run, k in np.ndindex(runs, classes):
        sums[run, :, k] = np.bincount(sequences, weights=scores[run, :, k], minlength=count)
    leading = votes == votes.max(axis=2, keepdims=True)
    return np.where(leading, sums, -np.inf).argmax(axis=2)


def confusion_counts(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was predicted for each true class, (R, K, K) int64."""
    runs = len(predicted)
    cells = (np.arange(runs)[:, None] * classes + truth[None, :]) * classes + predicted
    return np.bincount(cells.ravel(), minlength=runs * classes * classes).reshape(runs, classes, classes)


def recall(confusion: np.ndarray) -> np.ndarray:
    """Recall per class, (…, K); not a number where the truth lacks the class."""
    return _divided(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def precision(confusion: np.ndarray) -> np.ndarray:
    """Precision per class, (…, K); not a number where the class was never predicted."""
    return _divided(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-2))


def f1(confusion: np.ndarray) -> np.ndarray:
    """F1 per class, (…, K); not a number where the truth lacks the class."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    support = confusion.sum(axis=-1)
    scores = _divided(2 * right, support + confusion.sum(axis=-2))
    return np.where(support > 0, scores, np.nan)


def accuracy_of_counts(confusion: np.ndarray) -> np.ndarray:
    """Share predicted right, (…)."""
    return _divided(np.diagonal(confusion, axis1=-2, axis2=-1).sum(axis=-1), confusion.sum(axis=(-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that the truth holds, (…)."""
    return _mean_of_finite(recall(confusion))


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that the truth holds, (…)."""
    return _mean_of_finite(f1(confusion))


def _divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Their ratio; not a number where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def _mean_of_finite(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without what is not a number; not a number where nothing is left."""
    there = np.isfinite(values)
    return _divided(np.where(there, values, 0).sum(axis=-1), there.sum(axis=-1))
