"""Results: how accuracy grows with the number of labels, who is better, at which cost, and what is behind each point."""

from collections.abc import Callable

import streamlit as st

from fmlab.runs.records import CELL_KINDS
from fmlab.ui import links, session
from fmlab.ui.heading import heading
from fmlab.ui.messages import shown_errors
from fmlab.ui.progress import live_groups
from fmlab.ui.results_calibration import show_calibration
from fmlab.ui.results_cost import show_cost
from fmlab.ui.results_detail import show_detail
from fmlab.ui.results_labels import show_labels
from fmlab.ui.results_ranking import show_ranking
from fmlab.ui.results_relabelled import has_corrections, show_relabelled
from fmlab.ui.results_test_sets import show_test_sets
from fmlab.ui.results_view import BEHIND, choose_measure, show_curve, show_notes, show_numbers
from fmlab.ui.study_choice import ChosenStudy, choose_study, waiting_note


def show_points(study: ChosenStudy, measure: str) -> None:
    """The curve, and what is behind one of its points."""
    show_curve(study, measure)
    st.subheader(BEHIND, anchor=False)
    show_detail(study)


CORRECTED = "Corrected labels"  # only there when labels of the dataset were corrected

# The words on the widget → what is drawn, with the study and the measure; only the open one is.
SECTIONS: dict[str, Callable[[ChosenStudy, str], None]] = {
    "Curve": show_points,
    "Test sets": show_test_sets,
    "Better?": show_ranking,
    "Labels": show_labels,
    "Cost": show_cost,
    "Calibration": lambda study, _: show_calibration(study),
    CORRECTED: show_relabelled,
    "Numbers": lambda study, _: show_numbers(study),
}


def page() -> None:
    """The whole page; a broken store ends it with one message."""
    bar = st.container(horizontal=True, vertical_alignment="bottom")
    with bar:
        study = choose_study(session.home(), session.store())
    if study is None:
        return
    live_groups("results", kinds=CELL_KINDS, study=study.name)
    if study.table.empty:
        waiting_note(study)
        return
    measure = choose_measure(bar)
    sections = [name for name in SECTIONS if name != CORRECTED or has_corrections(study)]
    section = links.choose_segment("Section", sections, "section", label_visibility="collapsed", width="stretch")
    with shown_errors():
        SECTIONS[section or "Curve"](study, measure)
    show_notes(study)


heading("Results", "Accuracy against the number of labels, on every test set.")
with shown_errors():
    page()
