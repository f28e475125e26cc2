"""Linear heads over a grid of settings, the best of which is chosen inside the subset.

The grid is DINOv2's: learning rates × from how many of the last blocks the class tokens come × whether the mean of the
patch tokens stands beside them. DINOv2 chooses on a validation set; here every setting is cross-validated within the
subset (`fmlab.adapt.linear_head_folds`), and the one with the highest accuracy on what was held out, of equal ones the
one with the smallest log loss there, learns the whole subset. Features are taken as they are.

In: ``Pool``, config, test features (M, D) float32. Out: logits (S, M, K) float32, and what was chosen for each subset.
Imports torch, so only the worker imports this.
Source: M. Oquab et al., DINOv2, TMLR 2024, appendix B.3; facebookresearch/dinov2, `eval/linear.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fmlab.adapt.configs import LinearHead
from fmlab.adapt.linear_head_folds import deal_folds
from fmlab.adapt.linear_head_training import Heads, plan_course, start_heads, train_heads
from fmlab.adapt.pool import Pool
from fmlab.backbones.cards import BLOCKS, LAST_BLOCKS
from fmlab.errors import BadInput

_JUDGED_AT_ONCE = 2048  # held-out items of each fold
_BYTES_AT_ONCE = 2 * 1024**3  # of the features of subsets that are solved side by side

Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """A stretch of the features that heads are trained on, and what it is."""

    columns: slice
    facts: dict[str, Any]


def score_linear_heads(
    pool: Pool,
    config: LinearHead,
    test_features: np.ndarray,
    feature: str | None = None,
    groups: np.ndarray | None = None,
    seeds: Sequence[int] | None = None,
    device: str = "cpu",
    on_fit: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, tuple[dict[str, Any], ...]]:
    """Choose a setting for every subset, learn the subset with it, and score the test items.

    Args:
        pool, config, test_features: as for every probe.
        feature: `blocks` is taken apart as the config says; any other kind is one part.
        groups: (N,) int, items that belong together in the cross-validation; None: each on its own.
        seeds: one for each subset; None: 0 for all.
        device: of torch.
        on_fit: called with the number of subsets done.

    Returns:
        scores (S, M, K) float32: logits; a class that the subset does not hold scores one below the item's lowest.
        Notes: for each subset the chosen ``learning_rate`` (for a batch of 256), of `blocks` also ``blocks`` and
        ``average_pool``; ``chosen_on`` "held-out items", or "training items" where every class has a single one;
        ``items_held_out``, ``accuracy`` and ``log_loss`` on the items it was chosen on.

    Raises:
        BadInput: groups or seeds that do not fit the pool, or blocks that the feature does not hold.
    """
    parts = feature_parts(config, pool.features.shape[1], feature)
    groups = np.arange(len(pool.labels)) if groups is None else np.asarray(groups)
    seeds = [0] * len(pool.subsets) if seeds is None else list(seeds)
    if groups.shape != pool.labels.shape or len(seeds) != len(pool.subsets):
        raise BadInput(
            f"There are groups of shape {groups.shape} for {len(pool.labels)} items and {len(seeds)} seeds for "
            f"{len(pool.subsets)} subsets; give one of each."
        )
    scores = np.empty((len(pool.subsets), len(test_features), pool.n_classes), np.float32)
    notes = []
    test = torch.from_numpy(np.array(test_features, np.float32)).to(device)

    def solved(position: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        rows = pool.subsets[position]
        present, labels = np.unique(pool.labels[rows], return_inverse=True)
        features = torch.from_numpy(pool.features[rows]).to(device)
        subset = _Subset(features, labels, groups[rows], int(seeds[position]), config)
        part, rate, note = subset.choose(parts)
        return present, subset.logits_after(part, rate, test), part.facts | {"learning_rate": rate} | note

    largest = max(len(rows) for rows in pool.subsets) * pool.features.shape[1] * 4
    with closing(_side_by_side(solved, len(pool.subsets), largest)) as found:
        for position, (present, logits, note) in enumerate(found):
            scores[position] = logits.min(axis=1, keepdims=True) - 1
            scores[position][:, present] = logits
            notes.append(note)
            if on_fit is not None:
                on_fit(position + 1)
    return scores, tuple(notes)


def _side_by_side(work: Callable[[int], Result], count: int, largest: int) -> Iterator[Result]:
    """`work(0)`, `work(1)`, … in order, as many at once as there are threads and memory for `largest` bytes each.

    Each computes with one thread of torch: steps are too short to share, and numbers depend on no number of cores.
    """
    threads = torch.get_num_threads()
    at_once = max(1, min(threads, _BYTES_AT_ONCE // largest))
    try:
        with ThreadPoolExecutor(at_once, "linear-heads", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, range(count))  # once closed, it computes no more than what it is computing
    finally:
        torch.set_num_threads(threads)  # of threads that start later


def feature_parts(config: LinearHead, width: int, feature: str | None) -> list[Part]:
    """The stretches of a feature of `width` numbers that the config has heads trained on."""
    if feature != BLOCKS:
        return [Part(slice(0, width), {})]
    if width % (LAST_BLOCKS + 1):
        raise BadInput(f"A feature {BLOCKS!r} of {width} numbers is none: they are {LAST_BLOCKS + 1} times as many.")
    each = width // (LAST_BLOCKS + 1)
    return [
        Part(
            slice((LAST_BLOCKS - blocks) * each, (LAST_BLOCKS + mean) * each), {"blocks": blocks, "average_pool": mean}
        )
        for blocks, mean in product(config.blocks, config.average_pool)
    ]


class _Subset:
    """One subset at work."""

    def __init__(self, features: Tensor, labels: np.ndarray, groups: np.ndarray, seed: int, config: LinearHead) -> None:
        self._features, self._groups, self._seed, self._config = features, groups, seed, config
        self._labels = labels
        self._device = str(features.device)
        self._targets = torch.nn.functional.one_hot(torch.from_numpy(labels)).float().to(features.device)

    def choose(self, parts: Sequence[Part]) -> tuple[Part, float, dict[str, Any]]:
        """The part and the learning rate that do best on held-out items, and how well they do."""
        fold_of = deal_folds(self._labels, self._groups, self._config.folds, self._seed)
        folds = np.unique(fold_of[fold_of >= 0])
        # Where each class has a single item, none can be held out: then what fits these items best is chosen.
        held_out = [np.flatnonzero(fold_of == fold) for fold in folds] or [np.arange(len(fold_of))]
        learned = [np.flatnonzero(fold_of != fold) for fold in folds] or held_out
        heads = self._trained(parts, self._config.learning_rates, learned)
        correct, loss = self._judged(heads, held_out)
        ranked = np.lexsort((np.nan_to_num(loss, nan=np.inf).ravel(), -correct.ravel()))
        part, rate = np.unravel_index(ranked[0], loss.shape)
        items = sum(len(rows) for rows in held_out)
        note = {
            "chosen_on": "held-out items" if len(folds) else "training items",
            "items_held_out": items if len(folds) else 0,
            "accuracy": float(correct[part, rate] / items),
            "log_loss": float(loss[part, rate] / items),
        }
        return parts[part], self._config.learning_rates[rate], note

    def logits_after(self, part: Part, rate: float, test: Tensor) -> np.ndarray:
        """(M, classes present) float32 of the test items, after one head learned the whole subset."""
        weights, biases = self._trained([part], [rate], [np.arange(len(self._labels))]).result(0, 0)
        return (test[:, part.columns] @ weights + biases).cpu().numpy()

    def _trained(self, parts: Sequence[Part], rates: Sequence[float], learned: Sequence[np.ndarray]) -> Heads:
        columns = [part.columns for part in parts]
        heads = start_heads(self._features, columns, self._targets.shape[1], len(rates), len(learned), self._seed)
        config = self._config
        course = plan_course(learned, config.batch, config.samples, self._seed, self._device, config.epochs)
        train_heads(heads, self._targets, rates, course)
        return heads

    def _judged(self, heads: Heads, held_out: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Items classified correctly (P, L) int64, and the sum of the log losses (P, L) float64, over all folds."""
        correct, loss = 0, 0
        for rows, there in self._in_blocks(held_out):
            given = self._targets[rows][..., None]
            logits = heads.logits(rows).unflatten(3, (given.shape[2], -1))
            right = (logits.argmax(dim=3) == given.argmax(dim=2)) & there[..., None]
            correct = correct + right.sum(dim=(1, 2))
            likelihood = (torch.log_softmax(logits, dim=3) * given).sum(dim=3)
            loss = loss - (likelihood * there[..., None]).double().sum(dim=(1, 2))
        return correct.cpu().numpy(), loss.cpu().numpy()

    def _in_blocks(self, held_out: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows (F, B) int64 that each fold is judged on, block after block, and which of them are there, (F, B) bool."""
        longest = max(len(rows) for rows in held_out)
        table = np.full((len(held_out), longest), -1, np.int64)
        for fold, rows in enumerate(held_out):
            table[fold, : len(rows)] = rows
        for start in range(0, longest, _JUDGED_AT_ONCE):
            block = torch.from_numpy(table[:, start : start + _JUDGED_AT_ONCE]).to(self._device)
            yield block.clamp(min=0), block >= 0
