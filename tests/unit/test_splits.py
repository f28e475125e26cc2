"""Splits by patient: nobody on both sides, every class on both, the same again, folds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlab.data.splits import canonical_split, draw_folds, draw_split, groups, leaking_groups, mark_scored
from fmlab.errors import BadInput


def table(patients, labels, sequences=None):
    ids = [f"{number:016x}" for number in range(len(patients))]
    return pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": pd.array(patients, dtype="string"),
            "sequence_id": pd.array(sequences or ids, dtype="string"),
            "label": pd.array(labels, dtype="string"),
            "frame": range(len(patients)),
        }
    )


rows = st.lists(
    st.tuples(st.sampled_from([None, *"abcdefgh"]), st.sampled_from([None, "x", "y"])), min_size=1, max_size=60
)


@settings(max_examples=30, deadline=None)
@given(rows, st.integers(0, 5))
def test_patients_never_cross(pairs, seed):
    manifest = table(*zip(*pairs, strict=True))
    manifest["split"] = draw_split(manifest, seed)
    assert leaking_groups(manifest) == []
    assert set(manifest["split"]) <= {"train", "T1"}
    shuffled = manifest.sample(frac=1, random_state=1)
    assert (draw_split(shuffled, seed).sort_index() == manifest["split"]).all()


def test_shares_and_the_only_patient_of_a_class():
    patients = [f"p{number}" for number in range(100)] + ["alone"]
    manifest = table(patients, ["x"] * 60 + ["y"] * 40 + ["z"])
    split = draw_split(manifest)
    assert (split[:60] == "T1").sum() == 18
    assert (split[60:100] == "T1").sum() == 12
    assert split[100] == "train"
    assert (draw_split(manifest, 1) != split).any()


def test_unknown_patients_stay_with_their_sequence():
    manifest = table([None] * 8, ["x"] * 8, ["a", "a", "b", "b", "c", "c", "d", "d"])
    assert groups(manifest).nunique() == 4
    assert draw_split(manifest).groupby(manifest["sequence_id"]).nunique().max() == 1


def test_folds():
    manifest = table([f"p{number // 2}" for number in range(40)], ["x", "y"] * 20)
    folds = draw_folds(manifest, 5)
    assert folds.groupby(manifest["patient_id"]).nunique().max() == 1
    assert folds.value_counts().tolist() == [8] * 5
    assert leaking_groups(manifest.assign(split=folds.astype(str))) == []
    with pytest.raises(BadInput, match="at least 2 folds"):
        draw_folds(manifest, 1)
    with pytest.raises(BadInput, match="at least as many patients"):
        draw_folds(manifest, 21)


def test_five_evenly_spaced_frames_of_a_test_sequence_are_scored():
    manifest = table([None] * 33, ["x"] * 33, ["long"] * 20 + ["short"] * 3 + ["learnt"] * 10)
    manifest["split"] = ["T1"] * 23 + ["train"] * 10
    scored = mark_scored(manifest)
    assert np.flatnonzero(scored[:20]).tolist() == [2, 6, 10, 14, 18]
    assert scored[20:].all()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Train ", "train"),
        ("VALID", "val"),
        ("validation", "val"),
        ("test", "T1"),
        ("T2", "T2"),
        ("Hospital B", "Hospital B"),
    ],
)
def test_names(theirs, ours):
    assert canonical_split(theirs) == ours
