"""Verdicts: kept once, in order, and only ever added to. Run: pytest tests/unit/test_verdicts.py"""

import threading
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlab.errors import BadInput
from fmlab.review.queues import QueueConfig, open_queue
from fmlab.review.verdicts import (
    COLUMNS,
    parse_answer,
    record_answers,
    refused_answers,
    standing,
    verdicts_of,
    verdicts_on,
)
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from tests.toys import halves

ANNA = Actor("anna", "test")


def answer(item, kind, label=None, undoes=None, **others):
    return parse_answer(
        {"id": str(uuid.uuid4()), "item": item, "kind": kind, "label": label, "undoes": undoes} | others
    )


@pytest.fixture
def dataset(home):
    return halves(home, patients=12)


@pytest.fixture
def store(home, dataset):
    return open_store(home)


@pytest.fixture
def queue(home, store):
    """Sequences s2 (left), s5 (right), s8 (left), s11 (right)."""
    return queue_of(home, store, "s2", "s5", "s8", "s11")


def queue_of(home, store, *items, kind="selection", level="sequence"):
    return open_queue(home, store, QueueConfig(kind=kind, dataset="halves", items=items, level=level), ANNA)


def record(store, queue, *answers, reviewer="anna", blinded=False):
    return record_answers(store, queue, answers, reviewer, blinded, ANNA)


def stand(store, **of):
    return [(row.reviewer, row.item, row.kind, row.label) for row in standing(verdicts_of(store, **of)).itertuples()]


def test_an_answer_is_kept_with_who_when_and_what_was_shown(store, queue):
    given = answer("s2", "label_wrong", "right", note="  mirrored ", shown={"frame": 2, "inverted": True})
    assert record(store, queue, given) == [given.id]
    table = verdicts_of(store)
    assert tuple(table.columns) == COLUMNS
    row = table.iloc[0]
    assert (row["id"], row["reviewer"], row["via"], row["dataset"]) == (given.id, "anna", "test", "halves")
    assert (row["queue"], row["level"], row["item"]) == (queue.key, "sequence", "s2")
    assert (row["kind"], row["label"], row["note"], row["blinded"]) == ("label_wrong", "right", "  mirrored ", False)
    assert {"frame": 2, "inverted": True, "label": "left", "answer": None}.items() <= row["shown"].items()
    assert not row["adjudication"]
    assert row["time"].endswith("+00:00")


def test_two_hundred_answers_come_out_in_the_order_in_which_they_went_in(store, queue):
    answers = [answer(f"s{(2, 5, 8, 11)[number % 4]}", "skip") for number in range(200)]
    for start in range(0, 200, 7):
        record(store, queue, *answers[start : start + 7])
    assert verdicts_of(store)["id"].tolist() == [each.id for each in answers]


def test_the_same_answers_sent_again_are_acknowledged_and_not_second_verdicts(store, queue):
    """The server was killed between writing and acknowledging; the browser sends the same ids, and one new."""
    first, second, third = (answer(item, "ambiguous") for item in ("s2", "s5", "s8"))
    record(store, queue, first, second)
    version = store.version()
    assert record(store, queue, first, second) == [first.id, second.id]
    assert store.version() == version  # nothing changed, so no page redraws
    assert record(store, queue, first, second, third) == [first.id, second.id, third.id]
    assert record(store, queue, third, third) == [third.id, third.id]
    assert len(verdicts_of(store)) == 3


def test_all_of_a_batch_or_nothing(store, queue):
    good, bad = answer("s2", "skip"), answer("s3", "skip")  # s3 is not in the queue
    with pytest.raises(BadInput, match="'s3' is not in the queue"):
        record(store, queue, good, bad)
    assert verdicts_of(store).empty
    assert refused_answers(store, queue, [good, bad], "anna", False).keys() == {bad.id}


def test_an_id_of_another_verdict_is_refused(store, queue):
    mine = answer("s2", "skip")
    record(store, queue, mine)
    with pytest.raises(BadInput, match="another verdict"):
        record(store, queue, mine, reviewer="ben")
    with pytest.raises(BadInput, match="another verdict"):
        record(store, queue, mine.model_copy(update={"item": "s5"}))


