"""Whether the page is light or dark, and figures that stand on it as the figure's author meant them.

In: the browser's theme; Plotly figures. Out: `mode()` for the figure builders of `fmlab.plots`; a chart on the page.

The colours themselves are in `fmlab.plots.palette` (figures) and `.streamlit/config.toml` (everything else).
"""

from typing import TYPE_CHECKING, Literal

import streamlit as st

if TYPE_CHECKING:
    import plotly.graph_objects as go

Mode = Literal["light", "dark"]

# Of the tool bar only what a reader of a figure needs; a saved picture is vector, for a paper.
FIGURE_SETTINGS = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["zoomIn2d", "zoomOut2d", "autoScale2d", "lasso2d", "select2d", "pan2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "fmlab"},
}


def mode() -> Mode:
    """`light` or `dark`, as the browser shows it; `light` until it has said so."""
    return "dark" if st.context.theme.type == "dark" else "light"


def show_figure(figure: "go.Figure", key: str) -> None:
    """A figure to look at, as wide as its place, in its own colours."""
    st.plotly_chart(figure, theme=None, key=key, config=FIGURE_SETTINGS)
