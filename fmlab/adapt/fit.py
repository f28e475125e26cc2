"""The one door to the probes: an adaptation, embeddings and subsets in, scores of the test items out.

In: config, features (N, D) float32, labels (N,) int, subsets of row indices, test features (M, D) float32.
Out: ``Fits``: scores (S, M, K) float32, what converged, the certified gaps, settings that were chosen, the seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from fmlab.adapt.configs import KNN, Adaptation, LinearHead, LinearSVM, Logistic
from fmlab.adapt.pool import Pool
from fmlab.errors import BadInput

# Scores kept in memory for one call: 2 GiB of float32. A larger grid belongs in several calls.
_LARGEST_SCORES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Fits:
    """The outcome of one adaptation on S subsets, in their order."""

    scores: np.ndarray
    """(S, M, K) float32; the largest of an item's K scores is the prediction. Decision values, logits, or shares for knn."""
    converged: np.ndarray
    """(S,) bool; knn and linear_head have nothing to converge to and are always True."""
    gap: np.ndarray
    """(S,) float64, largest certified relative duality gap over a fit's problems; NaN where none is certified."""
    seconds: float
    """Wall time of fitting and scoring together."""
    notes: tuple[dict[str, Any], ...]
    """What linear_head chose for each subset (`fmlab.adapt.linear_head.score_linear_heads`), plain data; else empty."""


def fit_and_score(
    adaptation: Adaptation,
    features: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    subsets: list[np.ndarray],
    test_features: np.ndarray,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
    feature: str | None = None,
    groups: np.ndarray | None = None,
    seeds: Sequence[int] | None = None,
) -> Fits:
    """Fit every subset and score every test item under each fit.

    Args:
        adaptation: a config of ``fmlab.adapt.configs``.
        features: (N, D) float32 training pool, array or memory map.
        labels: (N,) int classes 0 … n_classes − 1; rows outside all subsets may carry anything.
        n_classes: K.
        subsets: row indices, one array per fit.
        test_features: (M, D) float32.
        device: the linear SVM and linear heads use "cuda" or "cuda:1"; all else runs on the CPU.
        on_progress: called with (fits done, fits in all); what it raises, a cancellation say, ends the work.
        feature: the kind of the features; linear heads take `blocks` apart, and any other kind as a whole.
        groups: (N,) int, the sequence of each item, which linear_head's cross-validation keeps together; None: each
            item is its own.
        seeds: one for each subset, of what linear_head draws at random; None: 0 for all.

    Raises:
        BadInput: nothing to fit or to score, shapes that do not fit, a subset with one class only, features that are
            not finite, or more scores than fit in memory.
    """
    started = perf_counter()
    notes: tuple[dict[str, Any], ...] = ({},) * len(subsets)
    _check(features, subsets, test_features, n_classes)
    pool = Pool.of(features, labels, n_classes, subsets)
    report = None if on_progress is None else lambda done: on_progress(done, len(subsets))
    converged, gap = np.ones(len(subsets), bool), np.full(len(subsets), np.nan)
    if isinstance(adaptation, LinearSVM):
        scores, converged, gap = _linear_svm(pool, adaptation, test_features, device, report)
    elif isinstance(adaptation, Logistic):
        # Imported here, so that a worker that needs no scikit-learn does not wait a second for it.
        from fmlab.adapt.logistic import score_logistic

        scores, converged = score_logistic(pool, adaptation, test_features, report)
    elif isinstance(adaptation, KNN):
        from fmlab.adapt.knn import score_knn

        scores = score_knn(pool, adaptation, test_features, report)
    elif isinstance(adaptation, LinearHead):
        from fmlab.adapt.linear_head import score_linear_heads

        scores, notes = score_linear_heads(
            pool,
            adaptation,
            test_features,
            feature,
            groups,
            seeds,
            device if device.startswith("cuda") else "cpu",
            report,
        )
    else:
        raise BadInput(f"{type(adaptation).__name__} is not fitted on frozen features; use a probe's config.")
    return Fits(scores, converged, gap, perf_counter() - started, notes)


def _linear_svm(
    pool: Pool,
    config: LinearSVM,
    test_features: np.ndarray,
    device: str,
    on_fit: Callable[[int], None] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from fmlab.adapt.linear_svm import decision_scores, fit_linear_svms

    if not device.startswith("cuda"):
        fits = fit_linear_svms(pool, config, on_fit)
    else:
        from fmlab.adapt.svm_torch import fit_linear_svms_on_device

        fits = fit_linear_svms_on_device(pool, config, device, on_fit)
    scores = decision_scores(fits, pool.n_classes, test_features)
    return scores, np.array([fit.converged for fit in fits]), np.array([fit.gaps.max() for fit in fits])


def _check(features: np.ndarray, subsets: list[np.ndarray], test_features: np.ndarray, n_classes: int) -> None:
    if not subsets:
        raise BadInput("There is no subset to fit; name at least one size and one seed.")
    if test_features.ndim != 2 or test_features.shape[1:] != features.shape[1:] or len(test_features) == 0:
        raise BadInput(
            f"Test features have shape {test_features.shape}, expected (items, {features.shape[-1]}) "
            "with at least one item."
        )
    if len(subsets) * len(test_features) * n_classes > _LARGEST_SCORES:
        raise BadInput(
            f"{len(subsets)} fits × {len(test_features)} test items × {n_classes} classes are more scores than "
            "fit in 2 GiB; pass the subsets in several calls."
        )
