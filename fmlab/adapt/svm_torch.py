"""The linear SVM on a GPU: the method of svm_gram.py and svm_primal.py in float64, many fits side by side.

Fits of the same size and number of problems go together. Each Newton step is one batched Cholesky factorisation over
all their open problems, in whichever space is the smaller; the paths of growing C are kept on the host. It runs on
the CPU as well, where it is slower than linear_svm.py and serves the tests.

In: ``Pool``, config, a torch device. Out: one ``LinearSVMFit`` per subset, certified like those of linear_svm.py.
Imports torch, so only the worker imports this.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from fmlab.adapt.configs import LinearSVM
from fmlab.adapt.linear_svm import AIM, ITEMS_PER_FEATURE, LinearSVMFit, one_against_rest
from fmlab.adapt.pool import Pool
from fmlab.adapt.svm_gram import PATH_START
from fmlab.adapt.svm_path import Path, step_length

# Bytes that the features, and the systems, of the fits solved together may take.
_BATCH_BYTES = 2 * 1024**3


def fit_linear_svms_on_device(
    pool: Pool, config: LinearSVM, device: str, on_fit: Callable[[int], None] | None = None
) -> list[LinearSVMFit]:
    """Solve every subset of the pool on a torch device that has float64.

    Args:
        pool: checked features, labels and subsets.
        config: C, the gap to certify, the most iterations.
        device: "cuda", "cuda:1", or "cpu".
        on_fit: called after each batch with the number of fits done so far.
    """
    fits: dict[int, LinearSVMFit] = {}
    for batch in _batches(pool):
        classes, targets = zip(*(one_against_rest(pool.labels[pool.subsets[fit]]) for fit in batch), strict=True)
        rows = np.stack([pool.subsets[fit] for fit in batch])
        features = torch.from_numpy(np.asarray(pool.features[rows], np.float32)).to(device, torch.float64)
        features = torch.cat([features, torch.ones_like(features[..., :1])], dim=2)
        solved = _Batch(features, torch.from_numpy(np.stack(targets)).to(device, torch.float64), config)
        solved.solve()
        weights = solved.weights.cpu().numpy()
        for place, fit in enumerate(batch):
            gaps = solved.gaps[place]
            fits[fit] = LinearSVMFit(
                classes=classes[place],
                coefficients=weights[place, :-1].T.copy(),
                intercepts=weights[place, -1].copy(),
                gaps=gaps,
                iterations=solved.steps[place],
                converged=bool((gaps <= config.gap).all()),
            )
        if on_fit is not None:
            on_fit(len(fits))
    return [fits[fit] for fit in range(len(pool.subsets))]


def _batches(pool: Pool) -> Iterator[list[int]]:
    """Fits of the same size and number of problems, as many as fit into memory together."""
    width = pool.features.shape[1] + 1
    alike: dict[tuple[int, int], list[int]] = {}
    for fit, rows in enumerate(pool.subsets):
        problems = one_against_rest(pool.labels[rows])[1].shape[1]
        alike.setdefault((len(rows), problems), []).append(fit)
    for (items, problems), fits in alike.items():
        system = min(items, width) if items > ITEMS_PER_FEATURE * width else items
        each = 8 * max(items * width, problems * system * system)
        together = max(1, _BATCH_BYTES // each)
        for first in range(0, len(fits), together):
            yield fits[first : first + together]


class _Batch:
    """S fits of n items and P problems each, from Newton step to Newton step."""

    def __init__(self, features: Tensor, targets: Tensor, config: LinearSVM) -> None:
        """Args: features (S, n, d) and targets (S, n, P), float64 on one device."""
        self._x, self._y, self._config = features, targets, config
        fits, items, problems = targets.shape
        self._gram = features @ features.mT if items <= ITEMS_PER_FEATURE * features.shape[2] else None
        self.weights = features.new_zeros(fits, features.shape[2], problems)
        self._dual = torch.zeros_like(targets)
        self.gaps = np.full((fits, problems), np.inf)
        self.steps = np.zeros((fits, problems), np.int64)
        starts = (PATH_START / (2 * (features**2).sum((1, 2)))).cpu().tolist()
        first = [config.C if self._gram is not None else start for start in starts]
        self._paths = [[Path(items, first[s], starts[s], config.C) for _ in range(problems)] for s in range(fits)]

    def solve(self) -> None:
        """Step until every problem has ended."""
        fits, problems = self.steps.shape
        open_now = [(s, p) for s in range(fits) for p in range(problems)]
        while open_now:
            ends = {(s, p) for s, p in open_now if self._paths[s][p].C == self._config.C}
            self._step(open_now)
            margins = 1 - self._y * (self._x @ self.weights)
            gaps = self._relative_gaps(margins).cpu().numpy()
            on_host = margins.transpose(1, 2).cpu().numpy()
            open_now = [key for key in open_now if not self._ended(key, on_host[key], gaps[key], key in ends)]

    def _step(self, open_now: list[tuple[int, int]]) -> None:
        """A Newton step of every open problem: new weights and dual coefficients."""
        s, p = (torch.tensor(index, device=self._x.device) for index in zip(*open_now, strict=True))
        C = self._x.new_tensor([self._paths[a][b].C for a, b in open_now])[:, None]
        members = np.stack([self._paths[a][b].members for a, b in open_now])
        inside = torch.from_numpy(members).to(self._x.device, torch.float64)
        y = self._y[s, :, p] * inside
        if self._gram is None:
            system = torch.stack([self._products(a, row) for (a, _), row in zip(open_now, members, strict=True)])
            system.mul_(2 * C[..., None]).diagonal(dim1=1, dim2=2).add_(1)
            right = torch.stack([self._x[a].T @ row for (a, _), row in zip(open_now, y, strict=True)])
            weights = _solve(system, 2 * C * right)
            values = torch.stack([self._x[a] @ w for (a, _), w in zip(open_now, weights, strict=True)])
            dual = 2 * C * inside * (y - values)
        else:
            system = self._gram[s] * inside[:, None, :] * inside[:, :, None]
            system.diagonal(dim1=1, dim2=2).add_(1 / (2 * C))
            dual = _solve(system, y)
            weights = torch.stack([self._x[a].T @ b for (a, _), b in zip(open_now, dual, strict=True)])
        for place, (a, b) in enumerate(open_now):
            t = self._length((a, b), weights[place]) if self._paths[a][b].searching else 1.0
            self.weights[a, :, b].lerp_(weights[place], t)
            self._dual[a, :, b].lerp_(dual[place], t)
            self.steps[a, b] += 1

    def _length(self, key: tuple[int, int], target: Tensor) -> float:
        """How far to go from the present weights to a target (d,)."""
        s, p = key
        weights = self.weights[s, :, p]
        change, y = target - weights, self._y[s, :, p]
        margins, slopes = 1 - y * (self._x[s] @ weights), y * (self._x[s] @ change)
        linear, curvature = float(weights @ change), float(change @ change)
        return step_length(linear, curvature, margins.cpu().numpy(), slopes.cpu().numpy(), self._config.C)

    def _products(self, fit: int, members: np.ndarray) -> Tensor:
        """X_AᵀX_A (d, d) over the members of one problem."""
        part = self._x[fit][torch.from_numpy(np.flatnonzero(members)).to(self._x.device)]
        return part.T @ part

    def _relative_gaps(self, margins: Tensor) -> Tensor:
        """(primal − dual) / primal of all problems (S, P) at the final C; see svm_certificate.py."""
        C = self._config.C
        alpha = (self._y * self._dual).clamp_min(0)
        dual_weights = self._x.mT @ (self._y * alpha)
        primal = (self.weights**2).sum(1) / 2 + C * (margins.clamp_min(0) ** 2).sum(1)
        curvature = (dual_weights**2).sum(1) + (alpha**2).sum(1) / (2 * C)
        dual = alpha.sum(1) ** 2 / (2 * curvature.clamp_min(torch.finfo(curvature.dtype).tiny))
        return (primal - dual) / primal

    def _ended(self, key: tuple[int, int], margins: np.ndarray, gap: float, at_the_end: bool) -> bool:
        unchanged = self._paths[key[0]][key[1]].next(margins)
        spent = self.steps[key] >= self._config.max_iterations
        if not (unchanged or spent or (at_the_end and gap <= AIM * self._config.gap)):
            return False
        self.gaps[key] = gap
        return True


def _solve(system: Tensor, right: Tensor) -> Tensor:
    """Solutions (O, m) of O positive definite systems (O, m, m)."""
    return torch.cholesky_solve(right[..., None], torch.linalg.cholesky(system))[..., 0]
