"""A power law through a curve of accuracy against size, for saying how many labels a target would take.

In: sizes (P,), above zero, and accuracies (P,) or, for many resamples, (B, P); fractions.
Out: `LearningCurve`: accuracy = asymptote − scale · size^(−exponent), with 0 ≤ asymptote ≤ 1 and scale ≥ 0.

For a given exponent the other two follow from weighted least squares in one step, so the fit is a search along one line:
it has no starting point and cannot run astray, and thousands of resamples are fitted at once.

Source: C. Cortes et al., "Learning Curves: Asymptotic Values and Rate of Convergence", NIPS 1993; the search with the
linear part solved, Golub and Pereyra, SIAM Journal on Numerical Analysis 10 (1973).
"""

from dataclasses import dataclass

import numpy as np

EXPONENTS = (0.02, 4.0)  # slower is a straight line on the logarithmic axis, faster is a single step
FIRST_STEPS = 41
STEPS = 7
ROUNDS = 10  # each narrows the search to a third


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """accuracy(n) = asymptote − scale · n^(−exponent); numbers, or (B,) each for B curves."""

    asymptote: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """Accuracies at sizes (Q,): (Q,), or (B, Q) of B curves."""
        a, b, c = (np.asarray(part)[..., None] for part in (self.asymptote, self.scale, self.exponent))
        return a - b * np.asarray(sizes, np.float64) ** -c

    def size_for(self, accuracy: float) -> np.ndarray:
        """The size that reaches an accuracy, () or (B,); infinity where the asymptote stays below it, 0 if none is needed."""
        missing = np.asarray(self.asymptote - accuracy, np.float64)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            sizes = (np.asarray(self.scale) / missing) ** (1 / np.asarray(self.exponent))
        return np.where(missing > 0, sizes, np.where((missing == 0) & (self.scale == 0), 0.0, np.inf))


def fit_learning_curve(sizes: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> LearningCurve:
    """The curve of least weighted squares through accuracies (P,), or one for each row of (B, P).

    Raises:
        ValueError: fewer than three different sizes, or a size of zero or below.
    """
    sizes = np.asarray(sizes, np.float64)
    if len(np.unique(sizes)) < 3 or sizes.min() <= 0:
        raise ValueError(
            f"A learning curve has three unknowns; got the sizes {sizes.tolist()}, which cannot settle them."
        )
    rows = np.atleast_2d(np.asarray(values, np.float64))
    shares = np.ones(len(sizes)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    ends = np.log(EXPONENTS)
    tried, step = np.linspace(*ends, FIRST_STEPS)[None], (ends[1] - ends[0]) / (FIRST_STEPS - 1)
    middle = tried[0, _given_exponent(np.exp(tried), sizes, rows, shares)[2].argmin(axis=1)]
    for _ in range(ROUNDS):
        tried = np.clip(middle[:, None] + step * np.linspace(-1, 1, STEPS), *ends)
        best = _given_exponent(np.exp(tried), sizes, rows, shares)[2].argmin(axis=1)
        middle, step = tried[np.arange(len(rows)), best], step * 2 / (STEPS - 1)
    asymptote, scale, _ = _given_exponent(np.exp(middle)[:, None], sizes, rows, shares)
    parts = asymptote[:, 0], scale[:, 0], np.exp(middle)
    return LearningCurve(*(part[0] for part in parts)) if np.ndim(values) == 1 else LearningCurve(*parts)


def _given_exponent(
    exponents: np.ndarray, sizes: np.ndarray, values: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Asymptote, scale and weighted squares, each (B, Q), for exponents (B, Q) or (1, Q) and values (B, P).

    The weights (P,) sum to 1.
    """
    x = sizes ** -exponents[:, :, None]
    mean_x, mean_y = x @ weights, (values @ weights)[:, None]
    spread = (x**2) @ weights - mean_x**2
    together = _summed(x, values * weights) - mean_x * mean_y
    scale = np.maximum(0, -together / spread)
    asymptote = mean_y + scale * mean_x
    # Where the best asymptote is no fraction, it is 1, and the scale is the best for that one.
    held = np.maximum(0, _summed(x, (1 - values) * weights) / ((x**2) @ weights))
    over = asymptote > 1
    asymptote, scale = np.where(over, 1.0, np.maximum(asymptote, 0)), np.where(over, held, scale)
    residual = asymptote[:, :, None] - scale[:, :, None] * x - values[:, None, :]
    return asymptote, scale, (residual**2) @ weights


def _summed(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Products of (B or 1, Q, P) and (B, P) summed over the sizes, (B, Q)."""
    return (x @ values[:, :, None])[:, :, 0]
