"""From the typical test set to the hard one: a line per backbone and adaptation, falling by what it loses.

In: a table with one row per line and test set: accuracy with interval, fractions. Out: a Plotly figure in percent; every
point carries (backbone, adaptation, test set, size) as customdata.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import Look, adaptation_dashes, backbone_looks, baseline_looks
from fmlab.plots.panels import LABEL_PIXELS, LineEnd, percent_range, right_margin, spread
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.plots.wording import adaptation_name, in_usual_order, measure_name, signed_points, test_set_name

HEIGHT = 420  # pixels
MARGIN_TOP, MARGIN_BOTTOM = 70, 44
RIM = 0.12  # of the distance between two test sets, left of the first and right of the last
SIDE_STEP = 0.018  # between the error bars of two lines, of the same distance


def slope_chart(
    table: pd.DataFrame,
    *,
    measure: str = "image_accuracy",
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    backbones: Sequence[str] | None = None,
    baselines: Collection[tuple[str, str]] = (),
    names: Mapping[str, str] | None = None,
    mode: Mode = "light",
) -> go.Figure:
    """Accuracy at each test set in alphabetical order (T1 typical, T2 hard), joined by a line for each combination.

    Args:
        table: backbone, adaptation, test_set, size, mean, low, high (fractions); one row per line and test set.
        backbones: all backbones of the study, so that colours agree between figures.
        baselines: (backbone, adaptation) of lines beside the grid.
    """
    test_sets = sorted(table["test_set"].unique())
    looks = backbone_looks([*(backbones or ()), *table["backbone"].unique()], mode)
    extra = baseline_looks(list(baselines), mode)
    pairs = list(dict.fromkeys(zip(table["backbone"], table["adaptation"], strict=True)))
    adaptations = in_usual_order(adaptation for pair in pairs if pair not in extra for adaptation in pair[1:])
    traces, ends = [], []
    for place, pair in enumerate(pairs):
        rows = table[(table["backbone"] == pair[0]) & (table["adaptation"] == pair[1])].sort_values("test_set")
        look = extra.get(pair) or looks[pair[0]]
        name = (names or {}).get(pair[0], pair[0])
        if pair in extra or len(adaptations) > 1:
            name = f"{name}, {adaptation_name(pair[1])}"
        dash = "dash" if pair in extra else adaptation_dashes(adaptations, look.floor)[pair[1]]
        aside = SIDE_STEP * (place - (len(pairs) - 1) / 2)
        traces.append(_line(rows, name, look, dash, aside, test_sets))
        ends.append(LineEnd(f"{name}  {_change(rows)}", 0, 100 * float(rows["mean"].iloc[-1]), look))
    y_range = percent_range(table, {})
    layout = {
        "template": template(mode),
        "height": HEIGHT,
        "title": {"text": title},
        "showlegend": False,
        "margin": {"l": 64, "r": right_margin(ends), "t": MARGIN_TOP, "b": MARGIN_BOTTOM},
        "hovermode": "closest",
        "xaxis": {
            "range": [-RIM, max(len(test_sets) - 1, 1) + RIM],
            "tickvals": list(range(len(test_sets))),
            "ticktext": [f"<b>{test_set_name(test_set)}</b>" for test_set in test_sets],
            "tickfont": {"size": 14},
            "showline": False,
            "ticks": "",
        },
        "yaxis": {"title": {"text": f"{measure_name(measure)} (%)"}, "range": list(y_range)},
        "shapes": [_upright(at, mode) for at in range(len(test_sets))],
        "annotations": _end_labels(ends, y_range),
    }
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def _change(rows: pd.DataFrame) -> str:
    """What is lost from the first test set to the last, in points; nothing where there is one."""
    return signed_points(float(rows["mean"].iloc[-1] - rows["mean"].iloc[0])) if len(rows) > 1 else ""


def _line(
    rows: pd.DataFrame, name: str, look: Look, dash: str, aside: float, test_sets: Sequence[str]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [test_sets.index(test_set) + aside for test_set in rows["test_set"]],
        "y": (100 * rows["mean"]).tolist(),
        "line": {"color": look.colour, "width": 1.8 if look.floor else 2.4, "dash": dash},
        "marker": {
            "symbol": look.symbol + ("-open" if look.floor else ""),
            "size": 9,
            "color": look.colour,
            "line": {"width": 2 if look.floor else 0, "color": look.colour},
        },
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": (100 * (rows["high"] - rows["mean"])).tolist(),
            "arrayminus": (100 * (rows["mean"] - rows["low"])).tolist(),
            "color": look.colour,
            "thickness": 1.2,
            "width": 3,
        },
        "cliponaxis": False,
        "customdata": rows[["backbone", "adaptation", "test_set", "size"]].to_numpy(dtype=object).tolist(),
        "hovertemplate": f"<b>{name}</b><br>%{{customdata[2]}}: %{{y:.1f}} %<extra></extra>",
    }


def _upright(at: int, mode: Mode) -> dict[str, Any]:
    line = {"color": INKS[mode].axis, "width": 1}
    return {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": line, "layer": "below"}


def _end_labels(ends: Sequence[LineEnd], y_range: tuple[float, float]) -> list[dict[str, Any]]:
    """Each line's name and loss at its right end, none upon another."""
    per_pixel = (y_range[1] - y_range[0]) / (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)
    heights = spread([end.height for end in ends], LABEL_PIXELS * per_pixel, *y_range)
    return [
        {
            "text": end.name if end.look.floor else f"<b>{end.name}</b>",
            "showarrow": False,
            "xref": "paper",
            "x": 1,
            "y": height,
            "xanchor": "left",
            "xshift": 6,
            "font": {"size": 13, "color": end.look.colour},
        }
        for end, height in zip(ends, heights, strict=True)
    ]
