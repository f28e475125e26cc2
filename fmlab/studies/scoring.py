"""Truth joined to predictions: test sets, single images and sequences, classes and sites.

In: a dataset and the predictions of runs. Out: tables with one row per image, sequence, class or site. Fractions 0–1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from fmlab.data.manifest import Dataset, open_dataset, read_card
from fmlab.data.roles import CROSS_VALIDATED, roles
from fmlab.errors import BadInput, NotFound
from fmlab.metrics.accuracy import confusion_counts, f1, precision, recall, sequence_vote
from fmlab.metrics.auroc import ranked_scores
from fmlab.metrics.intervals import cluster_bootstrap
from fmlab.predictions import Predictions, read_predictions
from fmlab.runs.records import Run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.label_versions import LabelVersion, find_label_version, parted, under

Level = Literal["image", "sequence"]


@dataclass(frozen=True, eq=False)
class TestSet:
    """The scored, labelled images of one test set."""

    __test__ = False  # not a test, whatever its name says to the test runner

    name: str
    rows: pd.DataFrame  # m rows: image_id, label, sequence_id, patient_id, site, frame
    truth: np.ndarray  # (m,) int64
    sequences: np.ndarray  # (m,) int64, numbers 0 … s − 1
    sequence_truth: np.ndarray  # (s,) int64, the most frequent label, the lower index in a tie

    def places(self, image_ids: np.ndarray) -> np.ndarray:
        """Where this set's images stand among predicted ones, (m,) int64; one that was not predicted raises."""
        index = pd.Index(image_ids)
        places = index.get_indexer(self.rows["image_id"])
        if (places < 0).any():
            raise BadInput(
                f"The predictions lack {int((places < 0).sum())} images of {self.name}. Launch the study again."
            )
        return places


@lru_cache(maxsize=16)
def test_sets(folder: Path, content_hash: str, folds: int | None, labels: LabelVersion | None) -> tuple[TestSet, ...]:
    """The test sets of the dataset in a folder, in alphabetical order; under cross-validation all folds are one.

    `content_hash` names the dataset's state, for the cache. Under a label version they have that truth, and its name.
    """
    dataset = Dataset(folder, read_card(folder))
    rows = roles(dataset, folds, ["image_id", "label", "sequence_id", "patient_id", "site", "frame"]).test
    rows = rows if labels is None else labels.applied(rows)
    named = rows["split"] if folds is None else pd.Series(CROSS_VALIDATED, index=rows.index)
    sets = []
    for name, members in rows.groupby(named, sort=True):
        members = members.drop(columns=["split", "scored", "fold"], errors="ignore").reset_index(drop=True)
        truth = pd.Categorical(members["label"], categories=list(dataset.card.classes)).codes.astype(np.int64)
        sequences, names = pd.factorize(members["sequence_id"])
        votes = np.zeros((len(names), len(dataset.card.classes)), np.int64)
        np.add.at(votes, (sequences, truth), 1)
        sets.append(TestSet(under(str(name), labels), members, truth, sequences.astype(np.int64), votes.argmax(axis=1)))
    return tuple(sets)


test_sets.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Scored:
    """Runs of one dataset on one test set: scores (R, m, K) beside the truth."""

    runs: tuple[str, ...]
    classes: tuple[str, ...]
    scores: np.ndarray
    test: TestSet
    kinds: tuple[str, ...]  # of the runs' adaptations

    @property
    def ranked(self) -> np.ndarray:
        """(R, m, K) scores by which images are ranked: probabilities, or distances from a plane."""
        pairs = zip(self.scores, self.kinds, strict=True)
        return np.stack([ranked_scores(scores, kind) for scores, kind in pairs])

    @property
    def predicted(self) -> np.ndarray:
        """(R, m) int64."""
        return self.scores.argmax(axis=2)

    def at(self, level: Level) -> tuple[np.ndarray, np.ndarray]:
        """Predicted (R, n) and true (n,) classes of images, or of sequences by majority vote."""
        if level == "image":
            return self.predicted, self.test.truth
        count = len(self.test.sequence_truth)
        return sequence_vote(self.scores, self.test.sequences, count), self.test.sequence_truth

    def items(self, level: Level) -> np.ndarray:
        """The image id, or the sequence id, of each of the n places of `at`."""
        rows = self.test.rows
        return (rows["image_id"] if level == "image" else rows["sequence_id"].drop_duplicates()).to_numpy(dtype=str)


def scored_runs(home: Home, store: Store, runs: Sequence[str], test_set: str) -> Scored:
    """The predictions of finished runs of one dataset on one of its test sets."""
    found = [store.run(key) for key in runs]
    if not found:
        raise BadInput("No run was named. Choose at least one finished run.")
    datasets = {run.config["dataset"] for run in found}
    if len(datasets) != 1:
        raise BadInput(f"The runs belong to different datasets ({', '.join(sorted(datasets))}). Choose runs of one.")
    if len({run.config.get("folds") for run in found}) != 1:
        raise BadInput("Some of the runs are cross-validated and some are not. Choose runs of one kind.")
    dataset = open_dataset(home, datasets.pop())
    labels = find_label_version(store, dataset, parted(test_set)[1])
    sets = {test.name: test for test in sets_of_run(dataset, found[0], labels)}
    if test_set not in sets:
        raise NotFound(f"Dataset {dataset.name!r} has no test set {test_set!r}; it has {', '.join(sets) or 'none'}.")
    test = sets[test_set]
    parts = [_run_scores(home, run, test) for run in found]
    kinds = tuple(str(run.config["adaptation"]["kind"]) for run in found)
    return Scored(tuple(run.key for run in found), dataset.card.classes, np.stack(parts), test, kinds)


