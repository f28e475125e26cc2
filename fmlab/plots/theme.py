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


def remark(mode: Mode, synthetic: bool, remarks: Sequence[str]) -> list[dict[str, Any]]:
    """The annotation that says, inside the figure, what its numbers rest on; empty when there is nothing to say."""
    words = ([SYNTHETIC_REMARK] if synthetic else []) + list(remarks)
    if not words:
        return []
    ink = INKS[mode]
    return [
        {
            "name": "remark",
            "text": "<b>" + " · ".join(words) + "</b>",
            "showarrow": False,
            "xref": "paper",
            "yref": "paper",
            "x": 1,
            "y": 1,
            "xanchor": "right",
            "yanchor": "bottom",
            "yshift": 26,
            "font": {"size": 12, "color": ink.warning},
            "bordercolor": ink.warning,
            "borderpad": 3,
            "borderwidth": 1,
        }
    ]
