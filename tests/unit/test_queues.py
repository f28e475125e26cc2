"""Queues on a miniature worked out by hand. Run: pytest tests/unit/test_queues.py

Classes x and y; T1 holds the sequences a (3 images, label x), b (2, y) and c (1, x), T2 holds d (1, y). The score of class x
in each run (y has one minus it), and what a sequence's images vote for:

    image                     a0   a1   a2    b0   b1    c0    d0     a  b  c  d
    label                     x    x    x     y    y     x     y      x  y  x  y
    pixels-24, subset 0       .9   .4   .2    .1   .65   .7    .85    y  y  x  x    b is a tie that the scores decide
    pixels-24, subset 1       .9   .8   .7    .1   .2    .9    .3     x  y  x  y
    random-vit-tiny           .1   .2   .3    .1   .2    .7    .45    y  y  x  y
"""

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput, NotFound
from fmlab.predictions import Predictions, write_predictions
from fmlab.review.choosing import Chosen, interleaved, sample
from fmlab.review.contents import queue_config
from fmlab.review.orders import BLOCK, order_for
from fmlab.review.queue import misclassified
from fmlab.review.queues import Queue, QueueConfig, QueueItem, find_queue, open_queue, queues_of
from fmlab.review.verdicts import Answer, record_answers
from fmlab.runs.queue import Queue as WorkQueue
from fmlab.runs.records import Actor, RunRequest
from fmlab.runs.store import open_store
from fmlab.studies.label_versions import publish
from fmlab.studies.scoring import item_table

ANNA = Actor("anna", "test")
LABELS = {"a": "x", "b": "y", "c": "x", "d": "y"}
IMAGES = ("a0", "a1", "a2", "b0", "b1", "c0", "d0")
FOR_X = [
    (0.9, 0.4, 0.2, 0.1, 0.65, 0.7, 0.85),
    (0.9, 0.8, 0.7, 0.1, 0.2, 0.9, 0.3),
    (0.1, 0.2, 0.3, 0.1, 0.2, 0.7, 0.45),
]
BACKBONES = ("pixels-24", "pixels-24", "random-vit-tiny")


def make_dataset(home):
    with DatasetWriter(home, "mini") as writer:
        for name in IMAGES:
            sequence, frame = name[0], int(name[1])
            place = {"label": LABELS[sequence], "sequence_id": sequence, "patient_id": f"p{sequence}"}
            site, split = ("south", "T2") if sequence == "d" else ("north", "T1")
            row = ImageRow(f"{sequence}.png", frame, **place, site=site, split=split)
            writer.add(row, np.full((8, 8), 10 * frame + ord(sequence), np.uint8))
        for number, label in enumerate(("x", "y", None)):
            row = ImageRow(f"train-{label}.png", label=label, patient_id=f"t{label}", split="train")
            writer.add(row, np.full((8, 8), 200 + number, np.uint8))
        return writer.finish(CardFacts("toy"), ("x", "y"))


def request(number):
    config = {
        "dataset": "mini",
        "backbone": BACKBONES[number],
        "adaptation": {"kind": "knn"},
        "subset": {"scheme": "images", "size": 2, "seed": number},
    }
    return RunRequest("adapt", config, {"number": number}, "g", "mini")


class Mini:
    """A dataset with three finished runs, and the queues on it."""

    def __init__(self, home):
        self.home, self.dataset, self.store = home, make_dataset(home), open_store(home)
        requests = [request(number) for number in range(3)]
        self.store.add_study("study", {"dataset": "mini"}, requests, [], ANNA)
        work = WorkQueue(self.store)
        work.acquire()
        work.claim("cpu")
        self.runs = tuple(each.key for each in requests)
        rows = self.dataset.manifest().set_index(["path", "frame"])["image_id"]
        self.ids = {name: rows[(f"{name[0]}.png", int(name[1]))] for name in IMAGES}
        self.names = {image: name for name, image in self.ids.items()}
        self.train = rows[("train-x.png", 0)]
        scores = np.array([[(x, 1 - x) for x in run] for run in FOR_X], np.float32)
        ids = np.array([self.ids[name] for name in IMAGES])
        write_predictions(home.predictions / "p.parquet", Predictions(self.runs, ids, scores, ("x", "y")))
        work.finish({key: {"predictions": "p.parquet", "converged": True, "n_train": 2} for key in self.runs}, 1.0)

    def open(self, kind, *numbers, **settings):
        config = QueueConfig(kind=kind, dataset="mini", runs=tuple(self.runs[n] for n in numbers), **settings)
        return open_queue(self.home, self.store, config, ANNA)

    def items(self, kind, *numbers, **settings):
        return [self.names.get(each.item, each.item) for each in self.open(kind, *numbers, **settings).items]

    def answer(self, queue, reviewer, item, kind, label=None, undoes=None):
        answer = Answer(id=str(uuid.uuid4()), item=item, kind=kind, label=label, undoes=undoes)
        record_answers(self.store, queue, [answer], reviewer, False, ANNA)
        return answer.id