def test_a_second_thought_after_the_label_was_told_is_not_blinded(store, queue):
    record(store, queue, answer("s2", "class", "left"), answer("s5", "skip"), blinded=True)
    record(store, queue, answer("s2", "class", "right"), answer("s5", "class", "right"), blinded=True)
    record(store, queue, answer("s2", "class", "left"), reviewer="ben", blinded=True)
    said = [(row.reviewer, row.item, row.kind, row.blinded) for row in verdicts_of(store).itertuples()]
    assert said[2:] == [
        ("anna", "s2", "label_wrong", False),
        ("anna", "s5", "label_right", True),  # a skip tells nothing
        ("ben", "s2", "label_right", True),
    ]


def test_blinded_classes_are_held_against_the_label_here(store, queue):
    record(store, queue, answer("s2", "class", "left"), answer("s5", "class", "left"), blinded=True)
    assert stand(store) == [("anna", "s2", "label_right", "left"), ("anna", "s5", "label_wrong", "left")]
    assert verdicts_of(store)["blinded"].all()
    with pytest.raises(BadInput, match="does not see the label"):
        record(store, queue, answer("s8", "label_right"), blinded=True)


def test_label_right_keeps_the_label_that_it_confirms(store, queue):
    record(store, queue, answer("s5", "label_right"))
    assert stand(store) == [("anna", "s5", "label_right", "right")]
    with pytest.raises(BadInput, match="has the label 'left', and not 'right'"):
        record(store, queue, answer("s2", "label_right", "right"))
    with pytest.raises(BadInput, match="cannot be wrong"):
        record(store, queue, answer("s2", "label_wrong", "left"))
    with pytest.raises(BadInput, match="no class of the dataset; its classes are left, right"):
        record(store, queue, answer("s2", "label_wrong", "<b>up</b>"))


def test_the_newest_stands_and_undo_brings_back_the_one_before(store, queue):
    first, second = answer("s2", "ambiguous"), answer("s2", "label_right")
    record(store, queue, first, second)
    assert stand(store) == [("anna", "s2", "label_right", "left")]
    record(store, queue, answer("s2", "undo", undoes=second.id))
    assert stand(store) == [("anna", "s2", "ambiguous", None)]
    record(store, queue, answer("s2", "undo", undoes=first.id))
    assert stand(store) == []
    assert len(verdicts_of(store)) == 4  # nothing was removed


def test_an_undo_may_stand_in_the_batch_of_what_it_undoes(store, queue):
    given = answer("s2", "skip")
    record(store, queue, given, answer("s2", "undo", undoes=given.id), answer("s2", "ambiguous"))
    assert stand(store) == [("anna", "s2", "ambiguous", None)]


def test_only_ones_own_verdict_on_that_item_can_be_undone(store, queue):
    given = answer("s2", "skip")
    record(store, queue, given)
    with pytest.raises(BadInput, match="another reviewer"):
        record(store, queue, answer("s2", "undo", undoes=given.id), reviewer="ben")
    with pytest.raises(BadInput, match="not one on 's5'"):
        record(store, queue, answer("s5", "undo", undoes=given.id))
    with pytest.raises(BadInput, match="There is no verdict"):
        record(store, queue, answer("s2", "undo", undoes=str(uuid.uuid4())))
    undo = answer("s2", "undo", undoes=given.id)
    record(store, queue, undo)
    with pytest.raises(BadInput, match="not one on 's2'"):
        record(store, queue, answer("s2", "undo", undoes=undo.id))


def test_images_and_sequences_are_different_items(home, store, queue, dataset):
    image = dataset.manifest(["image_id"])["image_id"].iloc[0]
    images = queue_of(home, store, image, level="image")
    record(store, queue, answer("s2", "skip"))
    record(store, images, answer(image, "ambiguous"))
    table = verdicts_of(store)
    assert table["level"].tolist() == ["sequence", "image"]
    assert len(verdicts_of(store, queue=images.key)) == 1
    assert len(verdicts_of(store, reviewer="ben")) == 0
    assert len(verdicts_of(store, dataset="other")) == 0


def test_an_adjudication_stands_beside_the_adjudicators_own_verdict(home, store, queue):
    record(store, queue, answer("s2", "label_right"))
    record(store, queue, answer("s2", "ambiguous"), reviewer="ben")
    disputed = queue_of(home, store, kind="adjudication")
    assert [each.item for each in disputed.items] == ["s2"]
    record(store, disputed, answer("s2", "poor_quality"))
    table = standing(verdicts_of(store))
    assert table["kind"].tolist() == ["label_right", "ambiguous", "poor_quality"]
    assert table["adjudication"].tolist() == [False, False, True]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_a_reviewer_has_a_name(store, queue, name):
    with pytest.raises(BadInput, match="name of 1 to 100"):
        record(store, queue, answer("s2", "skip"), reviewer=name)
    assert verdicts_of(store).empty


