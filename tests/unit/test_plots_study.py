"""The figures of cost, slopes, labels and calibration against tables that can be checked by eye."""

import math

import numpy as np
import pandas as pd
import pytest

from fmlab.plots.cost import Budget, bubble, cost_scatter, label_sides
from fmlab.plots.labels import savings_dumbbells, target_curve
from fmlab.plots.palette import Look
from fmlab.plots.reliability import reliability_diagram
from fmlab.plots.slopes import slope_chart
from fmlab.plots.theme import INKS

BLUE, GREY = Look("#0072B2", "circle", False), Look("#6B6B6B", "x-thin", True)
REMARK = {"synthetic": True, "remarks": ("quick, not the paper's protocol",)}


def remark_of(figure):
    return next(note.text for note in figure.layout.annotations if note.name == "remark")


# Cost -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def costs():
    """On T1 the slow one is beaten by the large one in both; on T2 it is the best."""
    rows = [
        # backbone, adaptation, test_set, mean, low, high, batch1_ms, parameters
        ("small", "linear_svm", "T1", 0.5, 0.4, 0.6, 2.0, 1_000_000),
        ("large", "linear_svm", "T1", 0.8, 0.75, 0.85, 40.0, 100_000_000),
        ("slow", "linear_svm", "T1", 0.7, 0.65, 0.75, 80.0, 25_000_000),
        ("small", "linear_svm", "T2", 0.4, 0.4, 0.4, 2.0, 1_000_000),
        ("large", "linear_svm", "T2", 0.5, 0.45, 0.55, 40.0, 100_000_000),
        ("slow", "linear_svm", "T2", 0.6, 0.55, 0.65, 80.0, 25_000_000),
    ]
    columns = ["backbone", "adaptation", "test_set", "mean", "low", "high", "batch1_ms", "parameters"]
    return pd.DataFrame(rows, columns=columns)


def bubbles(figure):
    return {(each.customdata[0][0], each.customdata[0][4]): each for each in figure.data if each.name != "front"}


def test_cost_shows_milliseconds_percent_and_parameters_of_both_test_sets(costs):
    figure = cost_scatter(costs, device="CPU", **REMARK)
    found = bubbles(figure)
    large, small = found["large", "T1"], found["small", "T1"]
    assert (large.x[0], large.y[0]) == (40.0, 80.0)
    assert found["large", "T2"].y[0] == 50.0
    assert (large.xaxis, found["large", "T2"].xaxis) == ("x", "x2")
    assert list(small.customdata[0][:3]) == ["small", 2.0, 1_000_000]
    assert large.marker.size > small.marker.size
    assert figure.layout.xaxis.type == figure.layout.xaxis2.type == "log"
    assert figure.layout.yaxis2.matches == "y"
    assert remark_of(figure) == "<b>simulated images · quick, not the paper's protocol</b>"


def test_one_test_set_names_the_device_on_its_axis(costs):
    figure = cost_scatter(costs[costs["test_set"] == "T1"], device="CPU")
    assert "ms, CPU" in figure.layout.xaxis.title.text


def test_the_area_of_a_bubble_is_in_proportion():
    assert bubble(25, 100) == pytest.approx(bubble(100, 100) / 2)
    assert bubble(0, 100) > 0


def test_on_the_front_is_what_nothing_beats_in_both(costs):
    figure = cost_scatter(costs)
    step = next(trace for trace in figure.data if trace.name == "front")
    assert (list(step.x), list(step.y)) == ([2.0, 40.0], pytest.approx([50.0, 80.0]))
    found = bubbles(figure)
    assert found["large", "T1"].text == ("<b>large</b>",)
    assert found["slow", "T1"].text == ("slow",)


def test_what_the_budget_leaves_out_is_pale_and_not_on_the_front(costs):
    budget = Budget(milliseconds=100, parameters=50_000_000)
    assert budget.holds(costs).tolist() == [True, False, True] * 2
    figure = cost_scatter(costs, budget=budget)
    found = bubbles(figure)
    assert found["large", "T1"].textfont.color == INKS["light"].axis
    assert "outside the budget" in found["large", "T1"].hovertemplate
    assert "on the front" in found["slow", "T1"].hovertemplate  # what beat it is not to be had
    assert [shape.x0 for shape in figure.layout.shapes] == [100, 100]
    assert Budget().holds(costs).all()


def test_names_stand_where_they_cover_least():
    """Two bubbles side by side: the left one's name goes left, the right one's right, none upon the other bubble."""
    rows = pd.DataFrame(
        {
            "batch1_ms": [9.0, 11.0],
            "mean": [0.5, 0.5],
            "low": [0.5, 0.5],
            "high": [0.5, 0.5],
            "parameters": [100, 100],
            "front": [False, False],
        }
    )
    sides = label_sides(rows, ["one", "other"], (1.0, 100.0), (0.0, 100.0), 1, 100)
    assert sides == ["middle left", "middle right"]


# Slopes ---------------------------------------------------------------------------------------------------------------


