"""What browser tests share: the app as a person starts it, in a real Chromium, on a home of its own.

In: the installed Chromium; without one, every test here is skipped with that reason.
Out: `app`, a running server with the toy dataset in its home; `visit`, which opens an address of it in a fresh profile.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import pytest

from fmlab.settings import HOME_VARIABLE, Home

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 60.0
ACTION_MS = 30_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass(frozen=True)
class App:
    """A server at work."""

    home: Home
    address: str


@dataclass
class Seen:
    """What a visit noticed beside the page itself."""

    outside: list[str] = field(default_factory=list)  # requests that left this machine
    broken: list[str] = field(default_factory=list)  # errors of scripts in the page


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_app(home, log):
    """Start `fmlab app` on a free port and wait until it answers; returns the process and its address."""
    port = free_port()
    words = ["fmlab", "app", "--port", str(port), "--home", str(home.path)]
    return start_server(words, port, log, {HOME_VARIABLE: str(home.path)}), f"http://127.0.0.1:{port}"


def start_page(script, port, log, **settings):
    """Start a page of the tests' own and wait until it answers; returns the process."""
    words = ["streamlit", "run", str(script), "--server.port", str(port), "--server.headless", "true"]
    return start_server(words, port, log, {"PYTHONPATH": str(ROOT)} | settings)


def start_server(words, port, log, settings):
    """Start a module of Python's that serves on a port, and wait until it answers; returns the process."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | settings
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
            return process
        except (URLError, OSError):
            time.sleep(0.1)
    stop_app(process)
    raise RuntimeError(f"The server did not start: {log.read_text()[-2000:]}")


def stop_app(process):
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: none of chromium, chromium-browser, google-chrome is on the path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def app(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: none of chromium, chromium-browser, google-chrome is on the path")
    from tests.browser.toy import make_toy

    folder = tmp_path_factory.mktemp("app")
    home = Home(folder / "home")
    make_toy(home)
    process, address = start_app(home, folder / "server.log")
    yield App(home, address)
    stop_app(process)


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def visit(chromium, app, seen):
    """`visit(path)` opens a page of the app; at the end nothing may have left this machine and no script failed."""
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(ACTION_MS)
    context.on("request", lambda request: _note_outside(request.url, app.address, seen.outside))
    context.on("weberror", lambda error: seen.broken.append(str(error.error)))

    def opened(path, address=app.address):
        page = context.new_page()
        page.goto(address + path)
        page.wait_for_selector("h1")
        return page

    yield opened
    context.close()
    assert seen.outside == []
    assert seen.broken == []


def _note_outside(url, address, outside):
    if not url.startswith((address.rsplit(":", 1)[0], "data:", "blob:")):
        outside.append(url)
