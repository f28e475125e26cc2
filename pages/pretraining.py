"""Pretraining: make a backbone of your own from images without labels, and see whether it learns."""

import streamlit as st

from fmlab.backbones.catalogue import catalogue
from fmlab.data.manifest import dataset_names
from fmlab.pretrain.configs import Pretraining
from fmlab.pretrain.spelling import command_of
from fmlab.runs.records import UNFINISHED
from fmlab.settings import Home
from fmlab.ui import links, session
from fmlab.ui.heading import heading
from fmlab.ui.messages import empty_state, shown_errors
from fmlab.ui.pretraining_comparison import show_comparison
from fmlab.ui.pretraining_form import choose_pretraining, hold_form
from fmlab.ui.pretraining_plan import pretrain_plan, show_plan
from fmlab.ui.pretraining_watch import COMPARE, NEW, WATCH, pretrainings, show_watch


def new(home: Home, taken: list[str]) -> None:
    """What to pretrain on the left, what it takes and the button on the right."""
    names = dataset_names(home)
    if not names:
        empty_state(
            "No images to learn from yet",
            "Import some first; they need no labels. Or start the demo, which draws its own.",
            [
                lambda: links.link(links.DATASETS, "Import images", ":material/photo_library:"),
                lambda: links.link(links.OVERVIEW, "Start the demo", ":material/play_circle:"),
            ],
        )
        return
    settings, price = st.columns([5, 4], gap="large")
    asked: Pretraining | None = None
    with settings, shown_errors():
        asked = choose_pretraining(home, names, taken)
    if asked is None:
        return
    with price, st.container(border=True), shown_errors():
        st.subheader("Plan", anchor=False)
        show_plan(asked, pretrain_plan(home, session.store(), asked))
    st.caption("The same from the command line")
    st.code(command_of(asked), language="bash", wrap_lines=True)


def page() -> None:
    """The whole page; a broken store ends it with one message."""
    home, store = session.home(), session.store()
    hold_form()
    runs = pretrainings(store)
    first = WATCH if runs else NEW
    section = links.choose_segment(
        "Section", [NEW, WATCH, COMPARE], "section", first, label_visibility="collapsed", width="stretch"
    )
    if section == WATCH:
        show_watch(home, store, runs)
    elif section == COMPARE:
        show_comparison(home, store)
    else:
        waiting = [str(run.config["asked"]["key"]) for run in runs if run.state in UNFINISHED]
        new(home, [*catalogue(home), *waiting])


heading("Pretraining", "Make a backbone of your own from images without labels, and see whether it learns.")
with shown_errors():
    page()
