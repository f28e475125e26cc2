"""Corrected labels, and a study's numbers under them, against a miniature worked out by hand.

Test set T1, six images in three sequences of a patient each, classes x and y; v2 corrects a1 and a2, which turns the truth of
sequence a, and takes c0 out:

    image      a0  a1  a2  b0  b1  c0      images right   sequences right
    label      x   x   x   y   y   x
    first      x   y   y   y   x   x       3 of 6         b (a tie that y wins), c
    second     x   x   x   y   y   x       6 of 6         all three
    under v2   x   y   y   y   y   –
    first                                  4 of 5         a, b
    second                                 3 of 5         b
"""

import itertools

import numpy as np
import pandas as pd
import pytest

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput, NameTaken, NotFound
from fmlab.predictions import Predictions, write_predictions
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor, RunRequest
from fmlab.runs.store import open_store
from fmlab.studies.export import export
from fmlab.studies.label_versions import ORIGINAL, find_label_version, label_versions, parted, publish, under
from fmlab.studies.relabelled import changed_images, changed_verdicts, relabelled
from fmlab.studies.results import results
from fmlab.studies.scoring import confusion, interval_table, item_table, per_class

CLASSES = ("x", "y")
LABELS = {"a0": "x", "a1": "x", "a2": "x", "b0": "y", "b1": "y", "c0": "x"}
BACKBONES = {"first": "pixels-24", "second": "random-resnet18"}
# The score of class x; class y has one minus it.
FOR_X = {"first": (0.9, 0.4, 0.2, 0.1, 0.6, 0.7), "second": (0.9, 0.8, 0.7, 0.1, 0.2, 0.9)}
ANNA = Actor("anna", "test")


def make_dataset(home, labels, grey=10, name="mini"):
    """One training image of each class, and test images named by the letter of their sequence and their frame."""
    with DatasetWriter(home, name) as writer:
        for place, (image, label) in enumerate(labels.items()):
            sequence, frame = image[:-1], int(image[-1])
            row = ImageRow(
                f"{sequence}.png",
                frame,
                label=label,
                sequence_id=sequence,
                patient_id=f"patient {sequence}",
                split="T1",
            )
            writer.add(row, np.full((8, 8), grey + place, np.uint8))
        for label in CLASSES:
            row = ImageRow(f"train-{label}.png", label=label, patient_id=f"t{label}", split="train")
            writer.add(row, np.full((8, 8), 200 + ord(label) % 8, np.uint8))
        return writer.finish(CardFacts("toy"), CLASSES)


def ids(dataset):
    """Image ids by the short names, `train-x` of a training image."""
    rows = dataset.manifest(["image_id", "sequence_id", "frame", "split", "label"]).itertuples()
    return {f"train-{r.label}" if r.split == "train" else f"{r.sequence_id}{r.frame}": r.image_id for r in rows}


def request(side):
    subset = {"scheme": "images", "size": 2, "seed": 0}
    config = {"dataset": "mini", "backbone": BACKBONES[side], "adaptation": {"kind": "knn"}, "subset": subset}
    return RunRequest("adapt", config, {"side": side}, "g", "mini")


def finish_study(home, dataset, for_x):
    """The store with one finished run of each side."""
    store = open_store(home)
    store.add_study("study", {"dataset": "mini"}, [request(side) for side in BACKBONES], [], ANNA)
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    keys = tuple(request(side).key for side in BACKBONES)
    names = [image for image in ids(dataset) if not image.startswith("train")]
    scores = np.array([[(x, 1 - x) for x in for_x[side]] for side in BACKBONES], np.float32)
    image_ids = np.array([ids(dataset)[name] for name in names])
    write_predictions(home.predictions / "p.parquet", Predictions(keys, image_ids, scores, CLASSES))
    facts = {"predictions": "p.parquet", "converged": True, "n_train": 2}
    queue.finish({key: facts for key in keys}, 1.0)
    queue.release()
    return store


@pytest.fixture
def mini(home):
    """Home, store, dataset and image ids of the miniature, with `v2` published."""
    dataset = make_dataset(home, LABELS)
    store = finish_study(home, dataset, FOR_X)
    names = ids(dataset)
    publish(store, dataset, "v2", {names["a1"]: "y", names["a2"]: "y", names["c0"]: None}, "two looked", ANNA)
    return home, store, dataset, names


# Versions -------------------------------------------------------------------------------------------------------------


