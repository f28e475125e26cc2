"""Figures that compare pretrainings, against tables checkable by eye. Run: pytest tests/unit/test_plots_pretraining.py"""

import math

import pandas as pd
import pytest

from fmlab.plots.pretraining import comparison_curve, method_lines, method_looks
from fmlab.plots.pretraining_differences import floor_differences
from fmlab.plots.pretraining_wording import device_time
from fmlab.studies.pretraining_comparison import PIXELS, START

REMARK = {"synthetic": True, "remarks": ("learnt from images of test patients: m",)}


def row(key, method, images=4000, hours=1.0, knn=0.7, budget="60 min", **changes):
    facts = {
        "key": key, "method": method, "recipe": "small", "network": "vit-tiny/16", "start": "random weights", "seed": 0,
        "budget": budget, "images": images, "images_seen": int(10_000 * hours), "device_hours": hours, "device": "cpu",
        "knn": knn, "knn_low": knn - 0.05, "knn_high": knn + 0.08, "start_knn": 0.5, "pixels_knn": 0.6, "health": "healthy",
    }  # fmt: skip
    return facts | changes


def grid():
    """Two methods on two amounts of data for two lengths."""
    return pd.DataFrame(
        [
            row(
                f"{method}-{images}-{hours}",
                method,
                images,
                hours,
                0.5 + 0.1 * hours + images / 1e5,
                f"{60 * hours:g} min",
            )
            for method in ("mae", "simclr")
            for images in (1000, 4000)
            for hours in (0.25, 1.0)
        ]
    )


def words(figure):
    return [note.text for note in figure.layout.annotations]


def test_a_point_is_percent_with_its_interval_over_compute_and_names_its_backbone():
    figure = comparison_curve(pd.DataFrame([row("m", "mae")]), **REMARK)
    (trace,) = figure.data
    assert (trace.x[0], trace.y[0]) == (1.0, 70.0)
    assert (trace.error_y.array[0], trace.error_y.arrayminus[0]) == (pytest.approx(8), pytest.approx(5))
    assert trace.customdata[0][:2] == ["m", "70.0 (65.0–78.0) %"]
    assert figure.layout.xaxis.type == "log"
    assert "1 h" in figure.layout.xaxis.ticktext
    assert "<b>simulated images · learnt from images of test patients: m</b>" in words(figure)


def test_the_floors_are_lines_and_bands_where_backbones_differ_in_them():
    table = pd.DataFrame([row("m", "mae"), row("s", "simclr", start_knn=0.4)])
    figure = comparison_curve(table)
    pixels, random = figure.layout.shapes
    assert (pixels.type, pixels.y0, pixels.y1) == ("line", 60, 60)
    assert (random.type, random.y0, random.y1) == ("rect", 40, 50)
    assert {"raw pixels 60.0 %", "random weights 40.0–50.0 %"} <= set(words(figure))


def test_weights_of_another_backbone_are_no_random_floor():
    figure = comparison_curve(pd.DataFrame([row("m", "mae", start="dinov2-vits14")]))
    assert [shape.y0 for shape in figure.layout.shapes] == [60]


def test_the_figure_says_whether_compute_was_equal():
    equal = pd.DataFrame([row("m", "mae"), row("s", "simclr", hours=1.05)])
    assert "<b>Equal compute: 1.02 h each on cpu</b>" in words(comparison_curve(equal))
    unequal = pd.DataFrame([row("m", "mae"), row("s", "simclr", hours=2.0)])
    assert "<b>Not equal compute: 1 h to 2 h on cpu</b>" in words(comparison_curve(unequal))


def test_lines_join_what_differs_in_compute_or_in_data_alone():
    over_compute = {line.name: line.rows["key"].tolist() for line in method_lines(grid(), "device_hours")}
    assert over_compute["MAE · 4,000 images"] == ["mae-4000-0.25", "mae-4000-1.0"]
    over_data = {line.name: line.rows["key"].tolist() for line in method_lines(grid(), "images")}
    assert over_data["SimCLR · 15 min"] == ["simclr-1000-0.25", "simclr-4000-0.25"]
    assert len(over_compute) == len(over_data) == 4
    assert all(line.joined for line in method_lines(grid(), "images"))


