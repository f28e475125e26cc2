"""The linear SVM in the space of its training items: active-set Newton on the Gram matrix.

With w = Xᵀb and ridge r = 1/(2C), the minimiser of ½‖w‖² + C·Σ max(0, 1 − yᵢ w·xᵢ)² satisfies, on the items A
inside the margin, (G_AA + r·I)·b_A = y_A, and b = 0 elsewhere. Each Newton step solves that system for the current
guess of A; the minimum is reached when the guess repeats. Cheap while the items are not many more than the features.

In: Gram matrix (n, n) float32 or float64 with the column of ones included, targets (n, P) of ±1, C, gap.
Out: dual coefficients b (n, P), Newton iterations (P,).
Source: Chapelle, "Training a Support Vector Machine in the Primal", Neural Computation 19 (2007), sections 2 and 4;
the method of Keerthi and DeCoste, "A Modified Finite Newton Method", JMLR 6 (2005), for the line search.
"""

import numpy as np
from scipy.linalg import lapack

# Below this many items a problem is started from "every item inside the margin"; above, from a quarter of its items.
_SMALLEST_START = 160


def solve_in_gram_space(
    gram: np.ndarray, targets: np.ndarray, C: float, gap: float, max_iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """Dual coefficients of every one-against-rest problem on one set of items.

    Args:
        gram: (n, n) inner products of the items, ones column included; its dtype is the precision of the work.
        targets: (n, P) of ±1, one column per problem.
        C: weight of the squared hinge loss.
        gap: relative duality gap, as estimated in the working precision, at which a problem is left.
        max_iterations: Newton steps per problem, those of the start on fewer items included.

    Returns:
        b (n, P) in the Gram matrix's dtype, with w = Xᵀb, and the iterations (P,) int64.
    """
    targets = targets.astype(gram.dtype)
    start = _start(gram, targets, C, max_iterations)
    solutions = [
        _solve_one(gram, targets[:, p], C, gap, max_iterations, None if start is None else start[:, p])
        for p in range(targets.shape[1])
    ]
    return np.stack([s[0] for s in solutions], axis=1), np.array([s[1] for s in solutions], np.int64)


def _start(gram: np.ndarray, targets: np.ndarray, C: float, max_iterations: int) -> np.ndarray | None:
    """Coefficients to begin at: a rough solution on every fourth item, or None where the problem is small."""
    n = len(gram)
    if n < _SMALLEST_START:
        return None
    # C is raised by the share of items left out, so that loss and norm keep their balance.
    quarter = np.ascontiguousarray(gram[::4, ::4])
    rough, _ = solve_in_gram_space(quarter, targets[::4], 4 * C, 1e-2, max_iterations)
    start = np.zeros_like(targets)
    start[::4] = rough
    return start


def _solve_one(
    gram: np.ndarray, y: np.ndarray, C: float, gap: float, max_iterations: int, start: np.ndarray | None
) -> tuple[np.ndarray, int]:
    """One problem. Returns b (n,) and the Newton steps taken."""
    n = len(y)
    if start is None:
        b, f = np.zeros_like(y), np.zeros_like(y)
    else:
        b, f = start, gram @ start
    active = y * f < 1
    for step in range(1, max_iterations + 1):
        rows = np.flatnonzero(active)
        target = np.zeros_like(b)
        target[rows] = _newton_target(gram, rows, y, C)
        target_f = gram @ target
        still_active = y * target_f < 1
        if np.array_equal(still_active, active):
            return target, step
        b, f = _line_search(b, f, target, target_f, y, C)
        active = y * f < 1
        dual = y * np.maximum(0, y * b)
        if _relative_gap(dual, gram @ dual, y, C) <= gap:
            return dual, step
    return dual, max_iterations


def _newton_target(gram: np.ndarray, rows: np.ndarray, y: np.ndarray, C: float) -> np.ndarray:
    """Solution of (G_AA + I/(2C))·b = y_A by Cholesky, in the dtype of the Gram matrix."""
    system = gram if len(rows) == len(y) else gram[rows].take(rows, axis=1)
    system = system.T.copy(order="F") if system is gram else np.asfortranarray(system.T)
    system.flat[:: len(rows) + 1] += 1 / (2 * C)
    factor, solve = (lapack.spotrf, lapack.spotrs) if gram.dtype == np.float32 else (lapack.dpotrf, lapack.dpotrs)
    lower, info = factor(system, lower=1, clean=0, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError("The Gram matrix is not positive definite in this precision.")
    return solve(lower, y[rows], lower=1)[0]


def _line_search(
    b: np.ndarray, f: np.ndarray, target: np.ndarray, target_f: np.ndarray, y: np.ndarray, C: float
) -> tuple[np.ndarray, np.ndarray]:
    """The exact minimum along b → target: the root of an increasing, piecewise linear derivative."""
    db, df = target - b, target_f - f
    linear, curvature = float(db @ f), float(db @ df)
    margin, slope = 1 - y * f, y * df
    low, high, t = 0.0, np.inf, 1.0
    for _ in range(30):
        inside = margin > t * slope
        s, m = slope[inside], margin[inside]
        second = curvature + 2 * C * float(s @ s)
        first = linear + t * curvature - 2 * C * float(s @ (m - t * s))
        if first > 0:
            high = t
        else:
            low = t
        if second <= 0:
            break
        proposed = t - first / second
        if not low < proposed < high:
            proposed = (low + high) / 2 if np.isfinite(high) else t
        if abs(proposed - t) <= 1e-3 * t:
            t = proposed
            break
        t = proposed
    return b + t * db, f + t * df


def _relative_gap(dual: np.ndarray, f: np.ndarray, y: np.ndarray, C: float) -> float:
    """(primal − dual) / primal of one feasible dual point and its own w, in the working precision."""
    slack = np.maximum(0, 1 - y * f)
    norm = float(dual @ f)
    primal = norm / 2 + C * float(slack @ slack)
    dual_value = float(y @ dual) - norm / 2 - float(dual @ dual) / (4 * C)
    return (primal - dual_value) / primal
