"""The look of every figure: a template for a light and one for a dark page, and what is stamped into a figure.

In: a mode. Out: Plotly templates and layout fragments.

Backgrounds are transparent: a figure stands on the page's own colour, and prints on white.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import plotly.graph_objects as go

from fmlab.plots.wording import SYNTHETIC_REMARK

Mode = Literal["light", "dark"]

FONT = "Source Sans, Source Sans Pro, Helvetica, Arial, sans-serif"
CLEAR = "rgba(0,0,0,0)"
REMARK_CHARACTERS = 90  # in one line: what a figure of half a page still holds
RIGHT_RIM = 24  # pixels that stay free at the right end
REMARK_PIXELS = 16  # height of one line


@dataclass(frozen=True)
class Ink:
    """The neutral colours of a mode."""

    text: str
    quiet: str  # secondary text
    axis: str
    grid: str
    surface: str  # behind labels that stand on data
    warning: str  # remarks that must not be overlooked


INKS: dict[Mode, Ink] = {
    "light": Ink("#1F2933", "#55606B", "#8A94A0", "#E4E8EC", "#FFFFFF", "#8A4B00"),
    "dark": Ink("#E8ECF0", "#A9B3BD", "#77828D", "#2C343D", "#11191E", "#F2B632"),
}


@cache
def template(mode: Mode) -> go.layout.Template:
    """The template of a mode."""
    ink = INKS[mode]
    axis = {
        "gridcolor": ink.grid,
        "linecolor": ink.axis,
        "tickcolor": ink.axis,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "title": {"standoff": 10, "font": {"size": 14}},
        "automargin": True,
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": ink.text},
            "title": {"font": {"size": 16, "color": ink.text}, "x": 0, "xanchor": "left", "xref": "paper"},
            "paper_bgcolor": CLEAR,
            "plot_bgcolor": CLEAR,
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"bgcolor": CLEAR, "font": {"size": 13}},
            "hoverlabel": {
                "bgcolor": ink.surface,
                "bordercolor": ink.axis,
                "font": {"family": FONT, "size": 13, "color": ink.text},
                "align": "left",
            },
            "modebar": {"bgcolor": CLEAR, "color": ink.quiet, "activecolor": ink.text},
            "margin": {"l": 64, "r": 24, "t": 56, "b": 64},
        }
    )


def stamped(layout: dict[str, Any], mode: Mode, synthetic: bool, remarks: Sequence[str]) -> dict[str, Any]:
    """A layout (with height and margin) that says, inside the figure, what its numbers rest on.

    Further lines of remarks make the figure higher: the plot keeps its place and size.
    """
    lines = remark_lines([*([SYNTHETIC_REMARK] if synthetic else []), *remarks])
    if not lines:
        return layout
    more = REMARK_PIXELS * (len(lines) - 1)
    margin = layout["margin"] | {"t": layout["margin"]["t"] + more}
    # From the right end of the plot to that of the figure: a narrow plot would cut a long remark off at its left.
    annotations = [*layout.get("annotations", ()), _remark(lines, mode) | {"xshift": max(0, margin["r"] - RIGHT_RIM)}]
    return layout | {"annotations": annotations, "height": layout["height"] + more, "margin": margin}


def _remark(lines: Sequence[str], mode: Mode) -> dict[str, Any]:
    ink = INKS[mode]
    return {
        "name": "remark",
        "text": "<b>" + "<br>".join(lines) + "</b>",
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 1,
        "y": 1,
        "xanchor": "right",
        "yanchor": "bottom",
        "yshift": 26,
        "align": "right",
        "font": {"size": 12, "color": ink.warning},
        "bordercolor": ink.warning,
        "borderpad": 3,
        "borderwidth": 1,
    }


def remark_lines(words: Sequence[str]) -> list[str]:
    """The remarks side by side while they fit into half a page, else each on a line of its own."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) <= REMARK_CHARACTERS:
            lines[-1] += f" · {word}"
        else:
            lines.append(word)
    return lines
