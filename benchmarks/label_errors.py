"""How many planted label errors the search for them finds: on the phantom, whose truth file says which they are.

In: phantoms as large as the demo's, seeds 0, 1 and 2, EfficientNet-Lite0. Out: for each, of as many suspect sequences as
have a planted wrong label, the share that has one, and how many times the share of a random choice that is.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fmlab.errors import WorkFailed
from fmlab.phantom.build import build_phantom
from fmlab.phantom.cases import PhantomConfig
from fmlab.review.queues import QueueConfig, open_queue
from fmlab.runs.launcher import execute
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store
from fmlab.settings import Home

BY = Actor("benchmark", "script")


@dataclass(frozen=True)
class Found:
    """What the queue of suspected label errors says of a phantom."""

    planted: int  # sequences with a wrong label
    sequences: int
    precision: float  # of the first `planted` suspects the share that is planted, 0–1

    @property
    def times_chance(self) -> float:
        return self.precision * self.sequences / self.planted


def run(quick: bool = False) -> Iterator[dict]:
    for seed in (0,) if quick else (0, 1, 2):
        with tempfile.TemporaryDirectory() as folder:
            found = search(Home(Path(folder)), seed)
        yield {
            "name": "labels",
            "what": f"phantom {seed}: {found.precision:.0%} of {found.planted} suspects in {found.sequences} are planted",
            "ratio": found.times_chance,
            "against": "a random choice",
            "device": "cpu",
            "precision": found.precision,
        }


def search(home: Home, seed: int) -> Found:
    """Draw a phantom, look for label errors in it, and hold the queue against the truth."""
    dataset = build_phantom(home, "phantom", PhantomConfig(seed=seed))
    store = open_store(home)
    config = {"dataset": "phantom", "backbone": "efficientnet-lite0", "style": "native", "folds": 5}
    asked = request_run(store, "suspects", config | {"mask_sector": dataset.card.mask_sector}, "suspects", BY)
    if execute(home) != {"done": 1}:
        raise WorkFailed(f"The search failed: {store.run(asked.key).reason}")
    truth = pd.read_parquet(dataset.folder / "truth.parquet")
    planted = set(truth.loc[truth["view"] != truth["label"], "sequence_id"])
    queue = QueueConfig(kind="label_errors", dataset="phantom", runs=(asked.key,), most=len(planted))
    named = [each.item for each in open_queue(home, store, queue, BY).items]
    return Found(len(planted), len(truth), len(planted.intersection(named)) / len(planted))
