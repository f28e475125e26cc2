"""The linear SVM in the space of its features: Newton's method on the primal objective, all classes side by side.

For many more items than features. Margins and gradients of all classes are two matrix products. Each class keeps its
Hessian H = I + 2C·X_AᵀX_A, where A are its items inside the margin, and only adds or takes away the items that changed
sides since the last step, which soon are few. The step −H⁻¹·gradient corrects itself: rounding in H costs an
iteration, never the result.

In: features (n, d) float32 or float64 with a last column of ones, targets (n, P) of ±1, C, gap.
Out: weights (d, P), Newton steps (P,).
Source: Chapelle, "Training a Support Vector Machine in the Primal", Neural Computation 19 (2007), section 2;
Keerthi and DeCoste, "A Modified Finite Newton Method", JMLR 6 (2005).
"""

import numpy as np
from scipy.linalg import lapack

from fmlab.adapt.svm_gram import PATIENCE, solve_in_gram_space

# With up to this many items per feature the Gram matrix is the cheaper space.
ITEMS_PER_FEATURE = 1.5
# Items multiplied at once when a Hessian is summed: 4,096 x 768 float32 are 12 MB.
_ROWS_AT_ONCE = 4096


def solve_in_feature_space(
    features: np.ndarray, targets: np.ndarray, C: float, gap: float, max_iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of every one-against-rest problem on one set of items.

    Args:
        features: (n, d), the last column ones; its dtype is the precision of the work.
        targets: (n, P) of ±1.
        C: weight of the squared hinge loss.
        gap: relative duality gap at which a problem is left.
        max_iterations: Newton steps per problem.

    Returns:
        weights (d, P) in the features' dtype, and steps (P,) int64.

    Raises:
        numpy.linalg.LinAlgError: the precision is too low for these features.
    """
    targets = targets.astype(features.dtype)
    weights = _start(features, targets, C, max_iterations)
    problems = [_Problem(features, C) for _ in range(targets.shape[1])]
    steps = np.zeros(len(problems), np.int64)
    open_now = np.arange(len(problems))
    while True:
        y, w = targets[:, open_now], weights[:, open_now]
        margins = 1 - y * (features @ w)
        slack = np.maximum(0, margins)
        gradient = w - (2 * C) * (features.T @ (y * slack))
        primal = (w**2).sum(0) / 2 + C * (slack**2).sum(0)
        # With α = 2C·slack the duality gap is exactly half the squared norm of the gradient.
        left = ((gradient**2).sum(0) / 2 > gap * primal) & (steps[open_now] < max_iterations)
        open_now = open_now[left]
        if len(open_now) == 0:
            return weights, steps
        direction = np.stack(
            [
                problems[p].newton_step(margins[:, c] > 0, gradient[:, c])
                for p, c in zip(open_now, np.flatnonzero(left))
            ],
            axis=1,
        )
        full = np.array([problems[p].patience > 0 for p in open_now])
        if not full.all():
            slope = y[:, left] * (features @ direction)
            direction *= np.where(full, 1, _step_lengths(w[:, left], direction, margins[:, left], slope, C))
        weights[:, open_now] += direction
        steps[open_now] += 1


def _start(features: np.ndarray, targets: np.ndarray, C: float, max_iterations: int) -> np.ndarray:
    """Weights to begin at: a rough solution on every fourth item, with C raised so that loss and norm keep balance."""
    quarter, quarter_targets = np.ascontiguousarray(features[::4]), targets[::4]
    if len(quarter) > ITEMS_PER_FEATURE * features.shape[1]:
        return solve_in_feature_space(quarter, quarter_targets, 4 * C, 1e-2, max_iterations)[0]
    dual, _ = solve_in_gram_space(quarter @ quarter.T, quarter_targets, 4 * C, 1e-2, max_iterations)
    return quarter.T @ dual


class _Problem:
    """One class's Hessian, kept up to date while items change sides."""

    def __init__(self, features: np.ndarray, C: float) -> None:
        self._features, self._C = features, C
        self._active = np.zeros(len(features), bool)
        self._hessian = np.eye(features.shape[1], dtype=features.dtype)
        self._fewest = len(features) + 1
        self.patience = PATIENCE
        """Full steps left before a line search; refilled whenever fewer items change sides than ever before."""

    def newton_step(self, active: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """−H⁻¹·gradient (d,) for the items inside the margin now."""
        entered, left = np.flatnonzero(active & ~self._active), np.flatnonzero(self._active & ~active)
        changes = len(entered) + len(left)
        self._fewest, self.patience = (
            (changes, PATIENCE) if changes < self._fewest else (self._fewest, self.patience - 1)
        )
        self._add(entered, 2 * self._C)
        self._add(left, -2 * self._C)
        self._active = active
        factorise, solve = (
            (lapack.spotrf, lapack.spotrs) if gradient.dtype == np.float32 else (lapack.dpotrf, lapack.dpotrs)
        )
        factor, info = factorise(self._hessian.T, lower=1, clean=0)
        if info:
            raise np.linalg.LinAlgError("The Hessian is not positive definite in this precision.")
        return -solve(factor, gradient, lower=1)[0]

    def _add(self, rows: np.ndarray, weight: float) -> None:
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            part = self._features[rows[first : first + _ROWS_AT_ONCE]]
            self._hessian += weight * (part.T @ part)


def _step_lengths(
    weights: np.ndarray, direction: np.ndarray, margins: np.ndarray, slope: np.ndarray, C: float
) -> np.ndarray:
    """Minimum along each problem's direction (P,), by safeguarded Newton on the piecewise linear derivative."""
    linear, curvature = (weights * direction).sum(0), (direction**2).sum(0)
    low, high, t = np.zeros(len(linear)), np.full(len(linear), np.inf), np.ones(len(linear))
    for _ in range(20):
        slack = np.maximum(0, margins - (t * slope).astype(margins.dtype))
        first = linear + t * curvature - 2 * C * (slack * slope).sum(0)
        second = curvature + 2 * C * (slope**2 * (slack > 0)).sum(0)
        low, high = np.where(first > 0, low, t), np.where(first > 0, t, high)
        proposed = t - first / np.maximum(second, np.finfo(margins.dtype).tiny)
        middle = np.where(np.isfinite(high), (low + high) / 2, t)
        proposed = np.where((proposed >= low) & (proposed <= high), proposed, middle)
        settled = np.abs(proposed - t) <= 1e-2 * t
        t = proposed
        if settled.all():
            break
    return t.astype(weights.dtype)
