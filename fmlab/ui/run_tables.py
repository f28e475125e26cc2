"""Runs as tables: the list of them, and the settings of chosen ones side by side.

In: the store's table of runs; run records. Out: data frames made for a page; no widgets here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fmlab.plots.wording import adaptation_name
from fmlab.runs.records import CELL_KINDS, Run, RunState
from fmlab.ui.format import NO_VALUE

LOG_BYTES = 64 << 10  # the end of a log that is shown
KEY_SHOWN = 8  # characters of a run's key

KINDS = {
    "adapt": "Probe",
    "train": "Training",
    "pretrain": "Pretraining",
    "audit": "Audit",
    "project": "Map",
    "suspects": "Label check",
    "explain": "Explanation",
    "latency": "Latency",
    "import": "Import",
    "phantom": "Phantom",
    "download": "Download",
    "add": "Backbone added",
    "verify": "Check",
}


def filtered(runs: pd.DataFrame, states: Sequence[RunState], kind: str | None) -> pd.DataFrame:
    """The runs in any of the states (all states when none is given) and of one kind (all when None)."""
    if states:
        runs = runs[runs["state"].isin(list(states))]
    return runs if kind is None else runs[runs["kind"] == kind]


def in_frozen_order(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows of `keys`, in that order, as they are now; a run that is gone is left out."""
    positions = pd.Index(runs["key"]).get_indexer(list(keys))
    return runs.iloc[positions[positions >= 0]]


def shown_runs(runs: pd.DataFrame, words: Mapping[RunState, str]) -> pd.DataFrame:
    """The table as a person reads it, row for row the one given."""
    cells = runs["kind"].isin(CELL_KINDS)
    return pd.DataFrame(
        {
            "State": runs["state"].map(dict(words)),
            "What": runs["kind"].map(KINDS).fillna(runs["kind"]),
            "Dataset": runs["dataset"],
            "Backbone": runs["backbone"],
            "Adaptation": runs["adaptation"].where(cells).map(adaptation_name, na_action="ignore"),
            "Scheme": runs["scheme"],
            "Size": runs["size"],
            "Seed": runs["seed"],
            "Seconds": runs["seconds"],
            "Finished": pd.to_datetime(runs["finished"], utc=True, format="ISO8601"),
            "Reason": runs["reason"],
            "Run": runs["key"].str.slice(0, KEY_SHOWN),
        }
    ).reset_index(drop=True)


def settings_table(runs: Sequence[Run], differences_only: bool) -> pd.DataFrame:
    """One row per setting, one column per run; with `differences_only`, settings on which all agree are left out."""
    columns = {run.key[:KEY_SHOWN]: _flat(_facts(run)) for run in runs}
    table = pd.DataFrame(columns).rename_axis("Setting")
    table = table.map(_shown)
    if differences_only and len(runs) > 1:
        table = table[table.nunique(axis=1) > 1]
    return table.reset_index()


def _shown(value: Any) -> str:
    if value is None or value != value:
        return NO_VALUE
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _facts(run: Run) -> dict[str, Any]:
    outcome = {"state": run.state, "device": run.device, "seconds": run.seconds, "reason": run.reason}
    return run.config | outcome | {"result": run.result or {}}


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def log_end(path: Path) -> str:
    """The end of a log, whole lines only; empty when nothing has been logged."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            start = max(0, file.tell() - LOG_BYTES)
            file.seek(start)
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return text.split("\n", 1)[-1] if start else text
