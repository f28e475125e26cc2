"""Suspected label errors: what models of other patients say of a label. Run: pytest tests/unit/test_suspecting.py

The phantom's `truth.parquet` says which labels were planted wrong; `benchmarks.label_errors` alone reads it.
"""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks.label_errors import search
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput
from fmlab.review.queues import QueueConfig, open_queue
from fmlab.runs.launcher import execute
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run, suspects_request
from fmlab.runs.store import open_store
from fmlab.runs.suspecting import COLUMNS, find_suspects, judged, read_suspects
from fmlab.settings import Home
from fmlab.studies.label_versions import publish
from tests.toys import CLASSES, half_bright

ANNA = Actor("anna", "test")
CONFIG = {"dataset": "halves", "backbone": "pixels-24", "style": "native", "mask_sector": False, "folds": 5}
WRONG = (3, 10)  # of the toy's patients: 3 shows a bright right half and is called left, 10 the other way round


def mislabelled(home):
    """Twenty-four patients of one sequence of three images, bright on one half; two carry the other side's label."""
    rng = np.random.default_rng(7)
    with DatasetWriter(home, "halves") as writer:
        for patient in range(24):
            side = CLASSES[patient % 2]
            label = CLASSES[1 - patient % 2] if patient in WRONG else side
            for frame in range(3):
                place = {"sequence_id": f"s{patient}", "patient_id": f"p{patient}"}
                split = "T1" if patient % 3 == 2 else "train"
                row = ImageRow(f"p{patient}.png", frame, label=label, site="north", split=split, **place)
                writer.add(row, half_bright(side, rng))
        return writer.finish(CardFacts("toy"), CLASSES)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The home, the dataset, its store, and the finished run: a worker starts once for all tests."""
    home = Home(tmp_path_factory.mktemp("searched"))
    dataset, store = mislabelled(home), open_store(home)
    asked = request_run(store, "suspects", CONFIG, "suspects", ANNA)
    assert execute(home) == {"done": 1}
    return home, dataset, store, store.run(asked.key)


# ------------------------------------------------------------------------------------------------------------ the table


def rows_of(labels, images=2):
    """Rows of a patient each with one sequence of a few images, one label for each patient."""
    number = np.repeat(np.arange(len(labels)), images)
    return pd.DataFrame(
        {
            "image_id": [f"i{place:03d}" for place in range(len(number))],
            "label": np.array(labels, dtype=object)[number],
            "sequence_id": [f"s{each:02d}" for each in number],
            "patient_id": [f"p{each:02d}" for each in number],
            "split": "train",
        }
    )


def clouds(truth, images=2):
    """Features of three classes far apart, one cloud for each."""
    rng = np.random.default_rng(3)
    centres = {"a": 0, "b": 1, "c": 2}
    positions = np.repeat([centres[name] for name in truth], images)
    return (6 * np.eye(3, 5)[positions] + rng.normal(size=(len(positions), 5))).astype(np.float32)


def test_the_one_wrong_label_is_the_most_suspect_and_named():
    truth = [name for name in "abc" for _ in range(8)]
    labels = list(truth)
    labels[5] = "c"  # it is an a
    table = find_suspects(rows_of(labels), clouds(truth), ("a", "b", "c", "unused"), folds=4)
    assert tuple(table.columns) == COLUMNS
    worst = table.sort_values("sequence_quality").iloc[0]
    assert (worst["sequence_id"], worst["sequence_label"], worst["sequence_suggested"]) == ("s05", "c", "a")
    assert worst["sequence_own_probability"] < 0.1 < 0.8 < worst["sequence_suggested_probability"]
    assert set(table.loc[table["sequence_is_issue"], "sequence_id"]) == {"s05"}
    assert set(table.loc[table["is_issue"], "image_id"]) == {"i010", "i011"}
    assert table.groupby("sequence_id")["sequence_quality"].nunique().eq(1).all()


def test_scores_become_probabilities_that_the_labels_bear_out():
    """All are ahead by 5, three of four labels agree: at the best temperature an answer has the probability 3/4."""
    scores = np.array([[5.0, 0.0], [0.0, 5.0], [5.0, 0.0], [5.0, 0.0]])
    judgement = judged(np.array([0, 1, 0, 1]), scores, np.array(["x", "y"], dtype=object))
    assert judgement["suggested"].tolist() == ["x", "y", "x", "x"]
    assert judgement["suggested_probability"].tolist() == pytest.approx([0.75] * 4, abs=1e-3)
    assert judgement["own_probability"].tolist() == pytest.approx([0.75, 0.75, 0.75, 0.25], abs=1e-3)
    assert judgement["quality"].tolist() == pytest.approx(judgement["own_probability"].tolist())


def test_nobody_is_judged_by_a_model_that_saw_the_patient():
    """Each patient lies alone on an axis of its own: what was not learnt from it cannot know its label."""
    labels = ["a", "b"] * 6
    features = np.repeat(10 * np.eye(12, dtype=np.float32), 2, axis=0)
    table = find_suspects(rows_of(labels), features, ("a", "b"), folds=4)
    assert table["own_probability"].between(0.3, 0.7).all()


def test_too_little_to_doubt_is_said():
    with pytest.raises(BadInput, match="where there are two classes"):
        find_suspects(rows_of(["a"] * 6), clouds(["a"] * 6), ("a", "b"), folds=3)
    with pytest.raises(BadInput, match="5 folds need at least as many patients"):
        find_suspects(rows_of(["a", "b"]), clouds(["a", "b"]), ("a", "b"), folds=5)


def test_reading_suspects_needs_no_torch():
    program = (
        "import sys, fmlab.runs.suspecting\n"
        "assert not {'torch', 'sklearn', 'cleanlab', 'numba'} & set(sys.modules), 'imported at start'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# -------------------------------------------------------------------------------------------------- the run and its queue


def test_wrong_labels_are_found_in_training_and_test_images(searched):
    home, _, _, run = searched
    table = read_suspects(home, run)
    assert len(table) == run.result["images"] == 24 * 3
    worst = table.drop_duplicates("sequence_id").nsmallest(2, "sequence_quality")
    assert set(worst["sequence_id"]) == {f"s{patient}" for patient in WRONG}
    assert run.result["accuracy"] == pytest.approx((table["suggested"] == table["label"]).mean())


def test_the_same_question_is_the_same_run(searched):
    home, _, store, run = searched
    assert request_run(store, "suspects", CONFIG, "again", ANNA).key == run.key
    changes = ({"folds": 4}, {"mask_sector": True}, {"style": "paper"}, {"backbone": "random-resnet18"})
    keys = {suspects_request(home, CONFIG | change).key for change in changes}
    assert len(keys) == len(changes)
    assert run.key not in keys


def test_the_queue_of_suspected_label_errors(searched):
    home, dataset, store, run = searched

    def items(**settings):
        config = QueueConfig(kind="label_errors", dataset="halves", runs=(run.key,), **settings)
        return open_queue(home, store, config, ANNA).items

    found = items(most=2)
    assert {each.item for each in found} == {"s3", "s10"}
    by_item = {each.item: each for each in found}
    assert (by_item["s3"].label, by_item["s3"].answer, by_item["s3"].suggested) == ("left", "right", "right")
    assert by_item["s3"].reason.startswith("seen as right by models of other patients, ")
    assert by_item["s10"].test_set == "train"
    assert [each.item for each in items()] == [each.item for each in found]  # cleanlab's own list
    assert [each.item for each in items(test_set="train", most=1)] == [
        each.item for each in found if each.test_set == "train"
    ][:1]
    assert [each.item for each in items(truth="left", answer="right")] == ["s3"]
    assert len(items(most=2, mixed=True)) == 4
    assert {each.label for each in items(level="image", most=6)} == set(CLASSES)

    rows = dataset.manifest(["image_id", "sequence_id"])
    corrected = {image: "right" for image in rows.loc[rows["sequence_id"] == "s3", "image_id"]}
    publish(store, dataset, "v2", corrected, "", ANNA)
    assert [each.item for each in items(test_set="@v2")] == ["s10"]  # who was corrected is suspect no more


def test_only_a_finished_search_can_be_read(home):
    mislabelled(home)
    store = open_store(home)
    asked = request_run(store, "suspects", CONFIG, "suspects", ANNA)
    with pytest.raises(BadInput, match="no finished search"):
        read_suspects(home, asked)
    with pytest.raises(BadInput, match="is queued; choose one that is done"):
        open_queue(home, store, QueueConfig(kind="label_errors", dataset="halves", runs=(asked.key,)), ANNA)


# ------------------------------------------------------------------------------------------------------------ the phantom


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_label_errors_are_found(home, seed):
    """On a phantom as large as the demo's: of as many sequences as were planted, at least half are planted ones."""
    found = search(home, seed)
    assert found.precision >= 0.5
    assert found.times_chance >= 5
