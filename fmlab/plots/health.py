"""The health of a pretraining: its losses, its signals with the thresholds of the alarms, and what labels say of it.

In: the tables of `fmlab.pretrain.health` from metrics.jsonl and probes.jsonl; thresholds of `fmlab.pretrain.signs`.
Out: Plotly figures against steps, or images seen.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import BACKBONE_COLOURS, BACKBONE_SYMBOLS, FLOOR_COLOURS, translucent
from fmlab.plots.panels import panel_axes, spread
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.pretrain.signs import Threshold

LOSS_HEIGHT, PROBE_HEIGHT = 330, 390  # pixels
MARGIN_TOP, MARGIN_BOTTOM = 58, 60
PANEL_HEIGHT, PANEL_GAP = 150, 70  # of one small panel, and below it
COLUMNS = 3
COLUMN_GAP = 0.09  # of the width
LABEL_PIXELS = 17
RIM = 0.08  # of a panel's axis, beyond its numbers and threshold

# Units of the losses as they are trained, with their weights.
LOSS_UNITS: dict[str, str] = {
    "dinov2": "nats",
    "simclr": "nats",
    "mae": "mean squared error",
    "simsiam": "−cosine",
}

# Title and unit of each signal, in the order in which they are read.
SIGNALS: dict[str, tuple[str, str]] = {
    "retrieval": ("other view found", "share of images"),
    "mutual_information": ("information of the answer", "nats"),
    "teacher_entropy": ("teacher entropy", "share of the largest"),
    "mean_entropy": ("entropy of the mean answer", "share of the largest"),
    "teacher_student_kl": ("student from teacher", "KL divergence, nats"),
    "koleo": ("crowding of features (KoLeo)", "−log distance"),
    "output_std": ("spread of the projections", "share of even"),
    "effective_rank": ("effective rank (RankMe)", "dimensions"),
    "feature_std": ("spread of features", "share of even"),
    "target_variance": ("variance of MAE's target", "variance"),
    "teacher_student_distance": ("teacher from student", "relative L2 of weights"),
    "gradient_norm": ("gradient norm", "L2"),
    "data_wait_share": ("waiting for data", "share of the time"),
}
SPEED = ("speed", "images per second")


def loss_curves(
    table: pd.DataFrame,
    unit: str,
    thresholds: Mapping[str, Threshold] | None = None,
    *,
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """The loss that is trained and, where it has several, the terms it is the sum of.

    Args:
        table: `metrics_table`: step, `loss total`, `loss <term>`.
        unit: of the loss, as in `LOSS_UNITS`.
        thresholds: of which that of `loss` is drawn.
    """
    terms = [name.removeprefix("loss ") for name in table.columns if name.startswith("loss ")]
    parts = [term for term in terms if term != "total"]
    shown = ["total", *(parts if len(parts) > 1 else ())]
    dashes = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": term,
            "x": table["step"].tolist(),
            "y": table[f"loss {term}"].tolist(),
            "line": {
                "color": BACKBONE_COLOURS[mode][number % len(BACKBONE_COLOURS[mode])],
                "width": 2.4 if term == "total" else 1.6,
                "dash": dashes[number % len(dashes)],
            },
            "hovertemplate": f"{term}: step %{{x:,}}, %{{y:.4f}}<extra></extra>",
        }
        for number, term in enumerate(shown)
    ]
    alarm = (thresholds or {}).get("loss")
    layout = {
        "template": template(mode),
        "height": LOSS_HEIGHT,
        "margin": {"l": 64, "r": 24, "t": MARGIN_TOP, "b": 56},
        "showlegend": len(shown) > 1,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {"title": {"text": "step of the optimiser"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": f"loss ({unit})"}},
        "shapes": [] if alarm is None else [_alarm_line(alarm, 0, mode)],
        "annotations": [] if alarm is None else [_alarm_words(alarm, 0, mode)],
    }
    if alarm is not None:
        values = [value for term in shown for value in table[f"loss {term}"]]
        layout["yaxis"]["range"] = _range([*values, alarm.value])
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def signal_panels(
    table: pd.DataFrame,
    thresholds: Mapping[str, Threshold],
    *,
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """A small panel for each signal that the run measures, and for its speed; dashed where an alarm begins.

    Args:
        table: `metrics_table`: step, `signal <name>`, images_per_second.
        thresholds: by the signal's name.
    """
    measured = [name.removeprefix("signal ") for name in table.columns if name.startswith("signal ")]
    known = [name for name in SIGNALS if name in measured]
    names = known + [name for name in measured if name not in SIGNALS]
    columns = {name: f"signal {name}" for name in names}
    if "images_per_second" in table:
        columns["images_per_second"] = "images_per_second"
    rows = max(1, math.ceil(len(columns) / COLUMNS))
    height = rows * (PANEL_HEIGHT + PANEL_GAP)
    layout: dict[str, Any] = {
        "template": template(mode),
        "height": height + MARGIN_TOP,
        "margin": {"l": 64, "r": 24, "t": MARGIN_TOP, "b": 0},
        "showlegend": False,
        "hovermode": "closest",
        "shapes": [],
        "annotations": [],
    }
    traces = []
    for place, (name, column) in enumerate(columns.items()):
        title, unit = SPEED if name == "images_per_second" else SIGNALS.get(name, (name.replace("_", " "), "value"))
        values, alarm = table[column].tolist(), thresholds.get(name)
        traces.append(_signal_line(table["step"].tolist(), values, title, unit, place, mode))
        layout |= _panel(values, alarm, unit, place, height)
        layout["annotations"].append(_panel_title(title, place, mode))
        if alarm is not None:
            layout["shapes"].append(_alarm_line(alarm, place, mode))
            layout["annotations"].append(_alarm_words(alarm, place, mode))
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def probe_curve(
    table: pd.DataFrame,
    pixels: Mapping[str, float] | None = None,
    *,
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """Balanced accuracy of nearest neighbours and of a linear classifier against the images seen.

    Bands are 95 % intervals over patients. Dotted: each probe at the start. Dashed grey: each on raw pixels.

    Args:
        table: `probes_table`: images, knn, low, high, linear; linear_low and linear_high where they are known (0–1).
        pixels: knn and linear of the images themselves (0–1).
    """
    table = table.sort_values("images")
    probes = {
        "knn": ("nearest neighbours", "low", "high", BACKBONE_COLOURS[mode][0], BACKBONE_SYMBOLS[0]),
        "linear": ("linear classifier", "linear_low", "linear_high", BACKBONE_COLOURS[mode][1], BACKBONE_SYMBOLS[1]),
    }
    traces: list[dict[str, Any]] = []
    levels: list[tuple[str, float, str, str]] = []  # words, percent, colour, dash
    for number, (probe, (name, low, high, colour, symbol)) in enumerate(probes.items()):
        images, values = table["images"].tolist(), (100 * table[probe]).tolist()
        if low in table and high in table:
            traces.append(_band(images, (100 * table[low]).tolist(), (100 * table[high]).tolist(), colour))
        traces.append(_probe_line(images, values, name, colour, symbol))
        if values:
            levels.append((f"start, {name}", values[0], colour, "dot"))
        if pixels is not None:
            levels.append((f"raw pixels, {name}", 100 * pixels[probe], FLOOR_COLOURS[mode][2 * number], "dash"))
    ends = [value for each in traces for value in each["y"]] + [height for _, height, _, _ in levels]
    bottom, top = _percent_range(ends)
    layout = {
        "template": template(mode),
        "height": PROBE_HEIGHT,
        "margin": {"l": 64, "r": 224, "t": MARGIN_TOP, "b": MARGIN_BOTTOM},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "xaxis": {"title": {"text": "images seen"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "balanced accuracy (%)"}, "range": [bottom, top]},
        "shapes": [_level(height, colour, dash) for _, height, colour, dash in levels],
        "annotations": _level_words(levels, bottom, top),
    }
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


# Panels ---------------------------------------------------------------------------------------------------------------


def _panel(
    values: Sequence[float], alarm: Threshold | None, unit: str, place: int, height: int
) -> dict[str, dict[str, Any]]:
    """Both axes of a panel, in its place from left to right and from the top down."""
    row, column = divmod(place, COLUMNS)
    width = (1 - (COLUMNS - 1) * COLUMN_GAP) / COLUMNS
    left, top = column * (width + COLUMN_GAP), 1 - row * (PANEL_HEIGHT + PANEL_GAP) / height
    names = panel_axes(place)
    number = names["xaxis"][1:]
    return {
        f"xaxis{number}": {
            "domain": [left, min(1.0, left + width)],
            "anchor": names["yaxis"],
            "title": {"text": "step", "standoff": 4},
            "rangemode": "tozero",
            "nticks": 5,
        },
        f"yaxis{number}": {
            "domain": [max(0.0, top - PANEL_HEIGHT / height), top],
            "anchor": names["xaxis"],
            "title": {"text": unit, "font": {"size": 12}, "standoff": 4},
            "range": _range([*values, *([alarm.value] if alarm else [])]),
            "nticks": 5,
        },
    }


def _signal_line(
    steps: Sequence[int], values: Sequence[float], title: str, unit: str, place: int, mode: Mode
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines" if len(values) > 1 else "markers",
        "name": title,
        "x": list(steps),
        "y": list(values),
        "line": {"color": BACKBONE_COLOURS[mode][0], "width": 1.8},
        "marker": {"color": BACKBONE_COLOURS[mode][0]},
        "hovertemplate": f"<b>{title}</b>: step %{{x:,}}, %{{y:.4g}} ({unit})<extra></extra>",
        **panel_axes(place),
    }


def _panel_title(title: str, place: int, mode: Mode) -> dict[str, Any]:
    return _in_panel(place) | {
        "text": f"<b>{title}</b>",
        "x": 0,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"size": 13, "color": INKS[mode].text},
    }


def _alarm_line(alarm: Threshold, place: int, mode: Mode) -> dict[str, Any]:
    names = panel_axes(place)
    return {
        "type": "line",
        "xref": f"{names['xaxis']} domain",
        "yref": names["yaxis"],
        "x0": 0,
        "x1": 1,
        "y0": alarm.value,
        "y1": alarm.value,
        "line": {"color": INKS[mode].warning, "width": 1.3, "dash": "dash"},
    }


def _alarm_words(alarm: Threshold, place: int, mode: Mode) -> dict[str, Any]:
    """What a threshold means, on the side of it where the alarm is not: there the numbers of a healthy run leave room."""
    below = alarm.side == "below"
    return _in_panel(place) | {
        "text": f"{alarm.state} {alarm.side} {alarm.value:.3g}",
        "yref": panel_axes(place)["yaxis"],
        "x": 1,
        "y": alarm.value,
        "xanchor": "right",
        "yanchor": "bottom" if below else "top",
        "bgcolor": translucent(INKS[mode].surface, 0.75),
        "font": {"size": 11, "color": INKS[mode].warning},
    }


def _in_panel(place: int) -> dict[str, Any]:
    names = panel_axes(place)
    return {"showarrow": False, "xref": f"{names['xaxis']} domain", "yref": f"{names['yaxis']} domain"}


def _range(values: Sequence[float]) -> list[float]:
    """Around all numbers, with a rim; of one number alone, a little on both sides."""
    there = [value for value in values if math.isfinite(value)]
    low, high = (min(there), max(there)) if there else (0.0, 1.0)
    rim = RIM * (high - low) or max(0.05 * abs(high), 1e-6)
    return [low - rim, high + rim]


# Probes ---------------------------------------------------------------------------------------------------------------


def _band(images: Sequence[int], low: Sequence[float], high: Sequence[float], colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*images, *images[::-1]],
        "y": [*high, *low[::-1]],
        "fill": "toself",
        "fillcolor": translucent(colour, 0.14),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _probe_line(images: Sequence[int], values: Sequence[float], name: str, colour: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(images),
        "y": list(values),
        "line": {"color": colour, "width": 2.2, "dash": "solid" if symbol == BACKBONE_SYMBOLS[0] else "longdashdot"},
        "marker": {"symbol": symbol, "size": 8, "color": colour},
        "cliponaxis": False,
        "hovertemplate": f"<b>{name}</b>: %{{x:,}} images, %{{y:.1f}} %<extra></extra>",
    }


def _level(height: float, colour: str, dash: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.3, "dash": dash}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height, "line": line}


def _level_words(levels: Sequence[tuple[str, float, str, str]], low: float, high: float) -> list[dict[str, Any]]:
    """What each level is and how high, right of the plot, none upon another."""
    per_pixel = (high - low) / (PROBE_HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)
    places = spread([height for _, height, _, _ in levels], LABEL_PIXELS * per_pixel, low, high)
    return [
        {
            "text": f"{words} {height:.1f} %",
            "showarrow": False,
            "xref": "paper",
            "x": 1,
            "y": place,
            "xanchor": "left",
            "xshift": 6,
            "font": {"size": 12, "color": colour},
        }
        for (words, height, colour, _), place in zip(levels, places, strict=True)
    ]


def _percent_range(values: Sequence[float]) -> tuple[float, float]:
    """Whole tens around all numbers, within 0–100, twenty points at least."""
    there = [value for value in values if math.isfinite(value)]
    if not there:
        return 0.0, 100.0
    low = max(0, min(10 * math.floor(min(there) / 10), 80))
    return float(low), float(min(100, max(10 * math.ceil(max(there) / 10), low + 20)))
