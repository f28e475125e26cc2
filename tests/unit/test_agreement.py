"""Kappa, held against tables worked out by hand and against other packages. Run: pytest tests/unit/test_agreement.py"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from fmlab.errors import BadInput
from fmlab.review.agreement import agreement, pairs
from fmlab.review.verdicts import COLUMNS

CLASSES = ("a", "b", "c")
KINDS = {"?": "ambiguous", "!": "poor_quality", "-": "skip"}


def verdicts(answers, adjudication=False):
    """A table of verdicts from `{reviewer: "ab?-!"}`: a letter per item; a blank is no answer, - a skip."""
    rows = []
    for reviewer, text in answers.items():
        for place, letter in enumerate(text):
            if letter != " ":
                rows.append(
                    (reviewer, f"i{place}", KINDS.get(letter, "label_wrong"), letter if letter in "abc" else None)
                )
    table = pd.DataFrame(rows, columns=["reviewer", "item", "kind", "label"], dtype=object)
    table = table.assign(number=range(len(rows)), id=[f"{adjudication}{n}" for n in range(len(rows))], undoes=None)
    table = table.assign(dataset="d", level="image", adjudication=adjudication, blinded=False)
    return table.reindex(columns=list(COLUMNS))


def test_cohens_kappa_by_hand():
    """Ten items: both a 4, both b 3, anna a where ben says b 2, the reverse 1.

    Observed 0.7. Anna: 6 of a, 4 of b; ben: 5 and 5. By chance 0.6·0.5 + 0.4·0.5 = 0.5. Kappa (0.7 − 0.5) / 0.5 = 0.4.
    """
    found = agreement(verdicts({"anna": "aaaabbbaab", "ben": "aaaabbbbba"}), CLASSES)
    assert found.kind == "Cohen"
    assert found.kappa == pytest.approx(0.4)
    assert found.observed == pytest.approx(0.7)
    assert found.n == 10
    assert found.reviewers == ("anna", "ben")
    assert found.prevalence == {"a": pytest.approx(11 / 20), "b": pytest.approx(9 / 20)}
    assert found.refused is None
    # Fleiss, Cohen and Everitt 1969 by hand, with p = [[.4, .2], [.1, .3]], a = .7, e = .5:
    # A = Σ p_ii [(1−e) − (p_i. + p_.i)(1−a)]² = .4(.5 − 1.1·.3)² + .3(.5 − .9·.3)² = .02743
    # B = (1−a)² Σ p_ij (p_.i + p_j.)² = .09 (.2 (.5+.4)² + .1 (.5+.6)²) = .02547;  C = (a·e − 2e + a)² = .0025
    half = 1.959964 * np.sqrt((0.02743 + 0.02547 - 0.0025) / (10 * 0.5**4))
    assert (found.low, found.high) == (pytest.approx(0.4 - half, abs=1e-4), pytest.approx(0.4 + half, abs=1e-4))


def test_fleiss_kappa_by_hand():
    """Four items, three reviewers: aaa, aab, abb, bbb. Per item 1, 1/3, 1/3, 1: observed 2/3. Shares ½ and ½: chance ½.

    Kappa (2/3 − 1/2) / (1/2) = 1/3.
    """
    found = agreement(verdicts({"anna": "aaab", "ben": "aabb", "cleo": "abbb"}), CLASSES)
    assert found.kind == "Fleiss"
    assert found.observed == pytest.approx(2 / 3)
    assert found.kappa == pytest.approx(1 / 3)
    assert found.low <= found.kappa <= found.high
    assert found.n == 4


def test_items_that_only_some_answered_by_hand():
    """Items: aa?, ab, bbb and one that only anna answered. Observed (1/3 + 0 + 1)/3 = 4/9.

    Shares: a (2/3 + 1/2 + 0)/3 = 7/18, b (0 + 1/2 + 1)/3 = 1/2, ambiguous 1/9. Chance (49 + 81 + 4)/324 = 134/324.
    """
    found = agreement(verdicts({"anna": "aaba", "ben": "abb ", "cleo": "? b "}), CLASSES)
    assert found.n == 3
    assert found.observed == pytest.approx(4 / 9)
    assert found.prevalence == {
        "a": pytest.approx(7 / 18),
        "b": pytest.approx(1 / 2),
        "ambiguous": pytest.approx(1 / 9),
    }
    assert found.kappa == pytest.approx((4 / 9 - 134 / 324) / (1 - 134 / 324))


def test_what_does_not_count():
    """Skips, items that one answered, what was said in adjudication, and what was taken back or said before."""
    table = verdicts({"anna": "aaaabbbaab-a", "ben": "aaaabbbbbaa "})
    third = verdicts({"cleo": "cccccccccc"}, adjudication=True).assign(number=lambda rows: rows["number"] + 100)
    earlier = verdicts({"ben": "ccc"}).assign(number=lambda rows: rows["number"] - 100, id=["x", "y", "z"])
    undone = verdicts({"ben": "bbb"}).assign(number=lambda rows: rows["number"] + 200, id=["u", "v", "w"])
    undo = undone.assign(kind="undo", label=None, undoes=["u", "v", "w"], id=["1", "2", "3"], number=range(300, 303))
    found = agreement(pd.concat([table, third, earlier, undone, undo], ignore_index=True), CLASSES)
    assert (found.kappa, found.n, found.reviewers) == (pytest.approx(0.4), 10, ("anna", "ben"))


def test_where_there_is_no_kappa_it_is_said():
    alone = agreement(verdicts({"anna": "ab"}), CLASSES)
    assert alone.refused == "Kappa needs items that two reviewers answered, and there is none yet."
    assert (alone.kappa, alone.n, alone.observed, alone.prevalence) == (None, 0, None, {})
    assert agreement(verdicts({}), CLASSES).refused == alone.refused
    assert agreement(verdicts({"anna": "a ", "ben": " a"}), CLASSES).n == 0
    for names in (("anna", "ben"), ("anna", "ben", "cleo")):
        same = agreement(verdicts(dict.fromkeys(names, "aaa")), CLASSES)
        assert same.refused == "All answers to these 3 items are a: chance alone would agree as much."
        assert (same.kappa, same.observed, same.prevalence) == (None, 1.0, {"a": 1.0})


@pytest.mark.parametrize(
    ("first", "second", "kappa"),
    [("ab", "ab", 1.0), ("ab", "ba", -1.0), ("aaaa", "bbbb", 0.0), ("aa", "ab", 0.0)],
)
def test_extreme_tables_stay_numbers(first, second, kappa):
    found = agreement(verdicts({"anna": first, "ben": second}), CLASSES)
    assert found.kappa == pytest.approx(kappa)
    assert -1 <= found.low <= found.kappa <= found.high <= 1


def test_one_item_says_nothing():
    found = agreement(verdicts({"anna": "a", "ben": "b"}), CLASSES)
    assert (found.kappa, found.n) == (None, 1)
    assert found.refused == "Kappa needs more than the one item that two reviewers answered so far."


@pytest.mark.parametrize("third", [{}, {"cleo": "abbabaabba" * 2}])
def test_patients_are_drawn_whole(third):
    """Every item twice under one patient: as uncertain as the items once, and more than if they were apart."""
    answers = {"anna": "aaaabbbaab" * 2, "ben": "aaaabbbbba" * 2} | third
    owners = {f"i{place}": f"p{place % 10}" for place in range(20)}
    whole = agreement(verdicts(answers), CLASSES, owners)
    once = agreement(
        verdicts({name: text[:10] for name, text in answers.items()}), CLASSES, {f"i{n}": f"p{n}" for n in range(10)}
    )
    apart = agreement(verdicts(answers), CLASSES, {item: item for item in owners})
    assert (whole.kappa, whole.low, whole.high) == pytest.approx((once.kappa, once.low, once.high))
    assert whole.kappa == pytest.approx(apart.kappa)
    assert whole.high - whole.low > 1.2 * (apart.high - apart.low)
    assert (whole.patients, apart.patients) == (10, 20)


def test_an_unknown_patient_leaves_items_alone():
    answers = {"anna": "aaaabbbaab", "ben": "aaaabbbbba"}
    found = agreement(verdicts(answers), CLASSES, {f"i{place}": "p" for place in range(9)})
    assert found == agreement(verdicts(answers), CLASSES)
    assert found.patients is None


def test_perfect_agreement_has_no_width():
    """Rounding can push the variance below zero, as it does for these numbers of a and b."""
    for count in range(1, 30):
        found = agreement(verdicts({"anna": "a" + "b" * count + "c", "ben": "a" + "b" * count + "c"}), CLASSES)
        assert (found.kappa, found.low, found.high) == pytest.approx((1, 1, 1), abs=1e-6)


def test_a_class_called_ambiguous_is_not_the_answer_ambiguous():
    table = verdicts({"anna": "aa?", "ben": "a?a"}).replace({"label": {"a": "ambiguous"}})
    found = agreement(table, ("ambiguous", "other"))
    assert found.prevalence == {"ambiguous": pytest.approx(4 / 6), "ambiguous (no class)": pytest.approx(2 / 6)}
    assert found.observed == pytest.approx(1 / 3)


def test_images_and_sequences_of_one_name_are_two_items():
    images = verdicts({"anna": "ab", "ben": "ab"})
    sequences = verdicts({"anna": "aa", "ben": "bb"}).assign(level="sequence", id=list("wxyz"))
    found = agreement(pd.concat([images, sequences], ignore_index=True), CLASSES)
    assert (found.n, found.observed) == (4, 0.5)


def test_a_class_that_the_dataset_lacks_is_refused():
    with pytest.raises(BadInput, match="'c', which is no class"):
        agreement(verdicts({"anna": "c", "ben": "a"}), ("a", "b"))


def test_every_pair_has_its_own_kappa():
    table = pairs(verdicts({"ben": "aaaabbbbba", "anna": "aaaabbbaab", "cleo": "c"}), CLASSES)
    assert table[["first", "second", "n"]].to_numpy().tolist() == [
        ["anna", "ben", 10],
        ["anna", "cleo", 1],
        ["ben", "cleo", 1],
    ]
    assert table["kappa"].iloc[0] == pytest.approx(0.4)
    assert pairs(verdicts({}), CLASSES).empty


LETTERS = st.text("abc?!", min_size=2, max_size=25)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_two_reviewers_as_in_scikit_learn(data):
    first = data.draw(LETTERS)
    second = data.draw(st.text("abc?!", min_size=len(first), max_size=len(first)))
    found = agreement(verdicts({"anna": first, "ben": second}), CLASSES)
    if len(set(first + second)) == 1:
        assert found.refused is not None
        return
    assert found.kappa == pytest.approx(cohen_kappa_score(list(first), list(second)))
    assert -1 <= found.low <= found.kappa + 1e-9 <= found.high + 2e-9 <= 1 + 3e-9
    assert sum(found.prevalence.values()) == pytest.approx(1)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_more_reviewers_as_in_statsmodels(data):
    count = data.draw(st.integers(2, 25))
    texts = [data.draw(st.text("abc?!", min_size=count, max_size=count)) for _ in range(data.draw(st.integers(3, 5)))]
    found = agreement(verdicts(dict(zip("mnopq", texts, strict=False))), CLASSES)
    if len(set("".join(texts))) == 1:
        assert found.refused is not None
        return
    codes = np.array([["abc?!".index(letter) for letter in text] for text in texts]).T
    assert found.kappa == pytest.approx(fleiss_kappa(aggregate_raters(codes)[0]))
    assert found.low <= found.high


def test_the_interval_of_fleiss_kappa_covers():
    """Of many samples from reviewers whose kappa is known, about 95 in 100 intervals hold it.

    Each answer is the item's class with probability 0.8, else the other: two agree with 0.8² + 0.2² = 0.68; chance ½.
    """
    generator, held = np.random.default_rng(0), 0
    for _ in range(60):
        truth = generator.integers(0, 2, 80)
        said = np.where(generator.random((3, 80)) < 0.8, truth, 1 - truth)
        found = agreement(
            verdicts({name: "".join("ab"[x] for x in row) for name, row in zip("xyz", said, strict=True)}), CLASSES
        )
        held += found.low <= 0.36 <= found.high
    assert 51 <= held <= 60
