"""Results as tables and sentences: what stands beside the curve. No widgets here.

In: the results table of a study (one row per run and test set, fractions 0–1). Out: data frames of text, sentences, commands.
"""

import shlex
from collections.abc import Mapping

import numpy as np
import pandas as pd

from fmlab.data.manifest import Dataset
from fmlab.metrics.accuracy import majority_rate
from fmlab.plots.wording import adaptation_name, measure_name, percent, percent_interval, signed_points, test_set_name
from fmlab.runs.records import StudyRecord
from fmlab.studies.label_versions import LabelVersion, parted
from fmlab.studies.paper import PRINTED_TABLE_3, printed_adaptation
from fmlab.studies.scoring import test_sets

LEVELS = ("image_accuracy", "sequence_accuracy")
AVERAGED = ("balanced_accuracy", "macro_f1", "auroc")
MAJORITY_ROW = "majority class"


def sequence_majority(
    dataset: Dataset, folds: int | None = None, labels: LabelVersion | None = None
) -> dict[str, float]:
    """For each test set (of a cross-validated study: of its folds together) the share of its scored sequences that carry
    the most frequent label, under a label version."""
    sets = test_sets(dataset.folder, dataset.card.content_hash, folds, labels)
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
        "auroc": 0.5 + 0 * shares,  # equal scores rank as chance does
    }[measure]
    return {str(name): float(rate) for name, rate in rates.items() if name in first.index}


def side_by_side(reached: pd.DataFrame, table: pd.DataFrame, of_sequences: Mapping[str, float]) -> pd.DataFrame:
    """Test sets × image and sequence accuracy, with intervals, best on the first test set first.

    `reached` is a table of `fmlab.studies.maximum`, `table` the study's results. The last row is what always answering
    the most frequent class reaches.
    """
    columns: dict[str, pd.Series] = {}
    for test_set, points in reached.groupby("test_set", sort=True):
        points = points.set_index(["backbone", "adaptation"])
        for measure in LEVELS:
            ends = zip(points[measure], points[f"{measure}_low"], points[f"{measure}_high"], strict=True)
            texts = [percent_interval(*end) for end in ends]
            columns[level_title(str(test_set), measure)] = pd.Series(texts, index=points.index, dtype=object)
    first = reached[reached["test_set"] == reached["test_set"].min()].sort_values(
        LEVELS[0], ascending=False, kind="stable"
    )
    rows = pd.DataFrame(columns).reindex(pd.MultiIndex.from_frame(first[["backbone", "adaptation"]])).reset_index()
    rows["adaptation"] = rows["adaptation"].map(adaptation_name)
    majority = {"backbone": MAJORITY_ROW, "adaptation": ""}
    for measure in LEVELS:
        for test_set, rate in majority_rates(table, measure, of_sequences).items():
            majority[level_title(test_set, measure)] = percent(rate)
    rows = pd.concat([rows, pd.DataFrame([majority])], ignore_index=True)
    return rows.rename(columns={"backbone": "Backbone", "adaptation": "Adaptation"}).fillna("–")


def level_title(test_set: str, measure: str) -> str:
    """The title of a column: `T1 image accuracy`, whatever the labels are."""
    return f"{test_set_name(parted(test_set)[0])} {measure_name(measure)}"


def printed_rows() -> pd.DataFrame:
    """Table 3 of the limited-data study as further rows of `side_by_side`, marked as printed."""
    return pd.DataFrame(
        [
            {"Backbone": backbone, "Adaptation": f"{adaptation_name(printed_adaptation(backbone))}, as printed"}
            | {level_title(*column): percent(value) for column, value in values.items()}
            for backbone, values in PRINTED_TABLE_3.items()
        ]
    )


def change_table(changes: pd.DataFrame, measure: str, names: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """What each backbone and adaptation loses from one test set to the next, in points, the smallest loss first."""
    rows = changes[changes["measure"] == measure].sort_values("change", ascending=False, kind="stable")
    ways = [
        f"{test_set_name(one)} → {test_set_name(other)}"
        for one, other in zip(rows["from_set"], rows["to_set"], strict=True)
    ]
    shown = pd.DataFrame(
        {"": [names[pair] for pair in zip(rows["backbone"], rows["adaptation"], strict=True)], "From, to": ways}
    )
    shown["Change"] = [
        f"{signed_points(row.change)} ({signed_points(row.low)} to {signed_points(row.high)})"
        for row in rows.itertuples()
    ]
    return (
        shown
        if len(set(ways)) > 1
        else shown.drop(columns=["From, to"]).rename(columns={"Change": f"Change {ways[0]}"})
    )


def support_sentences(
    table: pd.DataFrame, dataset: Dataset, folds: int | None = None, labels: LabelVersion | None = None
) -> list[str]:
    """For each test set that lacks a class: over how many the class averages go, and which are absent."""
    sentences = []
    classes = dataset.card.classes
    for test_set, rows in table.groupby("test_set"):
        counted = int(rows["macro_classes"].iloc[0])
        if counted < len(classes):
            present = present_classes(dataset, str(test_set), folds, labels)
            absent = [name for name in classes if name not in present]
            named = f" (no images of {', '.join(absent)})" if absent else ""
            sentences.append(
                f"On {test_set_name(str(test_set))}, balanced accuracy, macro-F1 and AUROC average over the {counted} "
                f"of {len(classes)} classes that it has{named}."
            )
    return sentences


def present_classes(dataset: Dataset, test_set: str, folds: int | None, labels: LabelVersion | None) -> set[str]:
    """The classes of which a test set scores an image, under a label version."""
    sets = test_sets(dataset.folder, dataset.card.content_hash, folds, labels)
    return {str(label) for test in sets if test.name == test_set for label in test.rows["label"].unique()}


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


def run_intervals(intervals: pd.DataFrame) -> pd.DataFrame:
    """The resampled intervals of one run as text, one row per measure."""
    texts = [percent_interval(row.value, row.low, row.high) for row in intervals.itertuples()]
    groups = [f"{row.n_groups:,} {row.resampled}" for row in intervals.itertuples()]
    return pd.DataFrame(
        {"Measure": [measure_name(name) for name in intervals["measure"]], "95 % interval": texts, "Resampled": groups}
    )


def commands(record: StudyRecord, labels: LabelVersion | None = None) -> str:
    """The commands that print the numbers of a study, write all its tables, and plan it again from its file."""
    name = shlex.quote(record.name)
    again = f"fmlab study run {shlex.quote(record.name + '.yaml')} --plan"
    under_labels = "" if labels is None else f" --labels {shlex.quote(labels.name)}"
    return f"fmlab results {name}{under_labels} --format csv\nfmlab results {name} --export FOLDER\n{again}"


def seeds_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs behind one point, one row per seed, as a person reads them."""
    shown = pd.DataFrame({"Seed": rows["seed"], "Images learnt from": rows["n_train"]})
    for measure in (*LEVELS, *AVERAGED):
        name = measure_name(measure)
        shown[name[0].upper() + name[1:]] = rows[measure].astype(float).map(percent)
    shown["Converged"] = np.where(rows["converged"].astype(bool), "yes", "no")
    shown["Run"] = rows["run"].str.slice(0, 8)
    return shown
