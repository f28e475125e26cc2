"""How long a person waits for a page: the app in a real Chromium, on a home with a finished study.

In: the Chromium of the tests. Out: 95th percentiles of opening the Overview with an empty profile, reloading it, and going
from page to page by the sidebar, each until the new page's title stands there and nothing is being computed any more.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from fmlab.phantom.build import build_phantom
from fmlab.phantom.cases import PhantomConfig
from fmlab.runs.launcher import execute
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.settings import Home
from fmlab.studies.demo import DATASET, STUDY
from fmlab.studies.launch import launch
from fmlab.studies.presets import preset_config
from tests.browser.conftest import FLAGS, start_app, stop_app

PAGES = ("Datasets", "Backbones", "Launch", "Runs", "Results", "Embeddings", "Review", "Overview")
# Asked at every frame that the browser draws: its own selectors are asked only twice a second after a while.
STANDS_STILL = """title => [...document.querySelectorAll("h1")].some(each => each.textContent.trim() === title)
    && document.querySelector("[data-testid='stApp'][data-test-script-state='notRunning']") !== null"""
SMALL = PhantomConfig(sequences_per_class=4, t1_sequences=20, t2_sequences=12, frames_per_sequence=5)


def run(quick: bool = False) -> list[dict]:
    rounds = 1 if quick else 4
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        dataset = build_phantom(home, DATASET, SMALL)
        study = preset_config(home, "demo", dataset, STUDY, backbones=["pixels-24"], sizes=[1, 2, 4])
        launch(home, open_store(home), study, Actor("benchmark", "script"))
        execute(home, STUDY)
        process, address = start_app(home, Path(folder) / "server.log")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                seconds = measured(browser, address, rounds)
                browser.close()
        finally:
            stop_app(process)
    return [row(what, values) for what, values in seconds.items()]


def measured(browser: Browser, address: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of every opening, reload and switch."""
    seconds: dict[str, list[float]] = {"Overview, empty profile": [], "Overview, reload": [], "page switch": []}
    for _ in range(8 * rounds):
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        seconds["Overview, empty profile"].append(timed(lambda page=page: page.goto(address), page, "Overview"))
        seconds["Overview, reload"].append(timed(page.reload, page, "Overview"))
        page.close()
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.goto(address)
    for turn in range(rounds + 1):
        for name in PAGES:
            link = page.get_by_test_id("stSidebarNav").get_by_role("link", name=name)
            took = timed(link.click, page, name)
            if turn:  # the first time a page is visited its scripts are fetched
                seconds["page switch"].append(took)
    return seconds


def timed(act, page: Page, title: str) -> float:  # noqa: ANN001
    """Seconds from an act until the page of that title stands still."""
    began = time.perf_counter()
    act()
    page.wait_for_function(STANDS_STILL, arg=title, polling="raf")
    return time.perf_counter() - began


def row(what: str, values: list[float]) -> dict:
    middle, late = np.percentile(values, [50, 95])
    return {
        "name": "pages",
        "what": f"{what}: half within {middle:.2f} s, 95 % within {late:.2f} s (n = {len(values)})",
        "ratio": None,
        "against": None,
        "device": f"cpu, {os.cpu_count()} cores, server and browser together",
        "p50_seconds": float(middle),
        "p95_seconds": float(late),
    }
