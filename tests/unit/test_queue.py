"""The review queue on a miniature made by hand: six images of three sequences, two classes."""

import pandas as pd
import pytest

from fmlab.errors import BadInput
from fmlab.review.queue import filtered, misclassified, page_of, pages, sequence_answers

#         image  sequence  site     truth  score_A  score_B
IMAGES = [
    ("a1", "s1", "north", "A", 0.9, 0.1),  # right
    ("a2", "s1", "north", "A", 0.2, 0.3),  # wrong by 0.1
    ("a3", "s1", "north", "A", 0.1, 0.8),  # wrong by 0.7: two of three vote B
    ("b1", "s2", "south", "B", 0.55, 0.5),  # wrong by 0.05
    ("b2", "s2", "south", "B", 0.0, 0.9),  # right: one vote each, the summed scores say B
    ("c1", "s3", "south", "B", 5.0, 1.0),  # wrong by 4
]


@pytest.fixture
def items() -> pd.DataFrame:
    table = pd.DataFrame(IMAGES, columns=["image_id", "sequence_id", "site", "label", "score_A", "score_B"])
    table["test_set"] = "T1"
    table["frame"] = [0, 1, 2, 0, 1, 0]
    table["predicted"] = ["A" if a >= b else "B" for a, b in zip(table["score_A"], table["score_B"], strict=True)]
    table["score"] = table[["score_A", "score_B"]].max(axis=1)
    truth = table["score_A"].where(table["label"] == "A", table["score_B"])
    table["margin"] = table["score"] - truth
    table["correct"] = table["label"] == table["predicted"]
    return table


def test_wrong_images_stand_worst_first(items):
    queue = misclassified(items)
    assert queue["image_id"].tolist() == ["c1", "a3", "a2", "b1"]
    assert queue["rank"].tolist() == [1, 2, 3, 4]


def test_exactly_equal_margins_stand_in_order_of_image_id(items):
    items["margin"] = 1.0
    assert misclassified(items)["image_id"].tolist() == ["a2", "a3", "b1", "c1"]


def test_sequences_vote_and_summed_scores_decide_a_tie(items):
    answers = sequence_answers(items).set_index("sequence_id")
    assert answers["predicted"].to_dict() == {"s1": "B", "s2": "B", "s3": "A"}
    assert answers["votes"].to_dict() == {"s1": 2, "s2": 1, "s3": 1}
    assert answers["images"].to_dict() == {"s1": 3, "s2": 2, "s3": 1}


def test_a_wrong_sequence_shows_the_image_that_misled_most(items):
    queue = misclassified(items, "sequence")
    assert queue["sequence_id"].tolist() == ["s3", "s1"]
    assert queue["image_id"].tolist() == ["c1", "a3"]
    assert queue["margin"].tolist() == pytest.approx([4.0, 0.0])  # s1: (0.1+0.3+0.8 − 0.9−0.2−0.1) / 3
    assert queue["score"].tolist() == pytest.approx([5.0, 0.4])
    assert queue["lead"].tolist() == [1, 1]


def test_a_clear_vote_is_worse_than_a_narrow_one_whatever_the_scores(items):
    unanimous = items[items["sequence_id"] == "s1"].iloc[[2, 2]].assign(sequence_id="s4", image_id=["e1", "e2"])
    queue = misclassified(pd.concat([items, unanimous]), "sequence")
    assert queue["sequence_id"].tolist() == ["s4", "s3", "s1"]
    assert queue["lead"].tolist() == [2, 1, 1]


def test_the_same_sequence_name_in_two_test_sets_is_two_sequences(items):
    other = items[items["sequence_id"] == "s3"].assign(test_set="T2", image_id="d1")
    assert len(sequence_answers(pd.concat([items, other]))) == 4


def test_filters_keep_ranks(items):
    queue = filtered(misclassified(items), truth="B")
    assert queue["image_id"].tolist() == ["c1", "b1"]
    assert queue["rank"].iloc[0] == 1
    assert filtered(queue, site="north").empty
    assert filtered(misclassified(items), predicted="B", site="north")["image_id"].tolist() == ["a3", "a2"]


def test_pages_hold_what_fits_and_a_page_too_far_is_the_last(items):
    queue = misclassified(items)
    assert pages(queue, 3) == 2
    assert page_of(queue, 2, 3)["rank"].tolist() == [4]
    assert page_of(queue, 99, 3)["rank"].tolist() == [4]
    assert pages(queue.iloc[:0], 3) == 1


def test_nothing_wrong_is_an_empty_queue(items):
    assert misclassified(items[items["correct"]]).empty
    assert misclassified(items.iloc[:0], "sequence").empty


def test_an_unknown_level_is_refused(items):
    with pytest.raises(BadInput, match="'image' or 'sequence'"):
        misclassified(items, "frame")
