"""What accuracy costs: accuracy against the time per image, one panel per test set, parameters as the bubble's area.

In: a table with one row per line of the study and test set: accuracy with interval (fractions), milliseconds per image,
parameters. Out: a Plotly figure; every bubble carries (backbone, milliseconds, parameters, adaptation, test set) as
customdata.

The form is that of the limited-data study's figure 5. The dotted step is the front: what no other backbone within the
budget beats in both time and accuracy.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import Look, backbone_looks, baseline_looks, translucent
from fmlab.plots.panels import (
    CHARACTER_PIXELS,
    HEIGHT,
    LABEL_PIXELS,
    domains,
    panel_axes,
    panel_titles,
    percent_axis,
    percent_range,
)
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.plots.wording import adaptation_name, test_set_name
from fmlab.studies.efficiency import pareto_front

SMALLEST_BUBBLE = 9.0  # pixels across
LARGEST_BUBBLE = 46.0
MARGIN_TOP, MARGIN_BOTTOM = 82, 76
PAGE_PIXELS = 740  # the width of all panels together on a page of 1,366
RIM = 3.0  # times the fastest and the slowest: room for bubbles and names at the sides


@dataclass(frozen=True)
class Budget:
    """What may be spent; None: anything."""

    milliseconds: float | None = None  # for one image
    parameters: int | None = None

    def holds(self, table: pd.DataFrame) -> np.ndarray:
        """Which rows of a table with batch1_ms and parameters are within it, (n,) bool."""
        within = np.ones(len(table), bool)
        if self.milliseconds is not None:
            within &= (table["batch1_ms"] <= self.milliseconds).to_numpy()
        if self.parameters is not None:
            within &= (table["parameters"] <= self.parameters).to_numpy()
        return within


def cost_scatter(
    table: pd.DataFrame,
    *,
    measure: str = "image_accuracy",
    device: str = "",
    budget: Budget | None = None,
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    backbones: Sequence[str] | None = None,
    baselines: Collection[tuple[str, str]] = (),
    names: Mapping[str, str] | None = None,
    mode: Mode = "light",
) -> go.Figure:
    """The figure; only backbones whose latency was measured belong in the table.

    Args:
        table: backbone, adaptation, test_set, mean, low, high (fractions), batch1_ms (milliseconds for one image),
            parameters (count).
        device: what the latency was measured on, part of the axis title.
        budget: what lies outside it is drawn pale and is not on the front.
        backbones: all backbones of the study, so that colours agree between figures.
        baselines: (backbone, adaptation) of lines beside the grid.
    """
    budget = budget or Budget()
    test_sets = sorted(table["test_set"].unique())
    y_range = percent_range(table, {})
    looks = backbone_looks([*(backbones or ()), *table["backbone"].unique()], mode)
    extra = baseline_looks(list(baselines), mode)
    largest = max(table["parameters"].max(), 1) if len(table) else 1
    traces: list[dict[str, Any]] = []
    for panel, test_set in enumerate(test_sets):
        rows = table[table["test_set"] == test_set].sort_values("parameters", ascending=False, ignore_index=True)
        rows = rows.assign(within=budget.holds(rows))
        rows["front"] = pareto_front(rows["batch1_ms"].where(rows["within"]), rows["mean"])
        traces.append(_step(rows[rows["front"]], panel, mode))
        labels = [(names or {}).get(key, key) for key in rows["backbone"]]
        sides = label_sides(rows, labels, _time_range(table), y_range, len(test_sets), largest)
        for place, row in enumerate(rows.to_dict("records")):
            look = extra.get((row["backbone"], row["adaptation"])) or looks[row["backbone"]]
            name = labels[place]
            traces.append(_bubble_trace(row, name, look, panel, largest, sides[place], mode))
    layout = {
        "template": template(mode),
        "height": HEIGHT,
        "title": {"text": title},
        "showlegend": False,
        "margin": {"l": 64, "r": 32, "t": MARGIN_TOP, "b": MARGIN_BOTTOM},
        "hovermode": "closest",
        "annotations": panel_titles(test_sets, mode),
        "shapes": _beyond(budget, table, len(test_sets), mode),
        "font": {"color": INKS[mode].text},
        **_axes(table, len(test_sets), measure, device, y_range),
    }
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def bubble(parameters: float, largest: float) -> float:
    """The width in pixels of a bubble whose area is in proportion to `parameters`; small ones stay visible."""
    return max(SMALLEST_BUBBLE, LARGEST_BUBBLE * (parameters / largest) ** 0.5)


# Traces ---------------------------------------------------------------------------------------------------------------


def _step(front: pd.DataFrame, panel: int, mode: Mode) -> dict[str, Any]:
    """The dotted step through the front: the best that can be had for at most so many milliseconds."""
    rows = front.sort_values("batch1_ms")
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "front",
        "x": rows["batch1_ms"].tolist(),
        "y": (100 * rows["mean"]).tolist(),
        "line": {"color": INKS[mode].quiet, "width": 1.5, "dash": "dot", "shape": "hv"},
        "hoverinfo": "skip",
        **panel_axes(panel),
    }


def _bubble_trace(
    row: Mapping[str, Any], name: str, look: Look, panel: int, largest: float, side: str, mode: Mode
) -> dict[str, Any]:
    colour = look.colour if row["within"] else INKS[mode].grid
    ink = look.colour if row["within"] else INKS[mode].axis
    words = f"<b>{name}</b>" if row["front"] else name
    ends = {"array": [100 * (row["high"] - row["mean"])], "arrayminus": [100 * (row["mean"] - row["low"])]}
    verdict = "on the front" if row["front"] else "beaten in both" if row["within"] else "outside the budget"
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "x": [row["batch1_ms"]],
        "y": [100 * row["mean"]],
        "text": [words],
        "textposition": side,
        "textfont": {"color": ink},
        "marker": {
            "symbol": "circle-open" if look.floor else look.symbol,
            "size": bubble(row["parameters"], largest),
            "color": colour if look.floor else translucent(colour, 0.55),
            "line": {"width": 3 if row["front"] else 1.5, "color": colour},
        },
        "error_y": {"type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 4, **ends}
        if row["high"] > row["low"]
        else None,
        "cliponaxis": False,
        "customdata": [[row["backbone"], row["batch1_ms"], int(row["parameters"]), row["adaptation"], row["test_set"]]],
        "hovertemplate": f"<b>{name}</b>, {adaptation_name(row['adaptation'])}<br>{test_set_name(row['test_set'])}: "
        f"%{{y:.1f}} % at %{{x:.3g}} ms per image<br>%{{customdata[2]:,}} parameters<br>{verdict}<extra></extra>",
        **panel_axes(panel),
    }


Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


def label_sides(
    rows: pd.DataFrame,
    names: Sequence[str],
    times: tuple[float, float],
    y_range: tuple[float, float],
    panels: int,
    largest: float,
) -> list[str]:
    """On which side of each bubble its name stands: the first of four where it covers least.

    Pixels are those of a page 1,366 wide; on a wider one there is more room.
    """
    width = PAGE_PIXELS / panels
    height = HEIGHT - MARGIN_TOP - MARGIN_BOTTOM
    x = width * np.log(rows["batch1_ms"] / times[0]) / np.log(times[1] / times[0])
    y, low, high = (
        height * (100 * rows[end] - y_range[0]) / (y_range[1] - y_range[0]) for end in ("mean", "low", "high")
    )
    radii = [bubble(parameters, largest) / 2 for parameters in rows["parameters"]]
    taken: list[Box] = []
    for at, middle, lower, upper, radius in zip(x, y, low, high, radii, strict=True):
        taken += [(at - radius, middle - radius, at + radius, middle + radius), (at - 2, lower, at + 2, upper)]
    front = sorted((at, middle) for at, middle, holds in zip(x, y, rows["front"], strict=True) if holds)
    taken += [(at, middle - 2, after, middle + 2) for (at, middle), (after, _) in itertools.pairwise(front)]
    sides = []
    for at, middle, radius, name in zip(x, y, radii, names, strict=True):
        boxes = _boxes(at, middle, radius, CHARACTER_PIXELS * len(name))
        covered = {side: _covered(box, taken, width) for side, box in boxes.items()}
        chosen = min(covered, key=covered.__getitem__)
        taken.append(boxes[chosen])
        sides.append(chosen)
    return sides


def _boxes(x: float, y: float, radius: float, width: float) -> dict[str, Box]:
    """The name's place on each side of a bubble, the best side first; 3 pixels lie between."""
    half, away = LABEL_PIXELS / 2, radius + 3
    return {
        "middle left": (x - away - width, y - half, x - away, y + half),
        "middle right": (x + away, y - half, x + away + width, y + half),
        "top center": (x - width / 2, y + away, x + width / 2, y + away + 2 * half),
        "bottom center": (x - width / 2, y - away - 2 * half, x + width / 2, y - away),
    }


