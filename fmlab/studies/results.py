"""A study's numbers, computed from its predictions.

In: a study's finished runs. Out: one row per run and test set, and curves and summaries of those rows. Fractions are
0–1. Every accuracy stands beside the majority-class rate of its test set.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from fmlab.adapt.configs import short_name
from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.metrics.accuracy import (
    balanced_accuracy,
    confusion_counts,
    image_accuracy,
    macro_f1,
    majority_rate,
    sequence_vote,
)
from fmlab.metrics.auroc import macro_auroc, ranked_scores
from fmlab.metrics.intervals import mean_interval
from fmlab.predictions import read_predictions
from fmlab.runs.records import Run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.label_versions import ORIGINAL, find_label_version
from fmlab.studies.scoring import TestSet, test_sets

COLUMNS = (
    "run",
    "backbone",
    "adaptation",
    "scheme",
    "size",
    "seed",
    "test_set",
    "n_images",
    "n_sequences",
    "image_accuracy",
    "sequence_accuracy",
    "balanced_accuracy",
    "macro_f1",
    "auroc",
    "macro_classes",  # how many classes the averages are over
    "majority_rate",
    "converged",
    "n_train",  # images learnt from
    "absent_classes",  # of which the subset held none, separated by commas
)
CURVE_KEYS = ["backbone", "adaptation", "scheme", "test_set", "size"]
MEASURES = ("image_accuracy", "sequence_accuracy", "balanced_accuracy", "macro_f1", "auroc")


def results(home: Home, store: Store, study: str, labels: str = ORIGINAL) -> pd.DataFrame:
    """One row per finished run and test set, in the order of the queue; the columns are `COLUMNS`.

    Under the label version `labels` the test sets are called `T1@NAME`.
    """
    record = store.study(study)
    dataset = open_dataset(home, record.config["dataset"])
    version = find_label_version(store, dataset, labels)
    sets = test_sets(dataset.folder, dataset.card.content_hash, record.config.get("folds"), version)
    runs = store.study_runs(study, "done")
    rows: list[dict[str, object]] = []
    for file, members in _by_file(runs).items():
        kinds = tuple((run.key, str(run.config["adaptation"]["kind"])) for run in members)
        scored = _scored_file(home, dataset.card.content_hash, file, kinds, tuple(sets))
        rows += [_facts(run) | numbers for run in members for numbers in scored[run.key]]
    order = {run.key: number for number, run in enumerate(runs)}
    rows.sort(key=lambda row: (order[str(row["run"])], str(row["test_set"])))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _by_file(runs: Sequence[Run]) -> dict[str, list[Run]]:
    files: dict[str, list[Run]] = {}
    for run in runs:
        if run.result is None:
            raise BadInput(f"Run {run.key[:12]} is done but has no predictions. Retry it.")
        files.setdefault(run.result["predictions"], []).append(run)
    return files


def _facts(run: Run) -> dict[str, object]:
    result = run.result or {}
    return {
        "run": run.key,
        "backbone": run.config["backbone"],
        "adaptation": short_name(run.config["adaptation"]),
        **{name: run.config["subset"][name] for name in ("scheme", "size", "seed")},
        "converged": result.get("converged"),
        "n_train": result.get("n_train"),
        "absent_classes": ", ".join(result.get("absent_classes", ())),
    }


@lru_cache(maxsize=4096)
def _scored_file(
    home: Home, content_hash: str, file: str, kinds: tuple[tuple[str, str], ...], sets: tuple[TestSet, ...]
) -> dict[str, list[dict[str, object]]]:
    """Every measure of runs in a predictions file, by run. The file never changes, so neither does this.

    `kinds`: the runs, and of each the kind of its adaptation.
    """
    predictions = read_predictions(home.predictions / file)
    rows: dict[str, list[dict[str, object]]] = {run: [] for run, _ in kinds}
    members = [predictions.runs.index(run) for run, _ in kinds]
    for test in sets:
        scores = predictions.scores[members][:, test.places(predictions.image_ids)]
        for (run, _), numbers in zip(kinds, _measures(scores, test, [kind for _, kind in kinds]), strict=True):
            rows[run].append(numbers)
    return rows


def _measures(scores: np.ndarray, test: TestSet, kinds: Sequence[str]) -> list[dict[str, object]]:
    """The measures of R runs on one test set, scores (R, m, K) of adaptations of these kinds."""
    predicted = scores.argmax(axis=2)
    confusion = confusion_counts(predicted, test.truth, scores.shape[2])
    voted = sequence_vote(scores, test.sequences, len(test.sequence_truth))
    columns = {
        "image_accuracy": image_accuracy(predicted, test.truth),
        "sequence_accuracy": image_accuracy(voted, test.sequence_truth),
        "balanced_accuracy": balanced_accuracy(confusion),
        "macro_f1": macro_f1(confusion),
        "auroc": np.concatenate(
            [macro_auroc(ranked_scores(run, kind)[None], test.truth) for run, kind in zip(scores, kinds, strict=True)]
        ),
    }
    shared = {
        "test_set": test.name,
        "n_images": len(test.truth),
        "n_sequences": len(test.sequence_truth),
        "macro_classes": len(np.unique(test.truth)),
        "majority_rate": majority_rate(test.truth),
    }
    return [shared | {name: float(values[run]) for name, values in columns.items()} for run in range(len(scores))]


def curve(table: pd.DataFrame, measure: str = "image_accuracy") -> pd.DataFrame:
    """A measure against size: per backbone, adaptation, scheme, test set and size the mean over seeds and its 95 % interval.

    Columns: those of `CURVE_KEYS`, then mean, low, high (t interval, within 0–1, where every measure lies; equal to the
    mean with one seed) and seeds.
    """
    if measure not in MEASURES:
        raise BadInput(f"{measure!r} is not measured; choose one of {', '.join(MEASURES)}.")
    rows = []
    for keys, group in table.groupby(CURVE_KEYS, sort=True):
        mean, low, high = mean_interval(group[measure].to_numpy())
        low, high = np.clip((low, high), 0.0, 1.0).tolist()
        within = {"mean": mean, "low": low, "high": high, "seeds": len(group)}
        rows.append(dict(zip(CURVE_KEYS, keys, strict=True)) | within)
    return pd.DataFrame(rows, columns=[*CURVE_KEYS, "mean", "low", "high", "seeds"])


def absent_sentence(table: pd.DataFrame) -> str | None:
    """How many runs could not learn some class, because their subset held none of it; None when all could."""
    runs = table.drop_duplicates("run")
    lacking = runs[runs["absent_classes"] != ""]
    if lacking.empty:
        return None
    names = sorted({name for text in lacking["absent_classes"] for name in text.split(", ")})
    return (
        f"{len(lacking):,} of {len(runs):,} runs drew a subset without {', '.join(names)}, which they cannot predict then; "
        f"the largest of them has {int(lacking['n_train'].max()):,} images."
    )


def majority_rates(table: pd.DataFrame) -> dict[str, float]:
    """The majority-class rate of each test set in a results table."""
    return dict(table.drop_duplicates("test_set").set_index("test_set")["majority_rate"])
