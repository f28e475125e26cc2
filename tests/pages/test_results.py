"""The Results page on an empty, a full, an unfinished and a broken home, and the tables and sentences on it."""

import io
import json
import time
import uuid

import numpy as np
import pandas as pd
import pytest

from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.review.queues import QueueConfig, open_queue
from fmlab.review.verdicts import Answer, record_answers
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store
from fmlab.studies.comparison import differences
from fmlab.studies.label_versions import publish
from fmlab.studies.maximum import maximum
from fmlab.studies.relabelled import changed_images
from fmlab.studies.results import results
from fmlab.studies.scoring import Scored, TestSet
from fmlab.ui.comparison_view import shown_differences, verdict
from fmlab.ui.confusion_matrix import matrix_data, opened_cell
from fmlab.ui.results_cost import round_stops
from fmlab.ui.results_detail import table_measure
from fmlab.ui.results_labels import crossing_sentences, savings_table
from fmlab.ui.results_opened import meant
from fmlab.ui.results_ranking import best_sentence, p_text, pair_table, verdict_table
from fmlab.ui.results_relabelled import (
    changes_sentence,
    rank_sentence,
    relabelled_table,
    reviewers_of,
    verdict_sentence,
)
from fmlab.ui.results_tables import (
    MAJORITY_ROW,
    change_table,
    majority_rates,
    printed_rows,
    sequence_majority,
    side_by_side,
    support_sentences,
    unconverged_sentence,
)
from fmlab.ui.results_view import csv_text
from fmlab.ui.study_choice import Cell, ChosenStudy, combination_names, unshared, with_patient_intervals
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


def test_a_full_home_shows_the_curve_and_what_is_behind_a_point(open_page, home):
    make_study(home)
    page = open_page("results", study="made")
    assert not page.exception
    assert not page.error
    words = text_of(page)
    assert "95 % interval" in words
    assert "Synthetic images" in words
    assert len(page.get("plotly_chart")) == 1  # the curve alone: no other section was computed
    assert page.selectbox(key="backbone").value == "efficientnet-lite0"
    assert page.selectbox(key="size").value == "2"


