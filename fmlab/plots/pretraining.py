"""Methods of pretraining compared: probe accuracy against compute or data, a line per method.

In: a table of `fmlab.studies.pretraining_comparison.comparison` (fractions, hours, counts). Out: a Plotly figure in
percent; every point carries its backbone's key first in its customdata.

One colour and shape for each method; lines that are too many to be named beside the figure are numbered. Raw pixels and
random weights, the floors that a pretraining has to beat, are dotted lines; where they differ between backbones (other
networks, other seeds) a band from the lowest to the highest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import BACKBONE_COLOURS, BACKBONE_SYMBOLS, SOLID_DASHES, Look, translucent
from fmlab.plots.panels import (
    HEIGHT,
    LABEL_PIXELS,
    MARGIN_BOTTOM,
    MARGIN_TOP,
    LineEnd,
    direct_labels,
    percent_axis,
    percent_range,
    right_margin,
    tick_texts,
)
from fmlab.plots.pretraining_wording import HEALTHY, PROBE_NAMES, compute_title, device_time, row_names
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.plots.wording import percent, percent_interval
from fmlab.pretrain.configs import METHOD_TITLES
from fmlab.studies.pretraining_comparison import PIXELS, RANDOM, Probe

Against = Literal["device_hours", "images_seen", "images"]

AXIS_TITLES: dict[Against, str] = {
    "device_hours": "time on the device (of all devices together)",
    "images_seen": "images seen in training",
    "images": "images to learn from",
}
# What a line joins leaves one fact free; the other one parts it where two points would stand at one place.
PARTED_BY: dict[Against, str] = {"device_hours": "images", "images_seen": "images", "images": "budget"}
JOINED_OVER: dict[Against, tuple[str, ...]] = {
    "device_hours": ("budget",),
    "images_seen": ("budget",),
    "images": ("images",),
}

SAME_PLACE = math.log10(1.1)  # closer points count as standing at one place
RIM = 2.0  # times the smallest and the largest: room at the sides
SIDE_STEP, SIDE_WIDTH = 0.03, 0.11  # of the axis: between points at one place, and all such points at most
MOST_DIRECT_LABELS = 9
LEGEND_PIXELS = 60
HOURS = (
    *(seconds / 3600 for seconds in (10, 30)),
    *(minutes / 60 for minutes in (1, 2, 5, 10, 20, 30)),
    *(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)


@dataclass(frozen=True)
class Line:
    """The backbones of one method that a line joins, ascending; or points that stand alone."""

    name: str
    look: Look
    dash: str
    rows: pd.DataFrame
    joined: bool  # false where two of them stand at one place


# Accuracy against compute or data -------------------------------------------------------------------------------------


def comparison_curve(
    table: pd.DataFrame,
    *,
    against: Against = "device_hours",
    probe: Probe = "knn",
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """Balanced accuracy of a probe with its 95 % interval over patients, against compute or data on a log axis.

    Points of different lines at one place are drawn side by side. Hollow points are those whose health was not good.

    Args:
        table: key, method, recipe, network, start, seed, budget, images, images_seen, device_hours, device, health; the
            probe's accuracy with `_low` and `_high`; `pixels_` and `start_` of it (fractions).
        against: `device_hours`, `images_seen` or `images`.
    """
    lines = method_lines(table, against, mode)
    x_range = _x_range(table[against])
    shifts = _shifts(lines, against, x_range[1] - x_range[0])
    traces = [_trace(line, against, probe, shift) for line, shift in zip(lines, shifts, strict=True)]
    floors = _floors(table, probe)
    drawn = pd.DataFrame({end: table[f"{probe}_{end}"].fillna(table[probe]) for end in ("low", "high")})
    y_range = percent_range(
        drawn, {f"{name} {place}": ends[place] for name, ends in floors.items() for place in (0, 1)}
    )
    ends = [LineEnd(line.name, 0, 100 * float(line.rows[probe].iloc[-1]), line.look) for line in lines]
    direct = len(lines) <= MOST_DIRECT_LABELS
    if not direct:
        traces = [_numbered(trace, number) for number, trace in enumerate(traces, start=1)]
    layout = {
        "template": template(mode),
        "height": HEIGHT if direct else HEIGHT + LEGEND_PIXELS,
        "title": {"text": title},
        "showlegend": not direct,
        "legend": {"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top"},
        "margin": {"l": 64, "r": right_margin(ends) if direct else 24, "t": MARGIN_TOP, "b": MARGIN_BOTTOM},
        "hovermode": "closest",
        "shapes": _floor_shapes(floors, mode),
        "annotations": [
            _compute(table, mode),
            *_floor_labels(floors, y_range, mode),
            *(direct_labels(ends, 1, y_range) if direct else ()),
        ],
        "xaxis": {"type": "log", "range": x_range, "title": {"text": AXIS_TITLES[against]}, "tickangle": 0}
        | _ticks(table[against], against, x_range),
        "yaxis": percent_axis(f"balanced_accuracy, {PROBE_NAMES[probe]}", 0, y_range),
    }
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def method_looks(mode: Mode) -> dict[str, Look]:
    """How each method is drawn in every figure."""
    pairs = zip(BACKBONE_COLOURS[mode], BACKBONE_SYMBOLS, strict=True)
    return {method: Look(*pair, False) for method, pair in zip(METHOD_TITLES, pairs, strict=False)}


def method_lines(table: pd.DataFrame, against: Against, mode: Mode = "light") -> list[Line]:
    """The lines of the figure: a method's backbones that differ in nothing but compute (or data).

    They may differ in the other of the two as well, unless two points of a method would stand at one place.
    """
    looks, free = method_looks(mode), JOINED_OVER[against]
    names = row_names(table, without=(*free, PARTED_BY[against]))
    if any(_crowded(rows[against]) for _, rows in table.groupby(table["key"].map(names))):
        names = row_names(table, without=free)
    lines, drawn = [], dict.fromkeys(METHOD_TITLES, 0)
    largest_first = table.sort_values(["images", "images_seen"], ascending=False, kind="stable")
    for name, rows in largest_first.groupby(largest_first["key"].map(names), sort=False):
        method = str(rows["method"].iloc[0])
        dash = SOLID_DASHES[drawn[method] % len(SOLID_DASHES)]
        drawn[method] += 1
        lines.append(Line(str(name), looks[method], dash, rows.sort_values(against), not _crowded(rows[against])))
    return lines


def _crowded(places: pd.Series) -> bool:
    """Whether two values stand at one place."""
    return bool((places.sort_values().map(math.log10).diff() < SAME_PLACE).any())


def _shifts(lines: Sequence[Line], against: Against, span: float) -> list[float]:
    """How far each line is moved aside, in powers of ten: nothing where no point stands where another line has one."""
    places = pd.Series(sorted(math.log10(value) for line in lines for value in line.rows[against]))
    step = span * min(SIDE_STEP, SIDE_WIDTH / len(lines))
    if not (places.diff() < step).any():
        return [0.0] * len(lines)
    return [step * (number - (len(lines) - 1) / 2) for number in range(len(lines))]


def _trace(line: Line, against: Against, probe: Probe, shift: float) -> dict[str, Any]:
    rows = line.rows
    value = 100 * rows[probe]
    ends = {end: (100 * rows[f"{probe}_{end}"]).fillna(value) for end in ("low", "high")}
    return {
        "type": "scatter",
        "mode": "lines+markers" if line.joined and len(rows) > 1 else "markers",
        "name": line.name,
        "x": [place * 10**shift for place in rows[against]],
        "y": value.tolist(),
        "line": {"color": line.look.colour, "width": 2.2, "dash": line.dash},
        "marker": {
            "symbol": [line.look.symbol + ("" if health in HEALTHY else "-open") for health in rows["health"]],
            "size": 11,
            "color": line.look.colour,
            "line": {"width": 2, "color": line.look.colour},
        },
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": (ends["high"] - value).tolist(),
            "arrayminus": (value - ends["low"]).tolist(),
            "color": translucent(line.look.colour, 0.7),
            "thickness": 1.6,
            "width": 4,
        },
        "cliponaxis": False,
        "customdata": [_told(row, probe) for row in rows.to_dict("records")],
        "hovertemplate": f"<b>{line.name}</b>, %{{customdata[0]}}<br>{PROBE_NAMES[probe]} <b>%{{customdata[1]}}</b><br>"
        "%{customdata[2]} images to learn from, %{customdata[3]} seen<br>%{customdata[4]} on %{customdata[5]}<br>"
        "health: %{customdata[6]}<extra></extra>",
    }


def _numbered(trace: dict[str, Any], number: int) -> dict[str, Any]:
    """With a number before its name in the legend and beside its last point: lines of one method share their look."""
    text = [""] * (len(trace["x"]) - 1) + [str(number)]
    place = {"text": text, "textposition": "middle right", "textfont": {"size": 12}}
    return trace | place | {"mode": f"{trace['mode']}+text", "name": f"{number} · {trace['name']}"}


def _told(row: Mapping[str, Any], probe: Probe) -> list[str]:
    measured = percent_interval(row[probe], row[f"{probe}_low"], row[f"{probe}_high"])
    counts = [f"{row[name]:,}" for name in ("images", "images_seen")]
    return [
        row["key"],
        measured,
        *counts,
        device_time(row["device_hours"]),
        row["device"],
        row["health"] or "not judged",
    ]


def _compute(table: pd.DataFrame, mode: Mode) -> dict[str, Any]:
    """Above the plot: whether what is compared had equal compute."""
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom", "yshift": 4}
    font = {"size": 13, "color": INKS[mode].text}
    return {"text": f"<b>{compute_title(table)}</b>", "showarrow": False, "font": font} | place


# Floors ---------------------------------------------------------------------------------------------------------------


def _floors(table: pd.DataFrame, probe: Probe) -> dict[str, tuple[float, float]]:
    """Raw pixels and random weights: the lowest and the highest of them (fractions), where they are known."""
    random = table[table["start"] == RANDOM]
    values = {PIXELS: table[f"pixels_{probe}"].dropna(), RANDOM: random[f"start_{probe}"].dropna()}
    return {name: (float(each.min()), float(each.max())) for name, each in values.items() if len(each)}


def _floor_shapes(floors: Mapping[str, tuple[float, float]], mode: Mode) -> list[dict[str, Any]]:
    shapes = []
    for name, (low, high) in floors.items():
        line = {"color": INKS[mode].quiet, "width": 1.4, "dash": "dot" if name == PIXELS else "dash"}
        place = {"xref": "x domain", "x0": 0, "x1": 1, "y0": 100 * low, "y1": 100 * high, "layer": "below"}
        filled = {"type": "rect", "fillcolor": translucent(INKS[mode].axis, 0.16), "line": {"width": 0}}
        shapes.append(place | ({"type": "line", "line": line} if low == high else filled))
    return shapes


def _floor_labels(
    floors: Mapping[str, tuple[float, float]], y_range: tuple[float, float], mode: Mode
) -> list[dict[str, Any]]:
    """What each floor is and how high, at the left end; the higher one's text above it where they are close."""
    order = sorted(floors, key=lambda name: floors[name])
    per_pixel = (y_range[1] - y_range[0]) / (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)
    labels = []
    for name in order:
        low, high = floors[name]
        above = name == order[-1] or 100 * (floors[order[-1]][0] - high) > (LABEL_PIXELS + 4) * per_pixel
        above = above or 100 * low - y_range[0] < (LABEL_PIXELS + 4) * per_pixel
        span = percent(low) if low == high else f"{100 * low:.1f}–{100 * high:.1f} %"
        labels.append(
            {
                "text": f"{name} {span}",
                "showarrow": False,
                "xref": "x domain",
                "x": 0.006,
                "y": 100 * (high if above else low),
                "xanchor": "left",
                "yanchor": "bottom" if above else "top",
                "yshift": 2 if above else -2,
                "borderpad": 1,
                "bgcolor": translucent(INKS[mode].surface, 0.75),
                "font": {"size": 12, "color": INKS[mode].quiet},
            }
        )
    return labels


# The axis of compute or data ------------------------------------------------------------------------------------------


def _x_range(values: pd.Series) -> list[float]:
    if values.empty:
        return [0.0, 1.0]
    return [math.log10(float(values.min()) / RIM), math.log10(float(values.max()) * RIM)]


def _ticks(values: pd.Series, against: Against, x_range: Sequence[float]) -> dict[str, Any]:
    """The sizes themselves for data, round times or counts for compute."""
    low, high = (10**end for end in x_range)
    if against == "images":
        sizes = sorted(int(value) for value in values.unique())
        return {"tickvals": sizes, "ticktext": tick_texts(sizes)}
    if against == "device_hours":
        stops = [hours for hours in HOURS if low <= hours <= high]
        return {"tickvals": stops, "ticktext": [device_time(hours) for hours in stops]}
    stops = [digit * 10**power for power in range(12) for digit in (1, 2, 5) if low <= digit * 10**power <= high]
    return {"tickvals": stops, "ticktext": [f"{stop:,}" for stop in stops]}
