"""The linear SVM in the space of its features: Newton's method along a path of growing C, all classes side by side.

For many more items than features. With A the items inside the margin, a Newton step solves
(I + 2C·X_AᵀX_A)·w = 2C·X_Aᵀy_A. Margins of all classes are one matrix product, and X_AᵀX_A is updated by the items that
changed sides where those are few.

In: features (n, d) float32 with a last column of ones, targets (n, P) of ±1, C, gap.
Out: weights w (d, P), dual coefficients b (n, P), Newton steps (P,).
Source: Chapelle, "Training a Support Vector Machine in the Primal", Neural Computation 19 (2007), section 2.
"""

import numpy as np

from fmlab.adapt.cholesky import solve_positive_definite
from fmlab.adapt.svm_gram import PATH_START, SINGLE_PRECISION_CONDITION
from fmlab.adapt.svm_path import Path, step_length

# Largest 2C·mean‖x‖² with float32 margins: an item's slack is α/(2C), and must stand out from their rounding.
_SINGLE_PRECISION_MARGINS = 1e5
# Items multiplied at once when X_AᵀX_A is summed: 2,048 x 769 float64 are 12 MB.
_ROWS_AT_ONCE = 2048


def solve_in_feature_space(
    features: np.ndarray, targets: np.ndarray, C: float, gap: float, max_iterations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights and dual coefficients of every one-against-rest problem on one set of items.

    Args:
        features: (n, d) float32, the last column ones.
        targets: (n, P) float32 of ±1.
        C: weight of the squared hinge loss.
        gap: relative duality gap at which a problem is left.
        max_iterations: Newton steps per problem, those on the path included.

    Returns:
        weights (d, P) float64; b (n, P) float64 with y·b ≥ 0, a feasible dual point near them; steps (P,) int64.
    """
    scale = float(np.einsum("nd,nd->", features, features))
    start = PATH_START / (2 * scale)
    if 2 * C * scale / len(features) > _SINGLE_PRECISION_MARGINS:
        features = features.astype(np.float64)
    everything = _Active(features, np.ones(len(features), bool), _precision(min(start, C), scale))
    problems = [_Problem(everything, targets[:, p], start, C, scale) for p in range(targets.shape[1])]
    open_now = list(range(len(problems)))
    while open_now:
        weights = np.stack([problems[p].step() for p in open_now], axis=1)
        margins = 1 - targets[:, open_now] * (features @ weights.astype(features.dtype))
        finished = [problems[p].finished(margins[:, c], gap, max_iterations) for c, p in enumerate(open_now)]
        open_now = [p for p, done in zip(open_now, finished, strict=True) if not done]
    weights, dual = (np.stack([getattr(p, part) for p in problems], axis=1) for part in ("weights", "dual"))
    return weights, dual, np.array([p.steps for p in problems], np.int64)


def _precision(C: float, scale: float) -> type:
    """What a step at C is worked out in; early on the path, where most items count, float32 will do."""
    return np.float32 if 2 * C * scale <= SINGLE_PRECISION_CONDITION else np.float64


# ------------------------------------------------------------------------------------------------------------------


class _Active:
    """A set of items and the sum of their outer products, X_AᵀX_A (d, d)."""

    def __init__(
        self, features: np.ndarray, members: np.ndarray, dtype: type, products: np.ndarray | None = None
    ) -> None:
        self.features, self.members, self.dtype = features, members, dtype
        self.rows = np.flatnonzero(members)
        self.products = _products(features, self.rows, dtype) if products is None else products

    def changed_to(self, members: np.ndarray, dtype: type) -> "_Active":
        """The same for other members, by adding and taking away where that is less work than a new sum."""
        entered, left = np.flatnonzero(members & ~self.members), np.flatnonzero(self.members & ~members)
        if dtype is not self.dtype or len(entered) + len(left) >= members.sum():
            return _Active(self.features, members, dtype)
        change = _products(self.features, entered, dtype) - _products(self.features, left, dtype)
        return _Active(self.features, members, dtype, self.products + change)

    def sum(self, factors: np.ndarray) -> np.ndarray:
        """Σ factorᵢ·xᵢ (d,) for factors (A,) of the members, in the factors' precision."""
        total = np.zeros(self.features.shape[1], factors.dtype)
        for part in _blocks(self.rows):
            total += self.features[self.rows[part]].astype(factors.dtype, copy=False).T @ factors[part]
        return total

    def values(self, weights: np.ndarray) -> np.ndarray:
        """w·xᵢ (A,) of the members, in the weights' precision."""
        values = np.empty(len(self.rows), weights.dtype)
        for part in _blocks(self.rows):
            values[part] = self.features[self.rows[part]].astype(weights.dtype, copy=False) @ weights
        return values


class _Problem:
    """One class against the rest, from Newton step to Newton step."""

    def __init__(self, everything: _Active, y: np.ndarray, start: float, C: float, scale: float) -> None:
        self._active, self._y, self._C, self._scale = everything, y, C, scale
        self._path = Path(len(y), first=start, start=start, final=C)
        self.weights = np.zeros(everything.features.shape[1])
        self._margins = np.ones(len(y))
        self.steps = 0

    def step(self) -> np.ndarray:
        """Weights (d,) float64 as if the items now inside the margin stayed the same, or on the way there."""
        C = self._path.C
        dtype = _precision(C, self._scale)
        self._active = self._active.changed_to(self._path.members, dtype)
        system = (2 * C) * self._active.products
        system.flat[:: len(system) + 1] += 1
        right = (2 * C) * self._active.sum(self._y[self._active.rows].astype(dtype))
        target = solve_positive_definite(system, right).astype(np.float64)
        if self._path.searching:
            change = target - self.weights
            slopes = self._y * (self._active.features @ change.astype(self._active.features.dtype))
            linear, curvature = float(self.weights @ change), float(change @ change)
            target = self.weights + step_length(linear, curvature, self._margins, slopes, C) * change
        self.weights = target
        self.steps += 1
        return self.weights

    def finished(self, margins: np.ndarray, gap: float, max_iterations: int) -> bool:
        """Whether the step was the last one needed; then ``dual`` (n,) is there."""
        at_the_end = self._path.C == self._C
        self._margins = margins
        unchanged, spent = self._path.next(margins), self.steps >= max_iterations
        if not (at_the_end or spent):
            return False
        rows, y = self._active.rows, self._y[self._active.rows].astype(np.float64)
        # On the members b = 2C·(y − f), as exact as the weights; one that has left the margin is cut to zero.
        alpha = 2 * self._C * np.maximum(0, 1 - y * self._active.values(self.weights))
        if not spent and self._relative_gap(margins, y, alpha) > gap:
            if not unchanged or self._active.dtype is np.float64:
                return unchanged and self._keep(rows, y * alpha)
            # The same items once more, in double precision.
            self._scale = np.inf
            return False
        return self._keep(rows, y * alpha)

    def _relative_gap(self, margins: np.ndarray, y: np.ndarray, alpha: np.ndarray) -> float:
        """(primal − dual) / primal, the dual point on the members (A,) alone."""
        dual_weights = self._active.sum(y * alpha)
        slack = np.maximum(0, margins.astype(np.float64))
        primal = float(self.weights @ self.weights) / 2 + self._C * float(slack @ slack)
        cost = float(dual_weights @ dual_weights) / 2 + float(alpha @ alpha) / (4 * self._C)
        return (primal - float(alpha.sum()) + cost) / primal

    def _keep(self, rows: np.ndarray, dual: np.ndarray) -> bool:
        self.dual = np.zeros(len(self._y))
        self.dual[rows] = dual
        return True


def _blocks(rows: np.ndarray) -> list[slice]:
    return [slice(first, first + _ROWS_AT_ONCE) for first in range(0, len(rows), _ROWS_AT_ONCE)]


def _products(features: np.ndarray, rows: np.ndarray, dtype: type) -> np.ndarray:
    """Σ xᵢxᵢᵀ (d, d) over some rows."""
    total = np.zeros((features.shape[1],) * 2, dtype)
    for part in _blocks(rows):
        some = features[rows[part]].astype(dtype, copy=False)
        total += some.T @ some
    return total
