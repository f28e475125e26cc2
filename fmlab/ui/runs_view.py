"""The list of runs on a page, and what can be done with chosen ones.

In: the store. Out: the rows a person chose, as run keys; buttons; logs; settings side by side; events.

Streamlit keeps a selection as row positions. So while rows are chosen their order is frozen, and positions become run
keys at once; the store checks each key's state again before anything happens to it.
"""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from fmlab.runs.records import RETRIABLE, UNFINISHED, RunState
from fmlab.runs.store import Store
from fmlab.ui import session
from fmlab.ui.format import count, escaped
from fmlab.ui.links import choose, switch
from fmlab.ui.messages import shown_errors
from fmlab.ui.progress import STATES
from fmlab.ui.run_tables import in_frozen_order, log_end, settings_table, shown_runs

TABLE_HEIGHT = 380
ROWS_SEEN = 10  # what fits into it
COMPARED = 8  # columns that fit on a page
_KEY = r"\b([0-9a-f]{8})[0-9a-f]{24}\b"  # a run's key, shown as the table above shows it
WORDS: dict[RunState, str] = {state: words for state, (words, _, _) in STATES.items()}


def choose_runs(all_runs: pd.DataFrame, wanted: pd.DataFrame, key: str) -> list[str]:
    """Show the wanted runs; the keys of the rows a person chose. `key` changes when the filter does."""
    frozen = f"{key}_rows"
    chosen = st.session_state.get(key, {}).get("selection", {}).get("rows", [])
    if chosen and frozen in st.session_state:
        wanted = in_frozen_order(all_runs, st.session_state[frozen])
    st.session_state[frozen] = wanted["key"].tolist()
    state = st.dataframe(
        shown_runs(wanted, WORDS),
        key=key,
        hide_index=True,
        height=TABLE_HEIGHT if len(wanted) > ROWS_SEEN else "auto",
        placeholder="",
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "Seconds": st.column_config.NumberColumn(format="%.2f"),
            "Finished": st.column_config.DatetimeColumn(format="distance", width=130),
            "Reason": st.column_config.TextColumn(width="large"),
        },
    )
    rows = [row for row in state["selection"]["rows"] if row < len(wanted)]
    return wanted["key"].iloc[rows].tolist()


def act_on_runs(all_runs: pd.DataFrame, chosen: Sequence[str], shown: pd.DataFrame) -> None:
    """Buttons to cancel and to retry the chosen runs; without a choice, all that are shown."""
    states = all_runs[all_runs["key"].isin(list(chosen))] if chosen else shown
    unfinished = states.loc[states["state"].isin(UNFINISHED), "key"].tolist()
    retriable = states.loc[states["state"].isin(RETRIABLE), "key"].tolist()
    if not (chosen or unfinished or retriable):
        return
    whose = "chosen" if chosen else "shown"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Cancel {count(len(unfinished), f'{whose} run')}",
            key="cancel_runs",
            icon=":material/stop_circle:",
            disabled=not unfinished,
            on_click=_cancel,
            args=(unfinished,),
        )
        st.button(
            f"Retry {count(len(retriable), f'{whose} run')}",
            key="retry_runs",
            icon=":material/replay:",
            disabled=not retriable,
            on_click=_retry,
            args=(retriable,),
        )
        if chosen:
            st.caption(f"{count(len(chosen), 'run')} chosen; the order of the rows rests until you clear the choice.")


def _cancel(keys: Sequence[str]) -> None:
    with shown_errors():
        asked = session.store().cancel(keys, by=session.actor())
        st.toast(f"{count(asked, 'run')} asked to stop.", icon=":material/stop_circle:")


def _retry(keys: Sequence[str]) -> None:
    with shown_errors():
        queued = session.store().retry(keys, by=session.actor())
        st.toast(f"{count(queued, 'run')} queued again.", icon=":material/replay:")


def show_comparison(store: Store, chosen: Sequence[str]) -> None:
    """The settings and outcomes of the chosen runs side by side."""
    if not chosen:
        st.caption("Choose runs in the table to see their settings and outcomes side by side.")
        return
    differences = switch("Differences only", "differences", value=True)
    table = settings_table([store.run(key) for key in chosen[:COMPARED]], differences)
    if table.empty:
        st.caption("The chosen runs agree in everything.")
    else:
        st.dataframe(table, hide_index=True, key="comparison")
    if len(chosen) > COMPARED:
        st.caption(f"The first {COMPARED} of {len(chosen)} chosen runs.")


def show_log(store: Store, study: str | None, chosen_groups: Sequence[str]) -> None:
    """The end of the log of a group: of a chosen run, or picked from the list; it grows while the group is at work."""
    groups = {group.key: group for group in store.groups(study=study)}
    offered = [key for key in chosen_groups if key in groups] or list(groups)
    if not offered:
        st.caption("Nothing has been run yet.")
        return
    titles = {key: f"{groups[key].title} · {key[:6]}" for key in offered}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = choose("Group", offered, "group", format_func=titles.__getitem__, width=520)
        group = groups[key or offered[0]]
        words, colour, icon = STATES[group.state]
        st.badge(words, color=colour, icon=icon)

    @st.fragment(run_every=2.0 if group.state == "running" else None)
    def text() -> None:
        lines = log_end(group.log)
        if lines:
            st.code(lines, language=None, height=300, wrap_lines=True)
        else:
            st.caption("Nothing has been logged yet.")

    text()


def show_events(store: Store) -> None:
    """Who asked for what, the newest first."""
    events = store.events(200)
    if events.empty:
        st.caption("Nothing has happened yet.")
        return
    events["time"] = pd.to_datetime(events["time"], utc=True, format="ISO8601")
    events["subject"] = events["subject"].str.replace(_KEY, r"\1", regex=True)
    st.dataframe(
        events[["time", "actor", "via", "verb", "details", "subject"]].rename(columns=str.capitalize),
        hide_index=True,
        key="events",
        height=300,
        column_config={"Time": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")},
    )


def failures(all_runs: pd.DataFrame) -> None:
    """Each different reason why runs failed, once, with how many runs it stopped."""
    reasons = all_runs.loc[all_runs["state"] == "failed", "reason"].fillna("No reason was kept.").value_counts()
    for reason, number in reasons.head(5).items():
        st.error(f"{count(int(number), 'run')} failed: {escaped(str(reason))}", icon=":material/error:")
