"""The Review page on an empty, a full and a broken home; nothing identifying reaches it."""

import numpy as np
import pandas as pd
import pytest

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.studies.results import results
from fmlab.studies.scoring import item_table
from fmlab.ui.review_view import Pictures, score_lines
from tests.pages.conftest import text_of
from tests.pages.made_study import launch_study, make_dataset, make_study


def test_an_empty_home_says_what_to_do_next(open_page):
    page = open_page("review")
    assert not page.exception
    assert "No study yet" in text_of(page)


def test_a_full_home_counts_what_was_misclassified(open_page, home):
    store = make_study(home)
    page = open_page("review", study="made", backbone="pixels-24", size="1", seed="2", test_set="T1")
    assert not page.exception
    assert not page.error
    table = results(home, store, "made")
    run = table.query("backbone == 'pixels-24' and size == 1 and seed == 2 and test_set == 'T1'").iloc[0]
    wrong = (~item_table(home, store, run["run"], "T1")["correct"]).sum()
    assert f"**{wrong} of 21 images** of T1 misclassified" in text_of(page)
    assert "Scores order the classes" in text_of(page)


@pytest.mark.parametrize("unit", ["images", "sequences"])
def test_filters_come_from_the_address(open_page, home, unit):
    make_study(home)
    page = open_page("review", study="made", backbone="pixels-24", size="1", unit=unit, truth="A", pictures="Large")
    assert not page.exception
    assert not page.error
    assert page.selectbox(key="truth").value == "A"


def test_nothing_identifying_stands_on_the_page(open_page, home):
    make_study(home)
    page = open_page("review", study="made", backbone="pixels-24", size="1")
    words = text_of(page) + "".join(str(table.value) for table in page.dataframe)
    for identifying in ("patient of", ".avi", "T1-A-0"):
        assert identifying not in words


def test_a_study_without_a_finished_run_says_that_it_will_come(open_page, home):
    make_dataset(home)
    launch_study(home)
    page = open_page("review")
    assert not page.exception
    assert "as soon as a run has finished" in text_of(page)


def test_a_broken_store_is_one_message(open_page, home):
    make_study(home)
    for file in home.path.glob("fmlab.db*"):
        file.write_bytes(b"this is not a database" * 1000)
    page = open_page("review")
    assert not page.exception
    assert len(page.error) == 1


def test_truth_and_answer_are_marked_even_when_the_truth_scored_last():
    scores = {f"score_{letter}": 10.0 - place for place, letter in enumerate("ABCDEFGH")}
    lines = score_lines(pd.Series({"label": "H", "predicted": "A", "score": 10.0} | scores)).split("\n")
    assert lines[2] == "| A | 10.00 | answer |"
    assert lines[-1] == "| H | 3.00 | truth |"
    assert len(lines) == 2 + 5 + 1


def test_a_class_name_cannot_break_out_of_the_table():
    row = pd.Series({"label": "a|b", "predicted": "<b>c</b>", "score_a|b": 1.0, "score_<b>c</b>": 2.0})
    assert "<b>" not in score_lines(row)
    assert "| a\\|b | 1.00 | truth |" in score_lines(row)


def test_what_lies_outside_the_sector_is_black_unless_asked_for(home):
    writer = DatasetWriter(home, "sectors")
    left_half = (0.0, 0.0, 0.5, 0.0, 0.5, 1.0, 0.0, 1.0)
    for name, sector in (("with.png", left_half), ("without.png", None)):
        writer.add(ImageRow(name, label=name, split="T1", sector=sector), np.full((8, 8), 200, np.uint8))
    dataset = writer.finish(CardFacts("toy"))
    table = dataset.manifest(["image_id", "label"])
    ids = dict(zip(table["label"], table["image_id"], strict=True))
    shown = Pictures(dataset, whole=False).of(table["image_id"])
    assert (shown[ids["with.png"]][:, :3] == 200).all()
    assert (shown[ids["with.png"]][:, 5:] == 0).all()
    assert (shown[ids["without.png"]] == 200).all()
    assert (Pictures(dataset, whole=True).of(table["image_id"])[ids["with.png"]] == 200).all()
