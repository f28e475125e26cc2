"""The reliability diagram: in each bin of confidence, how often the answers given with it were right.

In: bins with their count, mean confidence and accuracy (fractions 0–1), and the expected calibration error. Out: a Plotly
figure in percent: the diagram, and below it how many answers fell into each bin.

Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, figure 1 and section 2.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import BACKBONE_COLOURS, translucent
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.plots.wording import percent, percent_interval

HEIGHT = 480  # pixels
DIAGRAM, COUNTS = (0.30, 1.0), (0.0, 0.20)  # of the height


def reliability_diagram(
    table: pd.DataFrame,
    error: float,
    interval: tuple[float, float] | None = None,
    *,
    unit: str = "images",
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """The diagram. A bar below the diagonal is over-confident, one above it under-confident; the gap is hatched.

    Args:
        table: bin_low, bin_high, count, confidence, accuracy; a bin without an answer has no bar.
        error: the expected calibration error (fraction).
        interval: its 95 % interval.
    """
    bins = table[table["count"] > 0]
    ink, colour = INKS[mode], BACKBONE_COLOURS[mode][0]
    middle, width = 50 * (bins["bin_low"] + bins["bin_high"]), 100 * (bins["bin_high"] - bins["bin_low"])
    words = percent_interval(error, *interval) if interval else percent(error)
    layout = {
        "template": template(mode),
        "height": HEIGHT,
        "title": {"text": title},
        "margin": {"l": 64, "r": 24, "t": 74, "b": 60},
        "bargap": 0,
        "barmode": "overlay",
        "showlegend": False,
        "hovermode": "closest",
        "xaxis": {"range": [0, 100], "dtick": 20, "title": {"text": "confidence of the answer (%)"}, "anchor": "y2"},
        "yaxis": {"range": [0, 100], "dtick": 20, "domain": DIAGRAM, "title": {"text": "answers that are right (%)"}},
        "yaxis2": {"domain": COUNTS, "title": {"text": unit}, "nticks": 3, "rangemode": "tozero"},
        "shapes": [_diagonal(ink.quiet)],
        "annotations": [_error_label(words, mode)],
    }
    traces = [
        _accuracy_bars(bins, middle, width, colour, unit),
        _gap_bars(bins, middle, width, ink.warning),
        _count_bars(bins, middle, width, translucent(colour, 0.5), unit),
    ]
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def _accuracy_bars(bins: pd.DataFrame, middle: pd.Series, width: pd.Series, colour: str, unit: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": "right",
        "x": middle.tolist(),
        "y": (100 * bins["accuracy"]).tolist(),
        "width": (0.94 * width).tolist(),
        "marker": {"color": translucent(colour, 0.75), "line": {"width": 1, "color": colour}},
        "customdata": [
            [100 * low, 100 * high, int(count), 100 * confidence]
            for low, high, count, confidence in zip(
                bins["bin_low"], bins["bin_high"], bins["count"], bins["confidence"], strict=True
            )
        ],
        "hovertemplate": f"confidence %{{customdata[0]:.0f}}–%{{customdata[1]:.0f}} %, %{{customdata[2]:,}} {unit}<br>"
        "mean confidence %{customdata[3]:.1f} %<br>right: <b>%{y:.1f} %</b><extra></extra>",
    }


def _gap_bars(bins: pd.DataFrame, middle: pd.Series, width: pd.Series, colour: str) -> dict[str, Any]:
    """From what was right to what was claimed, hatched."""
    return {
        "type": "bar",
        "name": "gap",
        "x": middle.tolist(),
        "base": (100 * bins["accuracy"]).tolist(),
        "y": (100 * (bins["confidence"] - bins["accuracy"])).tolist(),
        "width": (0.94 * width).tolist(),
        "marker": {
            "color": translucent(colour, 0.12),
            "line": {"width": 1, "color": translucent(colour, 0.7)},
            "pattern": {"shape": "/", "fgcolor": translucent(colour, 0.7), "size": 6, "solidity": 0.25},
        },
        "hoverinfo": "skip",
    }


def _count_bars(bins: pd.DataFrame, middle: pd.Series, width: pd.Series, colour: str, unit: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": unit,
        "x": middle.tolist(),
        "y": bins["count"].astype(int).tolist(),
        "width": (0.94 * width).tolist(),
        "marker": {"color": colour},
        "yaxis": "y2",
        "hovertemplate": f"%{{y:,}} {unit}<extra></extra>",
    }


def _diagonal(colour: str) -> dict[str, Any]:
    """Where confidence is what it says."""
    line = {"color": colour, "width": 1.3, "dash": "dot"}
    return {"type": "line", "x0": 0, "y0": 0, "x1": 100, "y1": 100, "xref": "x", "yref": "y", "line": line}


def _error_label(words: str, mode: Mode) -> dict[str, Any]:
    return {
        "text": f"expected calibration error <b>{words}</b>",
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": 3,
        "font": {"size": 13, "color": INKS[mode].text},
    }
