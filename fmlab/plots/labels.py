"""What labels are worth: how many labels of one side another side needs, and how many a target accuracy takes.

In: small tables of sizes and fractions. Out: Plotly figures with sizes on a logarithmic axis.
"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import Look, translucent
from fmlab.plots.panels import percent_range
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.plots.wording import measure_name, size_text, size_title

ROW_PIXELS = 34
CURVE_HEIGHT = 400
MOST_TICKS = 9
RIM = 0.06  # of the axis, beside the outermost points
NAMED_RIM = 0.30  # the same where words stand right of the last one


def savings_dumbbells(
    table: pd.DataFrame,
    scheme: str,
    *,
    first: str,
    second: str,
    first_look: Look,
    second_look: Look,
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """Two dots a row: the labels that `first` had, and those with which `second` is as accurate, with the interval.

    Args:
        table: n (labels of `first`), m (of `second`, null where it never is as accurate), low, high (of m; null where
            the interval leaves the sizes measured: it is drawn to the edge), one row per n.
    """
    rows = table.sort_values("n", ignore_index=True)
    rows["label"] = [size_text(int(size), scheme) for size in rows["n"]]
    counted, reached = rows[rows["n"] > 0], rows[rows["m"].notna()]
    joined = counted[counted["m"].notna()]
    ends = [float(end) for end in [*counted["n"], *reached["m"], *reached["low"].dropna(), *reached["high"].dropna()]]
    axis = _log_axis(ends, size_title(scheme), NAMED_RIM if rows["m"].isna().any() else RIM)
    edges = 10 ** axis["range"][0], 10 ** axis["range"][1]
    bars = _error_bars(reached, edges, second_look.colour)
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [value for n, m in zip(joined["n"], joined["m"], strict=True) for value in (n, m, None)],
            "y": [value for label in joined["label"] for value in (label, label, None)],
            "line": {"color": INKS[mode].axis, "width": 2},
            "hoverinfo": "skip",
            "showlegend": False,
        },
        _dots(counted["n"].tolist(), counted["label"].tolist(), first, first_look, scheme),
        _dots(reached["m"].tolist(), reached["label"].tolist(), second, second_look, scheme) | {"error_x": bars},
    ]
    labels = rows["label"].tolist()
    layout = {
        "template": template(mode),
        "height": 165 + ROW_PIXELS * max(2, len(labels)),
        "title": {"text": title},
        "margin": {"l": 64, "r": 24, "t": 58, "b": 100},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"},
        "xaxis": axis,
        "yaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": labels,
            "range": [len(labels) - 0.4, -0.6],
            "ticks": "",
        },
        "annotations": [
            _beyond(size, label, mode)
            for size, label, m in zip(rows["n"], rows["label"], rows["m"], strict=True)
            if pd.isna(m) and size > 0
        ],
    }
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def _dots(sizes: Sequence[float], labels: Sequence[str], name: str, look: Look, scheme: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(sizes),
        "y": list(labels),
        "marker": {
            "symbol": look.symbol + ("-open" if look.floor else ""),
            "size": 11,
            "color": look.colour,
            "line": {"width": 2 if look.floor else 0, "color": look.colour},
        },
        "customdata": [[size_text(size, scheme)] for size in sizes],
        "hovertemplate": f"<b>{name}</b>: %{{customdata[0]}}<extra></extra>",
    }


def _error_bars(rows: pd.DataFrame, edges: tuple[float, float], colour: str) -> dict[str, Any]:
    """The interval of m; an open end goes to the edge of the axis."""
    low, high = rows["low"].fillna(edges[0]), rows["high"].fillna(edges[1])
    return {
        "type": "data",
        "symmetric": False,
        "array": (high - rows["m"]).tolist(),
        "arrayminus": (rows["m"] - low).tolist(),
        "color": colour,
        "thickness": 1.6,
        "width": 5,
    }


def _beyond(size: float, label: str, mode: Mode) -> dict[str, Any]:
    """Right of a dot whose other side never gets as far."""
    return {
        "text": "not reached →",
        "showarrow": False,
        "x": math.log10(size),
        "xanchor": "left",
        "xshift": 12,
        "y": label,
        "font": {"size": 12, "color": INKS[mode].quiet},
    }


def target_curve(
    points: pd.DataFrame,
    fitted: pd.DataFrame,
    target: float,
    scheme: str,
    *,
    name: str,
    look: Look,
    size: float | None = None,
    interval: tuple[float, float] | None = None,
    measure: str = "image_accuracy",
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """Measured points, the learning curve fitted to them, the target, and the labels that reach it where it is known.

    Args:
        points: size, mean, low, high (fractions).
        fitted: size, fitted, low, high: the curve with its interval (fractions); may be empty.
        target: fraction.
        size: the labels that reach the target; None when that was refused.
        interval: of `size`.
    """
    ink = INKS[mode]
    y_range = percent_range(pd.concat([points[["low", "high"]], fitted[["low", "high"]]]), {"target": target})
    ends = [*points["size"].astype(float), *fitted["size"].astype(float), *([size] if size else []), *(interval or ())]
    traces = [*_fit(fitted, look), _measured(points, name, look, scheme)]
    shapes = [_level(100 * target, ink.quiet)]
    annotations = [_level_label(target, mode)]
    if size is not None:
        shapes += [_fall(size, y_range[0], 100 * target, look.colour)]
        if interval is not None:
            shapes += [_stripe(interval, translucent(look.colour, 0.12))]
        annotations += [_size_label(size, y_range[0], scheme, look)]
    layout = {
        "template": template(mode),
        "height": CURVE_HEIGHT,
        "title": {"text": title},
        "showlegend": False,
        "margin": {"l": 64, "r": 24, "t": 74, "b": 64},
        "hovermode": "closest",
        "xaxis": _log_axis([end for end in ends if end > 0 and math.isfinite(end)], size_title(scheme)),
        "yaxis": {"title": {"text": f"{measure_name(measure)} (%)"}, "range": list(y_range)},
        "shapes": shapes,
        "annotations": annotations,
    }
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def _fit(fitted: pd.DataFrame, look: Look) -> list[dict[str, Any]]:
    if fitted.empty:
        return []
    rows = fitted.sort_values("size")
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "fitted",
        "x": rows["size"].tolist(),
        "y": (100 * rows["fitted"]).tolist(),
        "line": {"color": look.colour, "width": 2, "dash": "dot"},
        "hovertemplate": "fitted curve at %{x:,.0f}: %{y:.1f} %<extra></extra>",
    }
    band = {
        "type": "scatter",
        "mode": "lines",
        "name": "band",
        "x": [*rows["size"], *rows["size"][::-1]],
        "y": [*(100 * rows["high"]), *(100 * rows["low"][::-1])],
        "fill": "toself",
        "fillcolor": translucent(look.colour, 0.15),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
    return [band, line]


def _measured(points: pd.DataFrame, name: str, look: Look, scheme: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": points["size"].astype(float).tolist(),
        "y": (100 * points["mean"]).tolist(),
        "marker": {"symbol": look.symbol, "size": 10, "color": look.colour, "line": {"width": 1, "color": look.colour}},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": (100 * (points["high"] - points["mean"])).tolist(),
            "arrayminus": (100 * (points["mean"] - points["low"])).tolist(),
            "color": look.colour,
            "thickness": 1.5,
        },
        "customdata": [[size_text(int(size), scheme)] for size in points["size"]],
        "hovertemplate": f"<b>{name}</b>, %{{customdata[0]}}: %{{y:.1f}} %<extra></extra>",
        "cliponaxis": False,
    }


# Parts of both --------------------------------------------------------------------------------------------------------


def _log_axis(values: Sequence[float], title: str, right: float = RIM) -> dict[str, Any]:
    """A logarithmic axis around the values; ticks at powers of two, or of four, … as many as are readable."""
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    span = math.log10(high / low) or 5.0
    powers = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
    step = max(1, math.ceil(len(powers) / MOST_TICKS))
    ticks = [2.0**power for power in powers if power >= 0 and power % step == 0]
    return {
        "type": "log",
        "title": {"text": title},
        "tickvals": ticks,
        "ticktext": [f"{tick:,.0f}" for tick in ticks],
        "range": [math.log10(low) - RIM * span, math.log10(high) + right * span],
    }


def _level(height: float, colour: str) -> dict[str, Any]:
    line = {"color": colour, "width": 1.3, "dash": "dash"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height, "line": line}


def _level_label(target: float, mode: Mode) -> dict[str, Any]:
    return {
        "text": f"target {100 * target:.1f} %",
        "showarrow": False,
        "xref": "paper",
        "x": 0.005,
        "y": 100 * target,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"size": 12, "color": INKS[mode].quiet},
    }


def _fall(size: float, bottom: float, top: float, colour: str) -> dict[str, Any]:
    """From where the fitted curve meets the target down to the axis."""
    return {"type": "line", "x0": size, "x1": size, "y0": bottom, "y1": top, "line": {"color": colour, "width": 1.6}}


def _stripe(interval: tuple[float, float], colour: str) -> dict[str, Any]:
    return {
        "type": "rect",
        "x0": interval[0],
        "x1": interval[1],
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "fillcolor": colour,
        "line": {"width": 0},
        "layer": "below",
    }


def _size_label(size: float, bottom: float, scheme: str, look: Look) -> dict[str, Any]:
    return {
        "text": f"<b> {size_text(size, scheme)}</b>",
        "showarrow": False,
        "x": math.log10(size),
        "y": bottom,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"size": 12, "color": look.colour},
    }
