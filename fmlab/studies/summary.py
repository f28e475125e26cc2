"""A study's numbers in one table: per size, class, site or sequence, with the most labels, and compared.

In: a study's finished runs. Out: a table for a person, a CSV or a page. Fractions 0–1.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pandas as pd

from fmlab.errors import BadInput
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.calibration import calibration_of
from fmlab.studies.efficiency import cost
from fmlab.studies.label_versions import ORIGINAL
from fmlab.studies.maximum import generalisation, maximum
from fmlab.studies.points import points
from fmlab.studies.ranking import ranking
from fmlab.studies.resampling import Combination, combinations_of
from fmlab.studies.results import CURVE_KEYS, MEASURES, majority_rates, results
from fmlab.studies.savings import crossings, label_savings
from fmlab.studies.scoring import item_table, per_class, per_site
from fmlab.studies.targets import labels_for_target

TARGETS = (0.8, 0.9, 0.95, 0.98)  # image accuracies whose labels are asked for
COMPARISONS: dict[str, Callable[..., pd.DataFrame]] = {"savings": label_savings, "crossings": crossings}
PER_RUN = ("class", "site", "sequence")
SUMMARIES = (
    "size",
    *PER_RUN,
    "maximum",
    "generalisation",
    "ranking",
    "savings",
    "crossings",
    "calibration",
    "targets",
    "cost",
)


def summary(
    home: Home,
    store: Store,
    study: str,
    by: str = "size",
    measure: str = "image_accuracy",
    labels: str = ORIGINAL,
) -> pd.DataFrame:
    """A table of a study: one of `SUMMARIES`. `measure` is what ranking, savings, crossings and targets are about.

    Under the label version `labels` the test sets are called `T1@NAME`.

    Raises:
        BadInput: an unknown summary, or one that the finished runs cannot give; the sentence says why.
    """
    if by not in SUMMARIES:
        raise BadInput(f"Results cannot be summed up by {by!r}; choose one of {', '.join(SUMMARIES)}.")
    table = results(home, store, study, labels)
    if by == "size":
        return _per_size(home, store, table)
    if table.empty:
        return pd.DataFrame(columns=CURVE_KEYS)
    whole = {"maximum": maximum, "generalisation": generalisation, "cost": cost}
    if by in whole:
        return whole[by](home, store, table)
    if by == "ranking":
        return _per_test_set_and_size(home, store, table, measure)
    if by in COMPARISONS:
        return _per_pair(home, store, table, by, measure)
    if by == "calibration":
        return _calibrations(home, store, table)
    if by == "targets":
        return _targets(home, store, table, measure)
    return _per_part(home, store, table, by)


def _per_size(home: Home, store: Store, table: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % interval of every measure (over seeds, or over patients of a single run), the majority rate, and how
    many runs did not converge."""
    if table.empty:
        return pd.DataFrame(columns=CURVE_KEYS)
    first = points(home, store, table, MEASURES[0])
    columns: dict[str, Any] = {name: first[name] for name in (*CURVE_KEYS, "seeds", "interval")}
    for measure in MEASURES:
        part = points(home, store, table, measure)
        columns |= {measure: part["mean"], f"{measure}_low": part["low"], f"{measure}_high": part["high"]}
    columns["majority_rate"] = first["test_set"].map(majority_rates(table))
    stopped = (~table["converged"].astype(bool)).groupby([table[name] for name in CURVE_KEYS], sort=True).sum()
    columns["unconverged"] = stopped.to_numpy()
    return pd.DataFrame(columns)


# ------------------------------------------------------------------------------------------- per class, site or sequence


def _per_part(home: Home, store: Store, table: pd.DataFrame, by: str) -> pd.DataFrame:
    rows: list[pd.DataFrame] = []
    for keys, group in table.groupby(CURVE_KEYS, sort=True):
        runs, test_set = group["run"].tolist(), str(group["test_set"].iloc[0])
        part = _part(home, store, runs, test_set, by)
        for name, value in reversed(list(zip(CURVE_KEYS, keys, strict=True))):
            part.insert(0, name, value)
        rows.append(part)
    return pd.concat(rows, ignore_index=True)


