"""Decisions, and the labels that they change, worked out by hand. Run: pytest tests/unit/test_decisions.py

Three sequences of test set T1, classes x, y, z:

    sequence   images       labels
    a          a0 a1 a2     x x x
    b          b0 b1 b2     x x y    (most of them x)
    c          c0           none
"""

import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.review.decisions import COLUMNS, _majority, _Voice, decisions, label_changes, next_version_name
from fmlab.review.exports import label_fixes_csv, verdicts_csv
from fmlab.review.queues import QueueConfig, open_queue
from fmlab.review.verdicts import parse_answer, record_answers, verdicts_of
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.studies.label_versions import find_label_version, publish

ANNA = Actor("anna", "test")
CLASSES = ("x", "y", "z")
LABELS = {"a0": "x", "a1": "x", "a2": "x", "b0": "x", "b1": "x", "b2": "y", "c0": None}


class Review:
    """A dataset under review: `say("anna", "a", "label_wrong", "y")`."""

    def __init__(self, home):
        self.home = home
        with DatasetWriter(home, "mini") as writer:
            self.ids = {
                name: writer.add(
                    ImageRow(f"{name[0]}.png", int(name[1]), label=label, sequence_id=name[0], split="T1"),
                    np.full((8, 8), number, np.uint8),
                )
                for number, (name, label) in enumerate(LABELS.items())
            }
            self.dataset = writer.finish(CardFacts("toy"), CLASSES)
        self.store = open_store(home)

    def queue(self, *items, level="sequence", kind="selection", test_set=""):
        config = QueueConfig(kind=kind, dataset="mini", items=items, level=level, test_set=test_set)
        return open_queue(self.home, self.store, config, ANNA)

    def say(self, reviewer, item, kind, label=None, queue=None):
        level = "image" if item in self.ids else "sequence"
        item = self.ids.get(item, item)
        queue = queue or self.queue(item, level=level)
        given = parse_answer({"id": str(uuid.uuid4()), "item": item, "kind": kind, "label": label})
        record_answers(self.store, queue, [given], reviewer, False, ANNA)

    def decided(self, **options):
        table = decisions(self.store, self.dataset, **options)
        return [(row.item, row.decision, row.label, row.by) for row in table.itertuples()]

    def changes(self, **options):
        names = {identity: name for name, identity in self.ids.items()}
        found = label_changes(self.store, self.dataset, **options)
        return {names[image]: label for image, label in found.items()}


@pytest.fixture
def review(home):
    return Review(home)


def test_nobody_said_anything(review):
    assert tuple(decisions(review.store, review.dataset).columns) == COLUMNS
    assert review.decided() == []
    assert review.changes() == {}


def test_one_reviewer_decides_a_sequence_and_all_its_images(review):
    review.say("anna", "a", "label_wrong", "y")
    assert review.decided() == [("a", "label_wrong", "y", "anna")]
    assert review.changes() == {"a0": "y", "a1": "y", "a2": "y"}


def test_a_sequence_whose_label_is_right_keeps_the_labels_of_its_images(review):
    review.say("anna", "b", "label_right")
    assert review.decided() == [("b", "label_right", "x", "anna")]
    assert review.changes() == {}


def test_a_sequence_of_another_class_changes_only_the_images_that_have_not_got_it(review):
    review.say("anna", "b", "label_wrong", "y")
    assert review.changes() == {"b0": "y", "b1": "y"}


def test_a_label_for_what_had_none(review):
    review.say("anna", "c", "label_wrong", "z")
    assert review.changes() == {"c0": "z"}


def test_what_is_said_of_an_image_stands_above_its_sequence(review):
    review.say("anna", "a", "label_wrong", "y")
    review.say("ben", "a1", "label_right")
    review.say("ben", "a2", "label_wrong", "z")
    assert review.changes() == {"a0": "y", "a2": "z"}


def test_majorities(review):
    for reviewer, kind, label in [("anna", "label_wrong", "y"), ("ben", "label_right", None)]:
        review.say(reviewer, "a", kind, label)
    assert review.decided() == [("a", "undecided", None, "")]
    assert review.changes() == {}
    review.say("cleo", "a", "skip")  # says nothing
    assert review.decided()[0][1] == "undecided"
    review.say("cleo", "a", "label_wrong", "y")
    assert review.decided() == [("a", "label_wrong", "y", "anna, cleo")]
    review.say("dora", "a", "poor_quality")  # 2 of 4 is no majority
    assert review.decided()[0][1] == "undecided"
    assert decisions(review.store, review.dataset)["reviewers"].tolist() == [4]


def test_a_changed_mind_counts_once(review):
    review.say("anna", "a", "label_wrong", "y")
    review.say("anna", "a", "label_wrong", "z")
    assert review.decided() == [("a", "label_wrong", "z", "anna")]


