"""Work of kind `latency`: how long a backbone takes for one image, and how many a second it takes at best.

In: one run that names a backbone. Out: milliseconds, images per second, batch and device on the run's row.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.latency import measure_latency
from fmlab.backbones.loaders import load_backbone
from fmlab.runs.worker import Emitter
from fmlab.settings import Home


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Measure the backbone of the group's only run."""
    home = Home(Path(facts["home"]))
    run = facts["runs"][0]
    began = time.monotonic()
    card = find_backbone(home, run["config"]["backbone"])
    emitter.progress(0, 1, f"loading {card.title}")
    backbone = load_backbone(card, home, device=emitter.device)
    emitter.progress(0, 1, "measuring latency")
    measured = asdict(measure_latency(backbone, emitter.device))
    emitter.emit("measured", backbone=card.key, what="images_per_second", value=measured["images_per_second"])
    emitter.finished({run["key"]: measured}, time.monotonic() - began)
