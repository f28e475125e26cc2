"""What corrected labels change in a study: the same answers of the same runs, compared with two truths.

In: a study's finished runs and a label version of its dataset. Out: one row per test set, size, backbone and adaptation with
the measure under the labels as imported and under the version, their difference and the ranks; fractions 0–1.

The interval of a difference is paired: a resample draws the same patients (or sequences) under both truths. Images that the
version takes out count under the labels as imported alone.
"""

from functools import lru_cache

import numpy as np
import pandas as pd

from fmlab.data.manifest import Dataset, open_dataset
from fmlab.errors import BadInput
from fmlab.metrics.auroc import macro_auroc, resampled_auroc
from fmlab.metrics.intervals import RESAMPLES, group_confusions, resampled_blocks
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.label_versions import ORIGINAL, LabelVersion, find_label_version, under
from fmlab.studies.ranking import ranking
from fmlab.studies.resampling import COMPARED, RANKED, checked_measure, percentile_interval
from fmlab.studies.results import results
from fmlab.studies.scoring import Level, Scored, groups_of, scored_runs, test_sets

POINT_KEYS = ["test_set", "size", "backbone", "adaptation"]
COLUMNS = (
    *POINT_KEYS,
    "labels",  # the version's name
    "measure",
    "seeds",
    "original",  # the mean over seeds under the labels as imported
    "corrected",  # and under the version
    "difference",  # corrected minus original
    "low",
    "high",
    "rank_original",  # 1 is the best of the test set and size; equal means share the better rank
    "rank_corrected",
    "rank_changed",
    "n_original",  # images that count
    "n_corrected",
    "n_groups",
    "resampled",
)
TAKEN_OUT = "taken out"  # what becomes of an image whose label a version removes
SAME = 9  # decimals to which means are the same


def relabelled(
    home: Home, store: Store, study: str, version: str, measure: str = "image_accuracy", size: int | None = None
) -> pd.DataFrame:
    """Every combination under both truths, at every size or at one: `COLUMNS`, best under the version first.

    Raises:
        BadInput: `version` is `original`, or it takes out every image of a test set.
        NotFound: the dataset has no such version.
    """
    checked_measure(measure)
    dataset = open_dataset(home, store.study(study).config["dataset"])
    labels = find_label_version(store, dataset, version)
    if labels is None:
        raise BadInput(f"{ORIGINAL!r} are the labels as imported. Name a version to compare them with.")
    table = results(home, store, study)
    left = set(results(home, store, study, version)["test_set"])
    emptied = sorted({name for name in table["test_set"].unique() if under(name, labels) not in left})
    if emptied:
        raise BadInput(f"Labels {version} take out every image of {', '.join(emptied)}; there is nothing to compare.")
    chosen = table if size is None else table[table["size"] == size]
    rows = []
    for keys, runs in chosen.groupby(POINT_KEYS, sort=True):
        names = tuple(runs.sort_values("seed")["run"])
        facts = _compared(home, store, names, str(keys[0]), labels, measure)
        rows.append(dict(zip(POINT_KEYS, keys, strict=True)) | {"seeds": len(names)} | dict(facts))
    found = pd.DataFrame(rows, columns=list(COLUMNS)).assign(labels=version, measure=measure)
    return _ranked(found)


def _ranked(found: pd.DataFrame) -> pd.DataFrame:
    for side in ("original", "corrected"):
        means = found[side].astype(float).round(SAME)
        ranks = means.groupby([found["test_set"], found["size"]]).rank(method="min", ascending=False)
        found[f"rank_{side}"] = ranks.astype(int)
    found["rank_changed"] = found["rank_original"] != found["rank_corrected"]
    order = ["test_set", "size", "rank_corrected", "rank_original", "backbone", "adaptation"]
    return found.sort_values(order, ignore_index=True)


