"""How a training goes: loss, learning rate and speed against the steps of the optimiser.

In: the lines of one or several `metrics.jsonl` (one per fold) as a table. Out: a Plotly figure.
"""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import translucent
from fmlab.plots.theme import INKS, Mode, template

HEIGHT = 300
COLOUR: dict[Mode, str] = {"light": "#0B6E8F", "dark": "#4FB3D4"}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def training_curve(table: pd.DataFrame, *, mode: Mode = "light") -> go.Figure:
    """Loss on the left axis, the learning rate behind it on the right.

    Args:
        table: columns step, loss (cross-entropy in nats, mean since the line before), learning_rate; part, the number of
            the fold where there are several.
    """
    traces: list[dict[str, Any]] = []
    several = table["part"].nunique() > 1
    for number, (part, lines) in enumerate(table.groupby("part", sort=True)):
        dash = DASHES[number % len(DASHES)]
        name = f"fold {int(str(part)) + 1}" if several else "loss"
        shared = {"type": "scatter", "mode": "lines", "x": lines["step"].tolist()}
        traces.append(
            shared
            | {
                "name": "learning rate",
                "y": lines["learning_rate"].tolist(),
                "yaxis": "y2",
                "line": {"color": translucent(INKS[mode].axis, 0.8), "width": 1.2, "dash": "dot"},
                "showlegend": number == 0,
                "hovertemplate": "learning rate %{y:.2g}<extra></extra>",
            }
        )
        traces.append(
            shared
            | {
                "name": name,
                "y": lines["loss"].tolist(),
                "line": {"color": COLOUR[mode], "width": 2, "dash": dash},
                "hovertemplate": f"{name}: step %{{x:,}}, %{{y:.4f}}<extra></extra>",
            }
        )
    layout = {
        "template": template(mode),
        "height": HEIGHT,
        "margin": {"l": 64, "r": 72, "t": 30, "b": 56},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {"title": {"text": "step of the optimiser"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "loss (cross-entropy, nats)"}, "rangemode": "tozero"},
        "yaxis2": {
            "title": {"text": "learning rate"},
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
            "showgrid": False,
            "exponentformat": "power",
        },
    }
    return go.Figure(data=traces, layout=layout)
