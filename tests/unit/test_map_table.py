"""The points of a map: what is known of each, of two maps together, above the cap, and as columns for the browser.

Run: pytest tests/unit/test_map_table.py
"""

import numpy as np
import pandas as pd
import pytest

from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.studies.map_table import confidence_words, map_table
from fmlab.studies.scoring import item_table
from fmlab.ui.map_columns import map_columns
from fmlab.ui.map_selection import ordered, selection_csv
from tests.pages.made_study import STUDY, finish_runs, launch_study, make_dataset, make_study

MISSING = 65_535


@pytest.fixture
def made(home):
    store = make_study(home)
    return home, store, open_dataset(home, "toy")


def write_map(home, name, images, offset=0.0):
    path = home.path / f"{name}.parquet"
    places = np.arange(len(images), dtype=np.float32)
    pd.DataFrame({"image_id": list(images), "x": places, "y": places + offset}).to_parquet(path)
    return path


def first_run(store, adaptation="linear_svm"):
    runs = store.runs()
    return runs[(runs["state"] == "done") & (runs["adaptation"] == adaptation)]["key"].iloc[-1]


def test_each_point_knows_its_image_and_what_a_run_answered(made):
    home, store, dataset = made
    images = dataset.manifest(["image_id"])["image_id"]
    run = first_run(store)
    table = map_table(home, store, dataset, (write_map(home, "one", images),), run)
    assert table.images == len(images) == 69
    rows = table.rows.set_index("image_id")
    assert rows["x"].tolist() == list(range(69))
    assert (rows["split"] == "train").sum() == rows["test_set"].isna().sum() == rows["correct"].isna().sum() == 36
    assert rows["sequence"].nunique() == 23
    items = item_table(home, store, run).set_index("image_id")
    scored = rows.loc[items.index]
    assert (scored["prediction"] == items["predicted"]).all()
    assert (scored["correct"] == items["correct"]).all()
    assert (scored["test_set"] == items["test_set"]).all()
    # A linear SVM has no probabilities: ranks of how far the answer is ahead, 1 the furthest.
    scores = np.sort(items.filter(like="score_").to_numpy(), axis=1)
    ahead = pd.Series(scores[:, -1] - scores[:, -2], index=items.index)
    assert scored["confidence"].max() == 1.0
    assert scored["confidence"].idxmax() == ahead.idxmax()
    assert (scored["confidence"].rank() == ahead.rank()).all()


def test_a_confidence_is_a_probability_where_there_is_one(home):
    make_dataset(home)
    store = launch_study(home, STUDY | {"adaptations": ["logistic"]})
    finish_runs(home, store, "made")
    dataset = open_dataset(home, "toy")
    images = dataset.manifest(["image_id"])["image_id"]
    run = first_run(store, "logistic")
    rows = map_table(home, store, dataset, (write_map(home, "one", images),), run).rows.set_index("image_id")
    items = item_table(home, store, run).set_index("image_id")
    odds = np.exp(items.filter(like="score_").to_numpy(np.float64))
    expected = odds.max(axis=1) / odds.sum(axis=1)
    assert rows.loc[items.index, "confidence"].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert "probability" in confidence_words("logistic")


def test_two_maps_share_their_points(made):
    home, store, dataset = made
    images = dataset.manifest(["image_id"])["image_id"]
    first, second = write_map(home, "one", images[:60]), write_map(home, "two", images[50:][::-1], offset=1.0)
    rows = map_table(home, store, dataset, (first, second)).rows
    assert rows["image_id"].tolist()[:60] == images[:60].tolist()
    assert set(rows["image_id"]) == set(images)
    assert rows["x"].isna().sum() == 9  # on the second alone
    assert rows["x2"].isna().sum() == 50
    shared = rows[rows["image_id"] == images[55]].iloc[0]
    assert (shared["x"], shared["x2"], shared["y2"]) == (55, 13, 14)
    assert rows["prediction"].isna().all()


def test_above_the_cap_labels_and_splits_keep_their_share(made):
    home, store, dataset = made
    images = dataset.manifest(["image_id"])["image_id"]
    path = write_map(home, "one", images)
    table = map_table(home, store, dataset, (path,), most=30)
    assert (len(table.rows), table.images) == (30, 69)
    assert table.rows["test_set"].notna().sum() == 15  # test images may take up half
    assert table.rows[table.rows["split"] == "train"]["label"].value_counts().to_dict() == {"A": 5, "B": 5, "C": 5}
    assert map_table(home, store, dataset, (path,), most=30).rows["image_id"].equals(table.rows["image_id"])


def test_a_map_made_anew_is_read_anew_and_a_lost_one_refused(made):
    home, store, dataset = made
    images = dataset.manifest(["image_id"])["image_id"]
    path = write_map(home, "one", images)
    assert map_table(home, store, dataset, (path,)) is map_table(home, store, dataset, (path,))
    write_map(home, "one", images[:10])
    assert len(map_table(home, store, dataset, (path,)).rows) == 10
    path.unlink()
    with pytest.raises(BadInput, match="missing or damaged"):
        map_table(home, store, dataset, (path,))


def test_columns_are_codes_of_what_is_known(made):
    home, store, dataset = made
    images = dataset.manifest(["image_id"])["image_id"]
    rows = map_table(home, store, dataset, (write_map(home, "one", images),), first_run(store)).rows
    columns = {column.name: column for column in map_columns(dataset, rows, {images[3]: "label_wrong"})}
    label = columns["label"]
    assert [label.categories[code] for code in label.values] == rows["label"].tolist()
    assert (columns["test_set"].values == MISSING).sum() == 36
    assert columns["correct"].categories == ("correct", "wrong")
    assert (columns["correct"].values == 1).sum() == (rows["correct"] == False).sum()  # noqa: E712
    verdict = columns["verdict"]
    assert [verdict.categories[code] for code in verdict.values if code != MISSING] == ["label wrong"]
    assert np.flatnonzero(verdict.values != MISSING).tolist() == [3]
    sequence = columns["sequence"].values.reshape(23, 3)
    assert (sequence == sequence[:, :1]).all()  # frames of one sequence have one colour
    assert np.isnan(columns["confidence"].values).sum() == 36


def test_a_selection_begins_with_confident_mistakes_and_leaves_as_a_table():
    rows = pd.DataFrame(
        {
            "image_id": list("abcd"),
            "split": ["train", "T1", "T1", "T1"],
            "site": [None, "north", "north", "south"],
            "label": ["=1+1", "A", "A", "B"],
            "prediction": [None, "A", "B", "A"],
            "correct": [None, True, False, False],
            "confidence": [np.nan, 0.9, 0.6, 0.8],
        }
    )
    rows = ordered(rows)
    assert rows["image_id"].tolist() == ["d", "c", "a", "b"]
    assert selection_csv(rows).splitlines() == [
        "image_id,split,site,label,prediction,correct,confidence",
        "d,T1,south,B,A,false,0.8",
        "c,T1,north,A,B,false,0.6",
        "a,train,,'=1+1,,,",
        "b,T1,north,A,A,true,0.9",
    ]
