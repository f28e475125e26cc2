"""A study's numbers in one table: per size, class, site or sequence.

In: a study's finished runs. Out: a table for a person, a CSV or a page. Fractions 0–1.
"""

from typing import Any

import pandas as pd

from fmlab.errors import BadInput
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.results import CURVE_KEYS, MEASURES, curve, majority_rates, results
from fmlab.studies.scoring import item_table, per_class, per_site

SUMMARIES = ("size", "class", "site", "sequence")


def summary(home: Home, store: Store, study: str, by: str = "size") -> pd.DataFrame:
    """The table of a study: means over seeds per size, or per class, site or sequence at every size."""
    if by not in SUMMARIES:
        raise BadInput(f"Results cannot be summed up by {by!r}; choose one of {', '.join(SUMMARIES)}.")
    table = results(home, store, study)
    if by == "size":
        return _per_size(table)
    rows: list[pd.DataFrame] = []
    for keys, group in table.groupby(CURVE_KEYS, sort=True):
        runs, test_set = group["run"].tolist(), str(group["test_set"].iloc[0])
        part = _part(home, store, runs, test_set, by)
        for name, value in reversed(list(zip(CURVE_KEYS, keys, strict=True))):
            part.insert(0, name, value)
        rows.append(part)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=CURVE_KEYS)


def _per_size(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % interval over seeds of every measure, with the majority rate and the runs that did not converge."""
    if table.empty:
        return pd.DataFrame(columns=CURVE_KEYS)
    first = curve(table, MEASURES[0])
    columns: dict[str, Any] = {name: first[name] for name in (*CURVE_KEYS, "seeds")}
    for measure in MEASURES:
        part = curve(table, measure)
        columns |= {measure: part["mean"], f"{measure}_low": part["low"], f"{measure}_high": part["high"]}
    columns["majority_rate"] = first["test_set"].map(majority_rates(table))
    stopped = (~table["converged"].astype(bool)).groupby([table[name] for name in CURVE_KEYS], sort=True).sum()
    columns["unconverged"] = stopped.to_numpy()
    return pd.DataFrame(columns)


def _part(home: Home, store: Store, runs: list[str], test_set: str, by: str) -> pd.DataFrame:
    if by == "class":
        return per_class(home, store, runs, test_set)
    if by == "site":
        return per_site(home, store, runs, test_set)
    items = pd.concat([item_table(home, store, run, test_set) for run in runs])
    grouped = items.groupby(["sequence_id", "label"], sort=True)["correct"]
    return grouped.agg(n="size", image_accuracy="mean").reset_index()
