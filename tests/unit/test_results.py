"""A study's numbers against a miniature worked out by hand. Run: pytest tests/unit/test_results.py

Test set T1, six images in three sequences (a: 3 images, b: 2, c: 1), classes x and y:

    image      a0  a1  a2  b0  b1  c0
    label      x   x   x   y   y   x
    run 0      x   y   y   y   x   x     scores make b a tie that y wins
    run 1      x   x   x   y   y   x     all right
"""

import numpy as np
import pytest

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput, NotFound
from fmlab.predictions import Predictions, read_predictions, write_predictions
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor, RunRequest
from fmlab.runs.store import open_store
from fmlab.studies.results import MEASURES, curve, majority_rates, results
from fmlab.studies.scoring import confusion, interval_table, item_table, per_class, per_site
from fmlab.studies.summary import summary

CLASSES = ("x", "y")
LABELS = {"a": "x", "b": "y", "c": "x"}
IMAGES = ("a0", "a1", "a2", "b0", "b1", "c0")
# The score of class x in each run; class y has one minus it.
FOR_X = {0: (0.9, 0.4, 0.2, 0.1, 0.6, 0.7), 1: (0.9, 0.8, 0.7, 0.1, 0.2, 0.9)}


def make_dataset(home):
    with DatasetWriter(home, "mini") as writer:
        for name in IMAGES:
            sequence, frame = name[0], int(name[1])
            row = ImageRow(
                f"{sequence}.png",
                frame,
                label=LABELS[sequence],
                sequence_id=sequence,
                patient_id={"a": "p1", "b": "p2", "c": "p2"}[sequence],
                site="south" if sequence == "c" else "north",
                split="T1",
            )
            writer.add(row, np.full((8, 8), 10 * frame + ord(sequence), np.uint8))
        for label in CLASSES:
            row = ImageRow(f"train-{label}.png", label=label, patient_id=f"t{label}", split="train")
            writer.add(row, np.full((8, 8), 200 + ord(label) % 8, np.uint8))
        return writer.finish(CardFacts("toy"), CLASSES)


def request(seed):
    config = {
        "dataset": "mini",
        "backbone": "pixels-24",
        "adaptation": {"kind": "knn"},
        "subset": {"scheme": "images", "size": 2, "seed": seed},
    }
    return RunRequest("adapt", config, {"seed": seed}, "g", "mini")


@pytest.fixture
def mini(home):
    """The home, its store, and the keys of the two runs."""
    dataset = make_dataset(home)
    store = open_store(home)
    store.add_study("study", {"dataset": "mini"}, [request(0), request(1)], [], Actor("anna", "test"))
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    keys = (request(0).key, request(1).key)
    rows = dataset.manifest().set_index(["sequence_id", "frame"])
    ids = [rows.loc[(name[0], int(name[1])), "image_id"] for name in reversed(IMAGES)]  # any order will do
    scores = np.array([[(x, 1 - x) for x in reversed(FOR_X[run])] for run in (0, 1)], np.float32)
    write_predictions(home.predictions / "p.parquet", Predictions(keys, np.array(ids), scores, CLASSES))
    facts = {"predictions": "p.parquet", "converged": True, "n_train": 2}
    queue.finish({key: facts for key in keys}, 1.0)
    return home, store, keys


def test_every_measure_by_hand(mini):
    home, store, keys = mini
    table = results(home, store, "study").set_index("run")
    first, second = table.loc[keys[0]], table.loc[keys[1]]
    assert (first["n_images"], first["n_sequences"], first["macro_classes"]) == (6, 3, 2)
    assert first["image_accuracy"] == pytest.approx(3 / 6)  # a0, b0, c0
    assert first["sequence_accuracy"] == pytest.approx(2 / 3)  # a is outvoted; b: 1 to 1, y has 1.3 of 2; c
    assert first["balanced_accuracy"] == pytest.approx((2 / 4 + 1 / 2) / 2)
    # F1 of x: 2·2 / (2·2 + 1 + 2); of y: 2·1 / (2·1 + 2 + 1)
    assert first["macro_f1"] == pytest.approx((4 / 7 + 2 / 5) / 2)
    # Of x 0.9, 0.4, 0.2 and 0.7 against 0.1 and 0.6: six of eight pairs in order; y is its mirror image.
    assert first["auroc"] == pytest.approx(6 / 8)
    assert first["majority_rate"] == pytest.approx(4 / 6)
    assert second[list(MEASURES)].tolist() == [1, 1, 1, 1, 1]


