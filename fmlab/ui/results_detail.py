"""One point of the curve taken apart: its runs, what was confused, each class, each site.

In: a `ChosenStudy`; the point is in the address. Out: figures over the point's runs; links to Review and to the map.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from fmlab.plots.confusion import confusion_matrix
from fmlab.plots.dots import CLASS_MEASURES, per_class_dots, per_site_dots
from fmlab.plots.wording import SYNTHETIC_REMARK, adaptation_name, size_text, test_set_name
from fmlab.studies.scoring import Level, confusion, interval_table, per_class, per_site
from fmlab.ui import links
from fmlab.ui.confusion_matrix import confusion_table
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import shown_errors
from fmlab.ui.results_opened import open_answers
from fmlab.ui.results_tables import run_intervals, seeds_table
from fmlab.ui.study_choice import Cell, ChosenStudy, choose_cell, choose_seed, choose_test_set, rows_of
from fmlab.ui.theme import FIGURE_SETTINGS, mode, show_figure

PARTS = ["Runs", "Confusion", "Classes", "Sites"]


def show_detail(study: ChosenStudy) -> None:
    """The chosen point, one of its four parts at a time."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        cell = choose_cell(study)
        test_set = choose_test_set(study)
    part = links.choose_segment("Part", PARTS, "part", label_visibility="collapsed")
    rows = rows_of(study, cell, test_set)
    if rows.empty:
        st.info(
            f"No run of this point has finished on {escaped(test_set_name(test_set))} yet.",
            icon=":material/hourglass_top:",
        )
        return
    with shown_errors():
        if part == "Confusion":
            _confusion(study, cell, test_set, rows)
        elif part == "Classes":
            _classes(study, cell, test_set, rows)
        elif part == "Sites":
            _sites(study, cell, test_set, rows)
        else:
            _runs(study, cell, test_set, rows)


def _words(study: ChosenStudy, cell: Cell, test_set: str) -> str:
    size = size_text(cell.size, study.scheme)
    return f"{cell.backbone}, {adaptation_name(cell.adaptation)}, {size}, {test_set_name(test_set)}"


def _title(study: ChosenStudy, cell: Cell, test_set: str) -> str:
    return f"<span style='font-size:14px'>{_words(study, cell, test_set)}</span>"


def _runs(study: ChosenStudy, cell: Cell, test_set: str, rows: pd.DataFrame) -> None:
    st.dataframe(seeds_table(rows), hide_index=True, key="seeds", width="stretch", height=min(38 + 35 * len(rows), 320))
    st.markdown("**One run on its own:** how much its numbers depend on which patients were tested")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        run = choose_seed(rows)
        selection = study.address | cell.address | {"seed": str(run["seed"])}
        links.link(
            links.REVIEW, "Review what it got wrong", ":material/fact_check:", selection | {"test_set": test_set}
        )
        on_map = selection | {"dataset": study.dataset.name, "colour": "Correctness"}
        links.link(links.EMBEDDINGS, "See it on the map", ":material/scatter_plot:", on_map)
    intervals = interval_table(study.home, study.store, [run["run"]], test_set)
    st.dataframe(run_intervals(intervals), hide_index=True, key="intervals", width="content")
    st.caption(
        f"{count(int(run['n_images']), 'image')} and {count(int(run['n_sequences']), 'sequence')} tested. The intervals come "
        "from drawing the tested patients (sequences, where patients are unknown) again with replacement."
    )


def _confusion(study: ChosenStudy, cell: Cell, test_set: str, rows: pd.DataFrame) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        unit = str(links.choose_segment("Counted", ["images", "sequences"], "counted", label_visibility="collapsed"))
        drawn = links.switch("As a figure, to save it", "figure")
    level: Level = "sequence" if unit == "sequences" else "image"
    matrix, classes = confusion(study.home, study.store, rows["run"].tolist(), test_set, level)
    if drawn:
        title = _title(study, cell, test_set)
        figure = confusion_matrix(matrix, classes, unit=unit, title=title, mode=mode(), **study.said)
        show_figure(figure, key="confusion")
    else:
        said = [*([SYNTHETIC_REMARK] if study.synthetic else []), *study.remarks]
        words = _words(study, cell, test_set)
        opened = confusion_table("matrix", matrix, classes, title=words, unit=unit, remarks=said, mode=mode())
        if opened is not None:
            open_answers(study, cell, test_set, rows, level, *opened)
    if len(rows) > 1:
        st.caption(
            f"Counts are summed over {len(rows)} runs, which are all tested on the same {unit}. A cell opens those of the "
            "run that has most of them."
        )


def _classes(study: ChosenStudy, cell: Cell, test_set: str, rows: pd.DataFrame) -> None:
    table = per_class(study.home, study.store, rows["run"].tolist(), test_set)
    figure = per_class_dots(table, title=_title(study, cell, test_set), mode=mode(), **study.said)
    event = st.plotly_chart(
        figure, theme=None, key="classes", on_select="rerun", selection_mode="points", config=FIGURE_SETTINGS
    )
    averaged = f"Means over {len(rows)} runs. " if len(rows) > 1 else ""
    st.caption(
        f"{averaged}Recall: of the images of a class, how many were called so. Precision: of the images called so, how "
        "many are. n: test images of the class. A click on a dot opens the mistakes behind it: for precision those that "
        "were called so, else those of the class."
    )
    for point in event["selection"]["points"][:1]:
        name, precision = str(point["customdata"][0]), table_measure(point) == "precision"
        truth, answer = (None, name) if precision else (name, None)
        open_answers(study, cell, test_set, rows, "image", truth, answer)


def table_measure(point: Mapping[str, Any]) -> str:
    """Which of the three measures a clicked dot shows: they are drawn one after another."""
    return list(CLASS_MEASURES)[int(point["curve_number"])]


def _sites(study: ChosenStudy, cell: Cell, test_set: str, rows: pd.DataFrame) -> None:
    table = per_site(study.home, study.store, rows["run"].tolist(), test_set)
    known = table[table["site"].notna()]
    if known.empty:
        st.caption("The sites of these images are unknown.")
        return
    figure = per_site_dots(
        known,
        float(rows["majority_rate"].iloc[0]),
        title=_title(study, cell, test_set),
        mode=mode(),
        **study.said,
    )
    st.plotly_chart(figure, theme=None, key="sites", config=FIGURE_SETTINGS)
