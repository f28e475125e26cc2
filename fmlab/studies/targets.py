"""How many labels would a target accuracy take? Read off a power law through the measured curve, or refused.

In: a study's results, a combination of backbone and adaptation, a target. Out: a `Target`: a size with its 95 % interval,
or the sentence that says why the data do not support one.

Refused: fewer than four sizes; a fit that misses its points; a target that the fit, or too many of its resamples, never
reach; more than four times the largest size measured.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from fmlab.errors import BadInput
from fmlab.metrics.intervals import LEVEL
from fmlab.metrics.learning_curve import LearningCurve, fit_learning_curve
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.resampling import (
    Combination,
    ResampledCurve,
    checked_measure,
    percentile_interval,
    resampled_curve,
    runs_of,
)
from fmlab.studies.savings import bounds_words, size_words, sized, unit_of

FEWEST_SIZES = 4  # one more than the curve has unknowns
LARGEST_MISS = 0.03  # root mean square distance of the points from the curve, as a fraction
REACH = 4.0  # times the largest size
LARGEST_BOUND = 100.0  # times the largest size; a bound beyond says nothing
SMALLEST_ERROR = 0.005  # half a point, so that no point of a curve counts as exact
DRAWN_SIZES = 60


@dataclass(frozen=True, eq=False)
class Target:
    """The labels needed for an accuracy, with what a figure of it shows."""

    target: float  # the accuracy asked for, a fraction
    size: float | None  # None: refused
    low: float | None  # None: below the smallest size, or refused
    high: float | None
    refusal: str | None  # why there is no size
    sentence: str  # the answer, or the refusal
    points: pd.DataFrame  # size, mean: what was measured, sizes above zero
    curve: (
        pd.DataFrame
    )  # size, fitted, low, high, from the smallest size to four times the largest; empty without a fit
    fit: LearningCurve | None


def labels_for_target(
    home: Home,
    store: Store,
    table: pd.DataFrame,
    combination: Combination,
    test_set: str,
    target: float,
    measure: str = "image_accuracy",
) -> Target:
    """The labels that a target (fraction above 0, at most 1) would take, or why that cannot be said."""
    if not 0 < target <= 1:
        raise BadInput(f"A target is a fraction above 0 and at most 1; got {target:g}.")
    checked_measure(measure)
    rows = runs_of(table, combination, test_set)
    positive = sorted({int(size) for size in rows["size"] if size > 0})
    if len(positive) < FEWEST_SIZES:
        points = table[table["run"].isin(rows["run"]) & (table["test_set"] == test_set) & (table["size"] > 0)]
        means = points.groupby("size")[measure].mean().rename("mean").reset_index()
        sentence = f"A learning curve needs {FEWEST_SIZES} sizes or more; {len(positive)} are finished."
        empty = pd.DataFrame(columns=["size", "fitted", "low", "high"], dtype=np.float64)
        return Target(target, None, None, None, sentence, sentence, means, empty, None)
    seeds = sorted({int(seed) for seed in rows["seed"]})
    measured = resampled_curve(home, store, table, combination, test_set, measure, seeds, positive)
    return _read_off(measured, target, unit_of(table))


def _read_off(measured: ResampledCurve, target: float, unit: str) -> Target:
    fit, fits = _fitted(measured)
    points = pd.DataFrame({"size": measured.sizes, "mean": measured.values})
    smallest, largest = measured.sizes[0], measured.sizes[-1]
    size = float(fit.size_for(target))
    _, low, high = percentile_interval(size, fits.size_for(target))
    miss = float(np.sqrt(((fit.at(measured.sizes) - measured.values) ** 2).mean()))
    refusal = _refusal(size, high, miss, largest, target, fit, fits, unit)
    shown = (points, _drawn_curve(fit, fits, smallest, largest), fit)
    if refusal is not None:
        return Target(target, None, None, None, refusal, refusal, *shown)
    bounded = float(low) if low >= smallest else None
    if size < smallest:  # nothing is known of sizes below those measured
        sentence = f"{100 * target:g} % is reached with the smallest size measured, {sized(smallest, unit)}."
        return Target(target, float(smallest), None, float(max(high, smallest)), None, sentence, *shown)
    sentence = f"{100 * target:g} % takes about {sized(size, unit)} ({bounds_words(bounded, float(high))})."
    return Target(target, size, bounded, float(high), None, sentence, *shown)


@lru_cache(maxsize=64)
def _fitted(measured: ResampledCurve) -> tuple[LearningCurve, LearningCurve]:
    """The fit of the measured curve, and those of its resamples; points that vary less weigh more."""
    weights = 1 / (measured.drawn.var(axis=0) + SMALLEST_ERROR**2)
    return (
        fit_learning_curve(measured.sizes, measured.values, weights),
        fit_learning_curve(measured.sizes, measured.drawn, weights),
    )


def _refusal(
    size: float,
    high: float,
    miss: float,
    largest: float,
    target: float,
    fit: LearningCurve,
    fits: LearningCurve,
    unit: str,
) -> str | None:
    """Why the data do not support an answer; None when they do."""
    wanted = f"{100 * target:g} %"
    if miss > LARGEST_MISS:
        return (
            f"The fitted curve misses the measured accuracies by {100 * miss:.1f} percentage points (root mean square); "
            "nothing can be read off it."
        )
    supported = float(np.quantile(fits.at(np.array([REACH * largest]))[:, 0], (1 - LEVEL) / 2))
    up_to = f"The data support targets up to {100 * np.floor(1000 * supported) / 1000:.1f} %."
    if np.isinf(size):
        return f"The fitted curve levels off at {100 * float(fit.asymptote):.1f} % and never reaches {wanted}. {up_to}"
    if size > REACH * largest:
        return (
            f"{wanted} would take about {sized(size, unit)}, more than {REACH:g} times the largest size measured "
            f"({size_words(largest)}); that far the curve cannot be trusted. {up_to}"
        )
    if high > LARGEST_BOUND * largest:
        return f"Too many resamples of the data never reach {wanted}, so its size has no upper bound. {up_to}"
    return None


def _drawn_curve(fit: LearningCurve, fits: LearningCurve, smallest: float, largest: float) -> pd.DataFrame:
    sizes = np.geomspace(smallest, REACH * largest, DRAWN_SIZES)
    low, high = np.quantile(fits.at(sizes), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return pd.DataFrame({"size": sizes, "fitted": fit.at(sizes), "low": low, "high": high})
