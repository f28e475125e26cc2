"""Runs: what is at work, what waits, what became of the rest."""

import streamlit as st

from fmlab.ui import links, session
from fmlab.ui.heading import heading
from fmlab.ui.messages import empty_state, shown_errors
from fmlab.ui.progress import STATES, live_groups, state_line
from fmlab.ui.run_tables import KINDS, filtered
from fmlab.ui.runs_view import act_on_runs, choose_runs, failures, show_comparison, show_events, show_log
from fmlab.ui.training_view import show_training

DETAILS = ["Log", "Training", "Compare", "Events"]


def nothing_at_work() -> None:
    """What stands in place of the bars."""
    st.caption("Nothing is at work.")


def page() -> None:
    """The whole page; a broken store ends it with one message."""
    store = session.store()
    if not session.launcher().holding:
        st.info(
            "Another process executes the runs of this home; this page watches it and can cancel and retry.",
            icon=":material/visibility:",
        )
    if not store.counts():
        empty_state(
            "Nothing has been run yet",
            "Launch a study on one of your datasets, or the demo on the Overview.",
            [
                lambda: links.link(links.LAUNCH, "Launch a study", ":material/rocket_launch:"),
                lambda: links.link(links.OVERVIEW, "Overview", ":material/home:"),
            ],
        )
        return
    studies = [study.name for study in store.studies()]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        study = links.choose("Study", studies, "study", index=None, placeholder="All work", width=300)
        kind = (
            None
            if study
            else links.choose("What", list(KINDS), "kind", KINDS.get, index=None, placeholder="All", width=200)
        )
        states = st.pills(
            "State",
            list(STATES),
            selection_mode="multi",
            key="state",
            format_func=lambda state: STATES[state][0],
            bind="query-params",
        )
    all_runs = store.runs(study)
    with st.container(horizontal=True, vertical_alignment="center"):
        state_line(store.counts(study))
        if study:
            links.link(links.RESULTS, "Results of this study", ":material/show_chart:", {"study": study})
    live_groups("runs", study=study, idle=nothing_at_work)
    failures(all_runs)
    wanted = filtered(all_runs, states, kind)
    chosen = choose_runs(all_runs, wanted, key=f"runs_{study}_{kind}_{'_'.join(states)}")
    act_on_runs(all_runs, chosen, wanted)
    groups = all_runs.loc[all_runs["key"].isin(chosen), "group"].unique().tolist()
    match links.choose_segment("Details", DETAILS, "details", label_visibility="collapsed"):
        case "Training":
            show_training(store, study, groups)
        case "Compare":
            show_comparison(store, chosen)
        case "Events":
            show_events(store)
        case _:
            show_log(store, study, groups)


heading("Runs", "What is at work, what waits, and what became of the rest.")
with shown_errors():
    page()
