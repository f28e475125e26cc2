"""How smooth the embedding map is: its first view, a lasso until its thumbnails stand there, panning and zooming.

In: the Chromium of the tests, in software rendering. Out: at 20,000 and 100,000 points, 95th percentiles of the first
view with an empty profile and of a lasso to 24 decoded thumbnails, and the frames a second while the view moves.
"""

import math
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import FLAGS, stop_app
from tests.browser.map_server import start_map

POINTS = (20_000, 100_000)
FIRST_VIEW = """() => {
    const host = [...document.querySelectorAll("[data-testid='stBidiComponentIsolated']")]
        .find(each => each.shadowRoot?.querySelector(".map"));
    return /images$/.test(host?.shadowRoot.querySelector(".status")?.textContent ?? "");
}"""
THUMBNAILS = """since => {
    const images = [...document.querySelectorAll("[data-testid='stBidiComponentIsolated']")]
        .flatMap(each => [...(each.shadowRoot?.querySelectorAll("figure img") ?? [])]);
    const shown = images.map(image => image.src.slice(-60)).join();
    return images.length >= 24 && shown !== since && images.every(image => image.complete && image.naturalWidth) && shown;
}"""
# Moves the view at every frame that the browser offers; the times of all frames. A pixel is read back after each, so that
# a frame counts only when it has been drawn.
MOVED = """async ({ kind, seconds, first }) => {
    const host = [...document.querySelectorAll("[data-testid='stBidiComponentIsolated']")]
        .find(each => each.shadowRoot?.querySelector(".map"));
    const surface = host.shadowRoot.querySelector(".overlay");
    const gl = host.shadowRoot.querySelector("canvas").getContext("webgl2");
    const box = surface.getBoundingClientRect();
    const times = [];
    const end = performance.now() + 1000 * seconds;
    for (let turn = 0; performance.now() < end; turn++) {
        times.push(await new Promise(requestAnimationFrame));
        gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
        const at = { clientX: first[0] + 120 * Math.sin(turn / 15), clientY: first[1] + 60 * Math.cos(turn / 11), bubbles: true };
        if (kind === "pan") surface.dispatchEvent(new PointerEvent("pointermove", at));
        else surface.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: turn % 60 < 30 ? -40 : 40, cancelable: true }));
    }
    return times;
}"""


def run(quick: bool = False) -> list[dict]:
    """A row for each number of points and each thing that is measured."""
    rounds = 2 if quick else 8
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        process, address = start_map(Path(folder) / "server.log")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            for points in POINTS:
                # Without test sets every single point is drawn: the most that there can be to draw.
                every = f"{address}/?points={points}&plain=1"
                visited(browser, every)[0].close()  # the geometry is made once
                rows += measured(browser, every, points, rounds)
        finally:
            browser.close()
            stop_app(process)
    return rows


def measured(browser: Browser, address: str, points: int, rounds: int) -> list[dict]:
    firsts, lassos, frames = [], [], {"pan": [], "zoom": []}
    for _ in range(rounds):
        page, took = visited(browser, address)
        firsts.append(took)
        page.wait_for_timeout(500)
        before = ""
        for turn in range(4):
            took, before = lassoed(page, before, 0.16 + 0.04 * turn)
            lassos.append(took)
        for kind in frames:
            frames[kind].append(moved(page, kind))
        page.close()
    return [
        row(f"map of {points:,} points, first view, empty profile", firsts),
        row(f"map of {points:,} points, lasso to 24 thumbnails", lassos),
        *(
            frame_row(f"map of {points:,} points, {kind}", np.concatenate([np.diff(times) for times in each]))
            for kind, each in frames.items()
        ),
    ]


def visited(browser: Browser, address: str) -> tuple[Page, float]:
    """A page with the map drawn, in a fresh profile, and the seconds until it was."""
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_function(FIRST_VIEW, polling="raf")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page, time.perf_counter() - began


def lassoed(page: Page, before: str, radius: float) -> tuple[float, str]:
    """Draw a circle around the middle of the panel; seconds from mouse-up until 24 new thumbnails are decoded."""
    box = page.locator(".overlay").bounding_box()
    for step in range(31):
        angle = 2 * math.pi * step / 30
        x = box["x"] + box["width"] / 2 + box["height"] * (0.14 + radius * math.cos(angle))
        page.mouse.move(x, box["y"] + box["height"] * (0.45 + radius * math.sin(angle)))
        if step == 0:
            page.mouse.down()
    began = time.perf_counter()
    page.mouse.up()
    shown = page.wait_for_function(THUMBNAILS, arg=before, polling="raf").json_value()
    took = time.perf_counter() - began
    page.wait_for_timeout(200)
    return took, shown


def moved(page: Page, kind: str, seconds: float = 3.0) -> list[float]:
    """Times (ms) of the frames while the view moves."""
    box = page.locator(".overlay").bounding_box()
    first = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    page.mouse.move(*first)
    if kind == "pan":
        page.mouse.down(button="middle")
    times = page.evaluate(MOVED, {"kind": kind, "seconds": seconds, "first": first})
    if kind == "pan":
        page.mouse.up(button="middle")
    page.keyboard.press("0")
    return times


def row(what: str, values: list[float]) -> dict:
    middle, late = np.percentile(values, [50, 95])
    words = f"{what}: half within {middle:.2f} s, 95 % within {late:.2f} s (n = {len(values)})"
    return _row(words, {"p50_seconds": float(middle), "p95_seconds": float(late)})


def frame_row(what: str, gaps: np.ndarray) -> dict:
    """`gaps`: milliseconds between frames."""
    rate, late = 1000 / gaps.mean(), np.percentile(gaps, 95)
    words = f"{what}: {rate:.0f} frames a second, 95 % of frames within {late:.0f} ms (n = {len(gaps)})"
    return _row(words, {"frames_per_second": float(rate), "p95_frame_ms": float(late)})


def _row(what: str, numbers: dict[str, float]) -> dict:
    device = f"cpu, {os.cpu_count()} cores, server and browser together"
    return {"name": "pages", "what": what, "ratio": None, "against": None, "device": device} | numbers
