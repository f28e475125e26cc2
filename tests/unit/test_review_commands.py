"""`fmlab review` and `fmlab results --labels`, from queue to corrected labels. Run: pytest tests/unit/test_review_commands.py"""

import csv
import io
import json
import uuid

import pytest

from fmlab.data.manifest import open_dataset
from fmlab.review.queues import QueueConfig, find_queue, open_queue
from fmlab.review.verdicts import parse_answer, record_answers
from fmlab.runs.records import Actor
from tests.pages.made_study import make_study
from tests.toys import halves

ANNA = Actor("anna", "test")


@pytest.fixture
def store(home):
    """The store with study `made` on dataset `toy`: T1 has three sequences of A, two of B and of C; 3 frames each."""
    return make_study(home)


def say(home, store, reviewer, *answers):
    """Verdicts on sequences: `("T1-A-0", "label_wrong", "B")`."""
    items = tuple(item for item, *_ in answers)
    queue = open_queue(home, store, QueueConfig(kind="selection", dataset="toy", items=items), ANNA)
    given = [
        parse_answer({"id": str(uuid.uuid4()), "item": item, "kind": kind, "label": label, "note": "=1"})
        for item, kind, label in answers
    ]
    record_answers(store, queue, given, reviewer, False, ANNA)
    return queue


def rows(fmlab, *arguments):
    status, out, err = fmlab(*arguments, "--format", "json")
    assert status == 0, err
    return json.loads(out)


def test_the_queue_of_mistakes_is_as_it_was(fmlab, store):
    table = rows(fmlab, "review", "queue", "made", "--test-set", "T1", "--level", "sequence")
    assert all(row["label"] != row["predicted"] for row in table)
    assert store.connection.execute("SELECT count(*) FROM queues").fetchone()[0] == 0  # listing keeps nothing


def test_other_queues_are_kept_for_reviewers(fmlab, store):
    status, out, err = fmlab("review", "queue", "made", "--kind", "near_ties", "--level", "sequence", "--most", 4)
    assert status == 0, err
    queue = find_queue(store, err.strip().rstrip(".").split()[-1])
    assert len(queue.items) == 4
    assert [line.split()[1] for line in out.splitlines()[1:]] == [item.item for item in queue.items]
    err = fmlab("review", "queue", "made", "--kind", "disagreement")[2]
    shown = find_queue(store, err.strip().rstrip(".").split()[-1]).config.runs
    runs = [store.run(key).config for key in shown]
    assert {run["backbone"] for run in runs} == {"efficientnet-lite0", "pixels-24"}
    assert runs[0]["subset"] == runs[1]["subset"]
    assert rows(fmlab, "review", "queue", "made", "--kind", "adjudication", "--level", "sequence") == []
    status, _, err = fmlab("review", "queue", "made", "--kind", "best")
    assert (status, len(err.strip().splitlines())) == (2, 1)


def test_verdicts_in_three_forms(fmlab, home, store):
    assert "Nobody has given a verdict" in fmlab("review", "verdicts", "made")[1]
    assert rows(fmlab, "review", "verdicts", "made") == []
    queue = say(home, store, "anna", ("T1-A-0", "label_wrong", "B"), ("T1-B-0", "label_right", None))
    say(home, store, "ben", ("T1-C-0", "ambiguous", None))
    table = rows(fmlab, "review", "verdicts", "made")
    assert [(row["reviewer"], row["kind"], row["label"]) for row in table] == [
        ("anna", "label_wrong", "B"),
        ("anna", "label_right", "B"),
        ("ben", "ambiguous", None),
    ]
    assert table[0]["shown"]["label"] == "A"
    assert len(rows(fmlab, "review", "verdicts", "made", "--queue", queue.key)) == 2
    assert len(rows(fmlab, "review", "verdicts", "made", "--reviewer", "ben")) == 1
    lines = list(csv.DictReader(io.StringIO(fmlab("review", "verdicts", "made", "--format", "csv")[1])))
    assert [line["note"] for line in lines] == ["'=1"] * 3
    assert "label_wrong" in fmlab("review", "verdicts", "made")[1]


