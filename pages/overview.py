"""Overview: what is at work, the latest study's picture, where to go next."""

import streamlit as st

from fmlab.ui import session
from fmlab.ui.heading import heading
from fmlab.ui.messages import shown_errors
from fmlab.ui.overview_view import offer_demo, show_latest, show_next
from fmlab.ui.progress import live_groups


def page() -> None:
    """Everything that needs the store; a broken one ends this part with one message."""
    home, store = session.home(), session.store()
    studies = store.studies()
    busy = bool(store.groups(active_only=True))
    if not studies and not busy:
        offer_demo(store)
    if busy:
        st.subheader("At work", anchor=False)
    live_groups("overview")
    if studies:
        with shown_errors():
            show_latest(home, store, studies)


heading(
    "Overview",
    "FMLab finds out on your own images which vision foundation model to use, and how many labels it needs.",
)
with shown_errors():
    page()
show_next()
