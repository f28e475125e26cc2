"""Panels side by side, one per test set: their axes, their titles, their majority lines, and the names of their lines.

In: test sets in order, sizes, percent. Out: parts of a Plotly layout: axes, shapes, annotations.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fmlab.plots.palette import Look, translucent
from fmlab.plots.theme import INKS, Mode
from fmlab.plots.wording import measure_name, percent, size_title, test_set_name

HEIGHT = 440  # pixels
MARGIN_TOP = 74
MARGIN_BOTTOM = 76
PANEL_GAP = 0.03  # of the width
LABEL_PIXELS = 17  # height of one direct label
TALL_LABEL_PIXELS = 32  # of one with a second line
CHARACTER_PIXELS = 6.9  # mean width of a character in 13 px Source Sans, bold included
NO_LABELS_TICK = "0<br>zero-shot"
TICK_DISTANCE = 0.055  # of the axis: closer sizes share one tick text
ZERO_DISTANCE = 0.12  # of a logarithmic axis: how far left of the smallest size "no labels" stands


@dataclass(frozen=True)
class LineEnd:
    """Where a line ends in one panel, and how it is called there."""

    name: str
    panel: int  # 0, 1, …
    height: float  # percent
    look: Look
    addition: str = ""  # what stands on a second line, smaller


# Axes -----------------------------------------------------------------------------------------------------------------


def percent_range(table: pd.DataFrame, majority: Mapping[str, float]) -> tuple[float, float]:
    """The range of the y axis in percent: whole tens around every band and majority line, within 0–100."""
    values = [*table["low"], *table["high"], *majority.values()]
    values = [min(1.0, max(0.0, value)) for value in values if not math.isnan(value)]
    if not values:
        return 0.0, 100.0
    bottom = 10 * math.floor(10 * min(values) - 1e-9)
    top = 10 * math.ceil(10 * max(values) + 1e-9)
    return float(max(0, min(bottom, 80))), float(min(100, max(top, bottom + 20)))


def panel_axes(panel: int) -> dict[str, str]:
    """Which axes a trace in a panel is drawn on."""
    return {"xaxis": f"x{_number(panel)}", "yaxis": f"y{_number(panel)}"}


def _number(panel: int) -> str:
    """What stands after the x or y of a panel's axes: Plotly calls them x, x2, x3 and so on."""
    return "" if panel == 0 else str(panel + 1)


def axes(
    table: pd.DataFrame,
    test_sets: Sequence[str],
    scheme: str,
    measure: str,
    log_x: bool,
    y_range: tuple[float, float],
) -> dict[str, Any]:
    """The x axis of every panel with the table's sizes as ticks, and the y axis that they share."""
    sizes = sorted(int(size) for size in table["size"].unique())
    places = size_places(sizes, log_x)
    layout: dict[str, Any] = {}
    for panel, domain in enumerate(domains(len(test_sets))):
        number = _number(panel)
        layout[f"xaxis{number}"] = {
            "anchor": f"y{number}",
            "domain": domain,
            "title": {"text": size_title(scheme)},
            "type": "log" if log_x else "linear",
            "tickmode": "array",
            "tickvals": [places[size] for size in sizes],
            "ticktext": tick_texts(sizes, log_x),
            "range": _x_range(list(places.values()), log_x),
            "tickangle": 0,
        }
        layout[f"yaxis{number}"] = {"anchor": f"x{number}"} | percent_axis(measure, panel, y_range)
    return layout


def domains(panels: int) -> list[list[float]]:
    """Where panels side by side begin and end, as fractions of the width; one for none."""
    width = (1 - PANEL_GAP * (panels - 1)) / max(1, panels)
    lefts = [panel * (width + PANEL_GAP) for panel in range(max(1, panels))]
    return [[left, min(1.0, left + width)] for left in lefts]


def percent_axis(measure: str, panel: int, y_range: tuple[float, float]) -> dict[str, Any]:
    """The y axis of a panel: all panels share the first one's, which alone has texts."""
    return {
        "range": list(y_range),
        "dtick": 10 if y_range[1] - y_range[0] > 30 else 5,
        "showticklabels": panel == 0,
        **({"title": {"text": f"{measure_name(measure)} (%)"}} if panel == 0 else {"matches": "y"}),
    }


def size_places(sizes: Sequence[int], log_x: bool = True) -> dict[int, float]:
    """Where each size stands on the axis: at itself. A logarithmic axis has no 0: it stands left of the smallest size."""
    places = {size: float(size) for size in sizes}
    counted = [size for size in sizes if size > 0]
    if log_x and 0 in places:
        first, last = (min(counted), max(counted)) if counted else (1, 1)
        places[0] = first * min((first / last) ** ZERO_DISTANCE, 0.6) if counted else 1.0
    return places


def tick_texts(sizes: Sequence[int], log_x: bool = True) -> list[str]:
    """A text for each size, empty where it would run into the one before it."""
    places = [math.log2(place) if log_x else place for place in size_places(sizes, log_x).values()]
    if not places:
        return []
    span = max(places[-1] - places[0], 1e-9)
    texts, last = [], -math.inf
    for size, place in zip(sizes, places, strict=True):
        fits = (place - last) / span >= TICK_DISTANCE
        texts.append("" if not fits else f"{size:,}" if size else NO_LABELS_TICK)
        last = place if fits else last
    return texts


def _x_range(places: Sequence[float], log_x: bool) -> list[float] | None:
    if not places:
        return None
    first, last = (math.log10(places[0]), math.log10(places[-1])) if log_x else (places[0], places[-1])
    rim = 0.05 * (last - first) or (0.3 if log_x else 1.0)
    return [first - rim, last + rim]


