"""Work of kind `download`: what is lacking of a backbone is fetched from the hub.

In: one run that names a backbone and says whether its licence was accepted. Out: the path and the bytes of the weights on
the run's row. Cancelled, it keeps what has arrived; the next download goes on there.
"""

import time
from pathlib import Path
from typing import Any

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.downloads import download
from fmlab.errors import Cancelled
from fmlab.runs.worker import Emitter
from fmlab.settings import Home

MEGABYTE = 1_000_000


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Fetch the backbone of the group's only run."""
    home = Home(Path(facts["home"]))
    run = facts["runs"][0]
    began = time.monotonic()
    card = find_backbone(home, run["config"]["backbone"])

    def progress(done: int, total: int, rate: float | None) -> None:
        if emitter.cancelled([run["key"]]):
            raise Cancelled("The download was cancelled.")
        emitter.progress(
            done // MEGABYTE,
            -(-total // MEGABYTE),
            "downloading",
            rate=rate and rate / MEGABYTE,
            seconds_left=rate and (total - done) / rate,
        )

    emitter.progress(0, 1, "asking the hub")
    path = download(card, home, run["config"]["accepted"], progress)
    found = {"backbone": card.key, "path": str(path), "bytes": path.stat().st_size}
    emitter.finished({run["key"]: found}, time.monotonic() - began)