def test_where_compute_grew_with_the_data_one_line_joins_a_method():
    table = pd.DataFrame([row("a", "mae", 1000, 0.25, budget="15 min"), row("b", "mae", 4000, 1.0)])
    for against in ("device_hours", "images", "images_seen"):
        (line,) = method_lines(table, against)
        assert (line.name, line.rows["key"].tolist()) == ("MAE", ["a", "b"])


def test_repetitions_stand_side_by_side_without_a_line():
    table = pd.DataFrame([row("a", "mae", seed=0), row("b", "mae", hours=1.01, seed=0)])
    (line,) = method_lines(table, "device_hours")
    assert not line.joined
    assert comparison_curve(table).data[0].mode == "markers"


def test_points_of_two_methods_at_one_place_do_not_hide_each_other():
    table = pd.DataFrame([row("m", "mae"), row("s", "simclr")])
    first, second = comparison_curve(table).data
    assert first.x[0] < 1.0 < second.x[0]
    assert math.isclose(first.x[0] * second.x[0], 1.0)
    apart = comparison_curve(pd.DataFrame([row("m", "mae"), row("s", "simclr", hours=4.0)]))
    assert {trace.name: trace.x[0] for trace in apart.data} == {"MAE": 1.0, "SimCLR": 4.0}


def test_a_backbone_whose_health_was_bad_is_hollow_and_one_without_interval_has_no_bar():
    table = pd.DataFrame([row("m", "mae", health="stalled", knn_low=math.nan, knn_high=math.nan)])
    (trace,) = comparison_curve(table).data
    assert trace.marker.symbol[0].endswith("-open")
    assert (trace.error_y.array[0], trace.error_y.arrayminus[0]) == (0, 0)
    assert trace.customdata[0][1] == "70.0 %"


def test_more_lines_than_fit_beside_the_figure_are_numbered_in_it():
    amounts = [1000 * 2**step for step in range(10)]
    table = pd.DataFrame([row(f"m{images}", "mae", images, hours) for images in amounts for hours in (1.0, 2.0)])
    figure = comparison_curve(table)
    assert figure.layout.showlegend
    assert [trace.name.partition(" · ")[0] for trace in figure.data] == [str(number) for number in range(1, 11)]
    for number, trace in enumerate(figure.data, start=1):
        assert trace.text[-1] == str(number)
        assert not any(trace.text[:-1])
    few = comparison_curve(table[table["images"] > 4000])
    assert all(trace.text is None for trace in few.data)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_method_looks_the_same_in_every_figure(mode):
    looks = method_looks(mode)
    assert len({look.colour for look in looks.values()}) == len({look.symbol for look in looks.values()}) == 4
    for table in (grid(), pd.DataFrame([row("m", "mae")])):
        assert {line.look for line in method_lines(table, "images", mode) if line.name.startswith("MAE")} == {
            looks["mae"]
        }


def test_device_time_is_read_without_counting_zeros():
    assert [device_time(hours) for hours in (0.005, 1 / 6, 0.99, 2.5, 1200)] == [
        "18 s",
        "10 min",
        "59.4 min",
        "2.5 h",
        "1,200 h",
    ]


def test_differences_stand_in_points_hollow_where_tied():
    gaps = pd.DataFrame(
        [
            ("m", PIXELS, 0.04, 0.01, 0.07, "better"),
            ("m", START, 0.0, -0.02, 0.02, "tied"),
            ("m", "s", 0.03, 0.01, 0.05, "better"),
            ("s", PIXELS, -0.1, -0.2, -0.05, "worse"),
            ("s", START, 0.01, -0.01, 0.03, "tied"),
        ],
        columns=["first", "second", "difference", "low", "high", "verdict"],
    )
    looks = method_looks("light")
    figure = floor_differences(gaps, {"m": "MAE", "s": "SimCLR"}, {"m": looks["mae"], "s": looks["simclr"]}, **REMARK)
    pixels, start = figure.data[:2]
    assert list(pixels.x) == [pytest.approx(4), pytest.approx(-10)]
    assert list(pixels.marker.symbol) == ["circle", "circle"]
    assert list(start.marker.symbol) == ["diamond-open", "diamond-open"]
    assert pixels.error_x.arrayminus[1] == pytest.approx(10)
    assert [round(place) for place in pixels.y] == [0, 1]
    assert list(figure.layout.yaxis.ticktext) == ["MAE", "SimCLR"]
    assert figure.layout.xaxis.range[1] >= 20
    assert any("simulated images" in text for text in words(figure))
