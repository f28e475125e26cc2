"""Folds inside a subset, by which linear heads choose their setting without a label from outside it.

In: labels (n,) and groups (n,) of a subset's items, the number of folds, a seed. Out: the fold of each item, (n,) int64.
"""

import numpy as np

KEPT = -1  # the fold of items that are never held out


def deal_folds(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold 0 … folds − 1 of each item, or `KEPT`; about as many groups of every class in each fold.

    A group, a sequence say, is in one fold as a whole and belongs to its most frequent class (the lower one in a tie).
    A class with fewer groups than folds is held out in as many folds as it has groups. If it has one group, holding that
    out would leave nothing to learn the class from, so its items are dealt one by one; a single item is never held out.
    """
    owners, classes = _owners(labels, groups)
    order = np.random.default_rng([seed, 1]).permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    alone = np.bincount(classes)[classes] == 1
    fold_of = np.empty(len(classes), np.int64)
    # Dealing goes on from class to class, so that no fold gets the remainder of every class.
    fold_of[order] = np.arange(len(order)) % folds
    fold_of[alone] = KEPT
    return fold_of[owners]


def _owners(labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unit (n,) of each item, 0 … U − 1, and the class (U,) of each unit; the only group of a class is taken apart."""
    owners = np.unique(groups, return_inverse=True)[1]
    classes = _most_frequent(labels, owners)
    alone = (np.bincount(classes)[classes] == 1)[owners]
    owners[alone] = owners.max() + 1 + np.arange(alone.sum())
    owners = np.unique(owners, return_inverse=True)[1]
    return owners, _most_frequent(labels, owners)


def _most_frequent(labels: np.ndarray, owners: np.ndarray) -> np.ndarray:
    votes = np.zeros((owners.max() + 1, labels.max() + 1), np.int64)
    np.add.at(votes, (owners, labels), 1)
    return votes.argmax(axis=1)
