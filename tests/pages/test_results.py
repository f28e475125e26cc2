"""The Results page on an empty, a full, an unfinished and a broken home, and the tables and sentences on it."""

import io
import json

import pandas as pd
import pytest

from fmlab.data.manifest import open_dataset
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store
from fmlab.studies.comparison import differences
from fmlab.studies.maximum import maximum
from fmlab.studies.results import results
from fmlab.ui.comparison_view import shown_differences, verdict
from fmlab.ui.results_cost import round_stops
from fmlab.ui.results_labels import crossing_sentences, savings_table
from fmlab.ui.results_ranking import best_sentence, p_text, pair_table, verdict_table
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


@pytest.mark.parametrize("part", ["Confusion", "Classes", "Sites"])
def test_every_part_of_a_point_opens_from_its_address(open_page, home, part):
    make_study(home)
    page = open_page("results", study="made", part=part, backbone="pixels-24", size="1", test_set="T2")
    assert not page.exception
    assert not page.error
    assert len(page.get("plotly_chart")) == 2
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