def _part(home: Home, store: Store, runs: list[str], test_set: str, by: str) -> pd.DataFrame:
    if by == "class":
        return per_class(home, store, runs, test_set)
    if by == "site":
        return per_site(home, store, runs, test_set)
    items = pd.concat([item_table(home, store, run, test_set) for run in runs])
    grouped = items.groupby(["sequence_id", "label"], sort=True)["correct"]
    return grouped.agg(n="size", image_accuracy="mean").reset_index()


# ------------------------------------------------------------------------------------------------------------- compared


def _per_test_set_and_size(home: Home, store: Store, table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The ranking at every size of every test set; Holm's correction is over the pairs of one size and test set."""
    parts = []
    for (test_set, size), _ in table.groupby(["test_set", "size"], sort=True):
        part = ranking(home, store, table, str(test_set), int(str(size)), measure)
        if len(part):
            parts.append(_labelled(part, {"test_set": test_set, "size": size, "measure": measure}))
    return _joined(parts, "There is one backbone and adaptation only; a ranking needs two.")


def _per_pair(home: Home, store: Store, table: pd.DataFrame, by: str, measure: str) -> pd.DataFrame:
    """Savings of every ordered pair, crossings of every pair, on every test set; pairs that allow none are left out."""
    parts, reasons = [], ["There is one backbone and adaptation only; this needs two."]
    pairs_of = itertools.permutations if by == "savings" else itertools.combinations
    for test_set, here in table.groupby("test_set", sort=True):
        for first, second in pairs_of(combinations_of(here), 2):
            try:
                part = COMPARISONS[by](home, store, table, first, second, str(test_set), measure)
            except BadInput as refusal:  # too few sizes in common
                reasons.insert(0, str(refusal))
                continue
            names = {"test_set": test_set, "measure": measure, **_names("first", first), **_names("second", second)}
            parts.append(_labelled(part, names))
    return _joined(parts, reasons[0])


def _names(side: str, combination: Combination) -> dict[str, Any]:
    return {f"{side}_backbone": combination[0], f"{side}_adaptation": combination[1]}


def _calibrations(home: Home, store: Store, table: pd.DataFrame) -> pd.DataFrame:
    """Per combination, size and test set; where the scores are no probabilities, the reason in `refusal`."""
    rows, reason = [], ""
    for keys, group in table.groupby(CURVE_KEYS, sort=True):
        row = dict(zip(CURVE_KEYS, keys, strict=True)) | {"seeds": len(group)}
        try:
            found = calibration_of(home, store, list(group["run"]), str(row["test_set"]))
        except BadInput as refusal:
            reason = str(refusal)
            rows.append(row | {"refusal": reason})
            continue
        low, high = found.interval[1:]
        row |= {"calibration_error": found.ece, "low": low, "high": high, "brier": found.brier}
        rows.append(row | {"accuracy": found.accuracy, "confidence": found.confidence, "refusal": None})
    if all(row["refusal"] for row in rows):
        raise BadInput(reason)
    numbers = ("calibration_error", "low", "high", "brier", "accuracy", "confidence")
    return pd.DataFrame(rows, columns=[*CURVE_KEYS, "seeds", *numbers, "refusal"])


def _targets(home: Home, store: Store, table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The labels needed for `TARGETS` by every combination on every test set; where there is no answer, why."""
    rows, fitted = [], False
    for test_set, here in table.groupby("test_set", sort=True):
        for combination, target in itertools.product(combinations_of(here), TARGETS):
            found = labels_for_target(home, store, table, combination, str(test_set), target, measure)
            row = {"backbone": combination[0], "adaptation": combination[1], "test_set": test_set, "measure": measure}
            row |= {"target": target, "size": found.size, "low": found.low, "high": found.high}
            rows.append(row | {"refusal": found.refusal})
            fitted = fitted or found.fit is not None
    if not fitted:
        raise BadInput(str(rows[0]["refusal"]))
    return pd.DataFrame(rows).astype({"size": float, "low": float, "high": float})


def _labelled(part: pd.DataFrame, names: dict[str, Any]) -> pd.DataFrame:
    """The table with columns of one value each before its own."""
    return pd.concat([pd.DataFrame(names, index=part.index), part], axis=1)


def _joined(parts: list[pd.DataFrame], otherwise: str) -> pd.DataFrame:
    """All the tables under one another; none raises `BadInput` with the reason."""
    if not parts:
        raise BadInput(otherwise)
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else parts[0]
