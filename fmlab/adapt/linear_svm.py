"""Linear support vector machines on many subsets of one training pool, each certified.

The objective is that of scikit-learn's ``LinearSVC()`` with its defaults: ½‖w‖² + C·Σ max(0, 1 − y·w·x)², one class
against the rest, the intercept a weight on a feature of ones and penalised like the others; two classes are one
problem. The solver is our own: every problem of a subset shares its features, Gram matrix and first factorisation,
and stops on a duality gap instead of scikit-learn's tolerance, under which a fit on badly scaled features can end far
from the minimum.

A fit depends on nothing but its own items: not on their order, not on the other subsets beside it. So a study that was
killed and resumed ends with the same numbers.

In: pool features (N, D) float32, labels (N,) int, subsets of row indices.
Out: one ``LinearSVMFit`` per subset; scores (fits, M, K) float32.
Source: the objective as in Fan et al., "LIBLINEAR", JMLR 9 (2008); the solvers in svm_gram.py and svm_primal.py.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from threading import Lock

import numpy as np
from threadpoolctl import threadpool_limits

from fmlab.adapt.configs import LinearSVM
from fmlab.adapt.pool import Pool
from fmlab.adapt.svm_certificate import certify, weights_of
from fmlab.adapt.svm_gram import SINGLE_PRECISION_CONDITION, solve_in_gram_space
from fmlab.adapt.svm_primal import solve_in_feature_space

# Pools up to this size keep the Gram matrix of all their items, of which each fit takes its part (float64: 288 MB).
# A fit on a smaller share of the pool than this computes its own: that is less work than it would take to share.
_LARGEST_SHARED_GRAM = 6000
_SMALLEST_SHARE = 1 / 16
# With up to this many items per feature the Gram matrix is the cheaper space.
ITEMS_PER_FEATURE = 2.5
# Solvers aim this far below the promised gap, so that rounding does not push the certificate above it.
AIM = 0.1


@dataclass(frozen=True)
class LinearSVMFit:
    """One subset's solution. P problems: one per class present, or a single one where two classes are present."""

    classes: np.ndarray
    """Classes present in the subset, ascending (int64)."""
    coefficients: np.ndarray
    """(P, D) float64; with two classes the one row scores the second."""
    intercepts: np.ndarray
    """(P,) float64."""
    gaps: np.ndarray
    """(P,) certified relative duality gaps, fractions of the primal value."""
    iterations: np.ndarray
    """(P,) Newton steps or conjugate gradient iterations."""
    converged: bool
    """Every problem's gap is at most the one asked for."""


def fit_linear_svms(pool: Pool, config: LinearSVM, on_fit: Callable[[int], None] | None = None) -> list[LinearSVMFit]:
    """Solve every subset of the pool on the CPU, in the features' own scale.

    Args:
        pool: checked features, labels and subsets.
        config: C, the gap to certify, the most iterations.
        on_fit: called from this thread after each fit with the number done so far.

    Returns:
        one fit per subset, in their order; a fit that misses the gap says so in ``converged``.
    """
    features = _with_ones(pool.features)
    shared = _SharedGram(features)
    shared.prepare(pool.subsets, config.C)
    fits: list[LinearSVMFit] = []
    # One BLAS thread per fit and one fit per core is faster than the reverse.
    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as threads:
        for fit in threads.map(lambda rows: _fit(features, pool.labels, rows, config, shared), pool.subsets):
            fits.append(fit)
            if on_fit is not None:
                on_fit(len(fits))
    return fits


def decision_scores(fits: list[LinearSVMFit], n_classes: int, features: np.ndarray) -> np.ndarray:
    """Scores of test items under every fit.

    Args:
        fits: as returned by ``fit_linear_svms``.
        n_classes: K, the classes of the dataset, present in a fit's subset or not.
        features: (M, D) float32.

    Returns:
        (fits, M, K) float32 decision values. With two classes present they are −f and f. A class that the subset
        does not hold scores one below the item's lowest score, so that it is never predicted, nor voted for.
    """
    scores = np.empty((len(fits), len(features), n_classes), np.float32)
    for position, fit in enumerate(fits):
        values = features @ fit.coefficients.T.astype(np.float32) + fit.intercepts.astype(np.float32)
        if len(fit.classes) == 2:
            values = np.concatenate([-values, values], axis=1)
        if len(fit.classes) < n_classes:
            scores[position] = values.min(axis=1, keepdims=True) - 1
        scores[position][:, fit.classes] = values
    return scores