def _covered(box: Box, others: Sequence[Box], width: float) -> float:
    """How many pixels of a box lie on others or outside the panel."""
    left, bottom, right, top = box
    outside = (max(0.0, -left) + max(0.0, right - width)) * (top - bottom)
    return outside + sum(
        max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(top, other[3]) - max(bottom, other[1]))
        for other in others
    )


# Layout ---------------------------------------------------------------------------------------------------------------


def _time_range(table: pd.DataFrame) -> tuple[float, float]:
    """From where to where the axis of time goes, milliseconds."""
    if table.empty:
        return 1.0, 10.0
    return float(table["batch1_ms"].min()) / RIM, float(table["batch1_ms"].max()) * RIM


def _axes(
    table: pd.DataFrame, panels: int, measure: str, device: str, y_range: tuple[float, float]
) -> dict[str, dict[str, Any]]:
    low, high = _time_range(table)
    where = f", {device}" if device and panels < 2 else ""
    layout: dict[str, dict[str, Any]] = {}
    for panel, domain in enumerate(domains(panels)):
        x, y = (name.replace("x", "xaxis").replace("y", "yaxis") for name in panel_axes(panel).values())
        layout[x] = {
            "anchor": panel_axes(panel)["yaxis"],
            "domain": domain,
            "type": "log",
            "range": [float(np.log10(low)), float(np.log10(high))],
            "title": {"text": f"time for one image (ms{where})"},
            "tickvals": _round_times(low, high),
        }
        layout[y] = {"anchor": panel_axes(panel)["xaxis"]} | percent_axis(measure, panel, y_range)
    return layout


def _beyond(budget: Budget, table: pd.DataFrame, panels: int, mode: Mode) -> list[dict[str, Any]]:
    """A veil over what takes longer than the budget allows."""
    if budget.milliseconds is None:
        return []
    return [
        {
            "type": "rect",
            "xref": panel_axes(panel)["xaxis"],
            "yref": f"{panel_axes(panel)['yaxis']} domain",
            "x0": budget.milliseconds,
            "x1": max(budget.milliseconds, _time_range(table)[1]),
            "y0": 0,
            "y1": 1,
            "fillcolor": translucent(INKS[mode].axis, 0.10),
            "line": {"width": 0},
            "layer": "below",
        }
        for panel in range(panels)
    ]


def _round_times(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within low–high, milliseconds."""
    steps = [digit * 10.0**power for power in range(-2, 6) for digit in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]
