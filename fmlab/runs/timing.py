"""Work of kind `latency`: what a backbone costs on this machine.

In: one run that names a backbone. Out: on the run's row, time of one image, images per second at the best batch,
arithmetic, memory, device and precision, as `fmlab.backbones.latency` defines them.
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
    emitter.progress(0, 1, f"measuring {card.title}")
    measured = asdict(measure_latency(backbone, emitter.device))
    emitter.emit("measured", backbone=card.key, what="images_per_second", value=measured["images_per_second"])
    emitter.finished({run["key"]: measured}, time.monotonic() - began)
