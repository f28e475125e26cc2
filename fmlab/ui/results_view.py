"""A study's results on a page, one section at a time: the curve, what is behind its points, the numbers to take away.

In: a `ChosenStudy`. Out: figures and tables; a click on a point of the curve writes its cell into the address, where
the section below finds it. The other sections are in the files beside this one; only the open one is computed.
"""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import yaml
from streamlit.delta_generator import DeltaGenerator

from fmlab.plots.curves import accuracy_curve
from fmlab.plots.wording import MEASURES, measure_name
from fmlab.studies.points import over_what, points
from fmlab.studies.results import absent_sentence
from fmlab.ui import links
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import sentences, synthetic_note
from fmlab.ui.results_tables import (
    commands,
    majority_rates,
    sequence_majority,
    unconverged_sentence,
)
from fmlab.ui.study_choice import Cell, ChosenStudy
from fmlab.ui.theme import FIGURE_SETTINGS, mode

CURVE = "curve"
BEHIND = "Behind a point"
FEWEST_TO_FILTER = 6  # backbones; fewer are told apart at a glance


def choose_measure(bar: DeltaGenerator) -> str:
    """The measure that curve, comparisons and cost are in; the widget goes into `bar`."""
    names = {text: key for key, text in MEASURES.items()}
    with bar:
        return names[links.choose_segment("Measure", list(names), "measure") or measure_name("image_accuracy")]


def show_curve(study: ChosenStudy, measure: str) -> None:
    """Accuracy against the number of labels; a click on a point opens its runs below."""
    shown = _shown_backbones(study)
    table = study.table[study.table["backbone"].isin(shown)]
    of_sequences = sequence_majority(study.dataset, study.folds, study.labels)
    found = points(study.home, study.store, table, measure)
    figure = accuracy_curve(
        found,
        majority_rates(study.table, measure, of_sequences),
        study.scheme,
        measure=measure,
        backbones=study.backbones,
        baselines=study.baselines,
        mode=mode(),
        **study.said,
    )
    _clickable(figure)
    st.caption(f"{escaped(over_what(found))} Click a point to see its runs below.")


def _clickable(figure: go.Figure) -> None:
    st.plotly_chart(
        figure,
        theme=None,
        key=CURVE,
        on_select=_open_point,
        selection_mode="points",
        config=FIGURE_SETTINGS,
    )


def _open_point() -> None:
    """Write the clicked point into the selections of the section below."""
    chosen = st.session_state[CURVE]["selection"]["points"]
    if chosen and chosen[0].get("customdata"):
        backbone, adaptation, size, test_set = chosen[0]["customdata"][:4]
        st.session_state.update(Cell(backbone, adaptation, size).address | {"test_set": test_set})
        st.toast(f"The runs behind this point are under “{BEHIND}” below.", icon=":material/arrow_downward:")


def _shown_backbones(study: ChosenStudy) -> list[str]:
    """The backbones to draw: all, or those a person chose when there are many."""
    if len(study.backbones) < FEWEST_TO_FILTER:
        return study.backbones
    chosen = links.choose_several("Backbones", study.backbones, "backbones", placeholder="All", width=300)
    return [key for key in study.backbones if key in chosen] or study.backbones


def show_notes(study: ChosenStudy) -> None:
    """What has to be known about the study's numbers, whichever section is open."""
    counts = study.store.counts(study.name)
    unsolved = unconverged_sentence(study.table)
    failed = counts.get("failed", 0)
    notes = [sentence for sentence in (unsolved, absent_sentence(study.table)) if sentence]
    if failed:
        notes.append(f"{count(failed, 'run')} failed and {'is' if failed == 1 else 'are'} not in the figures.")
    sentences(st.warning, notes, ":material/warning:")
    if study.record.notes:
        with st.expander(f"Notes from the launch ({len(study.record.notes)})", icon=":material/info:"):
            st.markdown("\n".join(f"- {escaped(note)}" for note in study.record.notes))
    synthetic_note(study.synthetic)


def show_numbers(study: ChosenStudy) -> None:
    """The numbers to take away: the CSV, the study as a file, and the commands that give the same."""
    with st.container(horizontal=True):
        st.download_button(
            "Every run as CSV",
            data=lambda: csv_text(study.table),
            file_name=f"{study.name}{'' if study.labels is None else f'-labels-{study.labels.name}'}.csv",
            mime="text/csv",
            icon=":material/download:",
            key="download_csv",
        )
        st.download_button(
            "The study as YAML",
            data=lambda: yaml.safe_dump(study.record.config, sort_keys=False, allow_unicode=True),
            file_name=f"{study.name}.yaml",
            mime="application/yaml",
            icon=":material/download:",
            key="download_study",
        )
    st.caption(
        "The first command prints every run, the second writes every table as CSV, the third plans the same study."
    )
    st.code(commands(study.record, study.labels), language="bash")


def csv_text(table: pd.DataFrame) -> str:
    """The results table as CSV; fractions 0–1, full precision."""
    return table.to_csv(index=False)
