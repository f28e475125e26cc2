"""Embeddings: how a backbone arranges the images, before any label was shown to it."""

import streamlit as st

from fmlab.runs.records import UNFINISHED
from fmlab.ui import session
from fmlab.ui.heading import heading
from fmlab.ui.map_explorer import show_maps
from fmlab.ui.map_view import await_pictures, choose_maps, choose_run, find_picture, find_projection, offer_projection
from fmlab.ui.messages import shown_errors
from fmlab.ui.progress import live_groups
from fmlab.ui.why_view import WHY_KINDS


def page() -> None:
    """The whole page; a broken store ends it with one message."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = choose_maps(session.home(), session.store())
        run = None
        if chosen:
            with st.popover("Answers", icon=":material/tune:", width="content"):
                run = choose_run(chosen[0])
    if not chosen:
        return
    live_groups("embeddings", kinds=WHY_KINDS)
    runs = [find_projection(each) for each in chosen]
    shown = [find_picture(each, making) for each, making in zip(chosen, runs, strict=True)]
    for each, making, picture in zip(chosen, runs, shown, strict=True):
        if picture is None or picture.picture != each.method:
            offer_projection(each, making, picture)
    waiting = [each for each, making in zip(chosen, runs, strict=True) if making and making.state in UNFINISHED]
    if waiting:
        await_pictures(waiting)
    pictures = [picture for picture in shown if picture is not None]
    if pictures:
        show_maps([each for each, picture in zip(chosen, shown, strict=True) if picture], pictures, run)


heading("Embeddings", "How a backbone arranges the images, before it has seen a single label.")
with shown_errors():
    page()
