"""The audit on the Datasets page: what is wrong first, a look at the pictures at one press, names as text."""

import json

import numpy as np

from fmlab.audit.report import Audit, made
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.studies.audits import request_audit
from fmlab.ui.audit_view import example_table
from fmlab.ui.format import escaped
from tests.pages.conftest import text_of
from tests.pages.made_study import make_dataset

HOSTILE = "![x](http://example.org/a.png) <b>bold</b> :red[label]"


def button(drawn, label):
    return next(each for each in drawn.button if each.label == label)


def finish_audit(store, dataset, audit):
    """A finished look at the pictures with this outcome, written as a launcher would."""
    run = request_audit(store, dataset, Actor("tester", "test"))
    result = {"content_hash": dataset.card.content_hash, "audit": audit.plain()}
    with store.writing() as connection:
        connection.execute("UPDATE runs SET state = 'done', result = ? WHERE key = ?", (json.dumps(result), run.key))


def test_before_a_look_the_page_says_so_and_one_press_asks_for_it(open_page, home):
    make_dataset(home)
    drawn = open_page("datasets", dataset="toy")
    assert "have not been looked at" in text_of(drawn)
    button(drawn, "Look at the pictures").click().run()
    assert not drawn.exception
    runs = open_store(home).runs()
    assert runs[["kind", "dataset", "state"]].values.tolist() == [["audit", "toy", "queued"]]
    assert button(drawn, "Look at the pictures").disabled


def test_what_a_look_found_stands_on_the_page_with_its_examples(open_page, home):
    dataset, store = make_dataset(home), open_store(home)
    rows = [{"image": f"{n}.png", "other_split": HOSTILE} for n in range(3)]
    checks = (
        made("frames", "leak", "Frames of one clip on one side of the split", f"Half leak, {HOSTILE} for one.", rows),
        made("copies", "fine", "Copies of a picture on its side of the split", "None is a copy."),
    )
    finish_audit(store, dataset, Audit(checks))
    drawn = open_page("datasets", dataset="toy")
    assert not drawn.exception
    assert "Half leak" in drawn.error[0].value
    assert "type the dataset's name" in drawn.error[0].value
    assert escaped(HOSTILE) in drawn.error[0].value
    assert "![x](" not in text_of(drawn)
    shown = next(frame.value for frame in drawn.dataframe if "Other split" in frame.value)
    assert shown["Image"].tolist() == ["0.png", "1.png", "2.png"]
    assert "None is a copy" in text_of(drawn)
    assert not button(drawn, "Look again at the pictures").disabled


def test_a_clean_dataset_shows_no_box(open_page, home):
    writer = DatasetWriter(home, "clean")
    generator = np.random.default_rng(0)
    for number in range(8):
        split = "T1" if number % 4 > 1 else "train"
        row = ImageRow(f"{number}.png", label="ab"[number % 2], patient_id=f"p{number}", split=split, site=split)
        writer.add(row, generator.integers(0, 255, (16, 16), dtype=np.uint8))
    writer.finish(CardFacts("toy"))
    drawn = open_page("datasets", dataset="clean")
    assert not drawn.exception
    assert not drawn.error
    assert not drawn.warning
    assert not drawn.info
    assert any(expander.label.endswith("not made") for expander in drawn.expander)


def test_examples_are_named_in_words():
    assert list(example_table(({"image": "a", "other_split": "T1"},))) == ["Image", "Other split"]
