"""Where the pages are, and selections kept in the address, so that a link opens what its sender saw.

In: a widget's options and its name in the address. Out: the choice; links to other pages with theirs.

The widgets here are bound to the address by Streamlit: a value that is not among the options is dropped from it, and a
value equal to the widget's own default leaves no trace.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

OVERVIEW = "pages/overview.py"
DATASETS = "pages/datasets.py"
BACKBONES = "pages/backbones.py"
LAUNCH = "pages/launch.py"
RUNS = "pages/runs.py"
PRETRAINING = "pages/pretraining.py"
RESULTS = "pages/results.py"
EMBEDDINGS = "pages/embeddings.py"
REVIEW = "pages/review.py"

WAITING = "waiting_selection"


def link(page: str, label: str, icon: str | None = None, selection: Mapping[str, str] | None = None) -> None:
    """A link to another page, with the selection it shall open with."""
    st.page_link(page, label=label, icon=icon, query_params=dict(selection) if selection else None)


def go(page: str, selection: Mapping[str, str] | None = None) -> None:
    """Open another page at once; the script ends here.

    Streamlit refuses to write into the address what a widget of the present page is bound to. Such values wait in the
    session until `arrive` gives them to the widgets of the other page, which write them into the address.
    """
    wanted = dict(selection or {})
    st.session_state[WAITING] = {name: value for name, value in wanted.items() if name in st.session_state}
    st.switch_page(page, query_params={name: value for name, value in wanted.items() if name not in st.session_state})


def arrive() -> None:
    """Give what `go` left waiting to the widgets of this page; call it before any of them is drawn."""
    st.session_state.update(st.session_state.pop(WAITING, {}))


def choose(
    label: str,
    options: Sequence[str],
    name: str,
    format_func: Callable[[Any], str] = str,
    index: int | None = 0,
    **settings: Any,
) -> str | None:
    """A select box whose choice is `?name=` in the address; None when nothing is chosen or there are no options.

    `index` is the option chosen at first, None for none. The address names that one as well: what comes first today may
    not be first tomorrow, when the link is opened.
    """
    if options and index is not None and not _is_chosen(name, options, format_func):
        st.session_state[name] = options[index]
    return st.selectbox(
        label,
        options,
        index=None,
        required=index is not None,
        key=name,
        format_func=format_func,
        bind="query-params",
        **settings,
    )


def _is_chosen(name: str, options: Sequence[str], format_func: Callable[[Any], str]) -> bool:
    """Whether an earlier choice stands, or the address names one, which it does in the words that are shown."""
    if name in st.session_state:
        return st.session_state[name] in options
    return st.query_params.get(name) in [format_func(option) for option in options]


def choose_several(label: str, options: Sequence[str], name: str, **settings: Any) -> list[str]:
    """A multiple choice kept in the address under `name`."""
    return st.multiselect(label, options, key=name, bind="query-params", **settings)


def choose_segment(
    label: str, options: Sequence[str], name: str, default: str | None = None, **settings: Any
) -> str | None:
    """A row of buttons, one of them pressed, kept in the address under `name`; the first by default."""
    return st.segmented_control(
        label, options, key=name, default=default or options[0], required=True, bind="query-params", **settings
    )


def switch(label: str, name: str, value: bool = False, **settings: Any) -> bool:
    """An on/off switch kept in the address under `name`."""
    return st.toggle(label, value=value, key=name, bind="query-params", **settings)