def sets_of_run(dataset: Dataset, run: Run, labels: LabelVersion | None = None) -> tuple[TestSet, ...]:
    """The test sets that a run of a dataset was scored on, under a label version."""
    return test_sets(dataset.folder, dataset.card.content_hash, run.config.get("folds"), labels)


def _run_scores(home: Home, run: Run, test: TestSet) -> np.ndarray:
    if run.state != "done" or run.result is None:
        raise BadInput(f"Run {run.key[:12]} is {run.state}; choose one that is done.")
    path = home.predictions / run.result["predictions"]
    predictions = _predictions(path)
    return predictions.scores[predictions.runs.index(run.key), _places(path, test)]


@lru_cache(maxsize=64)
def _places(path: Path, test: TestSet) -> np.ndarray:
    """Where a test set's images stand in a predictions file, the same for all its runs."""
    return test.places(_predictions(path).image_ids)


@lru_cache(maxsize=16)
def _predictions(path: Path) -> Predictions:
    return read_predictions(path)


def confusion(
    home: Home, store: Store, runs: Sequence[str], test_set: str, level: Level = "image"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """How often each class was taken for each other, summed over the runs: (K, K) counts, rows truth; and the classes."""
    scored = scored_runs(home, store, runs, test_set)
    predicted, truth = scored.at(level)
    return confusion_counts(predicted, truth, len(scored.classes)).sum(axis=0), scored.classes


def per_class(home: Home, store: Store, runs: Sequence[str], test_set: str, level: Level = "image") -> pd.DataFrame:
    """Per class with support: class, support, recall, precision, f1, means over the runs."""
    scored = scored_runs(home, store, runs, test_set)
    predicted, truth = scored.at(level)
    counts = confusion_counts(predicted, truth, len(scored.classes))
    support = counts[0].sum(axis=1)
    named = precision(counts)
    predicted_once = np.maximum(1, np.isfinite(named).sum(axis=0))
    table = pd.DataFrame(
        {
            "class": scored.classes,
            "support": support,
            "recall": recall(counts).mean(axis=0),
            # A class that no run predicted has no precision; a run that never predicts it is left out of the mean.
            "precision": np.where(np.isfinite(named).any(axis=0), np.nansum(named, axis=0) / predicted_once, np.nan),
            "f1": f1(counts).mean(axis=0),
        }
    )
    return table[table["support"] > 0].reset_index(drop=True)


def per_site(home: Home, store: Store, runs: Sequence[str], test_set: str) -> pd.DataFrame:
    """Per site: site, n (images), image_accuracy, the mean over the runs. A null site is called unknown."""
    scored = scored_runs(home, store, runs, test_set)
    correct = (scored.predicted == scored.test.truth).mean(axis=0)
    sites = scored.test.rows["site"].fillna("unknown")
    table = pd.DataFrame({"site": sites, "correct": correct}).groupby("site", sort=True)["correct"]
    return table.agg(n="size", image_accuracy="mean").reset_index()


def item_table(home: Home, store: Store, run: str, test_set: str | None = None) -> pd.DataFrame:
    """One row per scored test image of a run, on one test set (`T1`, or `T1@NAME` under a label version) or on all.

    Columns: image_id, test_set, sequence_id, patient_id, site, frame, label, predicted, score (of the predicted class),
    margin (predicted minus true class's score; above 0 when wrong), correct, and score_<class> for every class.
    """
    found = store.run(run)
    dataset = open_dataset(home, found.config["dataset"])
    names = [test.name for test in sets_of_run(dataset, found)] if test_set is None else [test_set]
    return pd.concat([_items(scored_runs(home, store, [found.key], name)) for name in names], ignore_index=True)


def _items(scored: Scored) -> pd.DataFrame:
    scores, truth = scored.scores[0], scored.test.truth
    predicted, each = scores.argmax(axis=1), np.arange(len(truth))
    classes = np.asarray(scored.classes, dtype=object)
    table = scored.test.rows.copy()
    table.insert(1, "test_set", scored.test.name)
    table["predicted"] = classes[predicted]
    table["score"] = scores[each, predicted]
    table["margin"] = scores[each, predicted] - scores[each, truth]
    table["correct"] = predicted == truth
    return table.assign(**{f"score_{name}": scores[:, number] for number, name in enumerate(classes)})


def interval_table(home: Home, store: Store, runs: Sequence[str], test_set: str) -> pd.DataFrame:
    """Per run and level: value, low, high (95 %, resampled over patients, else sequences), n_groups, resampled."""
    scored = scored_runs(home, store, runs, test_set)
    rows = []
    for level in ("image", "sequence"):
        predicted, truth = scored.at(level)
        groups, resampled = groups_of(scored.test, level)
        for run, correct in zip(scored.runs, predicted == truth, strict=True):
            value, low, high = cluster_bootstrap(correct.astype(float), groups)
            facts = {"run": run, "measure": f"{level}_accuracy", "value": value, "low": low, "high": high}
            rows.append(facts | {"n_groups": len(np.unique(groups)), "resampled": resampled})
    return pd.DataFrame(rows)


def groups_of(test: TestSet, level: Level) -> tuple[np.ndarray, str]:
    """What to resample: the patient of each image or sequence where all are known, else the sequence. (n,) numbers."""
    known = test.rows["patient_id"].notna().all()
    owners = pd.factorize(test.rows["patient_id"])[0] if known else test.sequences
    if level == "sequence":
        first = np.unique(test.sequences, return_index=True)[1]
        owners = owners[first]
    return owners.astype(np.int64), "patients" if known else "sequences"
