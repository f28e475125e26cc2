"""Launch: put a study together, see its price, start it."""

import streamlit as st

from fmlab.data.manifest import Dataset, dataset_names, open_dataset
from fmlab.settings import Home
from fmlab.studies.configs import StudyConfig
from fmlab.studies.launch import launch
from fmlab.studies.planner import Plan, plan
from fmlab.studies.presets import Preset
from fmlab.studies.spelling import command_line
from fmlab.ui import links, session
from fmlab.ui.format import escaped
from fmlab.ui.heading import heading
from fmlab.ui.launch_view import (
    choose_preset,
    choose_settings,
    names_line,
    plan_table,
    show_price,
    show_remarks,
    summary_line,
)
from fmlab.ui.messages import empty_state, shown_errors


def start(home: Home, config: StudyConfig) -> None:
    """Launch the study and go where its runs are."""
    launch(home, session.store(), config, by=session.actor())
    links.go(links.RUNS, {"study": config.name})


def price_and_button(home: Home, dataset: Dataset, preset: Preset, config: StudyConfig) -> Plan:
    """The plan, the button, and what to know before pressing it."""
    st.markdown(summary_line(config, dataset))
    st.caption(names_line(config, preset))
    price = plan(home, session.store(), config)
    show_price(price)
    blocked = bool(price.refusals) or not price.cells
    if st.button("Launch the study", type="primary", icon=":material/rocket_launch:", disabled=blocked):
        start(home, config)
    show_remarks(price)
    return price


def page() -> None:
    """The whole page."""
    home = session.home()
    names = dataset_names(home)
    if not names:
        empty_state(
            "No dataset to study yet",
            "Import images first, or start the demo, which draws its own.",
            [
                lambda: links.link(links.DATASETS, "Import images", ":material/photo_library:"),
                lambda: links.link(links.OVERVIEW, "Start the demo", ":material/play_circle:"),
            ],
        )
        return
    settings, price = st.columns([5, 4], gap="large")
    with settings:
        name = links.choose("Dataset", names, "dataset", width=360)
        preset = choose_preset()
        st.caption(escaped(preset.summary))
        dataset = open_dataset(home, name or names[0])
        config = choose_settings(home, session.store(), dataset, preset)
    parts = st.expander("What each backbone costs", icon=":material/account_tree:")
    with price, st.container(border=True), shown_errors():
        st.subheader("Plan", anchor=False)
        shown = price_and_button(home, dataset, preset, config)
        parts.dataframe(plan_table(shown), hide_index=True, key="plan")
    st.caption("The same from the command line")
    st.code(command_line(config), language="bash", wrap_lines=True)


heading("Launch", "Put a study together, see its price, start it.")
with shown_errors():
    page()
