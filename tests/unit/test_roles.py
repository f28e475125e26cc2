"""Who is learnt from and who is tested, by the split or by folds. Run: pytest tests/unit/test_roles.py"""

import numpy as np
import pytest

from fmlab.data.roles import checked_roles, roles
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput
from tests.toys import halves

GREY = np.full((8, 8), 90, np.uint8)


def unsplit(home, name="unsplit", folds=None, patients=12, frames=7):
    """Patients p0 … of two classes, each with one sequence; no split in the source."""
    writer = DatasetWriter(home, name)
    for patient in range(patients):
        for frame in range(frames):
            row = ImageRow(
                path=f"p{patient}.png",
                frame=frame,
                label="AB"[patient % 2],
                sequence_id=f"s{patient}",
                patient_id=f"p{patient}",
            )
            writer.add(row, GREY + np.uint8(patient * frames + frame))
    return writer.finish(CardFacts("toy"), folds=folds)


def test_by_the_split_there_is_one_part(home):
    found = roles(halves(home))
    ((learnt, tested),) = found.parts
    assert set(found.train["split"]) == {"train"}
    assert set(found.test["split"]) == {"T1"}
    assert len(learnt) == len(found.train) == 48
    assert len(tested) == len(found.test) == 24


def test_every_image_is_tested_once_by_what_was_not_learnt_from_its_patient(home):
    found = roles(unsplit(home), folds=4)
    patients = found.train["patient_id"].to_numpy(), found.test["patient_id"].to_numpy()
    for learnt, tested in found.parts:
        assert not set(patients[0][learnt]) & set(patients[1][tested])
        assert set(patients[0][learnt]) | set(patients[1][tested]) == {f"p{number}" for number in range(12)}
    everyone = np.concatenate([tested for _, tested in found.parts])
    assert sorted(everyone) == list(range(len(found.test)))


def test_five_frames_of_a_sequence_are_tested_and_all_are_learnt_from(home):
    found = roles(unsplit(home), folds=3)
    assert found.test.groupby("sequence_id").size().unique().tolist() == [5]
    assert found.train.groupby("sequence_id").size().unique().tolist() == [7]


def test_a_test_set_drawn_at_import_is_dealt_and_one_of_the_source_stays_apart(home):
    drawn = roles(unsplit(home), folds=3)
    assert drawn.train["patient_id"].nunique() == 12
    given = roles(halves(home), folds=4)
    assert set(given.train["split"]) == {"train"}


def test_the_folds_of_the_import_are_kept(home):
    dataset = unsplit(home, folds=3)
    stored = dataset.manifest(["image_id", "fold"]).set_index("image_id")["fold"]
    found = roles(dataset, folds=3).train.set_index("image_id")["fold"]
    assert (stored.loc[found.index] == found).all()


def test_nothing_to_test_is_said(home):
    with pytest.raises(BadInput, match=r"no labelled test images\. Attach a test set, or use cross-validation"):
        checked_roles(unsplit(home, folds=3), None)