def axis_breaks(table: pd.DataFrame, test_sets: Sequence[str], mode: Mode) -> list[dict[str, Any]]:
    """Two strokes on each x axis between "no labels" and the smallest size: the distance there means nothing."""
    sizes = sorted(int(size) for size in table["size"].unique())
    if len(sizes) < 2 or sizes[0] != 0:
        return []
    places = size_places(sizes)
    middle = (math.log10(places[0]) + math.log10(places[sizes[1]])) / 2  # annotations count in powers of ten there
    return [
        {
            "text": "<b>//</b>",
            "showarrow": False,
            "xref": f"x{_number(panel)}",
            "yref": "paper",
            "x": middle,
            "y": 0,
            "yanchor": "middle",
            "bgcolor": INKS[mode].surface,
            "borderpad": 0,
            "font": {"size": 12, "color": INKS[mode].quiet},
        }
        for panel in range(len(test_sets))
    ]


# Words in the figure --------------------------------------------------------------------------------------------------


def panel_titles(test_sets: Sequence[str], mode: Mode) -> list[dict[str, Any]]:
    """The test set's name above each panel."""
    return [
        {
            "text": f"<b>{test_set_name(test_set)}</b>",
            "showarrow": False,
            "xref": f"x{_number(panel)} domain",
            "yref": "paper",
            "x": 0,
            "y": 1,
            "xanchor": "left",
            "yanchor": "bottom",
            "yshift": 4,
            "font": {"size": 14, "color": INKS[mode].text},
        }
        for panel, test_set in enumerate(test_sets)
    ]


def majority_lines(test_sets: Sequence[str], majority: Mapping[str, float], mode: Mode) -> list[dict[str, Any]]:
    """A dotted line in each panel at what always answering the most frequent class reaches; none where it is unknown."""
    return [
        {
            "type": "line",
            "xref": f"x{_number(panel)} domain",
            "yref": f"y{_number(panel)}",
            "x0": 0,
            "x1": 1,
            "y0": 100 * majority[test_set],
            "y1": 100 * majority[test_set],
            "line": {"color": INKS[mode].quiet, "width": 1.3, "dash": "dot"},
            "layer": "below",
        }
        for panel, test_set in enumerate(test_sets)
        if test_set in majority and not math.isnan(majority[test_set])
    ]


def majority_labels(
    ends: Sequence[LineEnd],
    test_sets: Sequence[str],
    majority: Mapping[str, float],
    label: str,
    y_range: tuple[float, float],
    mode: Mode,
) -> list[dict[str, Any]]:
    """What each majority line is and how high, on the side of it where no line ends."""
    labels = []
    for panel, test_set in enumerate(test_sets):
        if test_set not in majority or math.isnan(majority[test_set]):
            continue
        height = 100 * majority[test_set]
        heights = [end.height for end in ends if end.panel == panel]
        below = _fits_below(height, heights, y_range)
        labels.append(
            {
                "text": f"{label} {percent(majority[test_set])}",
                "showarrow": False,
                "xref": f"x{_number(panel)} domain",
                "yref": f"y{_number(panel)}",
                "x": 0.995,
                "y": height,
                "xanchor": "right",
                "yanchor": "top" if below else "bottom",
                "yshift": -2 if below else 2,
                "borderpad": 1,
                "bgcolor": translucent(INKS[mode].surface, 0.75),
                "font": {"size": 12, "color": INKS[mode].quiet},
            }
        )
    return labels


def _fits_below(height: float, heights: Sequence[float], y_range: tuple[float, float]) -> bool:
    """Whether a label has room below a line at `height` percent, where no line ends."""
    room = (height - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)
    return room > LABEL_PIXELS + 4 and all(end >= height for end in heights)


def direct_labels(ends: Sequence[LineEnd], panels: int, y_range: tuple[float, float]) -> list[dict[str, Any]]:
    """Each line's name at the right of the last panel, at the height of its end there, none upon another."""
    last = [end for end in ends if end.panel == panels - 1]
    per_pixel = (y_range[1] - y_range[0]) / (HEIGHT - MARGIN_TOP - MARGIN_BOTTOM)
    tall = any(end.addition for end in ends)
    places = spread([end.height for end in last], (TALL_LABEL_PIXELS if tall else LABEL_PIXELS) * per_pixel, *y_range)
    return [
        {
            "text": (end.name if end.look.floor else f"<b>{end.name}</b>") + _second_line(end.addition),
            "showarrow": False,
            "xref": "paper",
            "yref": f"y{_number(panels - 1)}",
            "x": 1,
            "y": place,
            "xanchor": "left",
            "xshift": 8,
            "align": "left",
            "font": {"size": 13, "color": end.look.colour},
        }
        for end, place in zip(last, places, strict=True)
    ]


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The values moved as little as is simple so that neighbours are `gap` apart, inside low–high while they fit."""
    order = sorted(range(len(values)), key=values.__getitem__)
    placed = list(values)
    floor = low
    for index in order:
        placed[index] = max(placed[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed


def _second_line(text: str) -> str:
    return f"<br><span style='font-size:11px'>{text}</span>" if text else ""


def right_margin(ends: Sequence[LineEnd]) -> int:
    """Pixels that the longest name needs beside the last panel."""
    longest = max((max(len(end.name), 0.85 * len(end.addition)) for end in ends), default=0)
    return int(24 + CHARACTER_PIXELS * longest)
