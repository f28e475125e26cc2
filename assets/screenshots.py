"""The pictures of the README, taken from the app as it is: `.venv/bin/python -m assets.screenshots [--home HOME]`.

In: a home in which the demo study (`fmlab demo --no-app`) and the quick finetuning study on its phantom are done, and the
phantom's map under EfficientNet-Lite0 is drawn; for `pretraining`, one in which a backbone was pretrained.
Out: one PNG per screen beside this file.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from fmlab.settings import find_home

HERE = Path(__file__).parent
SIZE = {"width": 1366, "height": 768}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SETTLE_SECONDS = 4.0  # for figures to be drawn in software
COLOURS = 256  # a screen has few; a palette makes the file a third as large

SCREENS = {
    "overview": "/",
    "datasets": "/datasets",
    "backbones": "/backbones",
    "launch": "/launch?dataset=phantom",
    "results": "/results?study=demo",
    "finetuning": "/results?study=phantom-limited-data-finetune-images-quick",
    "embeddings": "/embeddings?dataset=phantom&backbone=efficientnet-lite0&study=demo&colour=Correctness",
    "pretraining": "/pretraining?section=Watch",
    "review": "/review?study=demo&backbone=efficientnet-lite0&kind=Misclassified&reviewer=anna",
}


def main() -> None:
    """Start the app, take the pictures, end the app."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", default=None)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--width", type=int, default=SIZE["width"])
    parser.add_argument("--height", type=int, default=SIZE["height"])
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("screens", nargs="*", default=list(SCREENS))
    chosen = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "fmlab", "app", "--port", str(port), "--home", str(find_home(chosen.home).path)]
    server = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            context = browser.new_context(
                viewport={"width": chosen.width, "height": chosen.height},
                color_scheme="dark" if chosen.dark else "light",
            )
            for name in chosen.screens:
                take(context.new_page(), address + SCREENS[name], chosen.out / f"{name}.png")
            browser.close()
    finally:
        server.terminate()
        server.wait(timeout=20)


def wait_for(address: str) -> None:
    """Wait until the server answers."""
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The app did not start.")


def take(page: Page, address: str, path: Path) -> None:
    """One screen, as soon as it stands still."""
    page.goto(address)
    page.wait_for_selector("h1")
    time.sleep(SETTLE_SECONDS)
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    page.close()


if __name__ == "__main__":
    main()
