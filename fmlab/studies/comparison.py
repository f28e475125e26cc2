"""Two backbones against each other: the difference at each size, with its paired interval.

In: a study's results and two of its combinations of backbone and adaptation. Out: a table, one row per size.

Both sides are scored on the same images after learning from the same subsets, so each resample draws the same patients
(or sequences) for both; what varies is the difference of their two means over seeds.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd

from fmlab.errors import BadInput
from fmlab.metrics.accuracy import accuracy_of_counts, balanced_accuracy, macro_f1
from fmlab.metrics.intervals import Interval
from fmlab.metrics.paired import paired_difference
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.scoring import Level, groups_of, scored_runs

Combination = tuple[str, str]  # backbone, adaptation

# What to compare in: over images or sequences, from their confusion counts.
COMPARED: dict[str, tuple[Level, Callable[[np.ndarray], np.ndarray]]] = {
    "image_accuracy": ("image", accuracy_of_counts),
    "sequence_accuracy": ("sequence", accuracy_of_counts),
    "balanced_accuracy": ("image", balanced_accuracy),
    "macro_f1": ("image", macro_f1),
}
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
    if measure not in COMPARED:
        raise BadInput(f"{measure!r} cannot be compared; choose one of {', '.join(COMPARED)}.")
    here = table[table["test_set"] == test_set]
    pairs = _runs_of(here, first).merge(_runs_of(here, second), on=["size", "seed"], suffixes=("_first", "_second"))
    rows = []
    for size, runs in pairs.groupby("size"):
        keys = tuple(runs["run_first"]), tuple(runs["run_second"])
        gain, resampled = _paired(home, store, *keys, test_set, measure)
        facts = {"size": int(str(size)), "difference": gain.value, "low": gain.low, "high": gain.high}
        rows.append(facts | {"tied": gain.low <= 0 <= gain.high, "seeds": len(runs), "resampled": resampled})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _runs_of(table: pd.DataFrame, combination: Combination) -> pd.DataFrame:
    chosen = (table["backbone"] == combination[0]) & (table["adaptation"] == combination[1])
    if not chosen.any():
        raise BadInput(
            f"No run of {combination[0]} with {combination[1]} has finished on this test set. Choose another."
        )
    return table.loc[chosen, ["run", "size", "seed"]]


@lru_cache(maxsize=512)
def _paired(
    home: Home, store: Store, first: tuple[str, ...], second: tuple[str, ...], test_set: str, measure: str
) -> tuple[Interval, str]:
    """The difference at one size, and what was resampled. Runs are named by their content, so it stays true."""
    level, of_counts = COMPARED[measure]
    one, other = scored_runs(home, store, first, test_set), scored_runs(home, store, second, test_set)
    groups, resampled = groups_of(one.test, level)
    (predicted, truth), (predicted_other, _) = one.at(level), other.at(level)
    return paired_difference(predicted, predicted_other, truth, groups, len(one.classes), of_counts), resampled
