"""Test sets side by side on a page: what is reached with the most labels, and what is lost from typical cases to hard ones.

In: a `ChosenStudy`, a measure. Out: the table (the limited-data study's Table 3, its own numbers beside on request) and
the chart of slopes.
"""

import pandas as pd
import streamlit as st

from fmlab.errors import FMLabError
from fmlab.plots.slopes import slope_chart
from fmlab.plots.wording import measure_name, size_text
from fmlab.studies.maximum import LEVELS, generalisation, largest_common_size, maximum
from fmlab.ui import links
from fmlab.ui.format import escaped
from fmlab.ui.messages import shown_errors
from fmlab.ui.results_tables import change_table, printed_rows, sequence_majority, side_by_side, support_sentences
from fmlab.ui.study_choice import ChosenStudy, choose_size, combination_names
from fmlab.ui.theme import mode, show_figure


def show_test_sets(study: ChosenStudy, measure: str) -> None:
    """The table at one size, the largest common one at first, and the slopes from one test set to the next."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        size = choose_size(study, "table_size", _usual_size(study))
        paper = links.switch("Show the paper's numbers", "paper")
    with shown_errors():
        reached = maximum(study.home, study.store, study.table, size)
        without = study.table[study.table["size"] == 0]
        if size and len(without):
            reached = pd.concat([reached, maximum(study.home, study.store, without, 0)], ignore_index=True)
        _show_table(study, reached, size, paper)
        if len(study.test_sets) > 1:
            _show_slopes(study, reached, size, measure if measure in LEVELS else LEVELS[0])


def _usual_size(study: ChosenStudy) -> int | None:
    try:
        return largest_common_size(study.table)
    except FMLabError:  # no size that all have finished; each stands in the list all the same
        return None


def _show_table(study: ChosenStudy, reached: pd.DataFrame, size: int, paper: bool) -> None:
    rows = side_by_side(reached, study.table, sequence_majority(study.dataset, study.folds, study.labels))
    if paper:
        rows = pd.concat([rows, printed_rows()], ignore_index=True).fillna("–")
    st.dataframe(rows, hide_index=True, key="summary", width="stretch", height="content")
    resampled = reached["resampled"].iloc[0]
    labels = "" if study.labels is None else f" under labels {escaped(study.labels.name)}"
    st.caption(
        f"Percent{labels}, at {size_text(size, study.scheme)}: the mean over subsets; the 95 % interval comes from drawing the "
        f"tested {resampled} again. The order is by the first column; which is better is decided under “Better?”, not by "
        "this order."
    )
    if paper:
        st.caption(
            "The paper's rows are Table 3 of the limited-data study: finetuned on all its 2,871,574 training images of ten "
            "views, tested at its own hospitals. Other images, other numbers: they are a yardstick, not a rival."
        )
    for sentence in support_sentences(study.table, study.dataset, study.folds, study.labels):
        st.caption(escaped(sentence))


def _show_slopes(study: ChosenStudy, reached: pd.DataFrame, size: int, measure: str) -> None:
    columns = {measure: "mean", f"{measure}_low": "low", f"{measure}_high": "high"}
    st.subheader("From typical to hard cases", anchor=False)
    figure = slope_chart(
        reached.rename(columns=columns),
        measure=measure,
        backbones=study.backbones,
        baselines=study.baselines,
        mode=mode(),
        **study.said,
    )
    show_figure(figure, key="slopes")
    changes = generalisation(study.home, study.store, study.table, size)
    names = {pair: name for name, pair in combination_names(study.table, study.backbones, study.baselines).items()}
    st.caption(
        f"What each gains or loses in {measure_name(measure)} (percentage points) stands at its name; bars and intervals come "
        f"from drawing the tested {changes['resampled'].iloc[0]} of every test set again."
    )
    with st.expander("The changes with their intervals"):
        st.dataframe(change_table(changes, measure, names), hide_index=True, key="changes", height="content")