@pytest.fixture
def mini(home):
    return Mini(home)


def test_confidently_wrong_first(mini):
    assert mini.items("misclassified", 0, level="image") == ["d0", "a2", "b1", "a1"]  # by .7, .6, .3, .2
    assert mini.items("misclassified", 0) == ["d", "a"]
    assert mini.items("misclassified", 0, test_set="T1") == ["a"]
    assert mini.items("misclassified", 1) == []


@pytest.mark.parametrize("level", ["image", "sequence"])
def test_under_one_run_it_is_the_order_of_the_gallery(mini, level):
    table = misclassified(item_table(mini.home, mini.store, mini.runs[0]), level)
    queue = mini.open("misclassified", 0, level=level)
    assert [each.item for each in queue.items] == table[f"{level}_id"].tolist()
    assert [each.image_id for each in queue.items] == table["image_id"].tolist()


def test_an_item_says_what_was_answered_and_why_it_is_here(mini):
    first, second = mini.open("misclassified", 0, 2).items
    # a: wrong in both runs. d: wrong in the first alone, and there by one image of one.
    assert (first.item, first.label, first.answer) == ("a", "x", "y")
    assert (mini.names[first.image_id], first.votes, first.images) == ("a2", 2, 3)
    assert first.answers == ((mini.runs[0], "y"), (mini.runs[2], "y"))
    assert first.reason.startswith("wrong in 2 of 2 runs")
    assert (second.item, second.test_set, second.answer) == ("d", "T2", "x")
    assert second.reason.startswith("wrong in 1 of 2 runs")


def test_a_lead_is_counted_in_usual_leads(mini):
    """Mean lead of the first run's images: (.8 + .2 + .6 + .8 + .3 + .4 + .7) / 7 = .543; d0 is wrong by .7."""
    assert mini.open("misclassified", 0, level="image").items[0].reason == "wrong by 1.3 times the usual lead"


def test_near_ties(mini):
    assert mini.items("near_ties", 0, level="image", most=5) == ["a1", "b1", "c0", "a2", "d0"]
    assert mini.items("near_ties", 0) == ["b", "a", "c", "d"]  # one vote each; then mean scores apart by 0, .4, .7


def test_backbones_disagree(mini):
    assert mini.items("disagreement", 1, 2) == ["a"]
    assert mini.open("disagreement", 1, 2).items[0].reason == "1 of 2 backbones say x, 1 y"
    # Two runs of one backbone are one voice, that of the first where they differ.
    assert mini.items("disagreement", 0, 1, 2) == ["d"]
    with pytest.raises(BadInput, match="these runs are of pixels-24"):
        mini.open("disagreement", 0, 1)


def test_only_one_backbone_got_it_right(mini):
    assert mini.items("disagreement", 1, 2, only="pixels-24") == ["a"]
    assert mini.items("disagreement", 0, 2, only="random-vit-tiny") == ["d"]
    assert mini.items("disagreement", 0, 1, 2, only="random-vit-tiny") == []  # another run of pixels-24 got d right
    assert mini.open("disagreement", 1, 2, only="pixels-24").title.startswith("Sequences that only ")
    with pytest.raises(BadInput, match="None of these runs is of backbone 'resnet50'"):
        mini.open("disagreement", 1, 2, only="resnet50")


def test_filters(mini):
    assert mini.items("misclassified", 0, level="image", truth="x") == ["a2", "a1"]
    assert mini.items("misclassified", 0, level="image", answer="x") == ["d0", "b1"]
    assert mini.items("misclassified", 0, level="image", site="south") == ["d0"]
    assert mini.items("misclassified", 0, level="image", most=1) == ["d0"]
    assert mini.items("misclassified", 1, 0, level="image", answer="x") == ["d0", "b1"]  # any run's answer


def test_a_label_version_changes_what_is_wrong(mini):
    publish(mini.store, mini.dataset, "v2", {mini.ids["d0"]: "x", mini.ids["c0"]: None}, "", ANNA)
    assert mini.items("misclassified", 0, test_set="T2@v2") == []
    assert mini.items("misclassified", 0, test_set="@v2") == ["a"]
    assert sorted(mini.items("random", test_set="@v2")) == ["a", "b", "d"]
    queue = mini.open("misclassified", 0, test_set="@v2")
    assert queue.title == "Misclassified sequences, labels v2, The image itself at 24×24 pixels"
    assert queue.items[0].test_set == "T1@v2"