def test_the_curve_is_the_mean_over_seeds_with_its_t_interval(mini):
    home, store, _ = mini
    table = results(home, store, "study")
    point = curve(table).iloc[0]
    assert point["mean"] == pytest.approx(0.75)
    # Two values 0.5 apart: standard error 0.25, times the 12.7062 of one degree of freedom at 97.5 %;
    assert (point["low"], point["high"]) == (0, 1)  # that reaches below nothing and above everything
    assert point["seeds"] == 2
    assert majority_rates(table) == {"T1": pytest.approx(4 / 6)}
    alone = curve(table.head(1)).iloc[0]
    assert alone["low"] == alone["mean"] == alone["high"]
    with pytest.raises(BadInput, match="is not measured"):
        curve(table, "kappa")


def test_confusion_sums_over_runs_with_the_truth_in_rows(mini):
    home, store, keys = mini
    matrix, classes = confusion(home, store, keys, "T1")
    assert classes == CLASSES
    assert matrix.tolist() == [[2 + 4, 2], [1, 1 + 2]]
    by_sequence, _ = confusion(home, store, keys[:1], "T1", level="sequence")
    assert by_sequence.tolist() == [[1, 1], [0, 1]]


def test_classes_and_sites(mini):
    home, store, keys = mini
    table = per_class(home, store, keys, "T1").set_index("class")
    assert table["support"].to_dict() == {"x": 4, "y": 2}
    assert table.loc["x", "recall"] == pytest.approx((0.5 + 1) / 2)
    assert table.loc["y", "precision"] == pytest.approx((1 / 3 + 1) / 2)
    sites = per_site(home, store, keys[:1], "T1").set_index("site")
    assert sites["image_accuracy"].to_dict() == {"north": pytest.approx(2 / 5), "south": 1.0}
    assert sites["n"].to_dict() == {"north": 5, "south": 1}


def test_items_carry_their_margin(mini):
    home, store, keys = mini
    items = item_table(home, store, keys[0])
    wrong = items[~items["correct"]].set_index(["sequence_id", "frame"])
    assert set(wrong.index) == {("a", 1), ("a", 2), ("b", 1)}
    assert wrong.loc[("a", 2), "margin"] == pytest.approx(0.6)  # 0.8 for y against 0.2 for x
    assert wrong.loc[("a", 2), "predicted"] == "y"
    assert (items.loc[items["correct"], "margin"] == 0).all()
    assert {"score_x", "score_y"} <= set(items.columns)


def test_intervals_resample_patients(mini):
    home, store, keys = mini
    table = interval_table(home, store, keys[:1], "T1").set_index("measure")
    row = table.loc["image_accuracy"]
    assert (row["n_groups"], row["resampled"]) == (2, "patients")
    # Patient p1 has 1 of 3 right, p2 has 2 of 3: every resample lies between.
    assert row["low"] == pytest.approx(1 / 3)
    assert row["high"] == pytest.approx(2 / 3)


def test_a_summary_states_what_did_not_converge(mini):
    home, store, _ = mini
    row = summary(home, store, "study").iloc[0]
    assert row["image_accuracy"] == pytest.approx(0.75)
    assert row["unconverged"] == 0
    assert set(summary(home, store, "study", by="sequence")["sequence_id"]) == {"a", "b", "c"}
    with pytest.raises(BadInput, match="cannot be summed up"):
        summary(home, store, "study", by="moon")


def test_what_is_not_there_is_named(mini):
    home, store, keys = mini
    with pytest.raises(NotFound, match="no test set 'T9'"):
        confusion(home, store, keys, "T9")
    (home.predictions / "p.parquet").unlink()
    with pytest.raises(BadInput, match=r"p\.parquet"):
        read_predictions(home.predictions / "p.parquet")


def test_predictions_come_back_as_written(mini):
    home, _, keys = mini
    both = read_predictions(home.predictions / "p.parquet")
    assert both.runs == keys
    assert both.scores.shape == (2, 6, 2)
    one = read_predictions(home.predictions / "p.parquet", keys[1])
    assert one.runs == keys[1:]
    assert one.scores[0].tolist() == both.scores[1].tolist()
    assert one.image_ids.tolist() == both.image_ids.tolist()


def test_scores_that_are_no_numbers_are_refused(tmp_path):
    scores = np.array([[[np.nan, 1.0]]], np.float32)
    with pytest.raises(BadInput, match="not finite"):
        write_predictions(tmp_path / "p.parquet", Predictions(("r",), np.array(["i"]), scores, CLASSES))
    assert not list(tmp_path.iterdir())
