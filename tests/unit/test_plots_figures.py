"""The other figures: numbers equal the tables, units are said, colour never speaks alone."""

import numpy as np
import pandas as pd
import pytest

from fmlab.errors import BadInput
from fmlab.plots.confusion import cell_texts, confusion_matrix, row_shares
from fmlab.plots.dots import difference_dots, per_class_dots, per_site_dots
from fmlab.plots.palette import (
    BACKBONE_COLOURS,
    CATEGORY_COLOURS,
    backbone_looks,
    category_looks,
    is_floor,
    translucent,
)
from fmlab.plots.wording import adaptation_name, in_usual_order, percent, percent_interval, signed_points, size_text

COUNTS = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
CLASSES = ["A", "B", "C"]


# Confusion ------------------------------------------------------------------------------------------------------------


def test_a_confusion_cell_holds_its_count_and_its_share_of_the_row():
    assert cell_texts(COUNTS)[0] == ["8<br>80.0 %", "2<br>20.0 %", ""]
    figure = confusion_matrix(COUNTS, CLASSES, unit="sequences")
    shown = [trace.z[0][0] for trace in figure.data]
    assert [value for value in shown if value is not None] == pytest.approx([80.0])
    assert list(figure.data[0].customdata[1][0]) == ["B", "A", 1, "25.0 %"]


def test_each_cell_is_drawn_in_exactly_one_layer():
    pale, strong = confusion_matrix(COUNTS, CLASSES).data
    for row in range(2):
        for column in range(3):
            assert (pale.z[row][column] is None) != (strong.z[row][column] is None)


def test_a_class_without_a_case_has_no_shares_and_says_so():
    assert np.isnan(row_shares(COUNTS)[2]).all()
    labels = confusion_matrix(COUNTS, CLASSES).layout.yaxis.ticktext
    assert list(labels) == ["A  (n = 10)", "B  (n = 4)", "C  (none)"]


def test_many_classes_show_percent_alone():
    counts = np.eye(13, dtype=int) * 3
    assert cell_texts(counts)[0][0] == "100"


def test_a_matrix_that_does_not_fit_its_classes_is_refused():
    with pytest.raises(BadInput, match="does not fit 2 classes"):
        confusion_matrix(COUNTS, ["A", "B"])


# Dots -----------------------------------------------------------------------------------------------------------------


def test_per_class_dots_are_percent_and_leave_out_classes_without_support():
    table = pd.DataFrame(
        {"class": ["A", "B"], "support": [5, 0], "recall": [0.8, np.nan], "precision": [0.5, 0.0], "f1": [0.6, np.nan]}
    )
    figure = per_class_dots(table)
    recall, precision, f1 = figure.data
    assert list(recall.x) == [80.0, None]
    assert list(precision.x) == [50.0, None]
    assert list(f1.x) == [60.0, None]
    assert list(recall.y) == ["A  (n = 5)", "B  (no test images)"]
    assert len({trace.marker.symbol for trace in figure.data}) == 3


def test_per_site_dots_stand_best_first_beside_the_majority_line():
    table = pd.DataFrame({"site": ["east", "north"], "n": [10, 2000], "image_accuracy": [0.5, 0.75]})
    figure = per_site_dots(table, 0.4)
    assert list(figure.data[0].x) == [75.0, 50.0]
    assert list(figure.data[0].y) == ["north  (n = 2,000)", "east  (n = 10)"]
    assert figure.layout.shapes[0].x0 == 40.0
    assert figure.layout.xaxis.title.text == "image accuracy (%)"


def test_a_tied_difference_is_hollow_and_a_clear_one_is_filled():
    table = pd.DataFrame(
        {
            "size": [4, 1],
            "difference": [0.01, 0.10],
            "low": [-0.02, 0.05],
            "high": [0.04, 0.15],
            "tied": [True, False],
        }
    )
    figure = difference_dots(table, "sequences", first="a", second="b")
    dots = figure.data[0]
    assert list(dots.x) == pytest.approx([10.0, 1.0])
    assert list(dots.y) == ["1 sequence per class", "4 sequences per class"]
    assert list(dots.marker.symbol) == ["circle", "circle-open"]
    assert list(dots.error_x.array) == pytest.approx([5.0, 3.0])
    assert list(dots.error_x.arrayminus) == pytest.approx([5.0, 3.0])
    assert figure.layout.xaxis.title.text == "difference (percentage points)"
    assert {"← b ahead", "a ahead →"} <= {note.text for note in figure.layout.annotations}


# Palette and words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_eight_backbones_differ_in_colour_and_in_shape(mode):
    looks = backbone_looks([f"backbone-{index}" for index in range(8)], mode)
    assert len({look.colour for look in looks.values()}) == 8
    assert len({look.symbol for look in looks.values()}) == 8


def test_a_backbone_keeps_its_look_whatever_stands_beside_it():
    alone = backbone_looks(["efficientnet-lite0"])["efficientnet-lite0"]
    beside = backbone_looks(["efficientnet-lite0", "resnet50", "a-new-one", "random-vit"])["efficientnet-lite0"]
    assert alone == beside


def test_floors_are_grey_in_both_modes():
    assert is_floor("pixels-24")
    assert not is_floor("pixelnet")
    for mode in ("light", "dark"):
        colour = backbone_looks(["random-vit"], mode)["random-vit"].colour
        assert colour[1:3] == colour[3:5] == colour[5:7]


def test_more_backbones_than_colours_still_draw():
    assert len(backbone_looks([f"backbone-{index}" for index in range(20)])) == 20


def test_colour_and_shape_together_name_eighty_categories():
    looks = category_looks([str(index) for index in range(80)])
    assert len(set(looks.values())) == 80


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("mode", "page"), [("light", "#FFFFFF"), ("dark", "#11191E")])
def test_lines_stand_out_from_the_page(mode, page):
    """At least 1.5:1 against the page: the palest is Petroff's light blue on white, whose points are many."""
    for colour in (*BACKBONE_COLOURS[mode], *CATEGORY_COLOURS[mode]):
        high, low = sorted([luminance(colour), luminance(page)], reverse=True)
        assert (high + 0.05) / (low + 0.05) > 1.5, colour


def test_words_for_numbers():
    assert percent(0.8749) == "87.5 %"
    assert percent(float("nan")) == "–"
    assert percent(None) == "–"
    assert percent_interval(0.5, 0.4, 0.6) == "50.0 (40.0–60.0) %"
    assert signed_points(-0.012) == "−1.2"
    assert signed_points(0.034) == "+3.4"
    assert size_text(1, "sequences") == "1 sequence per class"
    assert size_text(1024, "images") == "1,024 images"
    assert size_text(0, "images") == "no labels"
    assert size_text(4.256, "images") == "4.26 images"
    assert translucent("#FF8000", 0.5) == "rgba(255,128,0,0.5)"


def test_words_for_adaptations_name_what_differs_from_the_defaults():
    assert adaptation_name("finetune") == "finetuned"
    assert adaptation_name("finetune(recipe=quick)") == "finetuned (recipe quick)"
    assert adaptation_name("finetune(learning_rate=0.001, augment=True)") == "finetuned (learning rate 0.001, augment)"
    assert adaptation_name("linear_head(blocks=[1, 4])") == "linear head (blocks 1, 4)"
    assert adaptation_name("zero_shot(prompts)") == "zero-shot (own prompts)"
    assert adaptation_name("something_else") == "something else"
    order = in_usual_order(["scratch", "finetune(recipe=quick)", "finetune", "linear_svm"])
    assert order == ["linear_svm", "finetune", "finetune(recipe=quick)", "scratch"]
