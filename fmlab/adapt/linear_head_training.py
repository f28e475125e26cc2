"""Stochastic gradient descent on many linear heads at once: every learning rate, feature and fold in one product a step.

All heads of a training see the same batches within a fold. What is drawn at random, the first weights and the order of
the items, depends on the seed alone, so that learning rates are compared on equal terms.

While a subset has fewer items than its features have numbers, the heads are kept as sums of items (the gradient of a
linear head lies in their span): the same descent on products of items, at a fraction of the cost.

In: features (n, W) float32, classes (n,) int64, parts of the features, learning rates, the items that each fold learns.
Out: heads that give logits. Imports torch, so only the worker imports this.
Source: facebookresearch/dinov2, `eval/linear.py`: momentum 0.9, no weight decay, cosine to zero, weights of standard
deviation 0.01, biases zero, learning rates for a batch of 256.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

MOMENTUM = 0.9
INITIAL_DEVIATION = 0.01
RATE_BATCH = 256  # that learning rates are for


@dataclass(frozen=True)
class Course:
    """T steps of F folds: which items are seen when, and by how much the heads follow."""

    rows: Tensor  # (T, F, B) int64, positions in the subset
    shares: Tensor  # (T, F, B) float32, of a batch's mean; 0 where a batch is smaller than B
    pace: Tensor  # (T, F) float32, of the learning rate, from 1 to 0


def plan_course(
    folds: Sequence[np.ndarray], batch: int, samples: int, seed: int, device: str, epochs: int | None = None
) -> Course:
    """The course of folds that learn the given items: epochs in a new order each, until `samples` items were seen, or as
    many epochs as are said.

    A batch may reach from one epoch into the next: a small one at the end of each would follow few items as far as
    others follow many. Only the very last is smaller. `pace` holds the scaling of learning rates to the batch too.
    """
    each = [
        _fold_batches(items, batch, epochs or math.ceil(samples / len(items)), [seed, 2, fold])
        for fold, items in enumerate(folds)
    ]
    steps, widest = max(len(batches) for batches in each), max(batches.shape[1] for batches in each)
    rows = np.zeros((steps, len(folds), widest), np.int64)
    shares, pace = np.zeros(rows.shape, np.float32), np.zeros(rows.shape[:2], np.float32)
    for fold, batches in enumerate(each):
        place = np.s_[: len(batches), fold, : batches.shape[1]]
        rows[place] = np.maximum(batches, 0)
        shares[place] = (batches >= 0) / (batches >= 0).sum(axis=1, keepdims=True)
        cosine = np.cos(math.pi * np.arange(len(batches)) / len(batches))
        pace[: len(batches), fold] = batches.shape[1] / RATE_BATCH * (1 + cosine) / 2
    return Course(*(torch.from_numpy(values).to(device) for values in (rows, shares, pace)))


def _fold_batches(items: np.ndarray, batch: int, epochs: int, seed: Sequence[int]) -> np.ndarray:
    """(steps, B) int64 items of each batch, −1 behind the end of the last one; B is at most the number of items."""
    size = min(batch, len(items))
    steps = math.ceil(epochs * len(items) / size)
    batches = np.full(steps * size, -1, np.int64)
    order = np.random.default_rng(seed).permuted(np.tile(items, (epochs, 1)), axis=1)
    batches[: order.size] = order.ravel()
    return batches.reshape(steps, size)


class Heads(Protocol):
    """P·F·L linear heads: parts of the features × folds × learning rates. A column is a class of a learning rate."""

    def logits(self, rows: Tensor) -> Tensor:
        """(P, F, B, K·L) of the items `rows` (F, B)."""
        ...

    def descend(self, rows: Tensor, gradient: Tensor, pace: Tensor) -> None:
        """One step against `gradient` (P, F, B, K·L), that of the logits times the learning rate; `pace` is (F,)."""
        ...

    def result(self, part: int, fold: int) -> tuple[Tensor, Tensor]:
        """Weights (w, K·L) and biases (K·L,)."""
        ...


class WeightHeads:
    """Heads as weights (F, w, K·L) for each part, and biases."""

    def __init__(self, features: Tensor, parts: Sequence[slice], first: Sequence[Tensor], folds: int) -> None:
        self._features, self._parts = features, parts
        self._weights = [start.expand(folds, -1, -1).clone() for start in first]
        self._biases = torch.zeros(len(parts), folds, 1, first[0].shape[1], device=features.device)
        self._velocity = [torch.zeros_like(weights) for weights in self._weights]
        self._bias_velocity = torch.zeros_like(self._biases)

    def logits(self, rows: Tensor) -> Tensor:
        """See `Heads`."""
        items = self._features[rows]
        pairs = zip(self._parts, self._weights, strict=True)
        return torch.stack([torch.bmm(items[..., part], weights) for part, weights in pairs]) + self._biases

    def descend(self, rows: Tensor, gradient: Tensor, pace: Tensor) -> None:
        """See `Heads`."""
        items = self._features[rows].transpose(1, 2)
        for number, part in enumerate(self._parts):
            velocity = self._velocity[number]
            velocity.baddbmm_(items[:, part], gradient[number], beta=MOMENTUM)
            self._weights[number].addcmul_(velocity, pace[:, None, None], value=-1)
        self._bias_velocity.mul_(MOMENTUM).add_(gradient.sum(dim=2, keepdim=True))
        self._biases.addcmul_(self._bias_velocity, pace[:, None, None], value=-1)

    def result(self, part: int, fold: int) -> tuple[Tensor, Tensor]:
        """See `Heads`."""
        return self._weights[part][fold], self._biases[part, fold, 0]


class ItemHeads:
    """Heads as their first weights and a sum of items, (P, F, n, K·L); the bias is the weight of a feature that is 1."""

    def __init__(self, features: Tensor, parts: Sequence[slice], first: Sequence[Tensor], folds: int) -> None:
        self._features, self._parts, self._first = features, parts, first
        self._products = torch.stack([features[:, part] @ features[:, part].T for part in parts]) + 1
        self._first_logits = torch.stack([features[:, part] @ start for part, start in zip(parts, first, strict=True)])
        self._sums = torch.zeros(len(parts), folds, len(features), first[0].shape[1], device=features.device)
        self._velocity = torch.zeros_like(self._sums)
        self._offsets = len(features) * torch.arange(folds, device=features.device)[:, None]

    def logits(self, rows: Tensor) -> Tensor:
        """See `Heads`."""
        first, products = self._first_logits[:, rows].flatten(0, 1), self._products[:, rows].flatten(0, 1)
        return torch.baddbmm(first, products, self._sums.flatten(0, 1)).unflatten(0, self._sums.shape[:2])

    def descend(self, rows: Tensor, gradient: Tensor, pace: Tensor) -> None:
        """See `Heads`."""
        self._velocity.mul_(MOMENTUM)
        self._velocity.flatten(1, 2).index_add_(1, (rows + self._offsets).flatten(), gradient.flatten(1, 2))
        self._sums.addcmul_(self._velocity, pace[:, None, None], value=-1)

    def result(self, part: int, fold: int) -> tuple[Tensor, Tensor]:
        """See `Heads`."""
        sums = self._sums[part, fold]
        return self._first[part] + self._features[:, self._parts[part]].T @ sums, sums.sum(dim=0)


def start_heads(
    features: Tensor, parts: Sequence[slice], classes: int, rates: int, folds: int, seed: int
) -> WeightHeads | ItemHeads:
    """Heads before their first step; those of a part begin alike, whatever their fold and learning rate."""
    first = [_first_weights(part, classes, seed).repeat_interleave(rates, dim=1).to(features.device) for part in parts]
    narrower = len(features) <= sum(len(start) for start in first) / len(first)
    return (ItemHeads if narrower else WeightHeads)(features, parts, first, folds)


def _first_weights(part: slice, classes: int, seed: int) -> Tensor:
    """(w, K) float32."""
    shape = (part.stop - part.start, classes)
    drawn = np.random.default_rng([seed, 0, part.start, part.stop]).standard_normal(shape, np.float32)
    return torch.from_numpy(INITIAL_DEVIATION * drawn)


def train_heads(heads: Heads, targets: Tensor, rates: Sequence[float], course: Course) -> None:
    """Take heads to the end of a course by the mean cross-entropy of each batch.

    Args:
        heads: P parts, F folds, L learning rates.
        targets: (n, K) float32, 1 in the column of an item's class.
        rates: L learning rates for a batch of 256.
        course: of F folds.
    """
    rate = torch.tensor(rates, dtype=torch.float32, device=targets.device)
    for rows, shares, pace in zip(course.rows, course.shares, course.pace, strict=True):
        error = torch.softmax(heads.logits(rows).unflatten(3, (-1, len(rates))), dim=3)
        error -= targets[rows][..., None]
        # Scaling the gradient by the learning rate scales the velocity by it too, so that one pace serves all rates.
        error *= shares[..., None, None] * rate
        heads.descend(rows, error.flatten(3), pace)
