"""The head of a page: its title and its purpose in one line.

In: both as text. Out: the same look on every page, under the table of contents of app.py.
"""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from fmlab.ui import links

CONTENTS = "contents_drawn"  # set by app.py in every session

# Choices that cannot be cleared are marked "(required)" by Streamlit; they always hold a value, so the mark says nothing.
STYLE = "<style>[data-testid='stWidgetLabelRequired'] { display: none; }</style>"


def heading(title: str, purpose: str = "") -> None:
    """Draw the head of a page; call it before anything else.

    Until app.py has run once in a server, Streamlit answers an address like /runs with the files of `pages/` as they
    lie, without app.py. Such a page tells Streamlit that there is a table of contents, and starts over under it.
    """
    if not st.session_state.get(CONTENTS) and PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False  # what st.navigation would have done; there is no public way
        st.rerun()
    links.arrive()
    st.html(STYLE)
    st.title(title, anchor=False)
    if purpose:
        st.caption(purpose)