def test_right_ones_mixed_in_are_as_many_and_stand_among_the_others(mini):
    queue = mini.open("misclassified", 0, mixed=True)
    items = [each.item for each in queue.items]
    assert sorted(items) == ["a", "b", "c", "d"]
    assert items.index("d") < items.index("a")  # worst first, all the same
    assert {each.item: each.reason for each in queue.items}["b"] == "answered right"
    # About class y alone: the only right sequence of label y.
    assert sorted(mini.items("misclassified", 0, mixed=True, truth="y")) == ["b", "d"]


def test_a_random_sample_needs_no_run_and_no_training_image(mini):
    everything = mini.items("random")
    assert sorted(everything) == ["a", "b", "c", "d"]
    assert mini.items("random", most=2) == everything[:2]
    assert len({tuple(mini.items("random", seed=seed)) for seed in range(6)}) > 1
    first = mini.open("random", test_set="T1").items[0]
    assert (first.answer, first.answers) == (None, ())
    answered = {each.item: each for each in mini.open("random", 0).items}
    assert answered["a"].answers == ((mini.runs[0], "y"),)


def test_a_sequence_without_a_run_shows_its_middle_image(mini):
    shown = {each.item: mini.names[each.image_id] for each in mini.open("random").items}
    assert shown == {"a": "a1", "b": "b1", "c": "c0", "d": "d0"}


def test_what_was_selected_stands_in_its_order(mini):
    chosen = (mini.ids["c0"], mini.train, mini.ids["a1"])
    queue = mini.open("selection", 0, level="image", items=chosen)
    assert tuple(each.item for each in queue.items) == chosen
    assert [(each.label, each.answer, each.test_set) for each in queue.items] == [
        ("x", "x", "T1"),
        ("x", None, "train"),
        ("x", "y", "T1"),
    ]
    with pytest.raises(NotFound, match="1 of the selected items are not in dataset 'mini', 'zz' for one"):
        mini.open("selection", level="image", items=("zz", mini.train))


def test_an_unlabelled_image_can_be_looked_at(mini):
    rows = mini.dataset.manifest(["image_id", "label"])
    unlabelled = rows[rows["label"].isna()]["image_id"].iloc[0]
    assert mini.open("selection", level="image", items=(unlabelled,)).items[0].label is None


# --------------------------------------------------------------------------------------------------------- adjudication


def test_reviewers_disagree_until_somebody_decides(mini):
    queue = mini.open("random")
    for item in ("a", "b", "c"):
        mini.answer(queue, "anna", item, "label_right")
    mini.answer(queue, "ben", "a", "label_wrong", "y")
    mini.answer(queue, "ben", "b", "ambiguous")
    mini.answer(queue, "ben", "c", "label_right")
    mini.answer(queue, "ben", "d", "label_wrong", "x")  # alone, nobody to disagree with
    disputed = mini.open("adjudication", parent=queue.key)
    assert [each.item for each in disputed.items] == ["a", "b"]
    assert disputed.items[0].reason == "reviewers say x (1), y (1)"
    assert disputed.items[0].label == "x"
    assert mini.open("adjudication").key != disputed.key  # of the dataset, another question with the same answer
    assert mini.open("adjudication", parent=queue.key).key == disputed.key
    assert mini.items("adjudication", level="image") == []
    decided = mini.answer(disputed, "carla", "a", "label_wrong", "y")
    assert mini.items("adjudication", parent=queue.key) == ["b"]
    assert find_queue(mini.store, disputed.key) == disputed  # the one being worked on stays as it is
    mini.answer(disputed, "carla", "a", "undo", undoes=decided)
    assert mini.open("adjudication", parent=queue.key).key == disputed.key


def test_a_changed_mind_and_a_skip_are_no_disagreement(mini):
    queue = mini.open("random")
    mini.answer(queue, "anna", "a", "label_wrong", "y")
    mini.answer(queue, "anna", "a", "label_right")
    mini.answer(queue, "ben", "a", "label_right")
    mini.answer(queue, "ben", "b", "skip")
    mini.answer(queue, "anna", "b", "label_right")
    assert mini.items("adjudication") == []


def test_verdicts_of_another_queue_are_no_disagreement_about_this_one(mini):
    first, second = mini.open("random"), mini.open("random", seed=1)
    mini.answer(first, "anna", "a", "label_right")
    mini.answer(second, "ben", "a", "label_wrong", "y")
    assert mini.items("adjudication", parent=first.key) == []
    assert mini.items("adjudication") == ["a"]


# ------------------------------------------------------------------------------------------------------------ the store


