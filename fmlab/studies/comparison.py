"""Two backbones against each other: the difference at each size, with its paired interval.

In: a study's results and two of its combinations of backbone and adaptation. Out: a table, one row per size.

Both sides are scored on the same images after learning from the same subsets, so each resample draws the same patients
(or sequences) for both; what varies is the difference of their two means over seeds.
"""

from functools import lru_cache

import pandas as pd

from fmlab.metrics.intervals import Interval
from fmlab.metrics.paired import paired_difference
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.resampling import (
    COMPARED,
    RANKED,
    Combination,
    checked_measure,
    percentile_interval,
    resampled_runs,
    runs_of,
)
from fmlab.studies.scoring import groups_of, scored_runs

COLUMNS = ("size", "difference", "low", "high", "tied", "seeds", "resampled")


def differences(
    home: Home,
    store: Store,
    table: pd.DataFrame,
    first: Combination,
    second: Combination,
    test_set: str,
    measure: str = "image_accuracy",
) -> pd.DataFrame:
    """First minus second at every size that both have finished: `COLUMNS`, fractions; tied: the interval holds zero.

    `table` is the study's results; only seeds that both have count. `resampled` says whether patients or sequences were.
    """
    checked_measure(measure)
    one, other = (runs_of(table, side, test_set) for side in (first, second))
    pairs = one.merge(other, on=["size", "seed"], suffixes=("_first", "_second"))
    rows = []
    for size, runs in pairs.groupby("size"):
        keys = tuple(runs["run_first"]), tuple(runs["run_second"])
        gain, resampled = _paired(home, store, *keys, test_set, measure)
        facts = {"size": int(str(size)), "difference": gain.value, "low": gain.low, "high": gain.high}
        rows.append(facts | {"tied": gain.low <= 0 <= gain.high, "seeds": len(runs), "resampled": resampled})
    return pd.DataFrame(rows, columns=list(COLUMNS))


@lru_cache(maxsize=512)
def _paired(
    home: Home, store: Store, first: tuple[str, ...], second: tuple[str, ...], test_set: str, measure: str
) -> tuple[Interval, str]:
    """The difference at one size, and what was resampled. Runs are named by their content, so it stays true."""
    if measure == RANKED:
        sides = [resampled_runs(home, store, runs, test_set, measure) for runs in (first, second)]
        before, after = (side.values.mean() for side in sides)
        drawn = sides[0].drawn.mean(axis=1) - sides[1].drawn.mean(axis=1)
        return percentile_interval(float(before - after), drawn), sides[0].groups
    level, of_counts = COMPARED[measure]
    one, other = scored_runs(home, store, first, test_set), scored_runs(home, store, second, test_set)
    groups, resampled = groups_of(one.test, level)
    (predicted, truth), (predicted_other, _) = one.at(level), other.at(level)
    return paired_difference(predicted, predicted_other, truth, groups, len(one.classes), of_counts), resampled
