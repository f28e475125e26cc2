"""The audit of a dataset on a page: what is wrong first, what is fine out of the way.

In: a dataset and the store. Out: a box for each leak, warning and note, with its examples; a button that asks for a look
at the pictures; the checks that passed or were not made, folded away.
"""

import pandas as pd
import streamlit as st

from fmlab.audit.report import Audit, Check, Level, Row
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.settings import Home
from fmlab.studies.audits import audit_of, audit_under_way, pictures_known, request_audit
from fmlab.ui import session
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import shown_errors

LEAK_MEANS = (
    "The split leaks: a study on it is refused unless you type the dataset's name when launching; every figure will then "
    "say so."
)
SEEN: dict[Level, tuple[str, str]] = {
    "leak": ("leak", "red"),
    "warning": ("warning", "orange"),
    "note": ("note", "blue"),
    "fine": ("passed", "green"),
    "skipped": ("not made", "gray"),
}


def show_audit(home: Home, dataset: Dataset) -> None:
    """Everything known to be wrong with the dataset, and what can be asked for."""
    store = session.store()
    audit = audit_of(home, store, dataset)
    _show_head(audit, dataset, audit_under_way(store, dataset))
    for check in audit.of_level("leak", "warning", "note"):
        _show_check(check)
    _show_rest(audit)


def _show_head(audit: Audit, dataset: Dataset, busy: bool) -> None:
    """How many checks ended in which way, and the button."""
    known = pictures_known(audit)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Audit", anchor=False, width="content")
        for level, (word, colour) in SEEN.items():
            if found := len(audit.of_level(level)):
                st.badge(f"{found} {word}" if level in ("fine", "skipped") else count(found, word), color=colour)
        st.button(
            "Look again at the pictures" if known else "Look at the pictures",
            key="audit",
            icon=":material/troubleshoot:",
            type="tertiary" if known else "secondary",
            disabled=busy,
            help="Near-duplicates and copies across the split, doubtful labels, text that gives the label away",
            on_click=_request,
            args=(session.home(), dataset.name),
        )


def _request(home: Home, name: str) -> None:
    with shown_errors():
        request_audit(session.store(), open_dataset(home, name), session.actor())


def _show_check(check: Check) -> None:
    text = f"**{escaped(check.title)}?** {escaped(check.sentence)}"
    if check.level == "leak":
        st.error(f"{text} {LEAK_MEANS}", icon=":material/warning:")
    elif check.level == "warning":
        st.warning(text, icon=":material/info:")
    else:
        st.info(text, icon=":material/lightbulb:")
    if len(check.rows) > 1 or check.key == "unreadable":
        shown = f"The first {len(check.rows):,} of {check.count:,}" if check.count > len(check.rows) else "All of them"
        with st.expander(shown, icon=":material/list:"):
            st.dataframe(example_table(check.rows), hide_index=True, key=f"audit_{check.key}")


def example_table(rows: tuple[Row, ...]) -> pd.DataFrame:
    """Examples of a check as a table, `other_split` as `Other split`."""
    table = pd.DataFrame(list(rows))
    return table.rename(columns={name: name.replace("_", " ").capitalize() for name in table})


def _show_rest(audit: Audit) -> None:
    """The checks that found nothing, and those that could not be made, each with its sentence."""
    passed, skipped = audit.of_level("fine"), audit.of_level("skipped")
    if not passed and not skipped:
        return
    title = f"{count(len(passed), 'check')} passed" + (f", {len(skipped)} not made" if skipped else "")
    with st.expander(title, icon=":material/checklist:"):
        for check in (*passed, *skipped):
            icon = ":material/check:" if check.level == "fine" else ":material/do_not_disturb_on:"
            st.markdown(f"{icon} **{escaped(check.title)}.** {escaped(check.sentence)}")
