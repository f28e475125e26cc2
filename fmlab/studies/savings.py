"""Labels saved: with how many labels one side does as well as the other does with more, and where two curves cross.

In: a study's results and two of its combinations of backbone and adaptation. Out: tables of sizes with 95 % intervals.

Between measured sizes a curve is straight on the logarithmic axis of sizes; nothing is read off beyond the largest.
Intervals come from drawing the seeds and the test patients (or sequences) again, the same for both sides.
"""

import numpy as np
import pandas as pd

from fmlab.errors import BadInput
from fmlab.metrics.equal_sizes import crossing_nearest, crossings_of, size_reaching
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.resampling import (
    Combination,
    ResampledCurve,
    checked_measure,
    combination_text,
    percentile_interval,
    resampled_curve,
    runs_of,
)

SAVINGS_COLUMNS = ("n", "accuracy", "m", "low", "high", "factor", "factor_low", "factor_high", "relation", "sentence")
CROSSING_COLUMNS = ("size", "low", "high", "leads_below", "leads_above", "share", "sentence")


def label_savings(
    home: Home,
    store: Store,
    table: pd.DataFrame,
    first: Combination,
    second: Combination,
    test_set: str,
    measure: str = "image_accuracy",
) -> pd.DataFrame:
    """For each size n of the first: the size m at which the second first does as well. `SAVINGS_COLUMNS`.

    `relation` is "equals"; "at most" where the second is above the first's accuracy from its smallest size on (m is that
    size); "beyond" where it never gets there (m is null). `low` is null where the interval reaches below the second's
    smallest size, `high` where it reaches beyond its largest. `factor` is m / n; null at n = 0 and where m is.

    Raises:
        BadInput: the second has fewer than two sizes above zero.
    """
    one, other = _curves(home, store, table, first, second, test_set, measure)
    unit = unit_of(table)
    rows = []
    for place, size in enumerate(one.sizes):
        found = size_reaching(other.sizes, other.values[None], one.values[place : place + 1])[0]
        drawn = size_reaching(other.sizes, other.drawn, one.drawn[:, place])
        _, low, high = percentile_interval(found, drawn)
        relation = "at most" if found == 0 else "beyond" if np.isinf(found) else "equals"
        m, low, high = (other.sizes[0] if found == 0 else _finite(found)), _finite(low), _finite(high)
        factors = [value / size if value is not None and size > 0 else None for value in (m, low, high)]
        row = {"n": int(size), "accuracy": one.values[place], "m": m, "low": low, "high": high, "relation": relation}
        row |= dict(zip(("factor", "factor_low", "factor_high"), factors, strict=True))
        rows.append(row | {"sentence": _saving_sentence(row, first, second, unit, int(other.sizes[-1]))})
    saved = pd.DataFrame(rows, columns=list(SAVINGS_COLUMNS))
    return saved.astype(dict.fromkeys(("accuracy", *SAVINGS_COLUMNS[2:8]), np.float64))


def crossings(
    home: Home,
    store: Store,
    table: pd.DataFrame,
    first: Combination,
    second: Combination,
    test_set: str,
    measure: str = "image_accuracy",
) -> pd.DataFrame:
    """Sizes at which the two curves cross, over the sizes above zero that both have. `CROSSING_COLUMNS`.

    `leads_below` and `leads_above` are "first" or "second". `low` or `high` is null where the interval leaves the sizes
    measured. `share` is that of the resamples in which the curves cross this way at all. No row: they do not cross.

    Raises:
        BadInput: fewer than two sizes above zero are common to both.
    """
    common = sorted(_sizes(table, first, test_set) & _sizes(table, second, test_set))
    if len(common) < 2:
        raise BadInput(
            f"{combination_text(first)} and {combination_text(second)} share {len(common)} sizes on {test_set}; "
            "a crossing needs two or more."
        )
    one, other = _curves(home, store, table, first, second, test_set, measure, common)
    gap, gaps, unit = one.values - other.values, one.drawn - other.drawn, unit_of(table)
    rows = []
    for size, direction in crossings_of(one.sizes, gap):
        drawn = crossing_nearest(one.sizes, gaps, size, direction)
        _, low, high = percentile_interval(size, drawn)
        below, above = ("first", "second") if direction < 0 else ("second", "first")
        row = {"size": size, "low": _finite(low), "high": _finite(high), "leads_below": below, "leads_above": above}
        row["share"] = float((np.isfinite(drawn) & (drawn > 0)).mean())
        leaders = (first, second) if direction < 0 else (second, first)
        rows.append(row | {"sentence": _crossing_sentence(row, *leaders, unit)})
    return pd.DataFrame(rows, columns=list(CROSSING_COLUMNS)).astype({"size": float, "low": float, "high": float})


