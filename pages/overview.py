"""Overview: what is at work, the latest study's picture, where to go next."""

from collections.abc import Callable

import streamlit as st

from fmlab.ui import session
from fmlab.ui.heading import heading
from fmlab.ui.messages import shown_errors
from fmlab.ui.overview_view import offer_demo, show_latest, show_next
from fmlab.ui.progress import live_groups


def page() -> Callable[[], None] | None:
    """Everything that needs the store; a broken one ends this part with one message. Returns what draws its figure."""
    home, store = session.home(), session.store()
    studies = store.studies()
    busy = bool(store.groups(active_only=True))
    if not studies and not busy:
        offer_demo(store)
    if busy:
        st.subheader("At work", anchor=False)
    live_groups("overview")
    return show_latest(home, store, studies) if studies else None


heading(
    "Overview",
    "FMLab finds out on your own images which vision foundation model to use, and how many labels it needs.",
)
draw_figure = None
with shown_errors():
    draw_figure = page()
show_next()
if draw_figure is not None:  # last: the browser stands still while it loads what draws a figure
    draw_figure()
