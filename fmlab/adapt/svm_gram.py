"""The linear SVM in the space of its training items: active-set Newton on the Gram matrix.

With w = Xᵀb and ridge r = 1/(2C), the minimiser of ½‖w‖² + C·Σ max(0, 1 − yᵢ w·xᵢ)² satisfies, on the items A
inside the margin, (G_AA + r·I)·b_A = y_A, and b = 0 elsewhere. Each Newton step solves that system for the current
guess of A; the minimum is reached when the guess repeats. Cheap while the items are not many more than the features.

In: Gram matrix (n, n) float32 or float64 with the column of ones included, targets (n, P) of ±1, C, gap.
Out: dual coefficients b (n, P), Newton steps (P,).
Source: Chapelle, "Training a Support Vector Machine in the Primal", Neural Computation 19 (2007), sections 2 and 4;
full steps with a safeguard as in Júdice and Pires, "A block principal pivoting algorithm for large-scale strictly
monotone linear complementarity problems", Computers & Operations Research 21 (1994); the line search as in Keerthi
and DeCoste, "A Modified Finite Newton Method", JMLR 6 (2005).
"""

import numpy as np
from scipy.linalg import lapack

# Full Newton steps settle in about ten; this many in a row without fewer items changing sides means that they cycle,
# and the line search takes over, which is slower and always descends.
PATIENCE = 5


def solve_in_gram_space(
    gram: np.ndarray, targets: np.ndarray, C: float, gap: float, max_iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """Dual coefficients of every one-against-rest problem on one set of items.

    Args:
        gram: (n, n) inner products of the items, ones column included; its dtype is the precision of the work.
        targets: (n, P) of ±1, one column per problem.
        C: weight of the squared hinge loss.
        gap: relative duality gap, as estimated in the working precision, at which a problem is left.
        max_iterations: Newton steps per problem.

    Returns:
        b (n, P) in the Gram matrix's dtype with y·b ≥ 0, so that it is dual feasible and w = Xᵀb; steps (P,) int64.

    Raises:
        numpy.linalg.LinAlgError: the precision is too low for this Gram matrix.
    """
    targets = targets.astype(gram.dtype)
    # At the start every item counts as inside the margin, so that all problems share one factorisation.
    first = _solve_active(gram, np.arange(len(gram)), targets, C)
    first_f = gram @ first
    solved = [
        _solve_one(gram, targets[:, p], first[:, p], first_f[:, p], C, gap, max_iterations)
        for p in range(targets.shape[1])
    ]
    return np.stack([b for b, _ in solved], axis=1), np.array([steps for _, steps in solved], np.int64)


def _solve_one(
    gram: np.ndarray, y: np.ndarray, b: np.ndarray, f: np.ndarray, C: float, gap: float, max_iterations: int
) -> tuple[np.ndarray, int]:
    """One problem, from the step with every item active. Returns feasible b (n,) and the steps taken."""
    active = np.ones(len(y), bool)
    fewest, patience = len(y) + 1, PATIENCE
    for step in range(1, max_iterations + 1):
        inside = y * f < 1
        changes = int((inside != active).sum())
        dual = y * np.maximum(0, y * b)
        if changes == 0 or _relative_gap(gram, dual, y, C) <= gap or step == max_iterations:
            return dual, step
        fewest, patience = (changes, PATIENCE) if changes < fewest else (fewest, patience - 1)
        active = inside
        rows = np.flatnonzero(active)
        target = np.zeros_like(b)
        target[rows] = _solve_active(gram, rows, y, C)
        target_f = gram[:, rows] @ target[rows] if 4 * len(rows) < len(y) else gram @ target
        if patience > 0:
            b, f = target, target_f
        else:
            b, f = _line_search(b, f, target, target_f, y, C)
    raise ValueError(f"max_iterations is {max_iterations}; it must be at least 1.")


def _solve_active(gram: np.ndarray, rows: np.ndarray, y: np.ndarray, C: float) -> np.ndarray:
    """Solution of (G_AA + I/(2C))·b = y_A by Cholesky, in the dtype of the Gram matrix; y (n,) or (n, P)."""
    system = np.array(gram) if len(rows) == len(gram) else gram[rows].take(rows, axis=1)
    system.flat[:: len(rows) + 1] += 1 / (2 * C)
    factorise, solve = (lapack.spotrf, lapack.spotrs) if gram.dtype == np.float32 else (lapack.dpotrf, lapack.dpotrs)
    # The transposed view is in LAPACK's order, and a symmetric matrix is its own transpose: no copy.
    factor, info = factorise(system.T, lower=1, clean=0, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError("The Gram matrix is not positive definite in this precision.")
    return solve(factor, y[rows], lower=1)[0]


def _line_search(
    b: np.ndarray, f: np.ndarray, target: np.ndarray, target_f: np.ndarray, y: np.ndarray, C: float
) -> tuple[np.ndarray, np.ndarray]:
    """The minimum of the primal objective along b → target: the root of an increasing, piecewise linear derivative."""
    db, df = target - b, target_f - f
    linear, curvature = float(db @ f), float(db @ df)
    margin, slope = 1 - y * f, y * df
    low, high, t = 0.0, np.inf, 1.0
    for _ in range(30):
        inside = margin > t * slope
        s, m = slope[inside], margin[inside]
        second = curvature + 2 * C * float(s @ s)
        first = linear + t * curvature - 2 * C * float(s @ (m - t * s))
        low, high = (low, t) if first > 0 else (t, high)
        if second <= 0:
            break
        previous, t = t, t - first / second
        if not low <= t <= high:
            t = (low + high) / 2
        if abs(t - previous) <= 1e-3 * previous:
            break
    return b + t * db, f + t * df


def _relative_gap(gram: np.ndarray, dual: np.ndarray, y: np.ndarray, C: float) -> float:
    """(primal − dual) / primal of one feasible dual point and its own w, in the working precision."""
    f = gram @ dual
    slack = np.maximum(0, 1 - y * f)
    norm = float(dual @ f)
    primal = norm / 2 + C * float(slack @ slack)
    dual_value = float(y @ dual) - norm / 2 - float(dual @ dual) / (4 * C)
    return (primal - dual_value) / primal
