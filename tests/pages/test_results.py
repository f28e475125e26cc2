"""The Results page on an empty, a full, an unfinished and a broken home, and the tables and sentences on it."""

import io

import pandas as pd
import pytest

from fmlab.data.manifest import open_dataset
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store
from fmlab.studies.comparison import differences
from fmlab.studies.results import results
from fmlab.ui.comparison_view import shown_differences, verdict
from fmlab.ui.results_tables import (
    MAJORITY_ROW,
    combination_names,
    majority_rates,
    sequence_majority,
    side_by_side,
    support_sentences,
    unconverged_sentence,
)
from fmlab.ui.results_view import csv_text
from fmlab.ui.study_choice import Cell, ChosenStudy
from tests.pages.conftest import text_of
from tests.pages.made_study import STUDY, finish_runs, launch_study, make_dataset, make_study

LITE0, PIXELS = ("efficientnet-lite0", "linear_svm"), ("pixels-24", "linear_svm")


@pytest.fixture
def study(home):
    store = make_study(home)
    return ChosenStudy(home, store, store.study("made"), open_dataset(home, "toy"), results(home, store, "made"))


# The page -------------------------------------------------------------------------------------------------------------


def test_an_empty_home_says_what_to_do_next(open_page):
    page = open_page("results")
    assert not page.exception
    assert "No study yet" in text_of(page)


def test_a_full_home_shows_curve_table_runs_and_comparison(open_page, home):
    make_study(home)
    page = open_page("results", study="made")
    assert not page.exception
    assert not page.error
    words = text_of(page)
    assert "95 % interval" in words
    assert "Synthetic images" in words
    assert "average over the 2 of 3 classes" in words
    assert len(page.get("plotly_chart")) == 2  # the curve, the difference
    assert any("fmlab results made" in block.value for block in page.code)
    assert page.selectbox(key="backbone").value == "efficientnet-lite0"
    assert page.selectbox(key="size").value == "2"


@pytest.mark.parametrize("measure", ["sequence accuracy", "balanced accuracy", "macro-F1"])
def test_every_measure_can_be_shown(open_page, home, measure):
    make_study(home)
    page = open_page("results", study="made", measure=measure)
    assert not page.exception
    assert not page.error


@pytest.mark.parametrize("part", ["Confusion", "Classes", "Sites"])
def test_every_part_of_a_point_opens_from_its_address(open_page, home, part):
    make_study(home)
    page = open_page("results", study="made", part=part, backbone="pixels-24", size="1", test_set="T2")
    assert not page.exception
    assert not page.error
    assert len(page.get("plotly_chart")) == 3
    assert page.selectbox(key="backbone").value == "pixels-24"
    assert page.selectbox(key="size").value == "1"
    assert page.selectbox(key="test_set").value == "T2"


def test_the_address_of_a_cell_is_what_its_widgets_understand(open_page, home):
    """Streamlit binds what a select box shows, not what it stands for: a link with a key would be dropped in silence."""
    make_dataset(home)
    store = launch_study(home, STUDY | {"adaptations": ["linear_svm", "knn"]})
    finish_runs(home, store, "made")
    page = open_page("results", study="made", **Cell("pixels-24", "knn", 1).address)
    assert page.selectbox(key="adaptation").value == "nearest neighbours"
    assert page.selectbox(key="size").value == "1"
    assert page.selectbox(key="backbone").value == "pixels-24"


def test_an_address_of_what_is_gone_opens_all_the_same(open_page, home):
    make_study(home)
    page = open_page("results", study="made", backbone="removed", size="999", test_set="T9")
    assert not page.exception
    assert not page.error


def finish_latency(store, **facts):
    """A latency of pixels-24 as a worker would leave it."""
    asked = request_run(store, "latency", {"backbone": "pixels-24"}, "latency", Actor("tester", "test"))
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    result = {"batch1_ms": 0.5, "images_per_second": 2000.0, "device": "a processor"}
    queue.finish({asked.key: result | facts}, 1.0)
    queue.release()


