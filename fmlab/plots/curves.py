"""Accuracy against the number of labels: one panel per test set, a line per backbone and adaptation, a band over seeds.

In: a curve table (backbone, adaptation, test_set, size, mean, low, high as fractions 0–1, seeds) and the rate of the
majority class of each test set. Out: a Plotly figure in percent; every point carries
(backbone, adaptation, size, test set, mean, low, high in percent, seeds) as its customdata.

The form is that of the limited-data study's figures 1–4: logarithmic sizes, 95 % intervals of the mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import Look, adaptation_dashes, backbone_looks, translucent
from fmlab.plots.panels import (
    HEIGHT,
    MARGIN_BOTTOM,
    MARGIN_TOP,
    LineEnd,
    axes,
    direct_labels,
    majority_labels,
    majority_lines,
    panel_axes,
    panel_titles,
    percent_range,
    right_margin,
)
from fmlab.plots.theme import Mode, remark, template
from fmlab.plots.wording import adaptation_name, in_usual_order

MOST_DIRECT_LABELS = 10  # beyond it a legend reads better


@dataclass(frozen=True)
class Line:
    """One line of the figure in one panel."""

    name: str
    backbone: str
    adaptation: str
    panel: int  # 0, 1, …
    test_set: str
    look: Look
    dash: str
    open_marker: bool
    sizes: list[int]  # ascending; the lists below belong to them
    mean: list[float]  # percent, as low and high
    low: list[float]
    high: list[float]
    seeds: list[int]


def accuracy_curve(
    table: pd.DataFrame,
    majority: Mapping[str, float],
    scheme: str,
    *,
    measure: str = "image_accuracy",
    log_x: bool = True,
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    title: str = "",
    backbones: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    majority_label: str = "majority class",
    mode: Mode = "light",
) -> go.Figure:
    """The figure of a study: `measure` in percent against the number of labels, test sets side by side, one y axis.

    Args:
        table: backbone, adaptation, test_set, size, mean, low, high (fractions), seeds; one row per point.
        majority: for each test set what always answering its most frequent class reaches (fraction); the dotted line.
        scheme: `images` or `sequences`, the unit of size.
        synthetic: writes "simulated images" into the figure.
        remarks: further words to write into it, as that patients stand on both sides of the split.
        backbones: all backbones of the study, so that colours agree between figures that show some of them.
        names: what to call a backbone, its key by default.
        majority_label: what the dotted line is called.
    """
    test_sets = sorted(table["test_set"].unique()) if len(table) else sorted(majority)
    looks = backbone_looks(backbones or table["backbone"].unique(), mode)
    lines = list(_lines(table, test_sets, looks, names or {}))
    traces = [_band(line) for line in lines if any(high > low for low, high in zip(line.low, line.high, strict=True))]
    traces += [_points(line) for line in lines]
    ends = [LineEnd(line.name, line.panel, line.mean[-1], line.look) for line in lines]
    y_range = percent_range(table, majority)
    direct = len({line.name for line in lines}) <= MOST_DIRECT_LABELS
    annotations = panel_titles(test_sets, mode) + remark(mode, synthetic, remarks)
    annotations += majority_labels(ends, test_sets, majority, majority_label, y_range, mode)
    if direct:
        annotations += direct_labels(ends, len(test_sets), y_range)
    layout = {
        "template": template(mode),
        "height": HEIGHT,
        "title": {"text": title},
        "showlegend": not direct,
        "legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        "margin": {"l": 64, "r": right_margin(ends) if direct else 24, "t": MARGIN_TOP, "b": MARGIN_BOTTOM},
        "annotations": annotations,
        "shapes": majority_lines(test_sets, majority, mode),
        "hovermode": "closest",
        "clickmode": "event+select",
        **axes(table, test_sets, scheme, measure, log_x, y_range),
    }
    return go.Figure(data=traces, layout=layout)


# Lines ----------------------------------------------------------------------------------------------------------------


def _lines(
    table: pd.DataFrame, test_sets: Sequence[str], looks: Mapping[str, Look], names: Mapping[str, str]
) -> Iterator[Line]:
    adaptations = in_usual_order(table["adaptation"])
    dashes = {floor: adaptation_dashes(adaptations, floor) for floor in (False, True)}
    # Floors first, so that what matters is drawn over them.
    ordered = sorted(looks, key=lambda key: (not looks[key].floor, key))
    ends = ["mean", "low", "high"]
    drawn = table.sort_values("size", ignore_index=True)
    drawn[ends] *= 100
    groups: dict[tuple[str, str, str], list[tuple[Any, ...]]] = {}
    columns = ("backbone", "adaptation", "test_set", "size", *ends, "seeds")
    for row in zip(*(drawn[column].tolist() for column in columns), strict=True):
        groups.setdefault(row[:3], []).append(row[3:])
    for backbone in ordered:
        for place, adaptation in enumerate(adaptations):
            for panel, test_set in enumerate(test_sets):
                rows = groups.get((backbone, adaptation, test_set))
                if rows is None:
                    continue
                name = names.get(backbone, backbone)
                if len(adaptations) > 1:
                    name = f"{name}, {adaptation_name(adaptation)}"
                look = looks[backbone]
                dash = dashes[look.floor][adaptation]
                points = [list(column) for column in zip(*rows, strict=True)]
                yield Line(name, backbone, adaptation, panel, test_set, look, dash, place > 0, *points)


def _band(line: Line) -> dict[str, Any]:
    # A t interval may pass 0 or 100 %; an accuracy cannot.
    high = [min(100.0, value) for value in line.high]
    low = [max(0.0, value) for value in line.low]
    return {
        "type": "scatter",
        "name": line.name,
        "legendgroup": line.name,
        "x": line.sizes + line.sizes[::-1],
        "y": high + low[::-1],
        "fill": "toself",
        "fillcolor": translucent(line.look.colour, 0.10 if line.look.floor else 0.17),
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        **panel_axes(line.panel),
    }


def _points(line: Line) -> dict[str, Any]:
    interval = "<br>95 % interval %{customdata[5]:.1f}–%{customdata[6]:.1f} %, %{customdata[7]} seeds"
    floor = line.look.floor
    return {
        "type": "scatter",
        "name": line.name,
        "legendgroup": line.name,
        "showlegend": line.panel == 0,
        "x": line.sizes,
        "y": line.mean,
        "mode": "lines+markers",
        "line": {"color": line.look.colour, "width": 1.8 if floor else 2.4, "dash": line.dash},
        "marker": {
            "symbol": line.look.symbol + ("-open" if line.open_marker or floor else ""),
            "size": 8 if floor else 9,
            "color": line.look.colour,
            "line": {"width": 2 if line.open_marker or floor else 0, "color": line.look.colour},
        },
        "cliponaxis": False,
        "unselected": {"marker": {"opacity": 1}},
        "selected": {"marker": {"size": 15}},
        "customdata": [
            [line.backbone, line.adaptation, size, line.test_set, mean, low, high, count]
            for size, mean, low, high, count in zip(line.sizes, line.mean, line.low, line.high, line.seeds, strict=True)
        ],
        "hovertemplate": [
            f"<b>{line.name}</b><br>%{{customdata[3]}}, size %{{customdata[2]:,}}: <b>%{{y:.1f}} %</b>"
            + (interval if count > 1 else "<br>1 seed")
            + "<extra></extra>"
            for count in line.seeds
        ],
        **panel_axes(line.panel),
    }
