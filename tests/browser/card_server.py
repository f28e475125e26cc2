"""The server of `card_page.py`: started, killed and started again on the same port.

In: a folder for the verdicts. Out: its address, and the verdicts that arrived.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

from tests.browser.conftest import ROOT, START_SECONDS, stop_app

PAGE = Path(__file__).with_name("card_page.py")


class CardServer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        words = [sys.executable, "-m", "streamlit", "run", str(PAGE), "--server.port", str(self.port)]
        environment = os.environ | {"CARD_FOLDER": str(self.folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with (self.folder / "server.log").open("ab") as output:
            self.process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=output, stderr=output)
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=1).close()
                return
            except (URLError, OSError):
                time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"The page did not start: {(self.folder / 'server.log').read_text()[-2000:]}")

    def stop(self) -> None:
        if self.process is not None:
            stop_app(self.process)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def verdicts(self) -> list[dict]:
        path = self.folder / "verdicts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget(self) -> None:
        (self.folder / "verdicts.jsonl").unlink(missing_ok=True)