def test_a_published_version_is_kept_with_who_and_why(mini):
    _, store, dataset, names = mini
    (version,) = label_versions(store, dataset)
    assert (version.dataset, version.name, version.by, version.note) == ("mini", "v2", "anna", "two looked")
    assert version.changes == {names["a1"]: "y", names["a2"]: "y", names["c0"]: None}
    assert find_label_version(store, dataset, "v2") is version
    assert find_label_version(store, dataset, ORIGINAL) is None
    event = store.events().iloc[0]
    assert (event["actor"], event["verb"], event["subject"]) == ("anna", "published labels", "mini v2")
    again = label_versions(open_store(store.home), dataset)  # another process
    assert again[0].changes == version.changes


def test_versions_stand_in_the_order_of_their_publication(mini):
    _, store, dataset, names = mini
    publish(store, dataset, "a-later-one", {names["b0"]: "x"}, "", ANNA)
    assert [version.name for version in label_versions(store, dataset)] == ["v2", "a-later-one"]
    with pytest.raises(NotFound, match="original, v2, a-later-one"):
        find_label_version(store, dataset, "v9")


def test_what_cannot_be_published(mini):
    _, store, dataset, names = mini
    with pytest.raises(NameTaken, match="'v2' already"):
        publish(store, dataset, "v2", {names["a0"]: "y"}, "", ANNA)
    with pytest.raises(NameTaken, match="as imported"):
        publish(store, dataset, ORIGINAL, {names["a0"]: "y"}, "", ANNA)
    with pytest.raises(BadInput, match="nothing to publish"):
        publish(store, dataset, "v3", {}, "", ANNA)
    with pytest.raises(BadInput, match="'z' is no class"):
        publish(store, dataset, "v3", {names["a0"]: "z"}, "", ANNA)
    for name in ("", "T1@v3", "../v3", "v 3"):
        with pytest.raises(BadInput):
            publish(store, dataset, name, {names["a0"]: "y"}, "", ANNA)
    assert [version.name for version in label_versions(store, dataset)] == ["v2"]


def test_other_images_under_the_same_name_have_no_such_version(mini):
    home, store, dataset, _ = mini
    other = make_dataset(type(home)(home.path / "other"), LABELS, grey=50)
    assert other.name == dataset.name
    assert label_versions(store, other) == ()


def test_a_test_set_under_a_version_has_a_name_of_its_own(mini):
    _, store, dataset, _ = mini
    (version,) = label_versions(store, dataset)
    assert under("T1", version) == "T1@v2"
    assert under("T1", None) == "T1"
    assert parted("T1@v2") == ("T1", "v2")
    assert parted("T1") == ("T1", ORIGINAL)
    assert parted("ward@night@v2") == ("ward@night", "v2")


def test_applied_keeps_the_order_and_leaves_out_what_is_taken_out(mini):
    _, store, dataset, names = mini
    (version,) = label_versions(store, dataset)
    rows = pd.DataFrame({"image_id": [names[image] for image in LABELS], "label": list(LABELS.values())})
    applied = version.applied(rows)
    assert applied["image_id"].tolist() == [names[image] for image in ("a0", "a1", "a2", "b0", "b1")]
    assert applied["label"].tolist() == ["x", "y", "y", "y", "y"]
    assert rows["label"].tolist() == list(LABELS.values())


# Numbers --------------------------------------------------------------------------------------------------------------


def test_every_measure_under_a_version_by_hand(mini):
    home, store, *_ = mini
    table = results(home, store, "study", "v2").set_index("backbone")
    first, second = table.loc[BACKBONES["first"]], table.loc[BACKBONES["second"]]
    assert set(table["test_set"]) == {"T1@v2"}
    assert (first["n_images"], first["n_sequences"], first["macro_classes"]) == (5, 2, 2)
    assert first["image_accuracy"] == pytest.approx(4 / 5)  # all but b1
    assert first["sequence_accuracy"] == 1  # a is y now, and so voted; b is a tie that y wins
    assert first["balanced_accuracy"] == pytest.approx((1 / 1 + 3 / 4) / 2)
    # F1 of x: 2·1 / (2·1 + 1 + 0); of y: 2·3 / (2·3 + 0 + 1)
    assert first["macro_f1"] == pytest.approx((2 / 3 + 6 / 7) / 2)
    assert first["majority_rate"] == pytest.approx(4 / 5)
    assert second["image_accuracy"] == pytest.approx(3 / 5)
    assert second["sequence_accuracy"] == pytest.approx(1 / 2)


