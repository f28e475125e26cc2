"""What a page says when something is wrong, or not there yet.

In: an `FMLabError`, or a sentence. Out: one calm message on the page; everything below it on the page goes on.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import streamlit as st

from fmlab.errors import FMLabError
from fmlab.ui.format import escaped

SYNTHETIC = "Synthetic images: these numbers say how the software works, nothing about patients."


@contextmanager
def shown_errors() -> Iterator[None]:
    """Show an `FMLabError` raised inside as its sentence; what follows the block still runs.

    A database that SQLite cannot read is such a message too, whoever asked it; every other error keeps its traceback.
    """
    try:
        yield
    except FMLabError as error:
        st.error(escaped(str(error)), icon=":material/error:")
    except sqlite3.DatabaseError as error:
        st.error(
            f"The store of this home cannot be read ({escaped(str(error))}). Restore fmlab.db from a backup, or move it "
            "aside; datasets and embeddings are not in it and stay.",
            icon=":material/error:",
        )


def empty_state(title: str, advice: str, links: Sequence[Callable[[], None]] = ()) -> None:
    """Say that nothing is here yet and what to do next; each of `links` draws one link or button."""
    with st.container(border=True):
        st.markdown(f"**{escaped(title)}**")
        st.caption(advice)
        if links:
            with st.container(horizontal=True):
                for draw in links:
                    draw()


def synthetic_note(synthetic: bool) -> None:
    """The remark that stands wherever a number from a phantom does."""
    if synthetic:
        st.caption(f":material/science: {SYNTHETIC}")


def sentences(level: Callable[..., object], lines: Sequence[str], icon: str) -> None:
    """Several sentences in one box (`st.warning`, `st.error`, `st.info`); none, no box."""
    if lines:
        level("\n\n".join(escaped(line) for line in lines), icon=icon)
