"""How fast the page Embeddings itself is: the map with its selection beside it, over a real store of 20,000 and 100,000 images.

In: a dataset of small squares, a finished study on it and its map, all made by the launcher; the Chromium of the tests.
Out: 95th percentiles of the first view in an empty profile, of a lasso to 24 decoded thumbnails, and of a lasso to the
numbers that Python computes: classes and confusion.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.pages_map import POINTS, lassoed, row, visited
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.runs.launcher import execute
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store
from fmlab.settings import Home
from fmlab.studies.configs import study_config
from fmlab.studies.launch import launch
from tests.browser.conftest import FLAGS, start_app, stop_app

CLASSES = ("dark", "middle", "bright")
FRAMES = 10  # of a sequence; half of them are scored where they are tested
SPLITS = {"train": 0.6, "T1": 0.2, "T2": 0.2}
SLOPE = np.tile(np.linspace(-1, 1, 24), (24, 1))
BY = Actor("benchmark", "script")
STUDY = {
    "name": "squares",
    "dataset": "squares",
    "backbones": ["pixels-24"],
    "adaptations": ["linear_svm"],
    "scheme": "sequences",
    "sizes": [4],
    "seeds": 1,
}
# The confusion of the selection, which is drawn last of all.
CONFUSION = """() => {
    const parts = [...document.querySelectorAll("[data-testid='stBidiComponentIsolated']")].map(each => each.shadowRoot);
    return parts.find(part => part?.querySelector(".matrix"))?.textContent ?? "";
}"""


def run(quick: bool = False) -> Iterator[dict]:
    """Rows for each number of images."""
    for images in POINTS[:1] if quick else POINTS:
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            home = Home(Path(folder) / "home")
            make_squares(home, images)
            process, address = start_app(home, Path(folder) / "server.log")
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            try:
                yield from measured(browser, address, images, 2 if quick else 8)
            finally:
                browser.close()
                stop_app(process)


def make_squares(home: Home, images: int) -> None:
    """Grey squares whose brightness tells their class, a study on them, and their map by principal components."""
    writer = DatasetWriter(home, "squares")
    generator = np.random.default_rng(0)
    # In a test sequence every second frame is scored: to have so many points, it takes more images.
    for split, share in SPLITS.items():
        points = FRAMES if split == "train" else FRAMES // 2
        for number in range(round(images * share / points)):
            place = number % len(CLASSES)
            name = f"{split}-{number}"
            for frame in range(FRAMES):
                facts = {"label": CLASSES[place], "sequence_id": name, "patient_id": name, "split": split}
                # Brightness and its slope vary, so that the map fills its panel.
                level, slope = 90 + 25 * place + 20 * generator.normal(), 25 * generator.normal()
                pixels = level + slope * SLOPE + generator.normal(size=(24, 24))
                writer.add(ImageRow(f"{name}.gif", frame, **facts), pixels.clip(0, 255).astype(np.uint8))
    writer.finish(CardFacts("squares", title="Squares", synthetic=True))
    store = open_store(home)
    launch(home, store, study_config(STUDY), BY)
    config = {"dataset": "squares", "backbone": "pixels-24", "method": "pca", "style": "native", "mask_sector": False}
    request_run(store, "project", config, "map of the squares", BY)
    execute(home)


def measured(browser: Browser, address: str, images: int, rounds: int) -> list[dict]:
    page_address = (
        f"{address}/embeddings?dataset=squares&backbone=pixels-24&method=PCA&study=squares&colour=Correctness"
    )
    visited(browser, page_address)[0].close()  # the server reads its files once
    firsts, lassos, numbers = [], [], []
    for _ in range(rounds):
        page, took = visited(browser, page_address)
        firsts.append(took)
        page.wait_for_timeout(500)
        pictures = ""
        for turn in range(4):
            took, pictures = lassoed(page, pictures, 0.16 + 0.04 * turn)
            lassos.append(took)
        for turn in range(4):
            numbers.append(_counted(page, 0.12 + 0.04 * turn))
        page.close()
    what = f"Embeddings with {images:,} images"
    return [
        row(f"{what}, first view, empty profile", firsts),
        row(f"{what}, lasso to 24 thumbnails", lassos),
        row(f"{what}, lasso to classes and confusion", numbers),
    ]


def _counted(page: Page, size: float) -> float:
    """Draw a box; seconds from mouse-up until the confusion of what is in it stands there."""
    box = page.locator(".overlay").bounding_box()
    page.wait_for_timeout(500)
    page.keyboard.press("b")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + size * box["height"], box["y"] + box["height"] * (0.5 + size))
    before = page.evaluate(CONFUSION)
    began = time.perf_counter()
    page.mouse.up()
    page.wait_for_function(f"before => ![before, ''].includes(({CONFUSION})())", arg=before, polling="raf")
    took = time.perf_counter() - began
    page.keyboard.press("l")
    return took
