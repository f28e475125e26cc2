"""Work in progress, live: bars that move by themselves, and a page that redraws when a run changed its state.

In: the store. Out: one bar per group at work, refreshed every second while there is work.

The fragment that moves the bars draws nothing else. The page around it is redrawn only when a run was added, began or
ended, and not more often than every `PAGE_SECONDS`, so that a table of thousands of runs costs nothing in between.
"""

import time
from collections.abc import Callable, Collection

import streamlit as st

from fmlab.runs.records import Group, RunState
from fmlab.runs.store import Store
from fmlab.ui import session
from fmlab.ui.format import count, duration, escaped
from fmlab.ui.messages import shown_errors

BUSY_SECONDS = 1.0
IDLE_SECONDS = 2.0
PAGE_SECONDS = 3.0
UNITS = {"download": " MB"}  # what a group counts, where its message does not say so

STATES: dict[RunState, tuple[str, str, str]] = {  # what is said, its colour, its icon
    "queued": ("Queued", "gray", ":material/schedule:"),
    "running": ("Running", "blue", ":material/play_arrow:"),
    "done": ("Done", "green", ":material/check:"),
    "failed": ("Failed", "orange", ":material/error:"),
    "cancelled": ("Cancelled", "gray", ":material/cancel:"),
    "interrupted": ("Interrupted", "violet", ":material/power_off:"),
}


def live_groups(
    key: str, kinds: Collection[str] | None = None, study: str | None = None, idle: Callable[[], None] | None = None
) -> None:
    """Bars of the groups at work or waiting, of some kinds or one study; `idle` draws what stands there without any.

    Call it at the top level of a page, once per page: live fragments do not nest.
    """
    drawn = f"{key}_drawn"
    st.session_state[drawn] = (_signature(session.store()), time.monotonic())
    busy = bool(session.store().groups(active_only=True))

    @st.fragment(run_every=BUSY_SECONDS if busy else IDLE_SECONDS)
    def bars() -> None:
        with shown_errors():
            store = session.store()
            signature, moment = st.session_state[drawn]
            changed = _signature(store) != signature
            if changed and time.monotonic() - moment >= PAGE_SECONDS:
                st.rerun()
            groups = [g for g in store.groups(active_only=True, study=study) if kinds is None or g.kind in kinds]
            if groups:
                with st.container(border=True, gap="xsmall"):
                    for group in groups:
                        draw_group(group, key)
            elif idle is not None:
                idle()

    bars()


def draw_group(group: Group, key: str) -> None:
    """One line of title, state and a button to cancel; below it, while it runs, the bar and the numbers."""
    words, colour, icon = STATES[group.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{escaped(group.title)}**", width="stretch")
        st.badge(words, color=colour, icon=icon)
        st.button(
            "Cancel",
            key=f"{key}_cancel_{group.key}",
            icon=":material/stop_circle:",
            type="tertiary",
            on_click=cancel_group,
            args=(group.key,),
        )
    if group.state == "running":
        st.progress(_fraction(group), text=escaped(progress_text(group)))


def cancel_group(group: str) -> None:
    """Cancel every unfinished run of a group."""
    with shown_errors():
        store = session.store()
        table = store.runs()
        store.cancel(table.loc[table["group"] == group, "key"].tolist(), by=session.actor())


def progress_text(group: Group) -> str:
    """`embedding images · 1,280 of 2,600 · 312 per second · about 4 s left`, as far as it is known."""
    parts = [group.message or "starting"]
    if group.total > 1:
        parts.append(f"{group.done:,} of {group.total:,}{UNITS.get(group.kind, '')}")
    if group.rate:
        digits = 0 if group.rate >= 10 else 1
        parts.append(f"{group.rate:,.{digits}f}{UNITS.get(group.kind, '')} per second")
    if group.seconds_left is not None:
        parts.append(f"about {duration(group.seconds_left)} left")
    return " · ".join(parts)


def state_line(counts: dict[RunState, int]) -> None:
    """How many runs are in each state, as one row of badges; states without a run are left out."""
    with st.container(horizontal=True):
        for state, (words, colour, icon) in STATES.items():
            if counts.get(state):
                st.badge(f"{words}: {count(counts[state])}", color=colour, icon=icon)


def _fraction(group: Group) -> float:
    return min(1.0, group.done / group.total) if group.total else 0.0


def _signature(store: Store) -> tuple[object, ...]:
    return tuple(sorted(store.counts().items()))
