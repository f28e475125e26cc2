"""Work of kind `verify`: is a backbone on this disk what its row of the catalogue says?

In: one run that names a backbone. Out: each check with what was got and expected, the preprocessing in words, and where
the picture of what the model sees lies, on the run's row. A run that found a fault is done, not failed: `passed` says so.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.verify import verify
from fmlab.runs.worker import Emitter
from fmlab.settings import Home


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Verify the backbone of the group's only run."""
    home = Home(Path(facts["home"]))
    run = facts["runs"][0]
    began = time.monotonic()
    card = find_backbone(home, run["config"]["backbone"])
    emitter.progress(0, 1, f"checking {card.title}")
    verified = asdict(verify(card, home, emitter.device, picture_into=home.backbones / card.key))
    picture = verified["picture"]
    found = verified | {"picture": None if picture is None else str(picture)}
    emitter.finished({run["key"]: found}, time.monotonic() - began)
