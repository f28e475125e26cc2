"""Accuracy against the number of labels: one panel per test set, a line per backbone and adaptation, a band over seeds.

In: a curve table (backbone, adaptation, test_set, size, mean, low, high as fractions 0–1, seeds) and the rate of the
majority class of each test set. Out: a Plotly figure in percent; every point carries
(backbone, adaptation, size, test set, mean, low, high in percent, seeds) as its customdata.

The form is that of the limited-data study's figures 1–4: logarithmic sizes, 95 % intervals of the mean, and a baseline
such as a network trained from scratch as a line of its own. What needs no label stands left of the smallest size.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import Look, adaptation_dashes, backbone_looks, baseline_looks, translucent
from fmlab.plots.panels import (
    HEIGHT,
    MARGIN_BOTTOM,
    MARGIN_TOP,
    LineEnd,
    axes,
    axis_breaks,
    direct_labels,
    majority_labels,
    majority_lines,
    panel_axes,
    panel_titles,
    percent_range,
    right_margin,
    size_places,
)
from fmlab.plots.theme import Mode, stamped, template
from fmlab.plots.wording import adaptation_name, in_usual_order, size_text, test_set_name

MOST_DIRECT_LABELS = 10  # beyond it a legend reads better
MOST_TALL_LABELS = 8  # likewise, where the adaptation takes a second line
LEGEND_PIXELS = 60  # what a legend takes below the figure
LONGEST_LABEL = 30  # characters beside the last panel; a longer one is broken before its adaptation


@dataclass(frozen=True)
class Line:
    """One line of the figure in one panel."""

    name: str
    backbone: str
    adaptation: str
    panel: int  # 0, 1, …
    test_set: str
    look: Look
    dash: str
    open_marker: bool
    places: list[float]  # on the x axis, where each size stands
    scheme: str
    sizes: list[int]  # ascending; the lists below belong to them
    mean: list[float]  # percent, as low and high
    low: list[float]
    high: list[float]
    seeds: list[int]

    @property
    def without_labels(self) -> bool:
        """Whether it is a single point that no label was needed for."""
        return self.sizes == [0]


def accuracy_curve(
    table: pd.DataFrame,
    majority: Mapping[str, float],
    scheme: str,
    *,
    measure: str = "image_accuracy",
    log_x: bool = True,
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    title: str = "",
    backbones: Sequence[str] | None = None,
    baselines: Collection[tuple[str, str]] = (),
    names: Mapping[str, str] | None = None,
    majority_label: str = "majority class",
    mode: Mode = "light",
) -> go.Figure:
    """The figure of a study: `measure` in percent against the number of labels, test sets side by side, one y axis.

    Args:
        table: backbone, adaptation, test_set, size, mean, low, high (fractions), seeds; one row per point.
        majority: for each test set what always answering its most frequent class reaches (fraction); the dotted line.
        scheme: `images` or `sequences`, the unit of size.
        synthetic: writes "simulated images" into the figure.
        remarks: further words to write into it, as that patients stand on both sides of the split.
        backbones: all backbones of the study, so that colours agree between figures that show some of them.
        baselines: (backbone, adaptation) of lines that stand beside the grid, drawn in the colour of text.
        names: what to call a backbone, its key by default.
        majority_label: what the dotted line is called.
    """
    test_sets = sorted(table["test_set"].unique()) if len(table) else sorted(majority)
    looks = backbone_looks([*(backbones or ()), *table["backbone"].unique()], mode)
    lines = list(_lines(table, test_sets, looks, baselines, names or {}, scheme, log_x, mode))
    traces = [_band(line) for line in lines if any(high > low for low, high in zip(line.low, line.high, strict=True))]
    traces += _bridges(lines) + [_points(line) for line in lines]
    ends = _ends(lines)
    y_range = percent_range(table, majority)
    most = MOST_TALL_LABELS if any(end.addition for end in ends) else MOST_DIRECT_LABELS
    direct = len({line.name for line in lines}) <= most
    annotations = panel_titles(test_sets, mode)
    annotations += majority_labels(ends, test_sets, majority, majority_label, y_range, mode)
    annotations += axis_breaks(table, test_sets, mode) if log_x else []
    if direct:
        annotations += direct_labels(ends, len(test_sets), y_range)
    layout = {
        "template": template(mode),
        "height": HEIGHT if direct else HEIGHT + LEGEND_PIXELS,
        "title": {"text": title},
        "showlegend": not direct,
        "legend": {"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top", "traceorder": "reversed"},
        "margin": {"l": 64, "r": right_margin(ends) if direct else 24, "t": MARGIN_TOP, "b": MARGIN_BOTTOM},
        "annotations": annotations,
        "shapes": majority_lines(test_sets, majority, mode),
        "hovermode": "closest",
        "clickmode": "event+select",
        **axes(table, test_sets, scheme, measure, log_x, y_range),
    }
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


# Lines ----------------------------------------------------------------------------------------------------------------


def _lines(
    table: pd.DataFrame,
    test_sets: Sequence[str],
    looks: Mapping[str, Look],
    baselines: Collection[tuple[str, str]],
    names: Mapping[str, str],
    scheme: str,
    log_x: bool,
    mode: Mode,
) -> Iterator[Line]:
    ends = ["mean", "low", "high"]
    drawn = table.sort_values("size", ignore_index=True)
    drawn[ends] *= 100
    groups: dict[tuple[str, str, str], list[tuple[Any, ...]]] = {}
    columns = ("backbone", "adaptation", "test_set", "size", *ends, "seeds")
    for row in zip(*(drawn[column].tolist() for column in columns), strict=True):
        groups.setdefault(row[:3], []).append(row[3:])
    pairs = dict.fromkeys(key[:2] for key in groups)
    looks_of = baseline_looks([pair for pair in baselines if pair in pairs], mode)
    # What a name need not say: the adaptation, where all lines of the grid share one.
    labelled = {key[:2] for key, rows in groups.items() if any(row[0] > 0 for row in rows)}
    adaptations = in_usual_order(adaptation for backbone, adaptation in labelled - set(looks_of))
    dashes = {floor: adaptation_dashes(adaptations, floor) for floor in (False, True)}
    places = size_places(drawn["size"].astype(int).unique().tolist(), log_x)
    for backbone, adaptation in _drawing_order(list(pairs), looks, looks_of):
        extra = looks_of.get((backbone, adaptation))
        look = extra or looks[backbone]
        dash = "dash" if extra else dashes[look.floor].get(adaptation, "dot")
        name = names.get(backbone, backbone)
        if extra or [adaptation] != adaptations:
            name = f"{name}, {adaptation_name(adaptation)}"
        open_marker = not extra and adaptation not in adaptations[:1]
        for panel, test_set in enumerate(test_sets):
            rows = groups.get((backbone, adaptation, test_set))
            if rows is not None:
                points = [list(column) for column in zip(*rows, strict=True)]
                at = [places[size] for size in points[0]]
                yield Line(name, backbone, adaptation, panel, test_set, look, dash, open_marker, at, scheme, *points)


def _ends(lines: Sequence[Line]) -> list[LineEnd]:
    """Where the lines end and what they are called there; long names are broken before the adaptation."""
    drawn = [line for line in lines if not line.without_labels]
    long = max((len(line.name) for line in drawn), default=0) > LONGEST_LABEL
    ends = []
    for line in drawn:
        name, comma, adaptation = line.name.partition(", ") if long else (line.name, "", "")
        ends.append(LineEnd(name, line.panel, line.mean[-1], line.look, adaptation if comma else ""))
    return ends


def _drawing_order(
    pairs: Sequence[tuple[str, str]], looks: Mapping[str, Look], baselines: Mapping[tuple[str, str], Look]
) -> list[tuple[str, str]]:
    """Floors and baselines first, so that what matters is drawn over them; then by name."""
    usual = in_usual_order(adaptation for _, adaptation in pairs)
    return sorted(
        pairs,
        key=lambda pair: (not looks[pair[0]].floor, pair not in baselines, pair[0], usual.index(pair[1])),
    )


def _bridges(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """From each point without labels a thin dotted way to where the same backbone's first line begins."""
    bridges = []
    for start in lines:
        if not start.without_labels:
            continue
        line = next(
            (
                each
                for each in lines
                if (each.backbone, each.panel) == (start.backbone, start.panel) and each.sizes[0] > 0
            ),
            None,
        )
        if line is not None:
            bridges.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": [start.places[0], line.places[0]],
                    "y": [start.mean[0], line.mean[0]],
                    "line": {"color": translucent(line.look.colour, 0.6), "width": 1.2, "dash": "dot"},
                    "hoverinfo": "skip",
                    "showlegend": False,
                    **panel_axes(line.panel),
                }
            )
    return bridges