def test_agreement_of_two_and_of_three(fmlab, home, store):
    assert "there is none yet" in fmlab("review", "agreement", "made")[1]
    sequences = ("T1-A-0", "T1-A-1", "T1-B-0", "T1-B-1")
    for reviewer, said in (("anna", "AABB"), ("ben", "ABBB")):
        kinds = [
            (item, "label_right" if item[3] == label else "label_wrong", label)
            for item, label in zip(sequences, said, strict=True)
        ]
        say(home, store, reviewer, *kinds)
    # Observed 3/4; anna half A, ben a quarter: by chance 1/2·1/4 + 1/2·3/4 = 1/2. Kappa 1/2.
    status, out, err = fmlab("review", "agreement", "made")
    assert status == 0
    assert out.splitlines()[1].split()[:6] == ["anna,", "ben", "Cohen", "4", "0.750", "0.500"]
    assert len(out.splitlines()) == 2
    assert err.strip() == "Answers: A 38%, B 62%."
    say(home, store, "cleo", ("T1-A-0", "poor_quality", None))
    found = rows(fmlab, "review", "agreement", "made")
    assert found["overall"]["kind"] == "Fleiss"
    assert [(pair["first"], pair["second"], pair["n"]) for pair in found["pairs"]] == [
        ("anna", "ben", 4),
        ("anna", "cleo", 1),
        ("ben", "cleo", 1),
    ]
    assert len(fmlab("review", "agreement", "made")[1].splitlines()) == 5


def test_verdicts_become_labels_and_every_run_is_scored_anew(fmlab, home, store):
    status, out, err = fmlab("review", "publish", "made")
    assert (status, out) == (2, "")
    assert "nothing to publish" in err
    say(
        home,
        store,
        "anna",
        ("T1-A-0", "label_wrong", "B"),
        ("T1-C-0", "poor_quality", None),
        ("T1-B-0", "ambiguous", None),
    )
    say(home, store, "ben", ("T1-B-0", "label_right", None))
    before = fmlab("review", "fixes", "made")[1]
    status, out, err = fmlab("review", "publish", "made", "--exclude-unusable", "--note", "first look", "--json")
    assert json.loads(out) == {"dataset": "toy", "labels": "v2", "images": 3, "taken_out": 3, "undecided": 1}
    status, out, err = fmlab("review", "publish", "made", "--labels", "strict")
    assert out.strip() == "Labels strict of toy: 3 images corrected, 0 taken out."
    assert "1 items are undecided" in err
    status, _, err = fmlab("review", "publish", "made", "--labels", "strict")
    assert status == 2
    assert "already" in err

    assert fmlab("review", "fixes", "made", "--labels", "strict")[1] == before
    lines = list(csv.DictReader(io.StringIO(fmlab("review", "fixes", "made", "--labels", "v2")[1])))
    assert [(line["label_was"], line["label"]) for line in lines] == [("A", "B")] * 3 + [("C", "")] * 3
    assert "correct nothing" in fmlab("review", "fixes", "made", "--labels", "original")[2]
    assert "has no label version 'v7'" in fmlab("review", "fixes", "made", "--labels", "v7")[2]

    table = rows(fmlab, "results", "made", "--labels", "v2")
    assert {row["test_set"] for row in table} == {"T1@v2", "T2@v2"}
    assert {row["n_images"] for row in table if row["test_set"] == "T1@v2"} == {18}
    assert {row["n_images"] for row in rows(fmlab, "results", "made") if row["test_set"] == "T1"} == {21}
    assert "T1@v2" in fmlab("results", "made", "--labels", "v2")[1]
    for by in ("class", "maximum", "ranking", "savings", "generalisation"):
        status, out, err = fmlab("results", "made", "--labels", "v2", "--by", by)
        assert status == 0, err
    changed = rows(fmlab, "results", "made", "--labels", "v2", "--by", "labels")
    assert {row["labels"] for row in changed} == {"v2"}
    assert "leave --labels out" in fmlab("results", "made", "--labels", "v2", "--export", home.path / "out")[2]


@pytest.mark.slow
def test_label_errors_are_looked_for_when_nobody_did(fmlab, home):
    halves(home)
    status, _, err = fmlab(
        "study", "run", "--dataset", "halves", "--backbones", "pixels-24", "--adaptations", "knn", "--scheme", "sequences",
        "--sizes", "4", "--seeds", 1, "--copies", 0, "--baselines", "none", "--name", "small",
    )  # fmt: skip
    assert status == 0, err
    table = rows(fmlab, "review", "queue", "small", "--kind", "label_errors", "--level", "sequence", "--most", 3)
    assert len(table) == 3
    assert all(row["suggested"] in open_dataset(home, "halves").card.classes for row in table)
