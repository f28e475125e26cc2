"""How far each pretrained backbone is from raw pixels and from its own start: paired differences in points.

In: paired differences of `fmlab.studies.pretraining_comparison` (fractions). Out: a Plotly figure; every point carries its
backbone's key first in its customdata.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import Look
from fmlab.plots.panels import MARGIN_BOTTOM, MARGIN_TOP
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.plots.wording import signed_points
from fmlab.studies.pretraining_comparison import PIXELS, START

ROW_PIXELS = 46
BESIDE = 0.17  # of a row: how far the two differences of a backbone stand from its middle
OTHERS = {PIXELS: ("raw pixels", "circle", -BESIDE), START: ("its own start", "diamond", BESIDE)}


def floor_differences(
    differences: pd.DataFrame,
    names: Mapping[str, str],
    looks: Mapping[str, Look],
    *,
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """Each backbone minus raw pixels and minus its own start, in points with paired intervals; hollow where tied.

    Args:
        differences: of `paired_differences`; the order of `first` is that of the rows, the best at the top.
        names: what each key is called.
        looks: the colour of each key.
    """
    keys = list(dict.fromkeys(differences["first"]))
    traces = [_gaps(differences[differences["second"] == other], other, keys, names, looks, mode) for other in OTHERS]
    traces += [_key(name, symbol, mode) for name, symbol, _ in OTHERS.values()]
    rows = differences[differences["second"].isin(list(OTHERS))]
    reach = 108 * float(max(rows["high"].max(), -rows["low"].min(), 0.01)) if len(rows) else 1.0
    line = {"color": INKS[mode].quiet, "width": 1.3}
    layout = {
        "template": template(mode),
        "height": MARGIN_TOP + MARGIN_BOTTOM + ROW_PIXELS * max(3, len(keys)),
        "title": {"text": title},
        "margin": {"l": 64, "r": 24, "t": MARGIN_TOP, "b": MARGIN_BOTTOM},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        "shapes": [
            {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": line, "layer": "below"}
        ],
        "xaxis": {"range": [-reach, reach], "title": {"text": "points of balanced accuracy: ← worse, better →"}},
        "yaxis": {
            "tickvals": list(range(len(keys))),
            "ticktext": [names[key] for key in keys],
            "range": [len(keys) - 0.5, -0.5],
            "ticks": "",
            "showgrid": False,
        },
    }
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def _gaps(
    rows: pd.DataFrame,
    other: str,
    keys: Sequence[str],
    names: Mapping[str, str],
    looks: Mapping[str, Look],
    mode: Mode,
) -> dict[str, Any]:
    name, symbol, beside = OTHERS[other]
    colours = [looks[key].colour for key in rows["first"]]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"against {name}",
        "showlegend": False,
        "x": (100 * rows["difference"]).tolist(),
        "y": [keys.index(key) + beside for key in rows["first"]],
        "marker": {
            "symbol": [symbol + ("-open" if verdict == "tied" else "") for verdict in rows["verdict"]],
            "size": 10,
            "color": colours,
            "line": {"width": 2, "color": colours},
        },
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": (100 * (rows["high"] - rows["difference"])).tolist(),
            "arrayminus": (100 * (rows["difference"] - rows["low"])).tolist(),
            "color": INKS[mode].quiet,
            "thickness": 1.6,
            "width": 4,
        },
        "customdata": [
            [row["first"], names[row["first"]], signed_points(row["low"]), signed_points(row["high"]), row["verdict"]]
            for row in rows.to_dict("records")
        ],
        "hovertemplate": f"<b>%{{customdata[1]}}</b> against {name}: <b>%{{x:+.1f}} points</b><br>"
        "95 % paired interval %{customdata[2]} to %{customdata[3]}<br>%{customdata[4]}<extra></extra>",
    }


def _key(name: str, symbol: str, mode: Mode) -> dict[str, Any]:
    """An entry of the legend in no backbone's colour."""
    marker = {"symbol": symbol, "size": 10, "color": INKS[mode].quiet}
    return {"type": "scatter", "mode": "markers", "name": f"against {name}", "x": [None], "y": [None], "marker": marker}