def _band(line: Line) -> dict[str, Any]:
    # A t interval may pass 0 or 100 %; an accuracy cannot.
    high = [min(100.0, value) for value in line.high]
    low = [max(0.0, value) for value in line.low]
    return {
        "type": "scatter",
        "name": line.name,
        "legendgroup": line.name,
        "x": line.places + line.places[::-1],
        "y": high + low[::-1],
        "fill": "toself",
        "fillcolor": translucent(line.look.colour, 0.10 if line.look.floor else 0.17),
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        **panel_axes(line.panel),
    }


def _points(line: Line) -> dict[str, Any]:
    interval = "<br>95 % interval %{customdata[5]:.1f}–%{customdata[6]:.1f} %"
    floor = line.look.floor
    return {
        "type": "scatter",
        "name": line.name,
        "legendgroup": line.name,
        "showlegend": line.panel == 0,
        "x": line.places,
        "y": line.mean,
        "mode": "lines+markers",
        "line": {"color": line.look.colour, "width": 1.8 if floor else 2.4, "dash": line.dash},
        "marker": {
            "symbol": line.look.symbol + ("-open" if line.open_marker or floor else ""),
            "size": 8 if floor else 9,
            "color": line.look.colour,
            "line": {"width": 2 if line.open_marker or floor else 0, "color": line.look.colour},
        },
        "cliponaxis": False,
        "unselected": {"marker": {"opacity": 1}},
        "selected": {"marker": {"size": 15}},
        "customdata": [
            [line.backbone, line.adaptation, size, line.test_set, mean, low, high, count]
            for size, mean, low, high, count in zip(line.sizes, line.mean, line.low, line.high, line.seeds, strict=True)
        ],
        "hovertemplate": [
            f"<b>{line.name}</b><br>{test_set_name(line.test_set)}, {size_text(size, line.scheme)}: <b>%{{y:.1f}} %</b>"
            + (interval if low < high else "")
            + (f", {count} seeds" if count > 1 else " over patients, 1 seed" if size and low < high else "")
            + "<extra></extra>"
            for size, low, high, count in zip(line.sizes, line.low, line.high, line.seeds, strict=True)
        ],
        **panel_axes(line.panel),
    }