def _curves(
    home: Home,
    store: Store,
    table: pd.DataFrame,
    first: Combination,
    second: Combination,
    test_set: str,
    measure: str,
    sizes: list[int] | None = None,
) -> tuple[ResampledCurve, ResampledCurve]:
    """Both curves under the same resamples; the second at its sizes above zero alone, of which it needs two."""
    checked_measure(measure)
    positive = sorted(_sizes(table, second, test_set)) if sizes is None else sizes
    if len(positive) < 2:
        raise BadInput(
            f"{combination_text(second)} has {len(positive)} sizes above zero on {test_set}; "
            "what equals what can be read off a curve of two or more."
        )
    seeds = sorted({int(seed) for each in (first, second) for seed in runs_of(table, each, test_set)["seed"]})
    one = resampled_curve(home, store, table, first, test_set, measure, seeds, sizes)
    return one, resampled_curve(home, store, table, second, test_set, measure, seeds, positive)


def _sizes(table: pd.DataFrame, combination: Combination, test_set: str) -> set[int]:
    return {int(size) for size in runs_of(table, combination, test_set)["size"] if size > 0}


def unit_of(table: pd.DataFrame) -> str:
    """What a size counts, in words."""
    return "images" if (table["scheme"] == "images").all() else "sequences per class"


def _finite(size: float) -> float | None:
    return float(size) if 0 < size < np.inf else None


def _saving_sentence(row: dict[str, object], first: Combination, second: Combination, unit: str, largest: int) -> str:
    one, other = combination_text(first), combination_text(second)
    begin = f"{one} at {sized(row['n'], unit)}"
    if row["relation"] == "beyond":
        return f"{begin} is beyond {other}, which does not get there with its {largest:,}."
    if row["relation"] == "at most":
        return f"{begin} is no better than {other} at {size_words(row['m'])}, its smallest size."
    factor = f": {row['factor']:.2g} times as many" if row["factor"] else ""
    return f"{begin} equals {other} at {size_words(row['m'])} ({bounds_words(row['low'], row['high'])}){factor}."


def _crossing_sentence(row: dict[str, object], below: Combination, above: Combination, unit: str) -> str:
    bounds = bounds_words(row["low"], row["high"])
    return (
        f"{combination_text(below)} leads below {sized(row['size'], unit)} ({bounds}), {combination_text(above)} above."
    )


def sized(size: object, unit: str) -> str:
    """A size with its unit, `1 sequence per class`."""
    words = size_words(size)
    return f"{words} {unit.replace('images', 'image').replace('sequences', 'sequence') if words == '1' else unit}"


def size_words(size: object) -> str:
    """A size that need not be whole, to three digits."""
    value = float(str(size))
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bounds_words(low: object, high: object) -> str:
    """An interval of sizes, open where a bound is null."""
    if low is None and high is None:
        return "95 % interval: any of the sizes measured"
    if low is None or high is None:
        return (
            f"95 % interval: up to {size_words(high)}" if low is None else f"95 % interval: {size_words(low)} or more"
        )
    return f"95 % interval {size_words(low)}–{size_words(high)}"
