"""Accuracy against the number of labels: one panel per test set, a line per backbone and adaptation, a band over seeds.

In: a curve table (backbone, adaptation, test_set, size, mean, low, high as fractions 0–1, seeds) and the rate of the
majority class of each test set. Out: a Plotly figure in percent; every point carries
(backbone, adaptation, size, test set, mean, low, high in percent, seeds) as its customdata.

The form is that of the limited-data study's figures 1–4: logarithmic sizes, 95 % intervals of the mean.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import Look, adaptation_dashes, backbone_looks, translucent
from fmlab.plots.theme import INKS, Mode, remark, template
from fmlab.plots.wording import adaptation_name, in_usual_order, measure_name, percent, size_title

HEIGHT = 440  # pixels
MARGIN_TOP = 74
MARGIN_BOTTOM = 76
PANEL_GAP = 0.03  # of the width
LABEL_PIXELS = 17  # height of one direct label
CHARACTER_PIXELS = 6.9  # mean width of a character in 13 px Source Sans, bold included
MOST_DIRECT_LABELS = 10  # beyond it a legend reads better
TICK_DISTANCE = 0.055  # of the axis: closer sizes share one tick text


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
    bottom, top = percent_range(table, majority)
    direct = len({line.name for line in lines}) <= MOST_DIRECT_LABELS
    annotations = _panel_titles(test_sets, mode) + remark(mode, synthetic, remarks)
    annotations += _majority_labels(lines, test_sets, majority, majority_label, (bottom, top), mode)
    if direct:
        annotations += _direct_labels(lines, len(test_sets), bottom, top)
    layout = {
        "template": template(mode),
        "height": HEIGHT,
        "title": {"text": title},
        "showlegend": not direct,
        "legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        "margin": {"l": 64, "r": _right_margin(lines) if direct else 24, "t": MARGIN_TOP, "b": MARGIN_BOTTOM},
        "annotations": annotations,
        "shapes": _majority_lines(test_sets, majority, mode),
        "hovermode": "closest",
        "clickmode": "event+select",
        **_axes(table, test_sets, scheme, measure, log_x, (bottom, top)),
    }
    return go.Figure(data=traces, layout=layout)


def percent_range(table: pd.DataFrame, majority: Mapping[str, float]) -> tuple[float, float]:
    """The range of the y axis in percent: whole tens around every band and majority line, within 0–100."""
    values = [*table["low"], *table["high"], *majority.values()]
    values = [min(1.0, max(0.0, value)) for value in values if not math.isnan(value)]
    if not values:
        return 0.0, 100.0
    bottom = 10 * math.floor(10 * min(values) - 1e-9)
    top = 10 * math.ceil(10 * max(values) + 1e-9)
    return float(max(0, min(bottom, 80))), float(min(100, max(top, bottom + 20)))


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
        **_panel_axes(line.panel),
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
        **_panel_axes(line.panel),
    }


def _panel_axes(panel: int) -> dict[str, str]:
    number = "" if panel == 0 else str(panel + 1)
    return {"xaxis": f"x{number}", "yaxis": f"y{number}"}


# Axes -----------------------------------------------------------------------------------------------------------------


def _axes(
    table: pd.DataFrame,
    test_sets: Sequence[str],
    scheme: str,
    measure: str,
    log_x: bool,
    y_range: tuple[float, float],
) -> dict[str, Any]:
    sizes = sorted(int(size) for size in table["size"].unique())
    layout: dict[str, Any] = {}
    width = (1 - PANEL_GAP * (len(test_sets) - 1)) / max(1, len(test_sets))
    for panel in range(max(1, len(test_sets))):
        left = panel * (width + PANEL_GAP)
        number = "" if panel == 0 else str(panel + 1)
        layout[f"xaxis{number}"] = {
            "anchor": f"y{number}",
            "domain": [left, min(1.0, left + width)],
            "title": {"text": size_title(scheme)},
            "type": "log" if log_x else "linear",
            "tickmode": "array",
            "tickvals": sizes,
            "ticktext": tick_texts(sizes, log_x),
            "range": _x_range(sizes, log_x),
            "tickangle": 0,
        }
        layout[f"yaxis{number}"] = {
            "anchor": f"x{number}",
            "range": list(y_range),
            "dtick": 10 if y_range[1] - y_range[0] > 30 else 5,
            "showticklabels": panel == 0,
            **({"title": {"text": f"{measure_name(measure)} (%)"}} if panel == 0 else {"matches": "y"}),
        }
    return layout


def tick_texts(sizes: Sequence[int], log_x: bool = True) -> list[str]:
    """A text for each size, empty where it would run into the one before it."""
    places = [math.log2(size) for size in sizes] if log_x else [float(size) for size in sizes]
    if not places:
        return []
    span = max(places[-1] - places[0], 1e-9)
    texts, last = [], -math.inf
    for size, place in zip(sizes, places, strict=True):
        fits = (place - last) / span >= TICK_DISTANCE
        texts.append(f"{size:,}" if fits else "")
        last = place if fits else last
    return texts


def _x_range(sizes: Sequence[int], log_x: bool) -> list[float] | None:
    if not sizes:
        return None
    first, last = (math.log10(sizes[0]), math.log10(sizes[-1])) if log_x else (float(sizes[0]), float(sizes[-1]))
    rim = 0.05 * (last - first) or (0.3 if log_x else 1.0)
    return [first - rim, last + rim]


# Words in the figure --------------------------------------------------------------------------------------------------


def _panel_titles(test_sets: Sequence[str], mode: Mode) -> list[dict[str, Any]]:
    return [
        {
            "text": f"<b>{test_set}</b>",
            "showarrow": False,
            "xref": f"x{'' if panel == 0 else panel + 1} domain",
            "yref": "paper",
            "x": 0,
            "y": 1,
            "xanchor": "left",
            "yanchor": "bottom",
            "yshift": 4,
            "font": {"size": 14, "color": INKS[mode].text},
        }
        for panel, test_set in enumerate(test_sets)
    ]


def _majority_lines(test_sets: Sequence[str], majority: Mapping[str, float], mode: Mode) -> list[dict[str, Any]]:
    return [
        {
            "type": "line",
            "xref": f"x{'' if panel == 0 else panel + 1} domain",
            "yref": f"y{'' if panel == 0 else panel + 1}",
            "x0": 0,
            "x1": 1,
            "y0": 100 * majority[test_set],
            "y1": 100 * majority[test_set],
            "line": {"color": INKS[mode].quiet, "width": 1.3, "dash": "dot"},
            "layer": "below",
        }
        for panel, test_set in enumerate(test_sets)
        if test_set in majority and not math.isnan(majority[test_set])
    ]


def _majority_labels(
    lines: Sequence[Line],
    test_sets: Sequence[str],
    majority: Mapping[str, float],
    label: str,
    y_range: tuple[float, float],
    mode: Mode,
) -> list[dict[str, Any]]:
    labels = []
    for panel, test_set in enumerate(test_sets):
        if test_set not in majority or math.isnan(majority[test_set]):
            continue
        height = 100 * majority[test_set]
        ends = [line.mean[-1] for line in lines if line.panel == panel]
        below = _fits_below(height, ends, y_range)
        labels.append(
            {
                "text": f"{label} {percent(majority[test_set])}",
                "showarrow": False,
                "xref": f"x{'' if panel == 0 else panel + 1} domain",
                "yref": f"y{'' if panel == 0 else panel + 1}",
                "x": 0.995,
                "y": height,
                "xanchor": "right",
                "yanchor": "top" if below else "bottom",
                "yshift": -2 if below else 2,
                "borderpad": 1,
                "bgcolor": translucent(INKS[mode].surface, 0.75),
                "font": {"size": 12, "color": INKS[mode].quiet},
            }
        )
    return labels


def _fits_below(height: float, ends: Sequence[float], y_range: tuple[float, float]) -> bool:
    """Whether a label has room below a line at `height` percent, where no curve ends."""
    room = (height - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)
    return room > LABEL_PIXELS + 4 and all(end >= height for end in ends)


def _direct_labels(lines: Sequence[Line], panels: int, bottom: float, top: float) -> list[dict[str, Any]]:
    """Each line's name at the right of the last panel, at the height of its last point there, none upon another."""
    last = {line.name: line for line in lines if line.panel == panels - 1}
    ends = {name: line.mean[-1] for name, line in last.items()}
    per_pixel = (top - bottom) / (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)
    places = spread(list(ends.values()), LABEL_PIXELS * per_pixel, bottom, top)
    number = "" if panels == 1 else str(panels)
    return [
        {
            "text": name if last[name].look.floor else f"<b>{name}</b>",
            "showarrow": False,
            "xref": "paper",
            "yref": f"y{number}",
            "x": 1,
            "y": place,
            "xanchor": "left",
            "xshift": 8,
            "align": "left",
            "font": {"size": 13, "color": last[name].look.colour},
        }
        for name, place in zip(ends, places, strict=True)
    ]


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The values moved as little as is simple so that neighbours are `gap` apart, inside low–high while they fit."""
    order = sorted(range(len(values)), key=values.__getitem__)
    placed = list(values)
    floor = low
    for index in order:
        placed[index] = max(placed[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed


def _right_margin(lines: Sequence[Line]) -> int:
    longest = max((len(line.name) for line in lines), default=0)
    return int(24 + CHARACTER_PIXELS * longest)
