"""How fast the review card answers keys and plays clips: the card in a real Chromium, with its server on the same machine.

In: the page of the card's tests, with 256 × 256 pictures. Out: 50th and 95th percentiles from a key to the next image drawn,
at 30 ms from key to key, with how many verdicts arrived; from the space bar to the first new frame; frames a second.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.card_server import CardServer
from tests.browser.conftest import FLAGS

GAP = 0.03  # seconds from key to key
FRAMES = 40
KEYS = "m1apx"
# Times, in the page's own clock, of every key and of every drawing on the card's canvas (with the item shown before it).
WATCH = """
window.seen = { keys: [], drawn: [] };
window.addEventListener("keydown", (event) => window.seen.keys.push(event.timeStamp), true);
const draw = CanvasRenderingContext2D.prototype.drawImage;
CanvasRenderingContext2D.prototype.drawImage = function (...words) {
  draw.apply(this, words);
  const shown = this.canvas.closest(".card")?.dataset.shown ?? "0";
  window.seen.drawn.push([performance.now(), Number(shown)]);
};
"""


def run(quick: bool = False) -> list[dict]:
    """The rows of this benchmark."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = CardServer(Path(folder))
        server.start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            keys, arrived = key_times(browser, server, 60 if quick else 200)
            starts, rates = cine_times(browser, server, 5 if quick else 30)
        finally:
            browser.close()
            server.stop()
    words = f"{arrived} of {len(keys)} verdicts stored in order"
    return [
        row("review card, key to next image at 30 ms from key to key", 1000 * np.array(keys), "ms", words),
        row("review card, space bar to first new frame", 1000 * np.array(starts), "ms", ""),
        row(f"review card, cine of {FRAMES} frames at 256 × 256", np.array(rates), "frames a second", ""),
    ]


def key_times(browser: Browser, server: CardServer, count: int) -> tuple[list[float], int]:
    """Seconds from each key to its next image; how many verdicts stand in the store in the order of the keys."""
    page = opened(browser, f"{server.address}/?name=keys&items={count + 1}")
    start = time.perf_counter()
    for number in range(count):
        time.sleep(max(start + GAP * number - time.perf_counter(), 0))
        page.keyboard.press(KEYS[number % len(KEYS)])
    page.wait_for_selector(f"[data-shown='{count + 1}']")
    page.get_by_text("Saved", exact=True).wait_for()
    seen = page.evaluate("window.seen")
    page.close()
    drawn = np.array(seen["drawn"])
    seconds = []
    for number, pressed in enumerate(seen["keys"], start=1):
        after = drawn[(drawn[:, 1] == number) & (drawn[:, 0] >= pressed), 0]
        seconds.append((after[0] - pressed) / 1000)
    order = [verdict["item"] for verdict in server.verdicts()]
    arrived = sum(item == f"item-{number}" for number, item in enumerate(order))
    return seconds, arrived


def cine_times(browser: Browser, server: CardServer, count: int) -> tuple[list[float], list[float]]:
    """Seconds from the space bar to the first new frame, and frames a second over the second after it, on `count` items."""
    page = opened(browser, f"{server.address}/?name=cine&items={count}&frames={FRAMES}")
    starts, rates = [], []
    for _ in range(count):
        page.locator(".cell").nth(FRAMES - 1).wait_for(state="attached")
        page.wait_for_timeout(300)
        page.evaluate("window.seen.keys = []; window.seen.drawn = []")
        page.keyboard.press("Space")
        page.wait_for_timeout(1500)
        seen = page.evaluate("window.seen")
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
        pressed, times = seen["keys"][0], np.array(seen["drawn"])[:, 0]
        starts.append((times[times > pressed][0] - pressed) / 1000)
        span = times[(times >= times[0]) & (times <= times[0] + 1000)]
        rates.append((len(span) - 1) / (span[-1] - span[0]) * 1000)
    page.close()
    return starts, rates


def opened(browser: Browser, address: str) -> Page:
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.add_init_script(WATCH)
    page.goto(address)
    page.wait_for_selector("[data-shown='1']")
    page.wait_for_timeout(1500)
    return page


def row(what: str, values: np.ndarray, unit: str, words: str) -> dict:
    """Times are worst where they are high, rates where they are low."""
    rate = unit != "ms"
    middle, worst = np.percentile(values, [50, 5 if rate else 95])
    bound = f"95 % {'above' if rate else 'within'} {worst:.1f} {unit} (n = {len(values)})"
    return {
        "name": "pages",
        "what": "; ".join(filter(None, [f"{what}: half {'above' if rate else 'within'} {middle:.1f}, {bound}", words])),
        "ratio": None,
        "against": None,
        "device": f"cpu, {os.cpu_count()} cores, server and browser together",
        "p50": float(middle),
        "p95": float(worst),
        "unit": unit,
    }