def test_accuracy_against_speed_appears_once_a_latency_was_measured(open_page, home):
    finish_latency(make_study(home))
    page = open_page("results", study="made")
    assert not page.exception
    assert not page.error
    assert len(page.get("plotly_chart")) == 3
    assert "Not measured on this device: efficientnet" in text_of(page)
    assert "busy" not in text_of(page)


def test_a_latency_measured_on_a_busy_machine_is_marked_where_it_is_shown(open_page, home):
    finish_latency(make_study(home), processor_share=0.5)
    assert "Measured while the machine was busy, and so too slow: pixels" in text_of(open_page("results", study="made"))
    page = open_page("backbones")
    table = next(frame.value for frame in page.dataframe if "Measured" in frame.value)
    assert table.set_index("Key")["Measured"].dropna().to_dict() == {"pixels-24": "while busy, measure again"}
    assert "measured while the machine was busy" in text_of(open_page("backbones", view="Cards"))


def test_a_study_without_a_finished_run_says_that_it_will_come(open_page, home):
    make_dataset(home)
    launch_study(home)
    page = open_page("results")
    assert not page.exception
    assert "as soon as a run has finished" in text_of(page)


def test_failed_runs_are_counted(open_page, home):
    store = make_study(home)
    with store.writing() as connection:
        connection.execute("UPDATE runs SET state = 'failed' WHERE key IN (SELECT key FROM runs LIMIT 2)")
    page = open_page("results")
    assert not page.exception
    assert "2 runs failed" in text_of(page)


def test_a_broken_store_is_one_message(open_page, home):
    make_study(home)
    for file in home.path.glob("fmlab.db*"):
        file.write_bytes(b"this is not a database" * 1000)
    page = open_page("results")
    assert not page.exception
    assert len(page.error) == 1


def test_lost_predictions_are_one_message(open_page, home):
    make_study(home)
    for file in home.predictions.glob("*.parquet"):
        file.unlink()
    page = open_page("results")
    assert not page.exception
    assert "missing or damaged" in page.error[0].value


# Tables ---------------------------------------------------------------------------------------------------------------


def test_the_table_holds_each_mean_with_its_interval_and_the_majority_row(study):
    rows = side_by_side(study.table, 2, sequence_majority(study.dataset))
    assert list(rows.columns[:4]) == ["Backbone", "Adaptation", "T1 image accuracy", "T1 sequence accuracy"]
    assert rows["Backbone"].tolist() == ["efficientnet-lite0", "pixels-24", MAJORITY_ROW]
    at = study.table.query("backbone == 'pixels-24' and size == 2 and test_set == 'T1'")
    assert rows.loc[1, "T1 image accuracy"].startswith(f"{100 * at['image_accuracy'].mean():.1f} (")
    assert rows.loc[2, "T1 image accuracy"] == "42.9 %"  # 3 of 7 sequences of 3 frames are A


def test_the_majority_class_in_every_measure(study):
    shares = sequence_majority(study.dataset)
    assert shares == pytest.approx({"T1": 3 / 7, "T2": 1 / 2})
    assert majority_rates(study.table, "image_accuracy", shares) == pytest.approx({"T1": 3 / 7, "T2": 1 / 2})
    assert majority_rates(study.table, "balanced_accuracy", shares) == pytest.approx({"T1": 1 / 3, "T2": 1 / 2})
    # Always A on T2: A has precision 1/2 and recall 1, so F1 2/3; B has 0; the mean over both is 1/3.
    assert majority_rates(study.table, "macro_f1", shares)["T2"] == pytest.approx(1 / 3)


def test_absent_classes_are_named(study):
    assert support_sentences(study.table, study.dataset) == [
        "On T2, balanced accuracy and macro-F1 average over the 2 of 3 classes that it has (no images of C)."
    ]