@lru_cache(maxsize=2048)
def _compared(
    home: Home, store: Store, runs: tuple[str, ...], test_set: str, labels: LabelVersion, measure: str
) -> tuple[tuple[str, object], ...]:
    """The numbers of one point, before any rank."""
    level: Level = "image" if measure == RANKED else COMPARED[measure][0]
    sides = [scored_runs(home, store, runs, name) for name in (test_set, under(test_set, labels))]
    groups, resampled = groups_of(sides[0].test, level)
    groups = np.unique(groups, return_inverse=True)[1]
    owners = pd.Series(groups, index=sides[0].items(level))
    count = int(groups.max()) + 1
    if measure == RANKED:
        (original, before), (corrected, after) = (_ranking(side, owners, count) for side in sides)
    else:
        accuracy = measure in ("image_accuracy", "sequence_accuracy")
        of_counts = COMPARED[measure][1]
        counts = np.concatenate([_confusions(side, level, owners, accuracy) for side in sides], axis=1)
        original, corrected = _halves(of_counts(counts.sum(axis=0)))
        drawn = np.concatenate([of_counts(block) for block in resampled_blocks(counts, 0, RESAMPLES)])
        before, after = _halves(drawn)
    change = percentile_interval(float(corrected - original), after - before)
    return (
        ("original", float(original)),
        ("corrected", float(corrected)),
        ("difference", change.value),
        ("low", change.low),
        ("high", change.high),
        ("n_original", len(sides[0].test.truth)),
        ("n_corrected", len(sides[1].test.truth)),
        ("n_groups", count),
        ("resampled", resampled),
    )


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means over the runs of each of two sides that stand beside each other, (…, 2R) to two of (…)."""
    first, second = np.split(values, 2, axis=-1)
    return first.mean(axis=-1), second.mean(axis=-1)


def _ranking(scored: Scored, owners: pd.Series, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The area under the curve, the mean over the runs, and what it is under each resample, (B,)."""
    members = owners.loc[scored.items("image")].to_numpy()
    truth, scores = scored.test.truth, scored.ranked
    return macro_auroc(scores, truth).mean(), resampled_auroc(scores, truth, members, count).mean(axis=1)


def _confusions(scored: Scored, level: Level, owners: pd.Series, accuracy: bool) -> np.ndarray:
    """Confusion counts (G, R, K, K) of the groups that `owners` gives to items; for accuracies K is 2: right and wrong."""
    predicted, truth = scored.at(level)
    classes = len(scored.classes)
    if accuracy:
        predicted, truth, classes = (predicted != truth).astype(np.int64), np.zeros_like(truth), 2
    members = owners.loc[scored.items(level)].to_numpy()
    whole = np.zeros((int(owners.max()) + 1, len(predicted), classes, classes), np.int64)
    # A group all of whose images are taken out keeps its place, with nothing in it.
    whole[np.unique(members)] = np.stack([group_confusions(run, truth, members, classes) for run in predicted], axis=1)
    return whole


# ---------------------------------------------------------------------------------------------------- what was changed


def changed_images(dataset: Dataset, labels: LabelVersion, folds: int | None = None) -> pd.DataFrame:
    """The images whose label a version changes: image_id, sequence_id, test_set, label_was, label (`TAKEN_OUT`: none).

    `test_set` is where the image is scored, null where it is not. Images whose label is confirmed are not among them.
    """
    table = dataset.manifest(["image_id", "sequence_id", "label"])
    table = table[table["image_id"].isin(list(labels.changes))].rename(columns={"label": "label_was"})
    sets = test_sets(dataset.folder, dataset.card.content_hash, folds, None)
    scored = {image: test.name for test in sets for image in test.rows["image_id"]}
    now = table["image_id"].map(dict(labels.changes)).astype(object)
    changed = table.assign(
        test_set=table["image_id"].map(scored),
        label_was=table["label_was"].astype(object).where(table["label_was"].notna(), TAKEN_OUT),
        label=now.where(now.notna(), TAKEN_OUT),
    )
    changed = changed[changed["label"] != changed["label_was"]].reset_index(drop=True)
    return changed[["image_id", "sequence_id", "test_set", "label_was", "label"]]


def changed_verdicts(
    home: Home, store: Store, study: str, version: str, test_set: str, size: int, measure: str
) -> pd.DataFrame:
    """The pairs of which another side is better under a version: first and second backbone and adaptation, `original` and
    `corrected`: `first`, `second` or `tied`, as the ranking decides."""
    names = ["first_backbone", "first_adaptation", "second_backbone", "second_adaptation"]
    dataset = open_dataset(home, store.study(study).config["dataset"])
    sides = {}
    for side, labels in (("original", None), ("corrected", find_label_version(store, dataset, version))):
        table = results(home, store, study, ORIGINAL if labels is None else labels.name)
        pairs = ranking(home, store, table, under(test_set, labels), size, measure)
        sides[side] = {_pair(row): _winner(row) for row in pairs.to_dict("records")}
    rows = []
    for pair, before in sides["original"].items():
        after = sides["corrected"].get(pair, before)
        if after != before:
            words = {None: "tied", pair[0]: "first", pair[1]: "second"}
            rows.append((*pair[0], *pair[1], words[before], words[after]))
    return pd.DataFrame(rows, columns=[*names, "original", "corrected"])


def _pair(row: dict[str, str]) -> tuple[tuple[str, str], tuple[str, str]]:
    """Both sides of a row of the ranking in an order that does not hang on who leads."""
    first, second = sorted([(row[f"{side}_backbone"], row[f"{side}_adaptation"]) for side in ("first", "second")])
    return first, second


def _winner(row: dict[str, str]) -> tuple[str, str] | None:
    better = {"better": "first", "worse": "second"}.get(row["verdict"])
    return (row[f"{better}_backbone"], row[f"{better}_adaptation"]) if better else None
