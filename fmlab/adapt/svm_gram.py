"""The linear SVM in the space of its training items: Newton's method on the Gram matrix.

With w = Xᵀb and ridge r = 1/(2C), the minimiser of ½‖w‖² + C·Σ max(0, 1 − yᵢ w·xᵢ)² satisfies, on the items A
inside the margin, (G_AA + r·I)·b_A = y_A, and b = 0 elsewhere. Each Newton step solves that system for the current
guess of A. Cheap while the items are not many more than the features.

In: Gram matrix (n, n) float32 or float64 with the column of ones included, targets (n, P) of ±1, C, gap.
Out: dual coefficients b (n, P), Newton steps (P,).
Source: Chapelle, "Training a Support Vector Machine in the Primal", Neural Computation 19 (2007), sections 2 and 4.
"""

import numpy as np

from fmlab.adapt.cholesky import solve_positive_definite
from fmlab.adapt.svm_path import Path, step_length

# Largest 2C·n·‖x‖², a bound on the condition of the linear systems, that float32 takes in its stride.
SINGLE_PRECISION_CONDITION = 1e5
# Where 2C·n·‖x‖² is this, hardly any item has reached its margin yet: the start of a path of growing C.
PATH_START = 300.0
# Conjugate gradient steps of the first guess: on features of length 1 they save a third of the Newton work.
_GUESS_STEPS = 12
# Badly conditioned fits begin at the solution on half their items, unless they have no more than this many.
_SMALLEST_HALVED = 64
# A guess need not be better than this relative gap.
_GUESS_GAP = 3e-2


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
        b (n, P) in the Gram matrix's dtype with w = Xᵀb; cut to y·b ≥ 0 it is dual feasible. Steps (P,) int64.

    Raises:
        numpy.linalg.LinAlgError: the precision is too low for this Gram matrix.
    """
    targets = targets.astype(gram.dtype)
    if gram.dtype == np.float64 and len(gram) > _SMALLEST_HALVED:
        first = _values_from_half(gram, targets, C, max_iterations)
    else:
        first = _values_of_least_squares(gram, targets, C)
    solved = [_solve_one(gram, targets[:, p], first[:, p], C, gap, max_iterations) for p in range(targets.shape[1])]
    return np.stack([b for b, _ in solved], axis=1), np.array([steps for _, steps in solved], np.int64)


def _values_from_half(gram: np.ndarray, targets: np.ndarray, C: float, max_iterations: int) -> np.ndarray:
    """Decision values (n, P) to begin at: those of the problems on half the items, which begin at a quarter, and so on.

    All the halves together cost a fraction of the first Newton steps that they save, the dearest ones. The half is
    drawn, since neighbours may be frames of one sequence; the number of items alone decides which it is.
    """
    half = np.sort(np.random.default_rng(len(gram)).permutation(len(gram))[: len(gram) // 2])
    rows = gram[half]
    b, _ = solve_in_gram_space(rows.take(half, axis=1), targets[half], C, _GUESS_GAP, max_iterations)
    return rows.T @ b


def _values_of_least_squares(gram: np.ndarray, targets: np.ndarray, C: float) -> np.ndarray:
    """Decision values (n, P) to begin at: least squares on all items by a few conjugate gradient steps.

    They cost a few products with the Gram matrix instead of its factorisation; stopping early is like a smaller C,
    from which fewer steps are needed than from too few items inside the margin.
    """
    b, f = np.zeros_like(targets), np.zeros_like(targets)
    residual, direction = targets.copy(), targets.copy()
    length = (residual**2).sum(0)
    # Once the first problem is solved to this, its next direction would be noise.
    enough = 1e-8 * length
    for _ in range(_GUESS_STEPS):
        product = gram @ direction
        step = length / ((direction * product).sum(0) + (direction**2).sum(0) / (2 * C))
        b, f = b + step * direction, f + step * product
        residual = targets - f - b / (2 * C)
        shorter = (residual**2).sum(0)
        if (shorter <= enough).any():
            break
        direction, length = residual + shorter / length * direction, shorter
    return f


def _solve_one(
    gram: np.ndarray, y: np.ndarray, f: np.ndarray, C: float, gap: float, max_iterations: int
) -> tuple[np.ndarray, int]:
    """One problem, from guessed decision values (n,). Returns b (n,) and the steps taken."""
    path = Path(len(y), first=C, start=PATH_START / (2 * float(np.trace(gram))), final=C)
    path.next(1 - y * f)
    b = np.zeros_like(y)
    for steps in range(1, max_iterations + 1):
        at_the_end = path.C == C
        target, target_f = _solve_active(gram, np.flatnonzero(path.members), y, path.C)
        if path.searching:
            change, slopes = target - b, y * (target_f - f)
            t = step_length(float(change @ f), float(change @ (target_f - f)), 1 - y * f, slopes, C)
            target, target_f = b + t * change, f + t * (target_f - f)
        b, f = target, target_f
        if path.next(1 - y * f) or (at_the_end and _relative_gap(gram, y, b, f, C) <= gap):
            return b, steps
    return b, max_iterations


def _solve_active(gram: np.ndarray, rows: np.ndarray, y: np.ndarray, C: float) -> tuple[np.ndarray, np.ndarray]:
    """b (n,) with (G_AA + I/(2C))·b_A = y_A and zero elsewhere, and the values f = G·b (n,) it gives every item."""
    b = np.zeros_like(y)
    if len(rows) == 0:
        # A guess without items stands for w = 0, under which every item is inside the margin again.
        return b, np.zeros_like(y)
    products = gram if len(rows) == len(gram) else gram[rows]
    system = products.take(rows, axis=1)
    system.flat[:: len(rows) + 1] += 1 / (2 * C)
    b[rows] = solve_positive_definite(system, y[rows])
    return b, b[rows] @ products


def _relative_gap(gram: np.ndarray, y: np.ndarray, b: np.ndarray, f: np.ndarray, C: float) -> float:
    """(primal at b, whose values are f − dual at b cut to feasibility) / primal, in the working precision."""
    slack, alpha = np.maximum(0, 1 - y * f), np.maximum(0, y * b)
    primal = float(b @ f) / 2 + C * float(slack @ slack)
    cut = np.flatnonzero(y * b < 0)
    norm = float((y * alpha) @ (f - b[cut] @ gram[cut]))
    return (primal - float(alpha.sum()) + norm / 2 + float(alpha @ alpha) / (4 * C)) / primal
