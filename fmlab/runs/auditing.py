"""Work of kind `audit`: what the pictures of a dataset give away, before a model learns from them.

In: one run that names a dataset. Out: on the run's row, the part of the audit that needs pixels, as plain data, and the
content hash of the dataset it was made of. A run that found a leak is done, not failed.
"""

import time
from pathlib import Path
from typing import Any

from fmlab.audit.pixels import audit_pixels
from fmlab.data.manifest import open_dataset
from fmlab.runs.worker import Emitter
from fmlab.settings import Home


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Audit the dataset of the group's only run."""
    home = Home(Path(facts["home"]))
    run = facts["runs"][0]
    began = time.monotonic()
    dataset = open_dataset(home, run["config"]["dataset"])
    audit = audit_pixels(home, dataset, emitter.device, emitter.progress, lambda: bool(emitter.cancelled([run["key"]])))
    for check in audit.checks:
        emitter.log(f"{check.level}: {check.title}. {check.sentence}")
    result = {"dataset": dataset.name, "content_hash": dataset.card.content_hash, "audit": audit.plain()}
    emitter.finished({run["key"]: result}, time.monotonic() - began)
