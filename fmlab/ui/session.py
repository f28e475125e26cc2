"""What a page works with: the home, its store, its launcher, and who is writing.

In: the environment (FMLAB_HOME), the person's name. Out: `home()`, `store()`, `launcher()`, `actor()`.

Nothing is kept here. `launcher_for` keeps one launcher per process through reruns, refreshes and hot reloads, which
neither a module global nor Streamlit's resource cache does.
"""

import getpass

import streamlit as st

from fmlab.runs.launcher import Launcher, launcher_for
from fmlab.runs.records import Actor
from fmlab.runs.store import Store
from fmlab.settings import Home, find_home


def home() -> Home:
    """The home that this app shows."""
    return find_home()


def store() -> Store:
    """The store of the home, through the launcher that keeps it open; `FMLabError` when its database is damaged."""
    return launcher().store


def launcher() -> Launcher:
    """The launcher of the home, running from the first call on."""
    return launcher_for(home())


def actor() -> Actor:
    """Who writes from this browser: the e-mail address of whoever signed in, else the account the app runs under."""
    signed_in = st.user.get("email")
    return Actor(name=str(signed_in) if signed_in else _account(), via="app")


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without an entry in the password file
        return "local user"
