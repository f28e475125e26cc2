"""The figures of a pretraining's health: their numbers, units, alarms and levels."""

from itertools import pairwise

import pandas as pd
import pytest

from fmlab.plots.health import LOSS_UNITS, SIGNALS, loss_curves, probe_curve, signal_panels
from fmlab.plots.palette import BACKBONE_COLOURS
from fmlab.plots.theme import INKS
from fmlab.pretrain.configs import METHOD_TITLES
from fmlab.pretrain.signs import Threshold


@pytest.fixture
def metrics():
    return pd.DataFrame(
        {
            "step": [1, 10, 20],
            "images_per_second": [10.0, 90.0, 100.0],
            "loss total": [7.0, 6.5, 6.0],
            "loss crops": [5.0, 4.6, 4.2],
            "loss masked patches": [2.0, 1.9, 1.8],
            "signal teacher_entropy": [0.9, 0.8, 0.7],
            "signal effective_rank": [9.0, 11.0, 14.0],
            "signal something_new": [1.0, 2.0, float("nan")],
        }
    )


@pytest.fixture
def probes():
    return pd.DataFrame(
        {
            "images": [0, 1280, 2560],
            "knn": [0.4, 0.5, 0.6],
            "low": [0.35, 0.45, 0.55],
            "high": [0.45, 0.55, 0.65],
            "linear": [0.5, 0.6, 0.7],
        }
    )


THRESHOLDS = {
    "teacher_entropy": Threshold(0.95, "above", "stalled"),
    "effective_rank": Threshold(1.3, "below", "collapsed"),
    "koleo": Threshold(6.9, "above", "collapsed"),  # not measured in this run
}


def words_of(figure):
    return [note.text for note in figure.layout.annotations]


# Losses ---------------------------------------------------------------------------------------------------------------


def test_losses_show_their_sum_and_its_terms_in_their_unit(metrics):
    figure = loss_curves(metrics, LOSS_UNITS["dinov2"])
    assert [trace.name for trace in figure.data] == ["total", "crops", "masked patches"]
    assert list(figure.data[1].y) == [5.0, 4.6, 4.2]
    assert figure.layout.yaxis.title.text == "loss (nats)"
    assert figure.layout.xaxis.title.text == "step of the optimiser"
    assert len({trace.line.dash for trace in figure.data}) == len({trace.line.color for trace in figure.data}) == 3


def test_a_single_term_is_drawn_once_with_its_alarm(metrics):
    single = metrics[["step", "loss total", "loss crops"]]
    figure = loss_curves(single, LOSS_UNITS["simclr"], {"loss": Threshold(5.4, "above", "stalled")})
    assert [trace.name for trace in figure.data] == ["total"]
    assert figure.layout.shapes[0].y0 == 5.4
    assert words_of(figure) == ["stalled above 5.4"]
    low, high = figure.layout.yaxis.range
    assert low < 5.4
    assert high > 7.0


def test_every_method_has_a_unit():
    assert set(LOSS_UNITS) == set(METHOD_TITLES)


# Signals --------------------------------------------------------------------------------------------------------------


def test_each_signal_has_a_panel_with_its_unit_and_its_alarm(metrics):
    figure = signal_panels(metrics, THRESHOLDS)
    assert [trace.name for trace in figure.data] == [
        "teacher entropy", "effective rank (RankMe)", "something new", "speed",
    ]  # fmt: skip
    layout = figure.layout
    assert layout.yaxis.title.text == "share of the largest"
    assert layout.yaxis4.title.text == "images per second"
    assert [(shape.y0, shape.yref) for shape in layout.shapes] == [(0.95, "y"), (1.3, "y2")]
    assert {"stalled above 0.95", "collapsed below 1.3"} <= set(words_of(figure))
    assert layout.yaxis.range[1] > 0.95
    assert layout.yaxis2.range[0] < 1.3


def test_panels_do_not_overlap(metrics):
    figure = signal_panels(metrics, THRESHOLDS)
    first, second, fourth = (figure.layout[axis] for axis in ("xaxis", "xaxis2", "xaxis4"))
    assert first.domain[1] < second.domain[0]
    assert fourth.domain == first.domain
    assert figure.layout.yaxis4.domain[1] < figure.layout.yaxis.domain[0]
    assert figure.layout.yaxis4.domain[0] >= 0


def test_every_alarm_has_a_named_panel():
    assert {"teacher_entropy", "mutual_information", "mean_entropy", "koleo", "effective_rank", "output_std"} <= set(
        SIGNALS
    )


def test_a_run_without_signals_still_draws():
    figure = signal_panels(pd.DataFrame({"step": [1], "loss total": [3.0]}), {})
    assert len(figure.data) == 0


# Probes ---------------------------------------------------------------------------------------------------------------


def test_probes_stand_in_percent_beside_their_start_and_raw_pixels(probes):
    figure = probe_curve(probes, {"knn": 0.52, "linear": 0.58}, synthetic=True)
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert list(lines["nearest neighbours"].y) == pytest.approx([40, 50, 60])
    assert list(lines["linear classifier"].y) == pytest.approx([50, 60, 70])
    assert lines["nearest neighbours"].marker.symbol != lines["linear classifier"].marker.symbol
    assert [shape.y0 for shape in figure.layout.shapes] == pytest.approx([40, 52, 50, 58])
    assert {"start, nearest neighbours 40.0 %", "raw pixels, linear classifier 58.0 %"} <= set(words_of(figure))
    assert figure.layout.yaxis.title.text == "balanced accuracy (%)"
    assert figure.layout.xaxis.title.text == "images seen"
    assert any("simulated images" in words for words in words_of(figure))


def test_the_interval_is_a_band(probes):
    (band,) = [trace for trace in probe_curve(probes).data if trace.fill == "toself"]
    assert list(band.y) == pytest.approx([45, 55, 65, 55, 45, 35])
    both = probes.assign(linear_low=0.45, linear_high=0.75)
    assert len([trace for trace in probe_curve(both).data if trace.fill == "toself"]) == 2


def test_levels_are_named_apart_where_they_are_equal(probes):
    figure = probe_curve(probes, {"knn": 0.4, "linear": 0.5})
    heights = sorted(note.y for note in figure.layout.annotations)
    assert min(later - earlier for earlier, later in pairwise(heights)) > 0.5


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_figures_draw_in_both_modes(metrics, probes, mode):
    curves = loss_curves(metrics, "nats", {"loss": Threshold(5.0, "above", "stalled")}, mode=mode)
    assert curves.data[0].line.color == BACKBONE_COLOURS[mode][0]
    assert curves.layout.shapes[0].line.color == INKS[mode].warning
    panels = signal_panels(metrics, THRESHOLDS, mode=mode)
    assert panels.layout.template.layout.font.color == INKS[mode].text
    assert probe_curve(probes, mode=mode).layout.template.layout.font.color == INKS[mode].text