SECTIONS = {  # what only this section says, and how many figures it has
    "Test sets": ("average over the 2 of 3 classes", 1),
    "Better?": ("Everything else is a tie", 1),
    "Labels": ("nothing is read off beyond the largest", 1),
    "Cost": ("No latency of these backbones", 0),
    "Calibration": ("calibration cannot be judged", 0),
    "Numbers": ("writes every table as CSV", 0),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_opens_from_its_address_alone(open_page, home, section):
    make_study(home)
    page = open_page("results", study="made", section=section)
    assert not page.exception
    assert not page.error
    sentence, figures = SECTIONS[section]
    assert sentence in text_of(page).replace("\\", "")
    assert "Behind a point" not in text_of(page)
    assert len(page.get("plotly_chart")) == figures


def test_the_numbers_name_the_commands(open_page, home):
    make_study(home)
    page = open_page("results", study="made", section="Numbers")
    assert "fmlab results made --export FOLDER" in page.code[0].value


def test_the_papers_numbers_stand_beside_on_request(open_page, home):
    make_study(home)
    without = open_page("results", study="made", section="Test sets").dataframe[0].value
    page = open_page("results", study="made", section="Test sets", paper="true")
    beside = page.dataframe[0].value
    assert "echo-clip" not in set(without["Backbone"])
    row = beside.set_index("Backbone").loc["echo-clip"]
    assert row["T1 image accuracy"] == "99.3 %"
    assert row["T2 sequence accuracy"] == "75.0 %"
    assert row["Adaptation"] == "finetuned, as printed"
    assert "Table 3 of the limited-data study" in text_of(page)


def test_a_target_that_two_sizes_cannot_support_is_refused_in_words(open_page, home):
    make_study(home)
    page = open_page("results", study="made", section="Labels", question="Labels for a target")
    assert not page.exception
    assert "cannot be said from these data" in page.info[0].value
    assert "needs 4 sizes" in page.info[0].value
    assert page.selectbox(key="target").value == "90 %"


QUICK = {"backbone": "random-resnet18", "adaptation": {"kind": "scratch", "recipe": "quick"}}


@pytest.fixture
def quick_study(home):
    """With logistic regression, a baseline trained by the quick recipe, and measured latencies."""
    make_dataset(home)
    store = launch_study(home, STUDY | {"adaptations": ["logistic"], "baselines": [QUICK]})
    finish_runs(home, store, "made")
    finish_latency(store)
    return store


@pytest.mark.parametrize("section", ["Curve", "Test sets", "Better?", "Labels", "Cost", "Calibration"])
def test_quick_is_said_in_every_figure(open_page, quick_study, section):
    page = open_page("results", study="made", section=section, part="Confusion")
    assert not page.exception
    assert not page.error
    figures = [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]
    assert figures
    for figure in figures:
        words = [note["text"] for note in figure["layout"]["annotations"]]
        assert any("quick, not the paper's protocol" in text and "simulated images" in text for text in words)


def test_a_baseline_is_a_line_of_the_study_and_can_be_opened(open_page, quick_study):
    page = open_page("results", study="made", **Cell("random-resnet18", "scratch(recipe=quick)", 2).address)
    assert page.selectbox(key="backbone").value == "random-resnet18"
    assert page.selectbox(key="adaptation").value == "trained from scratch (recipe quick)"
    figure = json.loads(page.get("plotly_chart")[0].proto.spec)
    names = {trace["name"] for trace in figure["data"]}
    assert {"efficientnet-lite0", "random-resnet18, trained from scratch (recipe quick)"} <= names


@pytest.mark.parametrize("measure", ["sequence accuracy", "balanced accuracy", "macro-F1"])
def test_every_measure_can_be_shown(open_page, home, measure):
    make_study(home)
    page = open_page("results", study="made", measure=measure)
    assert not page.exception
    assert not page.error


@pytest.mark.parametrize(("part", "figures"), [("Confusion", 1), ("Classes", 2), ("Sites", 2)])
def test_every_part_of_a_point_opens_from_its_address(open_page, home, part, figures):
    make_study(home)
    page = open_page("results", study="made", part=part, backbone="pixels-24", size="1", test_set="T2")
    assert not page.exception
    assert not page.error
    assert len(page.get("plotly_chart")) == figures
    assert len(page.get("bidi_component")) == 2 - figures  # the confusion matrix is a table of ours
    assert page.selectbox(key="backbone").value == "pixels-24"
    assert page.selectbox(key="size").value == "1"
    assert page.selectbox(key="test_set").value == "T2"


def matrix_of(page):
    """What the confusion matrix on a page was sent."""
    return json.loads(page.get("bidi_component")[0].proto.json)


def test_the_confusion_matrix_says_what_its_numbers_rest_on(open_page, quick_study):
    page = open_page("results", study="made", part="Confusion", test_set="T2", counted="sequences")
    sent = matrix_of(page)
    assert sent["classes"] == ["A", "B", "C"]
    assert sent["unit"] == "sequences"
    assert sum(sent["support"]) == 4 * 3  # sequences, seeds
    assert "simulated images" in sent["remarks"][0]
    assert "quick, not the paper's protocol" in " ".join(sent["remarks"])
    assert sent["title"].endswith("T2")


def test_the_confusion_matrix_can_be_had_as_a_figure(open_page, home):
    make_study(home)
    page = open_page("results", study="made", part="Confusion", figure="true")
    assert not page.exception
    assert len(page.get("plotly_chart")) == 2
    assert not page.get("bidi_component")


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


def finish_latency(store, backbone="pixels-24", **facts):
    """A latency as a worker would leave it."""
    asked = request_run(store, "latency", {"backbone": backbone}, "latency", Actor("tester", "test"))
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    result = {"batch1_ms": 0.5, "images_per_second": 2000.0, "device": "a processor"}
    queue.finish({asked.key: result | facts}, 1.0)
    queue.release()


def test_accuracy_against_speed_appears_once_a_latency_was_measured(open_page, home):
    finish_latency(make_study(home))
    page = open_page("results", study="made", section="Cost")
    assert not page.exception
    assert not page.error
    assert len(page.get("plotly_chart")) == 1
    assert "Not measured on this device: efficientnet" in text_of(page)
    assert "busy" not in text_of(page)


def test_a_budget_in_the_address_makes_what_is_outside_pale(open_page, home):
    store = make_study(home)
    finish_latency(store)
    finish_latency(store, "efficientnet-lite0", batch1_ms=6.0)
    page = open_page("results", study="made", section="Cost", most_ms="5 ms")
    assert not page.error
    traces = json.loads(page.get("plotly_chart")[0].proto.spec)["data"]
    outside = {trace["name"] for trace in traces if "outside the budget" in str(trace.get("hovertemplate"))}
    assert outside == {"efficientnet-lite0"}


def test_a_latency_measured_on_a_busy_machine_is_marked_where_it_is_shown(open_page, home):
    finish_latency(make_study(home), processor_share=0.5)
    assert "Measured while the machine was busy, and so too slow: pixels" in text_of(
        open_page("results", study="made", section="Cost")
    )
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


# Corrected labels -----------------------------------------------------------------------------------------------------


@pytest.fixture
def corrected(home):
    """The made study, with one T1 sequence of A called B, one T2 image taken out, as labels v2."""
    store = make_study(home)
    dataset = open_dataset(home, "toy")
    rows = dataset.manifest(["image_id", "sequence_id"])
    changes = dict.fromkeys(rows.loc[rows["sequence_id"] == "T1-A-0", "image_id"], "B")
    changes |= {rows.loc[rows["sequence_id"] == "T2-B-1", "image_id"].iloc[0]: None}
    publish(store, dataset, "v2", changes, "after <b>two</b> looked", Actor("anna", "test"))
    return store


def test_without_corrections_nothing_speaks_of_them(open_page, home):
    make_study(home)
    page = open_page("results", study="made", section="Corrected labels")
    assert not page.exception
    assert "Behind a point" in text_of(page)  # the section is not there, so the first is shown
    assert "labels" not in [box.key for box in page.selectbox]


def test_corrected_labels_stand_beside_the_original_ones(open_page, corrected):
    page = open_page("results", study="made", section="Corrected labels")
    assert not page.exception
    assert not page.error
    words = text_of(page).replace("\\", "")
    assert "published by anna" in words
    assert "3 images have another label and 1 image is taken out, in 2 sequences" in words
    assert "3 in T1, 1 in T2" in words
    assert "<b>two</b>" in words  # as text: escaped in the page's source
    titles = [
        [note["text"] for note in json.loads(chart.proto.spec)["layout"]["annotations"][:2]]
        for chart in page.get("plotly_chart")
    ]
    assert titles == [["<b>T1</b>", "<b>T1, labels v2</b>"], ["<b>T2</b>", "<b>T2, labels v2</b>"]]
    table = page.dataframe[0].value
    assert list(table.columns) == ["", "T1", "T1 change", "T1 rank", "T2", "T2 change", "T2 rank"]
    at = results(corrected.home, corrected, "made", "v2").query("backbone == 'pixels-24' and size == 2")
    mean = at.query("test_set == 'T1@v2'")["image_accuracy"].mean()
    assert table.set_index("").loc["pixels-24", "T1"].endswith(f"→ {100 * mean:.1f} %")


@pytest.mark.parametrize("section", ["Curve", "Test sets", "Better?", "Labels"])
def test_every_figure_under_corrected_labels_says_so(open_page, corrected, section):
    page = open_page("results", study="made", section=section, labels="v2", part="Confusion", test_set="T2@v2")
    assert not page.exception
    assert not page.error
    for figure in [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]:
        assert any("labels v2" in note["text"] for note in figure["layout"]["annotations"])
    if section == "Curve":
        assert "labels v2" in matrix_of(page)["remarks"][0]
        assert sum(matrix_of(page)["support"]) == 11 * 3  # an image less, in three seeds
    if section == "Test sets":
        assert "On T2, labels v2, balanced accuracy" in text_of(page).replace("\\", "")


def test_the_papers_numbers_stand_in_the_columns_of_corrected_labels(open_page, corrected):
    page = open_page("results", study="made", section="Test sets", labels="v2", paper="true")
    table = page.dataframe[0].value
    assert table.set_index("Backbone").loc["echo-clip", "T1 image accuracy"] == "99.3 %"
    assert len(table.columns) == 6
    assert "Percent under labels v2" in text_of(page)


def test_a_test_set_stays_chosen_when_the_labels_change(open_page, corrected):
    page = open_page("results", study="made", section="Calibration", test_set="T2")
    page.selectbox(key="labels").set_value("v2").run()
    assert page.selectbox(key="test_set").value == "T2@v2"
    page.selectbox(key="labels").set_value("original").run()
    assert page.selectbox(key="test_set").value == "T2"


def test_the_commands_and_the_file_name_the_labels(open_page, corrected):
    page = open_page("results", study="made", section="Numbers", labels="v2")
    assert "fmlab results made --labels v2 --format csv" in page.code[0].value


def relabelled_row(backbone, ranks, low=-0.1, high=0.1, test_set="T1"):
    names = {"test_set": test_set, "size": 1, "backbone": backbone, "adaptation": "knn"}
    numbers = {"original": 0.5, "corrected": 0.55, "difference": 0.05, "low": low, "high": high}
    return (
        names | numbers | {"rank_original": ranks[0], "rank_corrected": ranks[1], "rank_changed": ranks[0] != ranks[1]}
    )


def test_ranks_that_changed_are_marked():
    found = pd.DataFrame(
        [relabelled_row("a", (2, 1), low=0.01), relabelled_row("b", (1, 2)), relabelled_row("c", (3, 3))]
    )
    rows = relabelled_table(found, LETTERS)
    assert rows["Rank"].tolist() == ["2 → 1 ▲", "1 → 2 ▼", "3"]
    assert rows["T1"].tolist() == ["50.0 → 55.0 %"] * 3
    assert rows["Change"].tolist()[0] == "+5.0 (+1.0 to +10.0)"
    assert rank_sentence(found) == "On T1 2 of 3 ranks change; differences whose interval excludes zero: 1 of 3."


def test_verdicts_that_turned_are_said():
    names = ["first_backbone", "first_adaptation", "second_backbone", "second_adaptation", "original", "corrected"]
    turned = pd.DataFrame([[*A, *B, "tied", "second"]], columns=names)
    none = turned.iloc[:0]
    assert verdict_sentence({"T1": turned, "T2": none}, LETTERS) == "A against B on T1: a tie before, B better now."
    assert verdict_sentence({"T1": none}, LETTERS) == "The verdicts of “Better?” stay as they were."
    assert verdict_sentence({"T1": none}, {A: "A"}) == ""


def judge(store, reviewer, level, item):
    """A reviewer's verdict that an item of the toy dataset is a B."""
    by = Actor(reviewer, "test")
    config = QueueConfig(kind="selection", dataset="toy", level=level, items=(item,))
    answer = Answer(id=str(uuid.uuid4()), item=item, kind="label_wrong", label="B")
    record_answers(store, open_queue(store.home, store, config, by), [answer], reviewer, False, by)


def test_a_reviewer_counts_who_judged_what_was_changed_before_it_was_published(home):
    store = make_study(home)
    dataset = open_dataset(home, "toy")
    rows = dataset.manifest(["image_id", "sequence_id"])
    changed = rows.loc[rows["sequence_id"] == "T1-A-0", "image_id"].tolist()
    judge(store, "cem", "sequence", "T1-A-0")
    judge(store, "ben", "image", changed[0])
    judge(store, "eva", "sequence", "T1-C-0")  # of which nothing is changed
    version = publish(store, dataset, "v2", dict.fromkeys(changed, "B"), "", Actor("anna", "test"))
    time.sleep(0.002)  # times have milliseconds
    judge(store, "dora", "image", changed[0])
    found = changed_images(dataset, version)
    assert reviewers_of(store, dataset, version, found) == ["ben", "cem"]
    assert "after a review by ben and cem:" in changes_sentence(version, found, ["ben", "cem"])


# Behind a number ------------------------------------------------------------------------------------------------------


def test_a_matrix_is_sent_as_what_is_not_zero():
    sent = matrix_data(np.array([[5, 0], [2, 0]]), ["<b>", "b"])
    assert sent == {"classes": ["<b>", "b"], "support": [5, 2], "cells": [0, 0, 5, 1, 0, 2], "both": True}
    with pytest.raises(BadInput, match="does not fit 3 classes"):
        matrix_data(np.zeros((2, 2)), ["a", "b", "c"])


def test_only_cells_that_exist_are_opened():
    assert opened_cell([1, 0], ["a", "b"]) == ("b", "a")
    for wrong in ([2, 0], [-1, 0], [1], "10", None, [None, 1], {"row": 1}):
        assert opened_cell(wrong, ["a", "b"]) is None


def test_what_a_cell_and_a_dot_mean():
    """Two runs on four images: truth A A B B; answers A B B B and B B B A."""
    rows = pd.DataFrame({"image_id": list("wxyz"), "sequence_id": list("stuv")})
    truth = np.array([0, 0, 1, 1])
    test = TestSet("T1", rows, truth, np.arange(4), truth)
    answers = np.array([[0, 1, 1, 1], [1, 1, 1, 0]])
    scored = Scored(("r0", "r1"), ("A", "B"), np.eye(2)[answers], test, ("logistic", "logistic"))

    def found(truth, answer):
        return meant(scored, "image", truth, answer).astype(int).tolist()

    assert found("A", "B") == [[0, 1, 0, 0], [1, 1, 0, 0]]
    assert found("B", "B") == [[0, 0, 1, 1], [0, 0, 1, 0]]  # right answers
    assert found("A", None) == [[0, 1, 0, 0], [1, 1, 0, 0]]  # the mistakes of the class
    assert found(None, "A") == [[0, 0, 0, 0], [0, 0, 0, 1]]  # wrongly called A
    assert scored.items("sequence").tolist() == list("stuv")


def test_a_dot_says_which_measure_it_is():
    assert [table_measure({"curve_number": number}) for number in range(3)] == ["recall", "precision", "f1"]


# Tables ---------------------------------------------------------------------------------------------------------------


def test_the_table_holds_each_mean_with_its_interval_and_the_majority_row(study):
    reached = maximum(study.home, study.store, study.table, 2)
    rows = side_by_side(reached, study.table, sequence_majority(study.dataset))
    assert list(rows.columns[:4]) == ["Backbone", "Adaptation", "T1 image accuracy", "T1 sequence accuracy"]
    assert rows["Backbone"].tolist() == ["efficientnet-lite0", "pixels-24", MAJORITY_ROW]
    at = study.table.query("backbone == 'pixels-24' and size == 2 and test_set == 'T1'")
    assert rows.loc[1, "T1 image accuracy"].startswith(f"{100 * at['image_accuracy'].mean():.1f} (")
    assert rows.loc[2, "T1 image accuracy"] == "42.9 %"  # 3 of 7 sequences of 3 frames are A
    assert set(printed_rows().columns) <= set(rows.columns)


def test_an_interval_over_patients_stands_around_the_mean_over_seeds(study):
    points = with_patient_intervals(study, study.table, "T1", "image_accuracy")
    means = study.table.query("test_set == 'T1'").groupby(["backbone", "adaptation", "size"])["image_accuracy"].mean()
    assert points["mean"].tolist() == pytest.approx(means.tolist())
    assert ((points["low"] <= points["mean"]) & (points["mean"] <= points["high"])).all()


def test_changes_are_points_the_smallest_loss_first():
    changes = pd.DataFrame(
        {
            "backbone": ["a", "b", "a", "b"],
            "adaptation": ["knn"] * 4,
            "measure": ["image_accuracy"] * 2 + ["sequence_accuracy"] * 2,
            "from_set": "T1",
            "to_set": "T2",
            "change": [-0.2, -0.1, 0.0, 0.0],
            "low": [-0.3, -0.2, 0.0, 0.0],
            "high": [-0.1, 0.05, 0.0, 0.0],
        }
    )
    rows = change_table(changes, "image_accuracy", {("a", "knn"): "A", ("b", "knn"): "B"})
    assert rows[""].tolist() == ["B", "A"]
    assert rows["Change T1 → T2"].tolist() == ["−10.0 (−20.0 to +5.0)", "−20.0 (−30.0 to −10.0)"]


def test_the_majority_class_in_every_measure(study):
    shares = sequence_majority(study.dataset)
    assert shares == pytest.approx({"T1": 3 / 7, "T2": 1 / 2})
    assert majority_rates(study.table, "image_accuracy", shares) == pytest.approx({"T1": 3 / 7, "T2": 1 / 2})
    assert majority_rates(study.table, "balanced_accuracy", shares) == pytest.approx({"T1": 1 / 3, "T2": 1 / 2})
    # Always A on T2: A has precision 1/2 and recall 1, so F1 2/3; B has 0; the mean over both is 1/3.
    assert majority_rates(study.table, "macro_f1", shares)["T2"] == pytest.approx(1 / 3)


def test_absent_classes_are_named(study):
    assert support_sentences(study.table, study.dataset) == [
        "On T2, balanced accuracy, macro-F1 and AUROC average over the 2 of 3 classes that it has (no images of C)."
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


def test_a_baseline_bears_its_adaptation_and_stands_last(study):
    extra = ("efficientnet-lite0", "scratch")
    both = pd.concat([study.table, study.table.query("backbone == 'efficientnet-lite0'").assign(adaptation="scratch")])
    names = combination_names(both, study.backbones, [extra])
    assert list(names) == ["efficientnet-lite0", "pixels-24", "efficientnet-lite0 · trained from scratch"]
    assert unshared("efficientnet-lite0", "pixels-24", names) == ("efficientnet-lite0", "pixels-24")


# Who is better --------------------------------------------------------------------------------------------------------


A, B, C = ("a", "knn"), ("b", "knn"), ("c", "knn")
LETTERS = {A: "A", B: "B", C: "C"}


def pairs_of(*rows):
    """Pairs from (first, second, verdict), every number of them the same."""
    return pd.DataFrame(
        [
            dict(
                zip(
                    ("first_backbone", "first_adaptation", "second_backbone", "second_adaptation"),
                    (*first, *second),
                    strict=True,
                )
            )
            | {"difference": 0.1, "low": -0.02, "high": 0.2, "mcnemar_p": 0.0004, "p": 0.01, "holm_p": 0.034}
            | {"verdict": verdict_}
            for first, second, verdict_ in rows
        ]
    )


def test_the_best_sentence_says_who_is_not_worse_than_any():
    tied = pairs_of((A, B, "tied"), (A, C, "tied"), (B, C, "tied"))
    assert best_sentence(tied, LETTERS) == "All 3 are tied: none is better than another here."
    two = pairs_of((A, B, "tied"), (A, C, "better"), (B, C, "better"))
    assert best_sentence(two, LETTERS).startswith("A and B are the best group")
    one = pairs_of((A, B, "better"), (A, C, "better"), (B, C, "tied"))
    assert best_sentence(one, LETTERS) == "A is better than every other."
    partly = pairs_of((A, B, "better"), (A, C, "tied"), (B, C, "tied"))
    assert (
        best_sentence(partly, LETTERS) == "A and C are the best group: none of the others is better than any of them."
    )
    alone = pairs_of((A, B, "worse"))
    assert best_sentence(alone, LETTERS) == "B is better than the other."


def test_the_verdicts_of_each_stand_in_its_row():
    pairs = pairs_of((A, B, "tied"), (A, C, "better"), (B, C, "better"))
    points = pd.DataFrame(
        {"backbone": ["c", "a", "b"], "adaptation": "knn", "mean": [0.5, 0.9, 0.8], "low": 0.4, "high": 0.95}
    )
    rows = verdict_table(pairs, points, LETTERS).set_index("")
    assert rows.index.tolist() == ["A", "B", "C"]
    assert rows["Tied with"].tolist() == ["B", "A", "–"]
    assert rows["Better than"].tolist() == ["C", "C", "–"]
    assert rows["Worse than"].tolist() == ["–", "–", "all above"]
    assert rows.loc["A", "Mean, 95 % interval"] == "90.0 (40.0–95.0) %"


def test_every_pair_shows_its_p_values():
    row = pair_table(pairs_of((A, B, "tied")), LETTERS).iloc[0].tolist()
    assert row == ["A", "B", "+10.0 (−2.0 to +20.0)", "< 0.001", "0.010", "0.034", "tied"]
    assert p_text(float("nan")) == "–"


# Labels and cost ------------------------------------------------------------------------------------------------------


def test_what_equals_what_in_words():
    saved = pd.DataFrame(
        {
            "n": [1, 2, 4],
            "accuracy": [0.5, 0.7, 0.9],
            "m": [1.0, 7.25, None],
            "low": [None, 6.0, None],
            "high": [2.0, None, None],
            "factor": [1.0, 3.6, None],
            "relation": ["at most", "equals", "beyond"],
        }
    )
    rows = savings_table(saved, "a", "b")
    assert rows["a"].tolist() == ["1", "2", "4"]
    assert rows["as b"].tolist() == ["1 or fewer", "7.25 (6–beyond)", "not reached"]
    assert rows["times"].tolist() == ["–", "3.6", "–"]


def test_crossings_in_words():
    crossed = pd.DataFrame(
        {
            "size": [8.0],
            "low": [4.0],
            "high": [None],
            "leads_below": ["second"],
            "leads_above": ["first"],
            "share": [0.9],
        }
    )
    (sentence,) = crossing_sentences(crossed, "a", "b", "images")
    assert sentence == (
        "The curves cross at about 8 images (4–beyond): b leads with fewer labels, a with more. 90 % of the resamples cross "
        "this way."
    )
    assert crossing_sentences(crossed.iloc[:0], "a", "b", "images") == [
        "The two curves do not cross at the sizes measured."
    ]


def test_sliders_hold_where_something_is_let_through_but_not_all():
    assert round_stops(0.4, 14) == [0.5, 1, 2, 5, 10]
    assert round_stops(5.0, 5.0) == []


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


def test_the_verdict_says_ahead_only_where_the_interval_excludes_zero():
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
        "first is ahead at 1 and 2 images; second is ahead at 8 images; they are tied at 4 images."
    )
    assert shown_differences(table)["Verdict"].tolist() == ["ahead", "ahead", "tied", "behind"]
    assert shown_differences(table)["Difference"].iloc[0] == "+20.0 (+10.0 to +30.0)"


def test_the_store_is_untouched_by_looking(open_page, home):
    make_study(home)
    open_page("results")
    assert open_store(home).counts("made") == {"done": 12}