def test_blanks_around_a_name_make_no_second_reviewer(store, queue):
    given = answer("s2", "skip")
    record(store, queue, given, reviewer=" Zoë B. ")
    record(store, queue, given, reviewer="Zoë B.")
    assert verdicts_of(store)["reviewer"].tolist() == ["Zoë B."]


def test_two_reviewers_answer_the_same_images_at_once(home, store, queue):
    """Each from a thread of their own, every batch sent twice: all there, once, in each one's order."""
    items = ("s2", "s5", "s8", "s11")
    answers = {name: [answer(items[number % 4], "class", "left") for number in range(40)] for name in ("anna", "ben")}
    failures = []

    def review(name):
        try:
            own = open_store(home)
            for start in range(0, 40, 4):
                for _ in range(2):
                    batch = answers[name][start : start + 4]
                    assert record(own, queue, *batch, reviewer=name, blinded=True) == [each.id for each in batch]
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=review, args=(name,)) for name in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for name, own in answers.items():
        assert verdicts_of(store, reviewer=name)["id"].tolist() == [each.id for each in own]
    assert len(standing(verdicts_of(store))) == 8


def test_one_reviewer_in_two_windows_records_the_same_answers_once(home, store, queue):
    answers = [answer("s2", "ambiguous") for _ in range(30)]
    barrier, kept = threading.Barrier(2), []

    def send():
        own = open_store(home)
        barrier.wait()
        kept.extend(record(own, queue, each)[0] for each in answers)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == sorted([each.id for each in answers] * 2)
    assert len(verdicts_of(store)) == 30


def test_verdicts_on_other_images_of_the_same_name_are_left_out(home, store, queue, dataset):
    from fmlab.data.manifest import remove_dataset

    record(store, queue, answer("s2", "skip"))
    assert len(verdicts_on(store, dataset)) == 1
    remove_dataset(home, "halves")
    other = halves(home, patients=12, noise=50)
    assert verdicts_on(store, other).empty
    assert len(verdicts_of(store, "halves")) == 1


# ----------------------------------------------------------------------------------------------- what a browser can send

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("id", "item", "kind", "label", "note", "undoes", "shown")
LIKELY = {
    "id": st.uuids().map(str),
    "undoes": st.none() | st.uuids().map(str),
    "item": st.sampled_from(["s2", "s5"]),
    "kind": st.sampled_from(["label_right", "label_wrong", "class", "ambiguous", "poor_quality", "skip", "undo"]),
    "label": st.sampled_from([None, "left", "right"]),
    "note": st.text(max_size=20),
    "shown": st.dictionaries(st.text(max_size=10), st.none() | st.integers() | st.text(max_size=10), max_size=3),
}


@given(
    sent=st.fixed_dictionaries(
        {}, optional={name: st.one_of(LIKELY[name], LIKELY[name], LIKELY[name], JSON) for name in FIELDS}
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_sent_is_an_answer_or_one_sentence(sent):
    try:
        parsed = parse_answer(sent)
    except BadInput as refusal:
        assert len(str(refusal).splitlines()) == 1  # noqa: PT017 - either outcome is right
        return
    assert {name: getattr(parsed, name) for name in sent} == sent  # kept as it was sent, nothing bent into shape
    assert (parsed.kind == "undo") == (parsed.undoes is not None)


@pytest.mark.parametrize(
    "sent",
    [
        {"kind": "class", "label": None},
        {"kind": "label_wrong"},
        {"kind": "ambiguous", "label": "left"},
        {"kind": "undo"},
        {"kind": "skip", "undoes": str(uuid.UUID(int=1))},
        {"kind": "skip", "id": "1"},
        {"kind": "skip", "note": "x" * 2001},
        {"kind": "skip", "shown": {"seconds": float("nan")}},
        {"kind": "skip", "shown": {"nested": {"x": 1}}},
        {"kind": "skip", "shown": {str(number): number for number in range(33)}},
        {"kind": "skip", "extra": 1},
        {"kind": "best"},
        "an answer",
        None,
    ],
)
def test_what_is_no_answer_is_refused(sent):
    whole = {"id": str(uuid.UUID(int=2)), "item": "s2"} | sent if isinstance(sent, dict) else sent
    with pytest.raises(BadInput, match="cannot be kept"):
        parse_answer(whole)
