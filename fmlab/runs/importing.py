"""Work of kinds `import` and `phantom`: files, or nothing at all, become a dataset.

In: one run, whose config says what to make and under which name. Out: the dataset; its counts on the run's row.
"""

import time
from pathlib import Path
from typing import Any

from fmlab.data.manifest import Dataset
from fmlab.phantom.build import build_phantom
from fmlab.phantom.cases import PhantomConfig
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import reader_options
from fmlab.runs.worker import Emitter
from fmlab.settings import Home


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Make the dataset of the group's only run."""
    home = Home(Path(facts["home"]))
    run = facts["runs"][0]
    config = run["config"]
    began = time.monotonic()

    def progress(done: int, total: int, message: str) -> None:
        rate = done / max(1e-9, time.monotonic() - began)
        emitter.progress(done, total, message, rate=rate or None, seconds_left=(total - done) / rate if rate else None)

    def cancelled() -> bool:
        return bool(emitter.cancelled([run["key"]]))

    if facts["kind"] == "phantom":
        phantom = PhantomConfig(**config["config"])
        dataset = build_phantom(
            home,
            config["name"],
            phantom,
            on_progress=lambda n, of: progress(n, of, "drawing sequences"),
            cancelled=cancelled,
        )
    else:
        dataset = import_dataset(
            home,
            Path(config["source"]),
            config["name"],
            reader=config.get("reader", "auto"),
            options=reader_options(**config.get("options", {})),
            on_progress=progress,
            cancelled=cancelled,
        )
    emitter.finished({run["key"]: _counts(dataset)}, time.monotonic() - began)


def _counts(dataset: Dataset) -> dict[str, Any]:
    card = dataset.card
    return {"dataset": card.name, "images": card.images, "unreadable": card.unreadable, "classes": len(card.classes)}
