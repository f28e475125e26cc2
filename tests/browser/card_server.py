"""The server of `card_page.py`: started, killed and started again on the same port.

In: a folder for the verdicts. Out: its address, and the verdicts that arrived.
"""

import json
import subprocess
from pathlib import Path

from tests.browser.conftest import free_port, start_page, stop_app

PAGE = Path(__file__).with_name("card_page.py")


class CardServer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        log = self.folder / "server.log"
        self.process = start_page(PAGE, self.port, log, CARD_FOLDER=str(self.folder))

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
