"""The points of the figure and their intervals. Run: pytest tests/unit/test_points.py"""

import pytest

from fmlab.studies.points import over_what, points
from fmlab.studies.resampling import resampled_runs
from fmlab.studies.results import curve, results
from tests.pages.made_study import STUDY, finish_runs, launch_study, make_dataset


def made(home, seeds):
    make_dataset(home)
    store = launch_study(home, STUDY | {"seeds": seeds})
    finish_runs(home, store, "made")
    return store, results(home, store, "made")


def test_several_seeds_keep_their_interval(home):
    store, table = made(home, 3)
    found = points(home, store, table)
    assert found.drop(columns="interval").equals(curve(table))
    assert set(found["interval"]) == {"seeds"}
    assert over_what(found).startswith("Bands and brackets: 95 % interval (Student's t) of the mean over up to 3")


def test_a_single_run_has_that_of_its_patients(home):
    store, table = made(home, 1)
    found = points(home, store, table, "sequence_accuracy")
    assert set(found["interval"]) == {"patients"}
    for row in found.itertuples():
        same = (table["backbone"] == row.backbone) & (table["size"] == row.size) & (table["test_set"] == row.test_set)
        run = table.loc[same, "run"].item()
        expected = resampled_runs(home, store, (run,), row.test_set, "sequence_accuracy").interval()
        assert (row.mean, row.low, row.high) == pytest.approx(expected)
    assert "when the tested patients are drawn again; one subset was drawn at every size" in over_what(found)
