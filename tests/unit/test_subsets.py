"""Subsets: nested, reproducible, stable while the data grow, balanced by sequences."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlab.data.manifest import image_id
from fmlab.data.subsets import Subset, draw, largest_size, training_items
from fmlab.errors import BadInput

CLASSES = ("x", "y", "z")


def table(sequences, frames=3):
    """`sequences` of each class, each of a few frames."""
    rows = [
        (image_id(f"{label}{sequence}", frame), label, f"{label}{sequence}")
        for label in CLASSES
        for sequence in range(sequences)
        for frame in range(frames)
    ]
    return pd.DataFrame(rows, columns=["image_id", "label", "sequence_id"])


def names(items, positions):
    return {(int(items.image_ids[p]), int(items.copies[p])) for p in positions}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 90), st.integers(1, 90))
def test_a_smaller_subset_is_part_of_a_larger_one(seed, one, other):
    items = training_items(table(10), CLASSES)
    small, large = sorted((one, other))
    inner, outer = (names(items, draw(items, Subset("images", size, seed))) for size in (small, large))
    assert inner <= outer
    assert len(inner) == small


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9))
def test_sequences_are_balanced_nested_and_whole(seed, size):
    items = training_items(table(10), CLASSES)
    chosen = draw(items, Subset("sequences", size, seed))
    assert np.bincount(items.labels[chosen]).tolist() == [3 * size] * 3
    assert names(items, chosen) <= names(items, draw(items, Subset("sequences", size + 1, seed)))


def test_new_data_slot_in_without_a_reshuffle():
    """What is chosen of the old images from the grown table was chosen before, in the same order."""
    old, grown = training_items(table(10), CLASSES), training_items(table(13), CLASSES)
    before = names(old, draw(old, Subset("images", 40, 7)))
    known = set(old.image_ids.tolist())
    after = {item for item in names(grown, draw(grown, Subset("images", 40, 7))) if item[0] in known}
    assert after <= before
    assert len(after) > 20


def test_rows_in_another_order_are_the_same_subset():
    rows = table(10)
    items, shuffled = (training_items(r, CLASSES) for r in (rows, rows.sample(frac=1, random_state=3)))
    for scheme, size in (("images", 20), ("sequences", 4)):
        subset = Subset(scheme, size, 1)
        assert names(items, draw(items, subset)) == names(shuffled, draw(shuffled, subset))


def test_seeds_differ_and_copies_are_items():
    items = training_items(table(10), CLASSES, copies=4)
    assert len(items.image_ids) == 5 * 90
    one, two = (names(items, draw(items, Subset("images", 50, seed))) for seed in (0, 1))
    assert one != two
    assert {copy for _, copy in one} == {0, 1, 2, 3, 4}


def test_sizes_that_the_data_do_not_have():
    items = training_items(table(10), CLASSES)
    assert (largest_size(items, "images"), largest_size(items, "sequences")) == (90, 10)
    for subset, message in (
        (Subset("images", 91, 0), "has 90"),
        (Subset("sequences", 11, 0), "has 10"),
        (Subset("images", 0, 0), "has 90"),
    ):
        with pytest.raises(BadInput, match=message):
            draw(items, subset)
    with pytest.raises(BadInput, match="outside the class list"):
        training_items(table(2), ("x", "y"))
