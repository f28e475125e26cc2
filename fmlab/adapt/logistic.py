"""Multinomial logistic regression on frozen features.

The objective is that of scikit-learn's ``LogisticRegression()``: ½‖W‖² + C·Σ log loss, softmax over the classes, the
intercept not penalised, minimised by L-BFGS. Features are scaled by the mean and standard deviation of the subset
itself (never of the pool or the test set), because on raw features of a thousand dimensions L-BFGS rarely ends; the
config can switch that off.

In: ``Pool``, test features (M, D) float32.
Out: per subset log-odds (M, K) float32 and whether L-BFGS met its own tolerance within its iterations.
Source: scikit-learn's user guide, section 1.1.11.
"""

import warnings
from collections.abc import Callable

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from fmlab.adapt.configs import Logistic
from fmlab.adapt.pool import Pool


def score_logistic(
    pool: Pool, config: Logistic, test_features: np.ndarray, on_fit: Callable[[int], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fit every subset and score the test items.

    Returns:
        scores (S, M, K) float32: each class's linear value before the softmax, with two classes present −f and f; a
        class that the subset does not hold scores one below the item's lowest. Converged (S,) bool.
    """
    scores = np.empty((len(pool.subsets), len(test_features), pool.n_classes), np.float32)
    converged = np.empty(len(pool.subsets), bool)
    for position, rows in enumerate(pool.subsets):
        shift, scale = _scaling(pool.features[rows], config.standardise)
        model = LogisticRegression(C=config.C, max_iter=config.max_iterations)
        with warnings.catch_warnings():
            # The warning is turned into the run's own flag below.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit((pool.features[rows] - shift) / scale, pool.labels[rows])
        converged[position] = bool((model.n_iter_ < config.max_iterations).all())
        values = model.decision_function((test_features - shift) / scale)
        if values.ndim == 1:
            values = np.stack([-values, values], axis=1)
        scores[position] = values.min(axis=1, keepdims=True) - 1
        scores[position][:, model.classes_] = values
        if on_fit is not None:
            on_fit(position + 1)
    return scores, converged


def _scaling(features: np.ndarray, standardise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (D,) float32 of a subset; a constant feature is shifted only."""
    if not standardise:
        return np.zeros(features.shape[1], np.float32), np.ones(features.shape[1], np.float32)
    deviation = features.std(axis=0, dtype=np.float64)
    return features.mean(axis=0, dtype=np.float64).astype(np.float32), np.where(deviation > 1e-8, deviation, 1).astype(
        np.float32
    )
