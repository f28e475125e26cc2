"""Results: how accuracy grows with the number of labels, and what is behind each point."""

import streamlit as st

from fmlab.ui import session
from fmlab.ui.comparison_view import show_comparison
from fmlab.ui.heading import heading
from fmlab.ui.messages import shown_errors
from fmlab.ui.progress import live_groups
from fmlab.ui.results_detail import show_detail
from fmlab.ui.results_view import BEHIND, show_cost, show_curve, show_numbers, show_table
from fmlab.ui.study_choice import choose_study, waiting_note


def page() -> None:
    """The whole page; a broken store ends it with one message."""
    bar = st.container(horizontal=True, vertical_alignment="bottom")
    with bar:
        study = choose_study(session.home(), session.store())
    if study is None:
        return
    live_groups("results", kinds=("adapt",), study=study.name)
    if study.table.empty:
        waiting_note(study)
        return
    show_curve(study, bar)
    st.subheader("Test sets side by side", anchor=False)
    show_table(study)
    st.subheader(BEHIND, anchor=False)
    show_detail(study)
    st.subheader("Is one better than the other?", anchor=False)
    show_comparison(study)
    st.subheader("Accuracy and speed", anchor=False)
    show_cost(study)
    st.subheader("The numbers", anchor=False)
    show_numbers(study)


heading("Results", "Accuracy against the number of labels, on every test set.")
with shown_errors():
    page()
