"""Every check of the tables can fire and can stay silent, on datasets of a dozen images that can be read by eye."""

import json

import numpy as np
import pytest

from fmlab.audit.report import ROWS_KEPT, Audit, audit_from, listed, made
from fmlab.audit.tables import audit_tables
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput

KEYS = [
    "groups", "identical", "absent_classes", "sites", "mixed_sequences", "two_labels", "unlabelled", "unreadable",
]  # fmt: skip


def noise(seed):
    return np.random.default_rng(seed).integers(0, 255, (16, 16), dtype=np.uint8)


def row(number, **changes):
    """Image `number` of a clean dataset: three frames a sequence, two classes, a site for each split."""
    sequence = number // 3
    split = "T1" if sequence % 3 == 2 else "train"
    facts = {
        "path": f"clip{sequence}.avi",
        "frame": number % 3,
        "label": "ab"[sequence % 2],
        "sequence_id": f"s{sequence}",
        "patient_id": f"p{sequence}",
        "site": "south" if split == "T1" else "north",
        "split": split,
    }
    return ImageRow(**(facts | changes))


def dataset_of(home, changes=None, pixels=None, unreadable=0, count=18):
    """The clean dataset, with some rows changed and some pictures replaced."""
    with DatasetWriter(home, "toy") as writer:
        for number in range(count):
            writer.add(row(number, **(changes or {}).get(number, {})), noise((pixels or {}).get(number, number)))
        for number in range(unreadable):
            writer.add_unreadable(ImageRow(f"broken{number}.png"), "cut off in the middle")
        return writer.finish(CardFacts("toy"))


def test_a_clean_dataset_passes_every_check(home):
    audit = audit_tables(dataset_of(home))
    assert [check.key for check in audit.checks] == KEYS
    assert {check.key: check.level for check in audit.checks} == dict.fromkeys(KEYS, "fine")
    assert audit.leaks == ()


# What is changed in the clean dataset → which check names it, how, and what it says.
FAULTS = {
    "a patient in train and T1": ({6: {"patient_id": "p0"}}, {}, "groups", "leak", "patient p0"),
    "a sequence in train and T1": (
        {6: {"sequence_id": "s0", "patient_id": None}}, {}, "groups", "leak", "sequence s0",
    ),
    "one picture in train and T1": ({}, {6: 0}, "identical", "leak", "1 picture stands pixel for pixel in train"),
    "one picture in val and T1": ({0: {"split": "val"}, 1: {"split": "val"}, 2: {"split": "val"}}, {6: 0}, "identical",
                                  "leak", "or val"),
    "T1 without a class": ({n: {"label": "b"} for n in range(6, 9)}, {}, "absent_classes", "warning", "T1 holds no image of a"),
    "train without a class": ({n: {"label": "c"} for n in range(6, 9)}, {}, "absent_classes", "warning",
                              "train holds no image of c"),
    "a site in train and T1": ({6: {"site": "north"}}, {}, "sites", "note", "T1 and train share north"),
    "a sequence of two labels": ({1: {"label": "b"}}, {}, "mixed_sequences", "warning", "1 of 6 sequences carry"),
    "a picture under two labels": ({}, {3: 0}, "two_labels", "warning", "clip0.avi (a) and clip1.avi (b)"),
    "an image without a label": ({4: {"label": None}}, {}, "unlabelled", "note", "1 image has no label"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_by_its_check_alone(home, fault):
    changes, pixels, key, level, says = FAULTS[fault]
    audit = audit_tables(dataset_of(home, changes, pixels))
    found = audit.check(key)
    assert found.level == level
    assert says in found.sentence
    assert found.count >= 1
    assert found.rows
    assert audit.leaks == ((found,) if level == "leak" else ())
    others = {check.key for check in audit.checks if check.level != "fine"} - {key}
    assert others <= {"mixed_sequences"}  # a picture or patient that crosses may mix a clip's labels on its way


def test_unreadable_files_are_named_with_their_reason(home):
    found = audit_tables(dataset_of(home, unreadable=2)).check("unreadable")
    assert (found.level, found.count) == ("warning", 2)
    assert found.rows[0] == {"image": "broken0.png", "reason": "cut off in the middle"}


def test_the_rows_of_a_leak_say_how_many_images_stand_where(home):
    found = audit_tables(dataset_of(home, {6: {"patient_id": "p0"}})).check("groups")
    assert found.rows == ({"group": "patient p0", "T1": 1, "train": 3},)


def test_blank_pictures_on_both_sides_are_no_leak(home):
    """The black first frame of two clips is the same picture and says nothing about who was filmed."""
    with DatasetWriter(home, "toy") as writer:
        for number in range(18):
            writer.add(row(number), np.zeros((16, 16), np.uint8) if number % 3 == 0 else noise(number))
        dataset = writer.finish(CardFacts("toy"))
    assert audit_tables(dataset).check("identical").level == "fine"


def test_one_picture_in_two_test_sets_is_no_leak(home):
    changes = {n: {"split": "T2"} for n in range(15, 18)}
    assert audit_tables(dataset_of(home, changes, {15: 6})).check("identical").level == "fine"


def test_what_cannot_be_asked_is_skipped_and_says_why(home):
    changes = {n: {"site": None, "sequence_id": None, "split": "train"} for n in range(18)}
    audit = audit_tables(dataset_of(home, changes))
    assert {check.key for check in audit.of_level("skipped")} == {"sites", "mixed_sequences"}
    assert "cross-validates" in audit.check("absent_classes").sentence


def test_a_dataset_without_any_label_is_audited(home):
    audit = audit_tables(dataset_of(home, {n: {"label": None} for n in range(18)}))
    assert audit.check("unlabelled").level == "warning"
    assert audit.check("absent_classes").level == "skipped"


def test_examples_are_cut_and_counted(home):
    count = 3 * (ROWS_KEPT + 20)
    found = audit_tables(dataset_of(home, {n: {"label": None} for n in range(count)}, count=count)).check("unlabelled")
    assert (len(found.rows), found.count) == (ROWS_KEPT, count)


def test_an_audit_survives_being_written_down(home):
    audit = audit_tables(dataset_of(home, {6: {"patient_id": "p0"}}))
    assert audit_from(json.loads(json.dumps(audit.plain()))) == audit


@pytest.mark.parametrize("content", [{}, {"checks": [{"key": "x"}]}, {"checks": 3},
                                     Audit((made("x", "grave", "t", "s"),)).plain()])  # fmt: skip
def test_what_is_no_audit_is_refused(content):
    with pytest.raises(BadInput):
        audit_from(content)


def test_the_gravest_come_first():
    checks = tuple(made(level, level, "t", "s") for level in ("fine", "note", "leak", "skipped", "warning"))
    assert [check.level for check in Audit(checks).of_level("leak", "warning", "note")] == ["leak", "warning", "note"]
    assert listed("abcde") == "a, b, c and 2 more"
