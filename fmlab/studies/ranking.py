"""Which is better? Every pair of backbone and adaptation at one size, tested on the same patients.

In: a study's results, a test set, a size. Out: a table with one row per pair, and the group that is not worse than the best.

"Better" stands only where the 95 % interval of the difference excludes zero and its p-value, corrected for all the pairs
compared (Holm), is below 0.05; everything else is tied. Both come from resampling patients (or sequences) for both
sides at once. It speaks of these training subsets: only seeds that both sides have finished count.
"""

import itertools
from functools import lru_cache

import numpy as np
import pandas as pd

from fmlab.metrics.intervals import LEVEL
from fmlab.metrics.paired import bootstrap_p_value, holm, mcnemar_of_groups
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.resampling import Combination, checked_measure, percentile_interval, resampled_runs

SMALLEST_RESAMPLES = 10_000
RESAMPLES_PER_PAIR = 100  # so that the smallest possible p-value survives the correction
COLUMNS = (
    "first_backbone",
    "first_adaptation",
    "second_backbone",
    "second_adaptation",
    "difference",
    "low",
    "high",
    "mcnemar_p",
    "mcnemar_holm_p",
    "p",
    "holm_p",
    "verdict",
    "seeds",
    "n_groups",
    "resampled",
)


def ranking(
    home: Home, store: Store, table: pd.DataFrame, test_set: str, size: int, measure: str = "image_accuracy"
) -> pd.DataFrame:
    """Every pair at a size, the better mean first: `COLUMNS`; differences are first minus second, fractions.

    `verdict` is the first's: better, worse or tied. `mcnemar_p` is exact; its units are patients (or sequences), each for
    the side that gets more of it right over all images and seeds, so it stands beside the verdict as a second opinion on
    accuracy. Pairs that share no finished seed are left out.
    """
    checked_measure(measure)
    here = table[(table["test_set"] == test_set) & (table["size"] == size)]
    runs = {
        (str(keys[0]), str(keys[1])): rows.set_index("seed")["run"].sort_index()
        for keys, rows in here.groupby(["backbone", "adaptation"])
    }
    pairs = list(itertools.combinations(by_mean(here, measure), 2))
    resamples = max(SMALLEST_RESAMPLES, RESAMPLES_PER_PAIR * len(pairs))
    rows = []
    for first, second in pairs:
        seeds = runs[first].index.intersection(runs[second].index)
        if len(seeds):
            sides = (tuple(runs[each].loc[seeds]) for each in (first, second))
            facts = _compared(home, store, *sides, test_set, measure, resamples)
            names = dict(zip(COLUMNS[:4], (*first, *second), strict=True))
            rows.append(names | dict(facts) | {"seeds": len(seeds)})
    for name in ("p", "mcnemar_p") if rows else ():
        corrected = holm(np.array([row[name] for row in rows]))
        for row, value in zip(rows, corrected, strict=True):
            row["holm_p" if name == "p" else "mcnemar_holm_p"] = float(value)
    return pd.DataFrame([row | {"verdict": _verdict(row)} for row in rows], columns=list(COLUMNS))


def by_mean(here: pd.DataFrame, measure: str) -> list[Combination]:
    """The combinations of a results table by their mean over its rows, the largest first; equal ones by name."""
    means = here.groupby(["backbone", "adaptation"])[measure].mean()
    return [(str(name[0]), str(name[1])) for name in means.sort_values(ascending=False, kind="stable").index]


@lru_cache(maxsize=2048)
def _compared(
    home: Home,
    store: Store,
    first: tuple[str, ...],
    second: tuple[str, ...],
    test_set: str,
    measure: str,
    resamples: int,
) -> tuple[tuple[str, object], ...]:
    """The numbers of one pair, before any correction."""
    one, other = (resampled_runs(home, store, runs, test_set, measure, resamples) for runs in (first, second))
    drawn = one.drawn.mean(axis=1) - other.drawn.mean(axis=1)
    gap = percentile_interval(float(one.values.mean() - other.values.mean()), drawn)
    differing = (one.confusions != other.confusions).any(axis=(-2, -1)).sum()
    facts = {
        "difference": gap.value,
        "low": gap.low,
        "high": gap.high,
        "mcnemar_p": mcnemar_of_groups(one.right.mean(axis=1), other.right.mean(axis=1)),
        "p": bootstrap_p_value(drawn, int(differing)),
        "n_groups": len(one.right),
        "resampled": one.groups,
    }
    return tuple(facts.items())


def _verdict(row: dict[str, object]) -> str:
    low, high, p_value = (float(str(row[name])) for name in ("low", "high", "holm_p"))
    if p_value >= 1 - LEVEL or low <= 0 <= high:
        return "tied"
    return "better" if low > 0 else "worse"
