"""A study's results on a page: the curve, the table, the numbers to take away.

In: a `ChosenStudy`. Out: figures and tables; a click on a point of the curve writes its cell into the address, where
the sections below find it.
"""

from collections import Counter

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import yaml
from streamlit.delta_generator import DeltaGenerator

from fmlab.backbones.catalogue import find_backbone
from fmlab.errors import FMLabError
from fmlab.plots.cost import cost_scatter
from fmlab.plots.curves import accuracy_curve
from fmlab.plots.wording import MEASURES, adaptation_name, in_usual_order, measure_name, size_text
from fmlab.studies.results import curve
from fmlab.ui import links
from fmlab.ui.backbone_view import latencies
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import sentences, synthetic_note
from fmlab.ui.results_tables import (
    commands,
    interval_sentence,
    majority_rates,
    sequence_majority,
    side_by_side,
    support_sentences,
    unconverged_sentence,
)
from fmlab.ui.study_choice import Cell, ChosenStudy, size_label
from fmlab.ui.theme import FIGURE_SETTINGS, mode

CURVE = "curve"
BEHIND = "Behind a point"
FEWEST_TO_FILTER = 6  # backbones; fewer are told apart at a glance


def show_curve(study: ChosenStudy, bar: DeltaGenerator) -> None:
    """Accuracy against the number of labels; a click on a point opens its runs below. The widgets go into `bar`."""
    names = {text: key for key, text in MEASURES.items()}
    with bar:
        measure = names[links.choose_segment("Measure", list(names), "measure") or measure_name("image_accuracy")]
        shown = _shown_backbones(study)
    table = study.table[study.table["backbone"].isin(shown)]
    of_sequences = sequence_majority(study.dataset)
    figure = accuracy_curve(
        curve(table, measure),
        majority_rates(study.table, measure, of_sequences),
        study.scheme,
        measure=measure,
        synthetic=study.synthetic,
        remarks=study.remarks,
        backbones=study.backbones,
        mode=mode(),
    )
    _clickable(figure)
    st.caption(f"{escaped(interval_sentence(study.table))} Click a point to see its runs below.")
    _finished_note(study)


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
    """Write the clicked point into the selections of the sections below."""
    points = st.session_state[CURVE]["selection"]["points"]
    if points and points[0].get("customdata"):
        backbone, adaptation, size, test_set = points[0]["customdata"][:4]
        st.session_state.update(Cell(backbone, adaptation, size).address | {"test_set": test_set})
        st.toast(f"The runs behind this point are under “{BEHIND}” below.", icon=":material/arrow_downward:")


def _shown_backbones(study: ChosenStudy) -> list[str]:
    """The backbones to draw: all, or those a person chose when there are many."""
    if len(study.backbones) < FEWEST_TO_FILTER:
        return study.backbones
    chosen = links.choose_several("Backbones", study.backbones, "backbones", placeholder="All", width=300)
    return [key for key in study.backbones if key in chosen] or study.backbones


def _finished_note(study: ChosenStudy) -> None:
    counts = study.store.counts(study.name)
    unsolved = unconverged_sentence(study.table)
    failed = counts.get("failed", 0)
    notes = [unsolved] if unsolved else []
    if failed:
        notes.append(f"{count(failed, 'run')} failed and {'is' if failed == 1 else 'are'} not in the figure.")
    sentences(st.warning, notes, ":material/warning:")
    sentences(st.info, list(study.record.notes), ":material/info:")
    synthetic_note(study.synthetic)


def show_table(study: ChosenStudy) -> None:
    """Test sets × image and sequence accuracy at one size, with intervals, beside the majority class."""
    sizes = sorted(study.table["size"].unique().tolist(), reverse=True)
    options = [str(size) for size in sizes]
    chosen = links.choose(f"{size_label(study.scheme)} in the table", options, "table_size", width=240) or options[0]
    rows = side_by_side(study.table, int(chosen), sequence_majority(study.dataset))
    st.dataframe(rows, hide_index=True, key="summary", width="stretch")
    st.caption(
        f"Percent, at {size_text(int(chosen), study.scheme)}: mean over subsets with its 95 % interval. The order is by the "
        "first column; which backbone is better is decided in the comparison below, not by this order."
    )
    for sentence in support_sentences(study.table, study.dataset):
        st.caption(escaped(sentence))


def show_cost(study: ChosenStudy) -> None:
    """Accuracy at the largest size against measured latency; says how to measure where nothing was."""
    device, measured, disturbed = _latencies(study)
    points = curve(study.table[study.table["size"] == study.table["size"].max()])
    points = points[points["backbone"].isin(measured)]
    if points.empty:
        st.caption(
            "No latency of these backbones has been measured on this machine yet; the Backbones page measures it."
        )
        links.link(links.BACKBONES, "Backbones", ":material/account_tree:")
        return
    # One adaptation for all: taking each backbone's best would choose by the test set.
    test_set, adaptation = study.test_sets[0], in_usual_order(points["adaptation"])[0]
    points = points[(points["test_set"] == test_set) & (points["adaptation"] == adaptation)]
    facts = points["backbone"].map(measured)
    table = points.assign(batch1_ms=[ms for ms, _ in facts], parameters=[parameters for _, parameters in facts])
    figure = cost_scatter(
        table,
        device=device,
        title=f"{test_set}, {adaptation_name(adaptation)}, {size_text(int(table['size'].iloc[0]), study.scheme)}",
        synthetic=study.synthetic,
        remarks=study.remarks,
        backbones=study.backbones,
        mode=mode(),
    )
    st.plotly_chart(figure, theme=None, key="cost", config=FIGURE_SETTINGS)
    missing = [key for key in study.backbones if key not in measured]
    if missing:
        st.caption(f"Not measured on this device: {escaped(', '.join(missing))}. The Backbones page measures them.")
    if disturbed:
        st.caption(
            f"Measured while the machine was busy, and so too slow: {escaped(', '.join(disturbed))}. "
            "Measure again on the Backbones page."
        )


def _latencies(study: ChosenStudy) -> tuple[str, dict[str, tuple[float, int]], list[str]]:
    """Milliseconds for one image and parameters of the study's backbones, on the device that most were measured on.

    Then those whose measurement was disturbed.
    """
    measured = {key: latency for key, latency in latencies(study.store).items() if key in study.backbones}
    counts = Counter(latency.device for latency in measured.values())
    device = counts.most_common(1)[0][0] if counts else ""
    facts: dict[str, tuple[float, int]] = {}
    for key, latency in measured.items():
        parameters = parameter_count(study, key)
        if latency.device == device and parameters is not None:
            facts[key] = (latency.milliseconds, parameters)
    return device, facts, [key for key in facts if measured[key].disturbed]


def parameter_count(study: ChosenStudy, key: str) -> int | None:
    """The parameters of a backbone, by its card; None for one that was removed since."""
    try:
        return find_backbone(study.home, key).parameters
    except FMLabError:
        return None


def show_numbers(study: ChosenStudy) -> None:
    """The numbers to take away: the CSV, the study as a file, and the commands that give the same."""
    with st.container(horizontal=True):
        st.download_button(
            "Every run as CSV",
            data=lambda: csv_text(study.table),
            file_name=f"{study.name}.csv",
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
    st.caption("These commands print the same numbers, and plan the same study again from its file:")
    st.code(commands(study.record), language="bash")


def csv_text(table: pd.DataFrame) -> str:
    """The results table as CSV; fractions 0–1, full precision."""
    return table.to_csv(index=False)
