"""Results as tables and sentences: what stands beside the curve. No widgets here.

In: the results table of a study (one row per run and test set, fractions 0–1). Out: data frames of text, sentences, commands.
"""

import shlex
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fmlab.data.manifest import Dataset
from fmlab.metrics.accuracy import majority_rate
from fmlab.plots.wording import adaptation_name, in_usual_order, measure_name, percent, percent_interval
from fmlab.runs.records import StudyRecord
from fmlab.studies.results import curve
from fmlab.studies.scoring import test_sets

LEVELS = ("image_accuracy", "sequence_accuracy")
AVERAGED = ("balanced_accuracy", "macro_f1")
MAJORITY_ROW = "always the most frequent class"


def sequence_majority(dataset: Dataset) -> dict[str, float]:
    """For each test set the share of its scored sequences that carry the most frequent label."""
    sets = test_sets(dataset.folder, dataset.card.content_hash)
    return {test.name: majority_rate(test.sequence_truth) for test in sets}


def majority_rates(table: pd.DataFrame, measure: str, of_sequences: Mapping[str, float]) -> dict[str, float]:
    """What always answering the most frequent class reaches in a measure, for each test set (fraction)."""
    first = table.drop_duplicates("test_set").set_index("test_set")
    shares, classes = first["majority_rate"].astype(float), first["macro_classes"].astype(float)
    rates = {
        "image_accuracy": shares,
        "sequence_accuracy": pd.Series(dict(of_sequences), dtype=float),
        "balanced_accuracy": 1 / classes,
        # That class has recall 1 and the share as its precision; every other class has an F1 of 0.
        "macro_f1": 2 * shares / (1 + shares) / classes,
    }[measure]
    return {str(name): float(rate) for name, rate in rates.items() if name in first.index}


def side_by_side(table: pd.DataFrame, size: int, of_sequences: Mapping[str, float]) -> pd.DataFrame:
    """Test sets × image and sequence accuracy at one size: mean over seeds with its 95 % interval, best T1 first.

    The last row is what always answering the most frequent class reaches.
    """
    at_size = table[table["size"] == size]
    curves = {measure: curve(at_size, measure) for measure in LEVELS}
    columns: dict[str, pd.Series] = {}
    order: pd.Series | None = None
    for test_set in sorted(table["test_set"].unique()):
        for measure, everywhere in curves.items():
            points = everywhere[everywhere["test_set"] == test_set].set_index(["backbone", "adaptation"])
            order = points["mean"] if order is None else order
            texts = [percent_interval(row.mean_, row.low, row.high) for row in _renamed(points).itertuples()]
            columns[f"{test_set} {measure_name(measure)}"] = pd.Series(texts, index=points.index, dtype=object)
    rows = pd.DataFrame(columns)
    if order is not None:
        rows = rows.reindex(order.sort_values(ascending=False, kind="stable").index)
    rows = rows.reset_index()
    rows["adaptation"] = rows["adaptation"].map(adaptation_name)
    majority = {"backbone": MAJORITY_ROW, "adaptation": ""}
    for measure in LEVELS:
        for test_set, rate in majority_rates(table, measure, of_sequences).items():
            majority[f"{test_set} {measure_name(measure)}"] = percent(rate)
    rows = pd.concat([rows, pd.DataFrame([majority])], ignore_index=True)
    return rows.rename(columns={"backbone": "Backbone", "adaptation": "Adaptation"}).fillna("–")


def _renamed(points: pd.DataFrame) -> pd.DataFrame:
    return points.rename(columns={"mean": "mean_"})


def support_sentences(table: pd.DataFrame, dataset: Dataset) -> list[str]:
    """For each test set that lacks a class: over how many the class averages go, and which are absent."""
    sentences = []
    classes = dataset.card.classes
    for test_set, rows in table.groupby("test_set"):
        counted = int(rows["macro_classes"].iloc[0])
        if counted < len(classes):
            present = dataset.card.split_classes.get(str(test_set), {})
            absent = [name for name in classes if not present.get(name)]
            named = f" (no images of {', '.join(absent)})" if absent else ""
            sentences.append(
                f"On {test_set}, balanced accuracy and macro-F1 average over the {counted} of {len(classes)} classes "
                f"that it has{named}."
            )
    return sentences


def unconverged_sentence(table: pd.DataFrame) -> str | None:
    """How many runs ended before they were solved to the demanded accuracy; None when all were."""
    runs = table.drop_duplicates("run")
    unsolved = runs[~runs["converged"].astype(bool)]
    if unsolved.empty:
        return None
    where = ", ".join(f"{backbone} ({count})" for backbone, count in unsolved["backbone"].value_counts().items())
    return (
        f"{len(unsolved):,} of {len(runs):,} runs did not converge to the demanded accuracy: {where}. "
        "Their numbers are in the figure; the Runs page names each."
    )


def interval_sentence(table: pd.DataFrame) -> str:
    """What the bands and brackets mean."""
    seeds = int(table.groupby(["backbone", "adaptation", "size"])["seed"].nunique().max())
    if seeds < 2:
        return "One subset per size: no interval over subsets can be given."
    return f"Bands and brackets: 95 % interval (Student's t) of the mean over up to {seeds} random subsets of the training set."


def run_intervals(intervals: pd.DataFrame) -> pd.DataFrame:
    """The resampled intervals of one run as text, one row per measure."""
    texts = [percent_interval(row.value, row.low, row.high) for row in intervals.itertuples()]
    groups = [f"{row.n_groups:,} {row.resampled}" for row in intervals.itertuples()]
    return pd.DataFrame(
        {"Measure": [measure_name(name) for name in intervals["measure"]], "95 % interval": texts, "Resampled": groups}
    )


def commands(record: StudyRecord) -> str:
    """The commands that print the numbers of a study, and that run it again from its file."""
    name = shlex.quote(record.name)
    return f"fmlab results {name} --format csv\nfmlab study run {shlex.quote(record.name + '.yaml')} --plan"


def seeds_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs behind one point, one row per seed, as a person reads them."""
    shown = pd.DataFrame({"Seed": rows["seed"], "Images learnt from": rows["n_train"]})
    for measure in (*LEVELS, *AVERAGED):
        name = measure_name(measure)
        shown[name[0].upper() + name[1:]] = rows[measure].astype(float).map(percent)
    shown["Converged"] = np.where(rows["converged"].astype(bool), "yes", "no")
    shown["Run"] = rows["run"].str.slice(0, 8)
    return shown


def combination_names(table: pd.DataFrame, backbones: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Every backbone and adaptation that has results, by a name: the backbone alone while there is one adaptation."""
    several = table["adaptation"].nunique() > 1
    pairs = table[["backbone", "adaptation"]].drop_duplicates()
    usual = in_usual_order(table["adaptation"])
    pairs = sorted(pairs.itertuples(index=False), key=lambda pair: (backbones.index(pair[0]), usual.index(pair[1])))
    return {f"{b} · {adaptation_name(a)}" if several else str(b): (str(b), str(a)) for b, a in pairs}
