"""Dot plots: recall, precision and F1 of each class, accuracy at each site, and differences between two backbones.

In: small tables with fractions 0–1. Out: Plotly figures in percent (differences in percentage points).
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import BACKBONE_COLOURS
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.plots.wording import percent, signed_points, size_text

ROW_PIXELS = 30
LONGEST_SIDE = 24  # characters of a name that stands above half a figure
CLASS_MEASURES = {"recall": ("circle", 0), "precision": ("diamond-open", 1), "f1": ("line-ns-open", 2)}


def per_class_dots(
    table: pd.DataFrame,
    *,
    unit: str = "images",
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """Recall, precision and F1 of each class, in the order of the table, with the class's support in its label.

    Args:
        table: class, support (cases in the test set), recall, precision, f1 (fractions, null without support).
    """
    labels = [
        f"{name}  (n = {support:,})" if support else f"{name}  (no test {unit})"
        for name, support in zip(table["class"], table["support"].astype(int).tolist(), strict=True)
    ]
    traces = []
    for measure, (symbol, place) in CLASS_MEASURES.items():
        colour = BACKBONE_COLOURS[mode][place]
        shown = table[measure].astype(float).where(table["support"] > 0)
        name = "F1" if measure == "f1" else measure
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [None if pd.isna(value) else 100 * value for value in shown],
                "y": labels,
                "marker": {"symbol": symbol, "size": 11, "color": colour, "line": {"width": 2.4, "color": colour}},
                "customdata": [
                    [name_, int(n)] for name_, n in zip(table["class"], table["support"].tolist(), strict=True)
                ],
                "hovertemplate": f"<b>%{{customdata[0]}}</b>, %{{customdata[1]:,}} {unit}<br>{name} <b>%{{x:.1f}} %</b>"
                "<extra></extra>",
            }
        )
    layout = _rows_layout(labels, "percent of the class (recall) or of the answers (precision)", mode, title)
    layout["legend"] = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def per_site_dots(
    table: pd.DataFrame,
    majority_rate: float | None = None,
    *,
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """Image accuracy at each site, best first, with its number of images; the dotted line is the majority class.

    Args:
        table: site, n (images), image_accuracy (fraction); `low` and `high` are drawn where the table has them.
    """
    rows = table.sort_values("image_accuracy", ascending=False)
    labels = [f"{site}  (n = {n:,})" for site, n in zip(rows["site"], rows["n"].astype(int).tolist(), strict=True)]
    colour = BACKBONE_COLOURS[mode][0]
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [100 * value for value in rows["image_accuracy"]],
        "y": labels,
        "text": [percent(value) for value in rows["image_accuracy"]],
        "textposition": "top center",
        "marker": {"size": 11, "color": colour},
        "cliponaxis": False,
        "customdata": [[site, int(n)] for site, n in zip(rows["site"], rows["n"].tolist(), strict=True)],
        "hovertemplate": "<b>%{customdata[0]}</b>, %{customdata[1]:,} images<br>image accuracy <b>%{x:.1f} %</b><extra></extra>",
    }
    if {"low", "high"} <= set(rows.columns):
        trace["error_x"] = _error_bars(rows["image_accuracy"], rows["low"], rows["high"], colour)
    layout = _rows_layout(labels, "image accuracy (%)", mode, title, row_pixels=44)
    layout["showlegend"] = False
    if majority_rate is not None:
        layout["shapes"] = [_rule(100 * majority_rate, mode, "dot")]
        layout["annotations"] = [_rule_label(100 * majority_rate, f"majority class {percent(majority_rate)}", mode)]
    return go.Figure(data=[trace], layout=stamped(layout, mode, synthetic, remarks))


def difference_dots(
    table: pd.DataFrame,
    scheme: str,
    *,
    first: str,
    second: str,
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """`first` minus `second` at each size in percentage points, with its paired 95 % interval; hollow where tied.

    Args:
        table: size, difference, low, high (fractions), and tied (bool: the interval holds zero), one row per size.
    """
    rows = table.sort_values("size")
    labels = [size_text(int(size), scheme) for size in rows["size"]]
    ink, colour = INKS[mode], BACKBONE_COLOURS[mode][0]
    verdicts = [
        "tied" if tied else (first if gap > 0 else second)
        for tied, gap in zip(rows["tied"], rows["difference"], strict=True)
    ]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * value for value in rows["difference"]],
        "y": labels,
        "marker": {
            "size": 11,
            "symbol": ["circle-open" if tied else "circle" for tied in rows["tied"]],
            "color": [ink.quiet if tied else colour for tied in rows["tied"]],
            "line": {"width": 2},
        },
        "error_x": _error_bars(rows["difference"], rows["low"], rows["high"], ink.quiet),
        "customdata": [
            [size, verdict, signed_points(low), signed_points(high)]
            for size, verdict, low, high in zip(rows["size"].tolist(), verdicts, rows["low"], rows["high"], strict=True)
        ],
        "hovertemplate": "%{y}: <b>%{x:+.1f} points</b><br>95 % paired interval %{customdata[2]} to %{customdata[3]}"
        "<br>%{customdata[1]}<extra></extra>",
    }
    layout = _rows_layout(labels, "difference (percentage points)", mode, title)
    reach = 115 * float(max(rows["high"].max(), -rows["low"].min(), 0.01))
    layout["xaxis"] |= {"range": [-reach, reach], "dtick": None}
    layout["showlegend"] = False
    layout["shapes"] = [_rule(0, mode, "solid")]
    layout["annotations"] = [
        _side(f"← {shortened(second)} ahead", 0, mode),
        _side(f"{shortened(first)} ahead →", 1, mode),
    ]
    return go.Figure(data=[trace], layout=stamped(layout, mode, synthetic, remarks))


def _rows_layout(
    labels: Sequence[str], x_title: str, mode: Mode, title: str, row_pixels: int = ROW_PIXELS
) -> dict[str, Any]:
    return {
        "template": template(mode),
        "height": 150 + row_pixels * max(3, len(labels)),
        "title": {"text": title},
        "margin": {"l": 64, "r": 24, "t": 80, "b": 56},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x_title}, "range": [-2, 102], "dtick": 20},
        "yaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": list(labels),
            "range": [len(labels) - 0.4, -0.6],
            "ticks": "",
        },
    }


def _error_bars(values: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (100 * (high - values)).tolist(),
        "arrayminus": (100 * (values - low)).tolist(),
        "color": colour,
        "thickness": 1.8,
        "width": 5,
    }


def _rule(x: float, mode: Mode, dash: str) -> dict[str, Any]:
    line = {"color": INKS[mode].quiet, "width": 1.3, "dash": dash}
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line, "layer": "below"}


def shortened(name: str, longest: int = LONGEST_SIDE) -> str:
    """A name cut to `longest` characters, the cut shown."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _side(text: str, x: int, mode: Mode) -> dict[str, Any]:
    """What a side of the difference means, above the figure's left (0) or right (1) corner."""
    place = {"xref": "paper", "yref": "paper", "x": x, "y": 1, "xanchor": "right" if x else "left", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"size": 12, "color": INKS[mode].quiet}} | place


def _rule_label(x: float, text: str, mode: Mode) -> dict[str, Any]:
    return {
        "text": text,
        "showarrow": False,
        "x": x,
        "yref": "paper",
        "y": 1,
        "yanchor": "bottom",
        "font": {"size": 12, "color": INKS[mode].quiet},
    }