def test_a_queue_is_made_once_and_comes_back_whole(mini):
    made = mini.open("misclassified", 0, 2, mixed=True, truth="x", most=3)
    version = mini.store.version()
    assert mini.open("misclassified", 0, 2, mixed=True, truth="x", most=3) == made
    assert mini.store.version() == version
    assert find_queue(mini.store, made.key) == made
    other = mini.open("misclassified", 2, 0, mixed=True, truth="x", most=3)  # another run's answers are shown
    assert other.key != made.key
    assert queues_of(mini.store, "mini") == [other, made]
    assert queues_of(mini.store, "elsewhere") == []
    with pytest.raises(NotFound, match="no queue 'abc'"):
        find_queue(mini.store, "abc")


def test_a_title_says_what_is_in_the_queue(mini):
    pixels = "The image itself at 24×24 pixels"
    assert mini.open("misclassified", 0, test_set="T2").title == f"Misclassified sequences of T2, {pixels}"
    assert mini.open("near_ties", 0, 2, level="image", truth="x").title == "Near ties among images, x, 2 backbones"
    assert mini.open("random", most=2).title == "Random sequences"


IMPOSSIBLE = [
    ({"kind": "misclassified"}, "needs at least one finished run"),
    ({"kind": "label_errors"}, "come from one run that looked for them"),
    ({"kind": "selection"}, "Nothing was selected"),
    ({"kind": "random", "mixed": True}, "takes no 'mixed'"),
    ({"kind": "random", "parent": "x"}, "takes no 'parent'"),
    ({"kind": "adjudication", "truth": "x"}, "takes no 'truth'"),
    ({"kind": "random", "truth": "z"}, "no class 'z'"),
    ({"kind": "random", "test_set": "T9"}, "no test set 'T9'; it has T1, T2"),
    ({"kind": "random", "test_set": "T1@v9"}, "no label version 'v9'"),
    ({"kind": "random", "dataset": "none"}, "no dataset"),
    ({"kind": "adjudication", "parent": "none"}, "no queue 'none'"),
]


def test_what_cannot_be_is_said_in_a_sentence(mini):
    for settings, words in IMPOSSIBLE:
        with pytest.raises(BadInput, match=words):
            open_queue(mini.home, mini.store, queue_config({"dataset": "mini"} | settings), ANNA)


@pytest.mark.parametrize("settings", [{"kind": "best"}, {"kind": "random", "most": 0}, {"kind": "random", "moist": 3}])
def test_a_config_that_cannot_be_is_refused_by_name(settings):
    with pytest.raises(BadInput, match=f"'{list(settings)[-1]}' is"):
        queue_config({"dataset": "mini"} | settings)


def test_runs_must_fit(mini):
    with pytest.raises(NotFound):
        open_queue(mini.home, mini.store, QueueConfig(kind="misclassified", dataset="mini", runs=("none",)), ANNA)
    with pytest.raises(BadInput, match="come from one run"):
        mini.open("label_errors", 0)


# --------------------------------------------------------------------------------------------------------------- orders


def queue_of(count):
    items = tuple(QueueItem(f"item {number}", f"image {number}", "T1", "x", "y", "") for number in range(count))
    return Queue("key", "title", QueueConfig(kind="random", dataset="mini"), "", "anna", items)


@given(count=st.integers(0, 70), reviewer=st.text(max_size=8))
def test_an_order_is_a_permutation_that_keeps_blocks(count, reviewer):
    queue = queue_of(count)
    order = order_for(queue, reviewer, blinded=True)
    assert order == order_for(queue, reviewer, blinded=True)
    assert sorted(order) == list(range(count))
    assert [place // BLOCK for place in order] == [place // BLOCK for place in range(count)]
    assert order_for(queue, reviewer, blinded=False) == list(range(count))


def test_two_reviewers_have_two_orders():
    orders = [order_for(queue_of(40), name, blinded=True) for name in ("anna", "ben")]
    assert orders[0] != orders[1]
    assert all(order != list(range(40)) for order in orders)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5))
def test_interleaving_keeps_all_and_both_orders(first, others, seed):
    one = [Chosen(f"a{number}", "") for number in range(first)]
    two = [Chosen(f"b{number}", "") for number in range(others)]
    both = interleaved(one, two, seed)
    assert [each for each in both if each in one] == one
    assert [each for each in both if each in two] == two
    assert len(both) == first + others


@given(st.lists(st.text(max_size=5), unique=True, max_size=20), st.integers(0, 9))
def test_a_sample_does_not_depend_on_the_order_of_the_files(items, seed):
    drawn = [each.item for each in sample(items, seed, "")]
    assert sorted(drawn) == sorted(items)
    assert drawn == [each.item for each in sample(items[::-1], seed, "")]