def test_slopes_fall_by_what_stands_at_their_names():
    rows = [
        ("a", "linear_svm", "T1", 8, 0.9, 0.85, 0.95),
        ("a", "linear_svm", "T2", 8, 0.7, 0.6, 0.8),
        ("random-b", "scratch", "T1", 8, 0.5, 0.5, 0.5),
        ("random-b", "scratch", "T2", 8, 0.6, 0.6, 0.6),
    ]
    table = pd.DataFrame(rows, columns=["backbone", "adaptation", "test_set", "size", "mean", "low", "high"])
    figure = slope_chart(table, baselines=[("random-b", "scratch")], **REMARK)
    a, b = figure.data
    assert list(a.y) == pytest.approx([90.0, 70.0])
    assert list(a.error_y.arrayminus) == pytest.approx([5.0, 10.0])
    assert [list(point) for point in a.customdata] == [["a", "linear_svm", "T1", 8], ["a", "linear_svm", "T2", 8]]
    assert np.round(np.diff(b.x), 9).tolist() == [1.0]
    words = [note.text for note in figure.layout.annotations]
    assert "<b>a  −20.0</b>" in words
    assert "random-b, trained from scratch  +10.0" in words
    assert list(figure.layout.xaxis.ticktext) == ["<b>T1</b>", "<b>T2</b>"]
    assert "simulated images" in remark_of(figure)


# Labels ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def savings():
    return pd.DataFrame(
        {
            "n": [0, 1, 2, 4],
            "m": [1.5, 4.0, 7.5, np.nan],
            "low": [1.0, 3.0, np.nan, np.nan],
            "high": [2.0, 5.0, np.nan, np.nan],
        }
    )


def test_a_row_joins_what_both_sides_need_and_says_where_one_never_gets(savings):
    figure = savings_dumbbells(savings, "sequences", first="a", second="b", first_look=BLUE, second_look=GREY, **REMARK)
    joined, first, second = figure.data
    assert list(first.x) == [1, 2, 4]  # no label at all has no place on a logarithmic axis
    assert list(second.x) == [1.5, 4.0, 7.5]
    assert list(second.y) == ["no labels", "1 sequence per class", "2 sequences per class"]
    assert list(joined.x) == [1, 4.0, None, 2, 7.5, None]
    assert list(second.error_x.array)[:2] == pytest.approx([0.5, 1.0])
    edge = 10 ** figure.layout.xaxis.range[1]
    assert second.error_x.array[2] == pytest.approx(edge - 7.5)  # open upward: to the edge
    beyond = next(note for note in figure.layout.annotations if "not reached" in note.text)
    assert (beyond.y, beyond.x) == ("4 sequences per class", pytest.approx(math.log10(4)))
    assert "quick" in remark_of(figure)


def curve_tables():
    points = pd.DataFrame({"size": [1, 4], "mean": [0.5, 0.7], "low": [0.45, 0.66], "high": [0.55, 0.74]})
    fitted = pd.DataFrame(
        {"size": [1.0, 4.0, 16.0], "fitted": [0.5, 0.7, 0.8], "low": [0.4, 0.6, 0.7], "high": [0.6, 0.8, 0.9]}
    )
    return points, fitted


def test_the_labels_for_a_target_stand_under_the_fitted_curve():
    figure = target_curve(
        *curve_tables(), 0.75, "images", name="a", look=BLUE, size=8.0, interval=(6.0, 12.0), **REMARK
    )
    _, line, measured = figure.data
    assert list(line.y) == pytest.approx([50.0, 70.0, 80.0])
    assert list(measured.y) == pytest.approx([50.0, 70.0])
    assert list(measured.error_y.array) == pytest.approx([5.0, 4.0])
    level, fall, stripe = figure.layout.shapes
    assert (level.y0, fall.x0, stripe.x0, stripe.x1) == (75.0, 8.0, 6.0, 12.0)
    words = [note.text for note in figure.layout.annotations]
    assert "target 75.0 %" in words
    assert "<b> 8 images</b>" in words
    assert "simulated images" in remark_of(figure)


def test_a_refused_target_names_no_size():
    points, fitted = curve_tables()
    figure = target_curve(points, fitted.iloc[:0], 0.95, "images", name="a", look=BLUE)
    assert [shape.y0 for shape in figure.layout.shapes] == [95.0]
    assert not any("images" in note.text for note in figure.layout.annotations)
    assert [trace.name for trace in figure.data] == ["a"]


# Calibration ----------------------------------------------------------------------------------------------------------


def test_the_diagram_shows_what_was_right_and_the_gap_to_what_was_claimed():
    table = pd.DataFrame(
        {
            "bin_low": [0.0, 0.5],
            "bin_high": [0.5, 1.0],
            "count": [0, 20],
            "confidence": [np.nan, 0.9],
            "accuracy": [np.nan, 0.7],
        }
    )
    figure = reliability_diagram(table, 0.2, (0.1, 0.3), **REMARK)
    right, gap, counts = figure.data
    assert (list(right.x), list(right.y)) == ([75.0], pytest.approx([70.0]))  # the empty bin has no bar
    assert (list(gap.base), list(gap.y)) == (pytest.approx([70.0]), pytest.approx([20.0]))
    assert list(counts.y) == [20]
    words = [note.text for note in figure.layout.annotations]
    assert "expected calibration error <b>20.0 (10.0–30.0) %</b>" in words
    assert "simulated images" in remark_of(figure)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_figure_draws_in_both_modes(costs, savings, mode):
    slopes = costs.assign(size=1)
    assert cost_scatter(costs, mode=mode).layout.font.color == INKS[mode].text
    assert slope_chart(slopes, mode=mode).layout.template.layout.font.color == INKS[mode].text
    both = {"first": "a", "second": "b", "first_look": BLUE, "second_look": GREY}
    assert savings_dumbbells(savings, "images", **both, mode=mode).data[0].line.color == INKS[mode].axis
    figure = target_curve(*curve_tables(), 0.75, "images", name="a", look=BLUE, mode=mode)
    assert figure.layout.shapes[0].line.color == INKS[mode].quiet