def test_the_labels_as_imported_still_give_their_own_numbers(mini):
    home, store, *_ = mini
    results(home, store, "study", "v2")
    for table in (results(home, store, "study"), results(home, store, "study", ORIGINAL)):
        assert table["image_accuracy"].tolist() == pytest.approx([3 / 6, 1])
        assert table["sequence_accuracy"].tolist() == pytest.approx([2 / 3, 1])
        assert set(table["test_set"]) == {"T1"}


def test_single_images_and_classes_under_a_version(mini):
    home, store, _, names = mini
    key = request("first").key
    matrix, _ = confusion(home, store, [key], "T1@v2")
    assert matrix.tolist() == [[1, 0], [1, 3]]
    by_sequence, _ = confusion(home, store, [key], "T1@v2", "sequence")
    assert by_sequence.tolist() == [[0, 0], [0, 2]]
    items = item_table(home, store, key, "T1@v2").set_index("image_id")
    assert names["c0"] not in items.index
    assert items.loc[names["a2"], ["label", "predicted", "correct"]].tolist() == ["y", "y", True]
    assert items.loc[names["a2"], "margin"] == 0
    assert set(items["test_set"]) == {"T1@v2"}
    support = per_class(home, store, [key], "T1@v2").set_index("class")["support"].to_dict()
    assert support == {"x": 1, "y": 4}
    intervals = interval_table(home, store, [key], "T1@v2").set_index("measure")
    assert intervals.loc["image_accuracy", ["value", "n_groups"]].tolist() == [pytest.approx(4 / 5), 2]


def test_an_unknown_version_is_refused_wherever_it_is_asked_for(mini):
    home, store, *_ = mini
    for ask in (
        lambda: results(home, store, "study", "v9"),
        lambda: item_table(home, store, request("first").key, "T1@v9"),
        lambda: relabelled(home, store, "study", "v9"),
    ):
        with pytest.raises(NotFound, match="no label version 'v9'"):
            ask()


# What a version changes -----------------------------------------------------------------------------------------------


def test_both_truths_stand_beside_each_other_with_their_ranks(mini):
    home, store, *_ = mini
    table = relabelled(home, store, "study", "v2")
    assert table["backbone"].tolist() == [BACKBONES["first"], BACKBONES["second"]]  # the best under v2 first
    assert table["original"].tolist() == pytest.approx([3 / 6, 1])
    assert table["corrected"].tolist() == pytest.approx([4 / 5, 3 / 5])
    assert table["difference"].tolist() == pytest.approx([0.3, -0.4])
    assert table["rank_original"].tolist() == [2, 1]
    assert table["rank_corrected"].tolist() == [1, 2]
    assert table["rank_changed"].all()
    first = table.iloc[0]
    assert (first["test_set"], first["size"], first["seeds"], first["labels"]) == ("T1", 2, 1, "v2")
    assert (first["n_original"], first["n_corrected"], first["n_groups"], first["resampled"]) == (6, 5, 3, "patients")
    assert len(relabelled(home, store, "study", "v2", size=99)) == 0


def test_the_interval_draws_the_same_patients_under_both_truths(mini):
    """All 27 ways of drawing three of the three patients are equally likely; c alone leaves nothing under v2."""
    home, store, *_ = mini
    right_before, images_before = {"a": 1, "b": 1, "c": 1}, {"a": 3, "b": 2, "c": 1}
    right_after, images_after = {"a": 3, "b": 1, "c": 0}, {"a": 3, "b": 2, "c": 0}
    gaps = sorted(
        sum(right_after[p] for p in drawn) / sum(images_after[p] for p in drawn)
        - sum(right_before[p] for p in drawn) / sum(images_before[p] for p in drawn)
        for drawn in itertools.product("abc", repeat=3)
        if set(drawn) != {"c"}
    )
    first = relabelled(home, store, "study", "v2").iloc[0]
    # Of 26 equally likely values the lowest and the highest hold more than the 2.5 % that are cut off at each end.
    assert (first["low"], first["high"]) == (pytest.approx(gaps[0]), pytest.approx(gaps[-1]))


