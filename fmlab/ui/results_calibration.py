"""Calibration on a page: whether answers given with 90 % confidence are right in 90 % of such cases.

In: a `ChosenStudy`; the point in the address. Out: the reliability diagram, or why there is none.
"""

import streamlit as st

from fmlab.errors import BadInput
from fmlab.plots.reliability import reliability_diagram
from fmlab.plots.wording import adaptation_name, percent, size_text, test_set_name
from fmlab.studies.calibration import Calibration, calibration_of
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import shown_errors
from fmlab.ui.study_choice import Cell, ChosenStudy, choose_cell, choose_test_set, rows_of
from fmlab.ui.theme import mode, show_figure


def show_calibration(study: ChosenStudy) -> None:
    """The diagram of one point of the curve, over its runs together."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        cell = choose_cell(study)
        test_set = choose_test_set(study)
    rows = rows_of(study, cell, test_set)
    if rows.empty:
        st.info(
            f"No run of this point has finished on {escaped(test_set_name(test_set))} yet.",
            icon=":material/hourglass_top:",
        )
        return
    with shown_errors():
        try:
            found = calibration_of(study.home, study.store, tuple(rows["run"]), test_set)
        except BadInput as refusal:  # nothing is wrong: these scores are no probabilities
            st.info(escaped(str(refusal)), icon=":material/info:")
            return
        _show(study, cell, test_set, found)


def _show(study: ChosenStudy, cell: Cell, test_set: str, found: Calibration) -> None:
    left, right = st.columns([3, 2], gap="large")
    with left:
        bounds = found.interval.low, found.interval.high
        show_figure(reliability_diagram(found.table, found.ece, bounds, mode=mode(), **study.said), key="reliability")
    with right:
        st.metric("Mean confidence", percent(found.confidence))
        st.metric("Accuracy", percent(found.accuracy), verdict(found), delta_color="off", delta_arrow="off")
        st.markdown(
            "Each bar is how often answers given with that confidence are right. On the dotted line confidence is what it "
            "says. The hatched part is the gap between the two."
        )
        st.caption(
            f"{escaped(cell.backbone)}, {escaped(adaptation_name(cell.adaptation))}, {size_text(cell.size, study.scheme)}, "
            f"{escaped(test_set_name(test_set))}; {count(found.runs, 'run')} together. Expected calibration error over 15 "
            f"bins of equal width (Guo et al. 2017), its interval from drawing the tested {found.resampled} again. "
            f"Brier score {found.brier:.3f} (0 is perfect, 2 the worst)."
        )


def verdict(found: Calibration) -> str:
    """Whether answers are surer than they are right, in words."""
    gap = found.confidence - found.accuracy
    if abs(gap) < 0.01:
        return "as sure as right"
    return f"{100 * abs(gap):.1f} points {'surer than right' if gap > 0 else 'less sure than right'}"
