"""A study's numbers, computed from its predictions.

In: a study's finished runs. Out: tables: one row per run and test set; a curve per backbone; summaries per size, class
and site. Fractions are 0–1. Every accuracy stands beside the majority-class rate of its test set.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from fmlab.data.manifest import TRAIN, VALIDATION, Dataset, open_dataset
from fmlab.errors import BadInput, NotFound
from fmlab.metrics.accuracy import balanced_accuracy, image_accuracy, macro_f1, sequence_vote
from fmlab.metrics.intervals import mean_interval
from fmlab.predictions import Predictions, read_predictions
from fmlab.runs.records import Run
from fmlab.runs.store import Store
from fmlab.settings import Home

MEASURES = ("image_accuracy", "sequence_accuracy", "balanced_accuracy", "macro_f1")
GROUPED = ["backbone", "adaptation", "scheme", "test_set", "size"]


@dataclass(frozen=True)
class TestSet:
    """The scored, labelled images of one test set, in the order of the predictions."""

    name: str
    rows: pd.DataFrame  # image_id, label, sequence_id, patient_id, site, frame
    places: np.ndarray  # (m,) int64, where they stand among the predicted images
    truth: np.ndarray  # (m,) int64
    sequences: np.ndarray  # (m,) int64
    sequence_truth: np.ndarray  # (s,) int64, the most frequent label, the lower index in a tie


def results(home: Home, store: Store, study: str) -> pd.DataFrame:
    """One row per finished run and test set; the columns are listed in the README's section on results."""
    record = store.study(study)
    dataset = open_dataset(home, record.config["dataset"])
    runs = store.study_runs(study, "done")
    rows: list[dict[str, object]] = []
    for file, group in _by_file(runs).items():
        rows += _file_rows(home, dataset, file, group)
    order = {run.key: number for number, run in enumerate(runs)}
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["run", "test_set"], key=lambda c: c.map(order) if c.name == "run" else c, ignore_index=True)