def test_unconverged_runs_are_counted_in_words(study):
    assert unconverged_sentence(study.table) is None
    table = study.table.assign(converged=study.table["seed"] != 0)
    sentence = unconverged_sentence(table)
    assert sentence.startswith("4 of 12 runs did not converge")
    assert "pixels-24 (2)" in sentence


def test_the_csv_is_the_table(study):
    again = pd.read_csv(io.StringIO(csv_text(study.table)))
    assert list(again.columns) == list(study.table.columns)
    assert again["image_accuracy"].to_numpy() == pytest.approx(study.table["image_accuracy"].to_numpy(), abs=0)


def test_backbones_are_named_alone_while_there_is_one_adaptation(study):
    assert combination_names(study.table, study.backbones) == {"efficientnet-lite0": LITE0, "pixels-24": PIXELS}
    both = pd.concat([study.table, study.table.assign(adaptation="knn")])
    names = list(combination_names(both, study.backbones))
    assert names[:2] == ["efficientnet-lite0 · linear SVM", "efficientnet-lite0 · nearest neighbours"]


# Comparison -----------------------------------------------------------------------------------------------------------


def compared(study, first, second, test_set, measure):
    return differences(study.home, study.store, study.table, first, second, test_set, measure)


def test_a_difference_is_that_of_the_means(study):
    table = compared(study, LITE0, PIXELS, "T1", "image_accuracy")
    means = study.table.query("test_set == 'T1'").groupby(["backbone", "size"])["image_accuracy"].mean()
    expected = means["efficientnet-lite0"] - means["pixels-24"]
    assert table["size"].tolist() == [1, 2]
    assert table["difference"].tolist() == pytest.approx(expected.tolist())
    assert set(table["resampled"]) == {"patients"}
    assert (table["low"] <= table["difference"]).all()
    assert (table["difference"] <= table["high"]).all()


@pytest.mark.parametrize("measure", ["sequence_accuracy", "balanced_accuracy", "macro_f1"])
def test_every_measure_can_be_compared(study, measure):
    table = compared(study, LITE0, PIXELS, "T2", measure)
    means = study.table.query("test_set == 'T2'").groupby(["backbone", "size"])[measure].mean()
    expected = means["efficientnet-lite0"] - means["pixels-24"]
    assert table["difference"].tolist() == pytest.approx(expected.tolist())


def test_nobody_is_better_than_oneself(study):
    table = compared(study, LITE0, LITE0, "T1", "sequence_accuracy")
    assert table["tied"].all()
    assert table["difference"].tolist() == [0.0, 0.0]
    assert verdict(table, "a", "a", "sequences") == "They are tied at 1 and 2 sequences per class."


def test_only_seeds_that_both_have_are_compared(study):
    fewer = study.table[~((study.table["backbone"] == "pixels-24") & (study.table["seed"] > 0))]
    partial = ChosenStudy(study.home, study.store, study.record, study.dataset, fewer)
    table = compared(partial, LITE0, PIXELS, "T1", "image_accuracy")
    assert table["seeds"].tolist() == [1, 1]


def test_the_verdict_says_better_only_where_the_interval_excludes_zero():
    table = pd.DataFrame(
        {
            "size": [1, 2, 4, 8],
            "difference": [0.2, 0.1, 0.01, -0.1],
            "low": [0.1, 0.05, -0.1, -0.2],
            "high": [0.3, 0.15, 0.1, -0.05],
            "tied": [False, False, True, False],
            "seeds": [3, 3, 3, 3],
        }
    )
    assert verdict(table, "first", "second", "images") == (
        "first is better at 1 and 2 images; second is better at 8 images; they are tied at 4 images."
    )
    assert shown_differences(table)["Verdict"].tolist() == ["better", "better", "tied", "worse"]
    assert shown_differences(table)["Difference"].iloc[0] == "+20.0 (+10.0 to +30.0)"


def test_the_store_is_untouched_by_looking(open_page, home):
    make_study(home)
    open_page("results")
    assert open_store(home).counts("made") == {"done": 12}
