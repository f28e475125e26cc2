"""The curve figure says what its table says: numbers, order, units, and where a click leads."""

import math

import pandas as pd
import plotly.graph_objects as go
import pytest

from fmlab.plots.curves import accuracy_curve
from fmlab.plots.panels import percent_range, size_places, spread, tick_texts
from fmlab.plots.theme import INKS

ROWS = [
    # backbone, adaptation, test_set, size, mean, low, high, seeds
    ("efficientnet-lite0", "linear_svm", "T2", 1, 0.40, 0.35, 0.45, 3),
    ("efficientnet-lite0", "linear_svm", "T1", 4, 0.80, 0.78, 0.82, 3),
    ("efficientnet-lite0", "linear_svm", "T1", 1, 0.50, 0.45, 0.55, 3),
    ("random-vit", "linear_svm", "T1", 1, 0.30, 0.30, 0.30, 1),
]
MAJORITY = {"T1": 0.25, "T2": 0.31}


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=["backbone", "adaptation", "test_set", "size", "mean", "low", "high", "seeds"])


def points(figure: go.Figure) -> dict[tuple[str, str], go.Scatter]:
    return {
        (trace.customdata[0][0], trace.customdata[0][3]): trace
        for trace in figure.data
        if trace.mode == "lines+markers"
    }


def test_points_are_percent_in_ascending_order_of_size(table):
    lines = points(accuracy_curve(table, MAJORITY, "sequences"))
    line = lines["efficientnet-lite0", "T1"]
    assert list(line.x) == [1, 4]
    assert list(line.y) == pytest.approx([50.0, 80.0])
    assert list(lines["efficientnet-lite0", "T2"].y) == pytest.approx([40.0])


def test_a_point_carries_what_leads_to_its_runs(table):
    line = points(accuracy_curve(table, MAJORITY, "sequences"))["efficientnet-lite0", "T1"]
    first = list(line.customdata[1])
    assert first[:4] == ["efficientnet-lite0", "linear_svm", 4, "T1"]
    assert first[4:] == pytest.approx([80.0, 78.0, 82.0, 3])


def test_bands_trace_the_interval_and_one_seed_has_none(table):
    figure = accuracy_curve(table, MAJORITY, "sequences")
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert {band.name for band in bands} == {"efficientnet-lite0"}
    first = next(band for band in bands if len(band.x) == 4)
    assert list(first.x) == [1, 4, 4, 1]
    assert list(first.y) == pytest.approx([55.0, 82.0, 78.0, 45.0])


def test_panels_stand_in_order_and_share_the_percent_axis(table):
    figure = accuracy_curve(table, MAJORITY, "images", measure="sequence_accuracy")
    assert figure.layout.yaxis.title.text == "sequence accuracy (%)"
    assert figure.layout.yaxis2.matches == "y"
    assert figure.layout.xaxis.title.text == "labelled training images"
    titles = [note.text for note in figure.layout.annotations if note.text in ("<b>T1</b>", "<b>T2</b>")]
    assert titles == ["<b>T1</b>", "<b>T2</b>"]
    assert points(figure)["efficientnet-lite0", "T2"].yaxis == "y2"


def test_ticks_stand_at_the_true_sizes_on_a_logarithmic_axis(table):
    axis = accuracy_curve(table, MAJORITY, "sequences").layout.xaxis
    assert axis.type == "log"
    assert list(axis.tickvals) == [1, 4]
    assert axis.range[0] < 0 < math.log10(4) < axis.range[1]


def test_the_majority_class_is_a_labelled_line_in_each_panel(table):
    figure = accuracy_curve(table, MAJORITY, "sequences")
    assert [(shape.y0, shape.yref) for shape in figure.layout.shapes] == [(25.0, "y"), (31.0, "y2")]
    words = [note.text for note in figure.layout.annotations]
    assert "majority class 25.0 %" in words
    assert "majority class 31.0 %" in words


def test_floors_are_never_solid_and_real_backbones_are(table):
    lines = points(accuracy_curve(table, MAJORITY, "sequences"))
    assert lines["efficientnet-lite0", "T1"].line.dash == "solid"
    assert lines["random-vit", "T1"].line.dash != "solid"


@pytest.mark.parametrize("prefix", ["backbone-", "random-"])
def test_every_marker_of_the_palette_can_be_drawn(table, prefix):
    """Plotly has no asterisk-thin: a study with three floors had no figure at all."""
    keys = [f"{prefix}{number}" for number in range(9)]
    both = table.iloc[:1].assign(adaptation="knn"), table.iloc[:1]
    many = pd.concat([row.assign(backbone=key) for key in keys for row in both])
    assert len(points(accuracy_curve(many, MAJORITY, "sequences"))) == 9


def test_adaptations_differ_in_dash_and_marker_and_keep_the_colour(table):
    both = pd.concat([table, table.assign(adaptation="knn")])
    lines = [
        trace
        for trace in accuracy_curve(both, MAJORITY, "sequences").data
        if trace.mode == "lines+markers" and trace.customdata[0][0] == "efficientnet-lite0" and trace.yaxis == "y"
    ]
    assert len({line.line.dash for line in lines}) == 2
    assert len({line.marker.symbol for line in lines}) == 2
    assert len({line.line.color for line in lines}) == 1
    assert {line.name for line in lines} == {"efficientnet-lite0, linear SVM", "efficientnet-lite0, nearest neighbours"}


def test_simulated_images_and_other_remarks_are_written_into_the_figure(table):
    plain = accuracy_curve(table, MAJORITY, "sequences")
    stamped = accuracy_curve(table, MAJORITY, "sequences", synthetic=True, remarks=("split overridden",))
    assert not any("simulated" in note.text for note in plain.layout.annotations)
    assert any(note.text == "<b>simulated images · split overridden</b>" for note in stamped.layout.annotations)


