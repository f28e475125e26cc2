"""What tests of pages share: the app opened at a page, in Streamlit's own harness, on a home that nothing executes.

In: a home. Out: `open_page(name, **address)`, which runs app.py and then the page, and gives the drawn page.

The test itself holds the lease of the home, so that the launcher which every page starts only watches.
"""

import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from fmlab.errors import FMLabError
from fmlab.runs.launcher import launcher_for
from fmlab.runs.queue import Queue
from fmlab.runs.store import open_store

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60  # a first page imports pandas and plotly, on a machine that does other things as well


@pytest.fixture(autouse=True)
def main_module_comes_back():
    """The harness leaves its script as `__main__`, which every process that is spawned later would run anew."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture
def open_page(home):
    lease = None

    def opened(name, **address):
        nonlocal lease
        if lease is None:
            try:
                lease = Queue(open_store(home))
                lease.acquire()
            except FMLabError:
                lease = False  # a broken store has no lease
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SECONDS)
        for key, value in address.items():
            app.query_params[key] = value
        app.run()
        return app if name == "overview" else app.switch_page(f"pages/{name}.py").run()

    yield opened
    if lease:
        launcher_for(home).stop()
        lease.release()


def text_of(app):
    """Everything a page says, as one string."""
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.error, app.warning, app.info, app.success)
    return "\n".join(str(element.value) for kind in kinds for element in kind)
