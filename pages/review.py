"""Review: what a run got wrong, the most confident mistakes first."""

import streamlit as st

from fmlab.ui import session
from fmlab.ui.heading import heading
from fmlab.ui.messages import shown_errors
from fmlab.ui.review_view import show_review
from fmlab.ui.study_choice import choose_study, waiting_note


def page() -> None:
    """The whole page; a broken store ends it with one message."""
    bar = st.container(horizontal=True, vertical_alignment="center")
    choice = bar.popover("Choose the run", icon=":material/tune:", width="content")
    with choice:
        study = choose_study(session.home(), session.store())
    if study is None:
        return
    if study.table.empty:
        waiting_note(study)
        return
    show_review(study, choice, bar)


heading("Review", "What was misclassified, the most confident mistakes first: is the model wrong, or the label?")
with shown_errors():
    page()