def test_an_empty_table_is_an_empty_figure_with_its_axes(table):
    figure = accuracy_curve(table.iloc[:0], MAJORITY, "sequences")
    assert len(figure.data) == 0
    assert len(figure.layout.shapes) == 2


def test_the_range_is_whole_tens_around_everything(table):
    assert percent_range(table, MAJORITY) == (20.0, 90.0)
    assert percent_range(table.iloc[:0], {}) == (0.0, 100.0)
    assert percent_range(table.assign(low=0.995, high=1.2, mean=1.0), {}) == (80.0, 100.0)


def test_labels_are_moved_apart_and_stay_inside():
    assert spread([50, 50, 90], 5, 0, 100) == [50, 55, 90]
    assert spread([99, 100], 5, 0, 100) == [95, 100]


def test_tick_texts_leave_out_what_would_collide():
    assert tick_texts([1, 2, 4]) == ["1", "2", "4"]
    assert tick_texts([1000, 1001, 16384]) == ["1,000", "", "16,384"]


def test_the_majority_label_stands_where_no_curve_ends(table):
    """Curves that end above the line leave room below it; otherwise, or at the axis itself, it stands above."""

    def anchors(majority):
        notes = accuracy_curve(table, majority, "sequences").layout.annotations
        return [note.yanchor for note in notes if note.text.startswith("majority class")]

    assert anchors({"T1": 0.28, "T2": 0.31}) == ["top", "top"]
    assert anchors({"T1": 0.35, "T2": 0.31})[0] == "bottom"
    assert anchors({"T1": 0.21, "T2": 0.31})[0] == "bottom"


# No labels, baselines, remarks ----------------------------------------------------------------------------------------


@pytest.fixture
def with_prompts(table) -> pd.DataFrame:
    """As `table`, and the first backbone without a label: 60 % on T1."""
    row = ("efficientnet-lite0", "zero_shot", "T1", 0, 0.60, 0.60, 0.60, 1)
    return pd.concat([table, pd.DataFrame([row], columns=table.columns)], ignore_index=True)


def test_what_needs_no_label_stands_left_of_the_smallest_size_under_a_zero(with_prompts):
    figure = accuracy_curve(with_prompts, MAJORITY, "sequences")
    axis = figure.layout.xaxis
    assert list(axis.ticktext) == ["0<br>zero-shot", "1", "4"]
    assert 0 < axis.tickvals[0] < 1
    assert axis.range[0] < math.log10(axis.tickvals[0])
    point = next(trace for trace in figure.data if trace.name == "efficientnet-lite0, zero-shot")
    assert list(point.x) == [axis.tickvals[0]]
    assert list(point.y) == pytest.approx([60.0])
    assert list(point.customdata[0][:4]) == ["efficientnet-lite0", "zero_shot", 0, "T1"]
    assert "no labels" in point.hovertemplate[0]
    assert "efficientnet-lite0" in {trace.name for trace in figure.data}  # the grid's one adaptation need not be said
    assert sum(note.text == "<b>//</b>" for note in figure.layout.annotations) == 2  # one in each panel


def test_a_point_without_labels_leads_to_where_the_backbone_begins(with_prompts):
    figure = accuracy_curve(with_prompts, MAJORITY, "sequences")
    (bridge,) = [trace for trace in figure.data if trace.mode == "lines" and trace.fill is None]
    assert list(bridge.x) == [figure.layout.xaxis.tickvals[0], 1]
    assert list(bridge.y) == pytest.approx([60.0, 50.0])


def test_a_zero_on_a_linear_axis_is_zero(with_prompts):
    assert accuracy_curve(with_prompts, MAJORITY, "sequences", log_x=False).layout.xaxis.tickvals[0] == 0
    assert size_places([0]) == {0: 1.0}
    assert size_places([1, 4]) == {1: 1.0, 4: 4.0}


def test_a_baseline_is_a_line_of_its_own_in_the_colour_of_text(table):
    row = ("random-resnet50", "scratch", "T1", 1, 0.3, 0.3, 0.3, 1)
    both = pd.concat([table, pd.DataFrame([row], columns=table.columns)], ignore_index=True)
    baseline = ("random-resnet50", "scratch")
    figure = accuracy_curve(both, MAJORITY, "sequences", backbones=["efficientnet-lite0"], baselines=[baseline])
    lines = points(figure)
    line = lines["random-resnet50", "T1"]
    assert line.name == "random-resnet50, trained from scratch"
    assert line.line.color == INKS["light"].text
    assert line.line.dash != "solid"
    # The grid still has one adaptation, so the other names stay short.
    assert lines["efficientnet-lite0", "T1"].name == "efficientnet-lite0"


def test_long_names_are_broken_before_the_adaptation(table):
    named = pd.concat([table, table.assign(adaptation="finetune(recipe=quick)")])
    notes = [note.text for note in accuracy_curve(named, MAJORITY, "sequences").layout.annotations]
    assert any("finetuned (recipe quick)</span>" in text and "efficientnet-lite0</b><br>" in text for text in notes)


def test_many_remarks_make_the_figure_higher_and_leave_the_plot_alone(table):
    plain = accuracy_curve(table, MAJORITY, "sequences").layout
    remarks = (
        "a remark that is so long that it takes a line of the figure for itself",
        "and another one of this length",
    )
    said = accuracy_curve(table, MAJORITY, "sequences", remarks=remarks).layout
    note = next(note for note in said.annotations if note.name == "remark")
    assert note.text == f"<b>{remarks[0]}<br>{remarks[1]}</b>"
    assert said.height - said.margin.t == plain.height - plain.margin.t
    assert said.margin.t > plain.margin.t