@pytest.mark.parametrize(
    ("measure", "original", "corrected"),
    [
        ("sequence_accuracy", [2 / 3, 1], [1, 1 / 2]),
        ("balanced_accuracy", [(2 / 4 + 1 / 2) / 2, 1], [7 / 8, (1 + 2 / 4) / 2]),
        ("macro_f1", [(4 / 7 + 2 / 5) / 2, 1], [(2 / 3 + 6 / 7) / 2, (2 / 4 + 4 / 6) / 2]),
        ("auroc", [6 / 8, 1], [1, 1]),  # of x 0.9 is left, above all that are y
    ],
)
def test_every_measure_can_be_set_beside_itself(mini, measure, original, corrected):
    home, store, *_ = mini
    table = relabelled(home, store, "study", "v2", measure).sort_values("backbone")
    assert table["original"].tolist() == pytest.approx(original)
    assert table["corrected"].tolist() == pytest.approx(corrected)
    assert ((table["low"] <= table["high"]) & (table["measure"] == measure)).all()


def test_corrections_of_training_images_change_no_number(mini):
    home, store, dataset, names = mini
    publish(store, dataset, "v3", {names["train-x"]: "y"}, "", ANNA)
    table = relabelled(home, store, "study", "v3")
    assert table[["difference", "low", "high"]].to_numpy().tolist() == [[0, 0, 0], [0, 0, 0]]
    assert not table["rank_changed"].any()


def test_what_cannot_be_compared_is_said(mini):
    home, store, dataset, names = mini
    with pytest.raises(BadInput, match="Name a version"):
        relabelled(home, store, "study", ORIGINAL)
    with pytest.raises(BadInput, match="cannot be compared"):
        relabelled(home, store, "study", "v2", "kappa")
    publish(store, dataset, "v3", {names[image]: None for image in LABELS}, "", ANNA)
    with pytest.raises(BadInput, match="every image of T1"):
        relabelled(home, store, "study", "v3")


def test_the_changed_images_are_those_that_got_another_label(mini):
    _, store, dataset, names = mini
    version = publish(store, dataset, "v3", {names["a0"]: "x", names["b0"]: "x", names["train-y"]: None}, "", ANNA)
    changed = changed_images(dataset, version).set_index("image_id")
    assert set(changed.index) == {names["b0"], names["train-y"]}  # a0 was confirmed
    assert changed.loc[names["b0"]].tolist() == ["b", "T1", "y", "x"]
    assert pd.isna(changed.loc[names["train-y"], "test_set"])
    assert changed.loc[names["train-y"], ["label_was", "label"]].tolist() == ["y", "taken out"]


def test_under_cross_validation_training_images_are_scored(home):
    labels = {f"s{number}-0": CLASSES[number % 2] for number in range(4)}
    dataset = make_dataset(home, labels)
    version = publish(open_store(home), dataset, "v2", {ids(dataset)["train-x"]: "y"}, "", ANNA)
    assert changed_images(dataset, version, folds=2)["test_set"].tolist() == ["folds"]
    assert changed_images(dataset, version)["test_set"].isna().all()


def test_a_verdict_that_turns_is_named(home):
    """Twelve patients of an image each; the first is right on all of them until every label is turned round."""
    labels = {f"s{number}-0": CLASSES[number % 2] for number in range(12)}
    dataset = make_dataset(home, labels)
    right = [0.9 if label == "x" else 0.1 for label in labels.values()]
    store = finish_study(home, dataset, {"first": right, "second": [1 - x for x in right]})
    turned = {ids(dataset)[name]: "y" if label == "x" else "x" for name, label in labels.items()}
    publish(store, dataset, "v2", turned, "", ANNA)
    (row,) = changed_verdicts(home, store, "study", "v2", "T1", 2, "image_accuracy").to_dict("records")
    assert (row["first_backbone"], row["second_backbone"]) == (BACKBONES["first"], BACKBONES["second"])
    assert (row["original"], row["corrected"]) == ("first", "second")


def test_no_verdict_turns_where_all_are_tied(mini):
    home, store, *_ = mini
    assert changed_verdicts(home, store, "study", "v2", "T1", 2, "image_accuracy").empty


def test_the_export_has_a_file_for_every_version(mini, tmp_path):
    home, store, *_ = mini
    written, _ = export(home, store, "study", tmp_path / "out")
    assert "labels-v2.csv" in {path.name for path in written}
    table = pd.read_csv(tmp_path / "out" / "labels-v2.csv")
    assert len(table) == 5 * 2  # measures, backbones
    row = table.query("measure == 'image_accuracy' and backbone == 'pixels-24'").iloc[0]
    assert (row["original"], row["corrected"]) == (pytest.approx(0.5), pytest.approx(0.8))
