"""What accuracy costs: accuracy against the time per image of each backbone, with its size as the area of the bubble.

In: a table with one row per backbone: accuracy with interval (fractions), milliseconds per image, parameters.
Out: a Plotly figure; every bubble carries (backbone, milliseconds, parameters) as customdata.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import backbone_looks, translucent
from fmlab.plots.panels import percent_range
from fmlab.plots.theme import INKS, Mode, remark, template
from fmlab.plots.wording import measure_name

SMALLEST_BUBBLE = 9.0  # pixels across
LARGEST_BUBBLE = 46.0


def cost_scatter(
    table: pd.DataFrame,
    *,
    measure: str = "image_accuracy",
    device: str = "",
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    backbones: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    mode: Mode = "light",
) -> go.Figure:
    """The figure; only backbones whose latency was measured belong in the table.

    Args:
        table: backbone, mean, low, high (fractions), batch1_ms (milliseconds for one image), parameters (count).
        device: what the latency was measured on, part of the axis title.
    """
    looks = backbone_looks(backbones or table["backbone"], mode)
    largest = max(table["parameters"].max(), 1) if len(table) else 1
    # Names stand towards the middle of the axis, where there is room for them.
    middle = (table["batch1_ms"].min() * table["batch1_ms"].max()) ** 0.5
    traces = []
    for row in table.sort_values("parameters", ascending=False).itertuples():
        look, name = looks[row.backbone], (names or {}).get(row.backbone, row.backbone)
        bars = {"array": [100 * (row.high - row.mean)], "arrayminus": [100 * (row.mean - row.low)]}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "name": name,
                "x": [row.batch1_ms],
                "y": [100 * row.mean],
                "text": [f"  {name}  "],
                "textposition": "middle left" if row.batch1_ms > middle else "middle right",
                "textfont": {"color": look.colour},
                "marker": {
                    "symbol": "circle-open" if look.floor else look.symbol,
                    "size": bubble(row.parameters, largest),
                    "color": look.colour if look.floor else translucent(look.colour, 0.55),
                    "line": {"width": 2, "color": look.colour},
                },
                "error_y": {"type": "data", "symmetric": False, "color": look.colour, "thickness": 1.5, **bars},
                "cliponaxis": False,
                "customdata": [[row.backbone, row.batch1_ms, int(row.parameters)]],
                "hovertemplate": f"<b>{name}</b><br>%{{y:.1f}} % at %{{x:.1f}} ms per image<br>"
                "%{customdata[2]:,} parameters<extra></extra>",
            }
        )
    times = sorted(table["batch1_ms"]) if len(table) else [1.0, 10.0]
    where = f", {device}" if device else ""
    layout = {
        "template": template(mode),
        "height": 440,
        "title": {"text": title},
        "showlegend": False,
        "margin": {"l": 64, "r": 32, "t": 74, "b": 70},
        "hovermode": "closest",
        "xaxis": {
            "type": "log",
            "title": {"text": f"time for one image (ms{where}); area of a bubble: parameters"},
            "tickvals": _round_times(times[0], times[-1]),
        },
        "yaxis": {"title": {"text": f"{measure_name(measure)} (%)"}, "range": list(percent_range(table, {}))},
        "annotations": remark(mode, synthetic, remarks),
        "font": {"color": INKS[mode].text},
    }
    return go.Figure(data=traces, layout=layout)


def bubble(parameters: float, largest: float) -> float:
    """The width in pixels of a bubble whose area is in proportion to `parameters`; small ones stay visible."""
    return max(SMALLEST_BUBBLE, LARGEST_BUBBLE * (parameters / largest) ** 0.5)


def _round_times(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten that cover low–high, milliseconds."""
    steps = [digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5)]
    return [step for step in steps if low / 2.5 <= step <= high * 2.5]
