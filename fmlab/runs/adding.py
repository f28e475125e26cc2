"""Work of kind `add`: a checkpoint of a person's own, or any model of timm, becomes a backbone of the catalogue.

In: one run, whose config names a file and what is known of it, or a model of timm. Out: the new row's key, on the run's
row.
"""

import json
import time
from pathlib import Path
from typing import Any

from fmlab.backbones.added import SpecOverrides, add_backbone, add_timm
from fmlab.runs.worker import Emitter
from fmlab.settings import Home


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Add the backbone of the group's only run."""
    home = Home(Path(facts["home"]))
    run = facts["runs"][0]
    config = run["config"]
    began = time.monotonic()
    emitter.progress(0, 1, "reading and checking the weights")
    if "timm" in config:
        card = add_timm(home, config["timm"], config["backbone"] or None)
    else:
        card = add_backbone(
            home,
            Path(config["path"]),
            config["backbone"],
            architecture=config.get("architecture"),
            like=config.get("like"),
            overrides=SpecOverrides.model_validate_json(json.dumps(config.get("overrides", {}))),
            **config.get("facts", {}),
        )
    added = {"backbone": card.key, "parameters": card.parameters, "width": card.width}
    emitter.finished({run["key"]: added}, time.monotonic() - began)
