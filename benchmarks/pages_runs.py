"""How soon the Runs page tells of work, and how fast pages stay meanwhile: the app in a real Chromium.

In: a home with 5,000 finished runs, and one run at work whose progress this process writes as a launcher does. Out: 50th and
95th percentiles of drawing the table of 5,000 rows again, of a refresh until the run at work is seen, of the age of the
progress on the page, and of a switch of pages while two processes compute beside the server.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.pages import STANDS_STILL, row, timed
from fmlab.runs.queue import LEASE_SECONDS, Queue
from fmlab.runs.records import Actor, RunRequest
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home
from tests.browser.conftest import CHROMIUM, FLAGS, start_app, stop_app
from tests.browser.toy import make_toy

RUNS = 5000
WARM = 10  # presses before the first that counts: the server and the browser have seen the page then
VISITED = ("Datasets", "Backbones", "Runs")
WORK = "import os; os.nice(15)\nwhile True: sum(range(100_000))"
BY = Actor("benchmark", "script")
# Presses a button; milliseconds until the script that this starts has ended, and two frames more.
PRESSED = """async pill => {
    const app = document.querySelector("[data-testid='stApp']");
    const began = performance.now();
    await new Promise(done => {
        let ran = false;
        const watched = new MutationObserver(() => {
            ran ||= app.dataset.testScriptState === "running";
            if (ran && app.dataset.testScriptState === "notRunning") { watched.disconnect(); done(); }
        });
        watched.observe(app, { attributes: true });
        pill.click();
    });
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - began;
}"""


def run(quick: bool = False) -> list[dict]:
    """The rows of this benchmark."""
    rounds = 3 if quick else 30
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Home(Path(folder) / "home")
        make_toy(home)
        store = open_store(home)
        queue, ended = finished_and_working(store), threading.Event()
        threading.Thread(target=keep_lease, args=(queue, ended), daemon=True).start()
        process, address = start_app(home, Path(folder) / "server.log")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.goto(f"{address}/runs?study=many")
            page.wait_for_function(STANDS_STILL, arg="Runs")
            seconds = {f"table of {RUNS:,} runs drawn again": table_times(page, rounds)}
            page.goto(f"{address}/runs?study=working")
            page.wait_for_function(STANDS_STILL, arg="Runs")
            seconds["refresh until the run at work is seen"] = refresh_times(page, queue, rounds)
            seconds["age of the progress on the page"] = ages(page, queue, rounds)
            seconds["page switch while two processes compute"] = beside_work(lambda: switch_times(page, rounds))
        finally:
            ended.set()
            browser.close()
            stop_app(process)
    return [row(what, values) for what, values in seconds.items()]


def finished_and_working(store: Store) -> Queue:
    """The studies `many`, all of it done, and `working`, one run of which this process holds as its launcher."""
    queue = Queue(store)
    queue.acquire()
    store.add_study("many", {"dataset": "toy"}, [asked(seed, "many") for seed in range(RUNS)], [], BY)
    queue.claim("cpu")
    facts = {"predictions": "none.parquet", "converged": True, "n_train": 1}
    queue.finish({asked(seed, "many").key: facts for seed in range(RUNS)}, 1.0)
    store.add_study("working", {"dataset": "toy"}, [asked(0, "working")], [], BY)
    queue.claim("cpu")
    return queue


def asked(seed: int, group: str) -> RunRequest:
    subset = {"scheme": "images", "size": 1 + seed % 50, "seed": seed}
    config = {"dataset": "toy", "backbone": "pixels-24", "adaptation": {"kind": "knn"}, "subset": subset}
    return RunRequest("adapt", config, {"seed": seed, "group": group}, group, f"toy · {group}")


def keep_lease(queue: Queue, ended: threading.Event) -> None:
    """Renew the lease as a launcher does, so that the app never takes the run over."""
    while not ended.wait(LEASE_SECONDS / 3):
        queue.acquire()


def report(queue: Queue, done: int) -> None:
    queue.progress("working", done, 100_000, "embedding images", None, None)


def table_times(page: Page, rounds: int) -> list[float]:
    """Seconds from a press of a state's pill, which asks for all the rows again, until they are drawn."""
    pill = page.get_by_test_id("stButtonGroup").get_by_role("button", name="Done")
    seconds = []
    for _ in range(WARM + rounds):
        page.wait_for_timeout(700)  # or a press would wait for what the one before left to do
        seconds.append(pill.evaluate(PRESSED) / 1000)
    return seconds[WARM:]


def refresh_times(page: Page, queue: Queue, rounds: int) -> list[float]:
    seconds = []
    for number in range(rounds):
        report(queue, 1000 + number)
        began = time.perf_counter()
        page.reload()
        page.get_by_text("embedding images").first.wait_for()
        seconds.append(time.perf_counter() - began)
    return seconds


def ages(page: Page, queue: Queue, rounds: int) -> list[float]:
    """Seconds from a progress in the store until the page says so."""
    seconds = []
    for number in range(rounds):
        report(queue, 50_000 + number)
        began = time.perf_counter()
        page.get_by_text(f"{50_000 + number:,} of").first.wait_for()
        seconds.append(time.perf_counter() - began)
    return seconds


def switch_times(page: Page, rounds: int) -> list[float]:
    seconds = []
    for _ in range(1 + rounds // len(VISITED)):
        for name in VISITED:
            link = page.get_by_test_id("stSidebarNav").get_by_role("link", name=name)
            seconds.append(timed(link.click, page, name))
    return seconds[len(VISITED) :]  # the first time a page is visited its scripts are fetched


def beside_work(act: Callable[[], list[float]]) -> list[float]:
    """What an act gives while two processes compute, at the priority of a worker's neighbours."""
    workers = [subprocess.Popen([sys.executable, "-c", WORK]) for _ in range(2)]
    try:
        return act()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