def one_against_rest(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes present (ascending) and targets (n, P) float32 of ±1: P = 1 for two classes, else one column a class."""
    classes = np.unique(labels)
    columns = classes[1:] if len(classes) == 2 else classes
    return classes, np.where(labels[:, None] == columns, np.float32(1), np.float32(-1))


# ------------------------------------------------------------------------------------------------------------------


class _SharedGram:
    """The Gram matrix of a small pool, computed once per precision."""

    def __init__(self, features: np.ndarray) -> None:
        self._features = features
        self._norms = np.einsum("nd,nd->n", features, features)
        self._whole: dict[type, np.ndarray] = {}
        self._lock = Lock()

    def prepare(self, subsets: Sequence[np.ndarray], C: float) -> None:
        """Compute what these subsets will ask for, now that every core is free for it."""
        for dtype in {self.precision(rows, C) for rows in subsets if self._shares(rows)}:
            self._of_all(dtype)

    def precision(self, rows: np.ndarray, C: float) -> type:
        """float32 where the condition of the fit's systems allows it, else float64."""
        condition = 2 * C * len(rows) * float(self._norms[rows].max())
        return np.float32 if condition <= SINGLE_PRECISION_CONDITION else np.float64

    def of(self, rows: np.ndarray, own: np.ndarray, dtype: type) -> np.ndarray:
        """Gram matrix (n, n) of some rows, whose features are ``own`` (n, d)."""
        if self._shares(rows):
            return self._of_all(dtype)[rows].take(rows, axis=1)
        own = own.astype(dtype, copy=False)
        return own @ own.T

    def _shares(self, rows: np.ndarray) -> bool:
        pool, width = self._features.shape
        return pool <= _LARGEST_SHARED_GRAM and _SMALLEST_SHARE * pool <= len(rows) <= ITEMS_PER_FEATURE * width

    def _of_all(self, dtype: type) -> np.ndarray:
        with self._lock:
            if dtype not in self._whole:
                everything = self._features.astype(dtype, copy=False)
                self._whole[dtype] = everything @ everything.T
            return self._whole[dtype]


def _with_ones(features: np.ndarray) -> np.ndarray:
    """(N, D + 1) float32: the penalised intercept is the weight of the last column."""
    extended = np.empty((len(features), features.shape[1] + 1), np.float32)
    extended[:, :-1] = features
    extended[:, -1] = 1
    return extended


def _fit(
    pool_features: np.ndarray, labels: np.ndarray, rows: np.ndarray, config: LinearSVM, shared: _SharedGram
) -> LinearSVMFit:
    """One subset, in whichever space is the smaller."""
    classes, targets = one_against_rest(labels[rows])
    features = pool_features[rows]
    if len(rows) > ITEMS_PER_FEATURE * features.shape[1]:
        aim = AIM * config.gap
        weights, dual, iterations = solve_in_feature_space(features, targets, config.C, aim, config.max_iterations)
        gaps = certify(features, targets, weights, dual, config.C)
    else:
        weights, gaps, iterations = _fit_in_gram_space(features, targets, rows, config, shared)
    converged = bool((gaps <= config.gap).all())
    return LinearSVMFit(classes, weights[:-1].T.copy(), weights[-1].copy(), gaps, iterations, converged)


def _fit_in_gram_space(
    features: np.ndarray, targets: np.ndarray, rows: np.ndarray, config: LinearSVM, shared: _SharedGram
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (d, P) float64, certified gaps (P,), steps (P,), in float32 where that reaches the gap."""
    for dtype in dict.fromkeys((shared.precision(rows, config.C), np.float64)):
        gram = shared.of(rows, features, dtype)
        try:
            dual, iterations = solve_in_gram_space(gram, targets, config.C, AIM * config.gap, config.max_iterations)
        except np.linalg.LinAlgError:
            if dtype is np.float64:
                raise
            continue
        weights = weights_of(features, dual)
        gaps = certify(features, targets, weights, dual, config.C)
        if (gaps <= config.gap).all():
            break
    return weights, gaps, iterations