def test_an_adjudication_stands_above_all_others(review):
    for reviewer in ("anna", "ben", "cleo"):
        review.say(reviewer, "a", "label_wrong", "y")
    review.say("dora", "a", "ambiguous")
    disputed = review.queue(kind="adjudication")
    review.say("eve", "a", "label_right", queue=disputed)
    row = decisions(review.store, review.dataset).iloc[0]
    assert (row["decision"], row["by"], row["adjudicated"], row["reviewers"]) == ("label_right", "eve", True, 4)
    review.say("fay", "a", "skip", queue=disputed)  # no decision
    assert review.decided()[0][3] == "eve"
    review.say("fay", "a", "label_wrong", "z", queue=disputed)  # the newest
    assert review.decided() == [("a", "label_wrong", "z", "fay")]


def test_what_cannot_be_used_is_taken_out_on_demand(review):
    review.say("anna", "a", "poor_quality")
    review.say("anna", "b2", "ambiguous")
    review.say("anna", "b", "label_wrong", "z")
    assert review.changes() == {"b0": "z", "b1": "z", "b2": "z"}
    taken = dict.fromkeys(("a0", "a1", "a2"))
    assert review.changes(exclude_unusable=True) == taken | {"b0": "z", "b1": "z", "b2": None}


def test_only_those_that_change_something(review):
    review.say("anna", "a", "label_right")
    review.say("anna", "b", "label_wrong", "z")
    review.say("anna", "c", "ambiguous")
    assert [row[0] for row in review.decided()] == ["a", "b", "c"]
    assert [row[0] for row in review.decided(include="wrong")] == ["b"]
    assert [row[0] for row in review.decided(include="wrong and excluded")] == ["b", "c"]


def test_versions_follow_one_another_and_say_what_is_wrong_with_the_imported_labels(review):
    """Reviewed under v2, a label that v2 corrected is confirmed: it stays corrected in v3."""
    review.say("anna", "a", "label_wrong", "y")
    assert next_version_name(review.store, review.dataset) == "v2"
    publish(review.store, review.dataset, "v2", label_changes(review.store, review.dataset), "", ANNA)
    assert next_version_name(review.store, review.dataset) == "v3"
    second = review.queue("a", test_set="@v2")
    assert second.items[0].label == "y"
    review.say("anna", "a", "label_right", queue=second)
    assert review.decided() == [("a", "label_wrong", "y", "anna")]
    assert review.changes() == {"a0": "y", "a1": "y", "a2": "y"}


def test_the_fixes_of_a_version_and_of_what_would_be_the_next(review):
    review.say("anna", "b", "label_wrong", "y")
    before = label_fixes_csv(review.store, review.dataset, None)
    ids = review.ids
    assert before.splitlines() == [
        "path,frame,image_id,label_was,label,attached",
        f"b.png,0,{ids['b0']},x,y,",
        f"b.png,1,{ids['b1']},x,y,",
    ]
    publish(review.store, review.dataset, "v2", label_changes(review.store, review.dataset), "", ANNA)
    review.say("anna", "b", "label_right")
    version = find_label_version(review.store, review.dataset, "v2")
    assert label_fixes_csv(review.store, review.dataset, version) == before
    assert len(label_fixes_csv(review.store, review.dataset, None).splitlines()) == 1


def test_verdicts_as_csv_hold_no_formula(review):
    given = {
        "id": str(uuid.uuid4()),
        "item": "a",
        "kind": "skip",
        "note": '=HYPERLINK("http://x")',
        "shown": {"frame": 1},
    }
    record_answers(review.store, review.queue("a"), [parse_answer(given)], "@anna", False, ANNA)
    header, line = verdicts_csv(verdicts_of(review.store)).splitlines()
    assert header.startswith("number,id,time,reviewer")
    assert ",'@anna," in line
    assert '"\'=HYPERLINK(""http://x"")"' in line
    assert '""frame"": 1' in line


@given(answers=st.text("abc?!", min_size=1, max_size=9))
@settings(max_examples=200, deadline=None)
def test_a_majority_is_more_than_half_and_knows_no_order(answers):
    def decided(text):
        kinds = {"?": ("ambiguous", None), "!": ("poor_quality", None)}
        named = [kinds.get(letter, ("class", letter)) for letter in text]
        return _majority([_Voice(f"r{place}", *each, False) for place, each in enumerate(named)])

    kind, label = decided(answers)
    assert decided(answers[::-1]) == (kind, label)
    largest = max(set(answers), key=answers.count)
    if 2 * answers.count(largest) > len(answers):
        assert (label or {"ambiguous": "?", "poor_quality": "!"}[kind]) == largest
    else:
        assert (kind, label) == ("undecided", None)
