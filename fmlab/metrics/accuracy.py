"""Accuracy and its relatives, for many runs at once.

In: scores (R, M, K) float of R runs for M images, or predicted classes (R, M); the truth, (M,) class indices.
Out: a number per run, (R,) float64, as fractions 0–1; or confusion matrices (R, K, K) of counts, rows truth.

Definitions. Recall of class k: the share of images of class k predicted as k. Balanced accuracy: the mean recall over the
classes that the truth holds. F1 of class k: 2 TP / (2 TP + FP + FN). Macro-F1: the mean F1 over the classes that the
truth holds; how many these are has to stand beside it. Sequence vote: the class predicted for most of a sequence's
scored frames, of equal ones the class with the larger sum of scores, of equal sums the lower index
(limited-data study, section 4.8, which does not say how it breaks ties).
"""

import numpy as np


def image_accuracy(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of images predicted right, (R,)."""
    return (predicted == truth).mean(axis=1)


def majority_rate(truth: np.ndarray) -> float:
    """What always naming the most frequent class would score."""
    return float(np.bincount(truth).max() / len(truth))


def sequence_vote(scores: np.ndarray, sequences: np.ndarray, count: int) -> np.ndarray:
    """The class of each sequence by majority vote, (R, S) int64. `sequences` (M,) numbers each image's sequence 0 … S−1."""
    runs, _, classes = scores.shape
    rows = np.arange(runs)[:, None]
    votes = np.zeros((runs, count, classes), np.int64)
    np.add.at(votes, (rows, sequences[None, :], scores.argmax(axis=2)), 1)
    sums = np.zeros((runs, count, classes))
    np.add.at(sums, (slice(None), sequences), scores.astype(np.float64))
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


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that the truth holds, (…)."""
    return np.nanmean(recall(confusion), axis=-1)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that the truth holds, (…)."""
    return np.nanmean(f1(confusion), axis=-1)


def _divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
