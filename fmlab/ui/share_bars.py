"""Shares as small bars: how many of what is selected belong to each class, beside how many there are.

In: names, counts and totals. Out: one row per name on the page. Names are set as text in the browser, never as HTML.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

from fmlab.errors import BadInput

_component = st.components.v2.component(
    "fmlab_share_bars",
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class ShareBar:
    """One bar: `count` of `total`, in a colour (hex) that says the same as elsewhere on the page."""

    name: str
    count: int
    total: int
    colour: str


def share_bars(key: str, bars: Sequence[ShareBar]) -> None:
    """Draw the bars, as long as their counts; the longest fills its row."""
    if any(bar.count < 0 or bar.count > bar.total for bar in bars):
        raise BadInput("A bar's count must lie between 0 and its total.")
    _component(key=key, data={"bars": [asdict(bar) for bar in bars]})
