"""Work of kind `adapt`: embed what is missing, solve every run whose items are there, leave predictions.

In: the runs of one group, which share a frozen backbone on one dataset. Out: `predictions/<digest>.parquet` for each
batch of runs solved together, and a `finished` event that names it.

Scored test images come first, then the items of the smallest subsets, so that a first point appears long before the
last image is embedded. Every fit depends on its own subset alone, not on what it was solved together with.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmlab.adapt.configs import adaptation_from
from fmlab.adapt.fit import fit_and_score
from fmlab.backbones.catalogue import find_backbone, weights_digest
from fmlab.data.manifest import TRAIN, VALIDATION, Dataset, open_dataset
from fmlab.data.preprocessing import Preprocessing
from fmlab.data.subsets import Subset, draw_all, training_items
from fmlab.embeddings.cache import items_of, open_cache
from fmlab.embeddings.keys import request_embeddings
from fmlab.errors import BadInput, Cancelled
from fmlab.files import digest_config
from fmlab.predictions import Predictions, write_predictions
from fmlab.runs.worker import Emitter
from fmlab.settings import Home

SOLVE_SECONDS = 4.0  # between two rounds of solving while images are still being embedded


@dataclass(frozen=True)
class _Cell:
    """A run of the group with its training items, as positions in the training table."""

    key: str
    adaptation: dict[str, Any]
    subset: Subset
    positions: np.ndarray  # (n,) int64


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Execute the group; see the module's docstring."""
    home = Home(Path(facts["home"]))
    shared = facts["runs"][0]["config"]
    dataset = open_dataset(home, shared["dataset"])
    if dataset.card.content_hash != shared["content_hash"]:
        raise BadInput(f"Dataset {dataset.name!r} has changed since these runs were queued. Launch the study again.")
    _Group(home, dataset, shared, facts["runs"], emitter).execute()


class _Group:
    """The group at work: its tables, its cache of embeddings, and the runs still to be solved."""

    def __init__(
        self, home: Home, dataset: Dataset, shared: dict[str, Any], runs: Sequence[dict[str, Any]], emitter: Emitter
    ) -> None:
        self._home = home
        self._dataset = dataset
        self._emitter = emitter
        self._card = find_backbone(home, shared["backbone"])
        if weights_digest(self._card, home) != shared["weights"]:
            raise BadInput(f"The weights of backbone {self._card.key!r} have changed since. Launch the study again.")
        self._request = request_embeddings(
            home,
            dataset.card.pixels_key,
            self._card,
            Preprocessing(shared["style"], shared["mask_sector"]),
            shared["feature"],
            shared["precision"],
        )
        self._cache = open_cache(home, self._request)
        train, test = self._tables()
        self._training = training_items(train, dataset.card.classes)
        self._train_items = items_of(train)
        self._test_items = items_of(test)
        self._test_ids = test["image_id"].to_numpy(dtype=str)
        self._rows = pd.concat([test, train], ignore_index=True)
        self._waiting = self._cells(runs)
        self._rate: float | None = None  # images per second, measured

    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Labelled training rows, and labelled scored rows of every test set, each in manifest order."""
        rows = self._dataset.manifest(["image_id", "label", "sequence_id", "split", "scored", "content_hash", "sector"])
        rows = rows[rows["label"].notna() & rows["split"].notna()]
        testing = ~rows["split"].isin((TRAIN, VALIDATION)) & rows["scored"]
        if not testing.any():
            raise BadInput(
                f"Dataset {self._dataset.name!r} has no labelled test images. Attach a test set, or draw a split."
            )
        return rows[rows["split"] == TRAIN].reset_index(drop=True), rows[testing].reset_index(drop=True)

    def _cells(self, runs: Sequence[dict[str, Any]]) -> list[_Cell]:
        """The group's runs, smallest subsets first. A subset that holds one class alone fails at once."""
        subsets = [Subset(**run["config"]["subset"]) for run in runs]
        cells = []
        for run, subset, positions in zip(runs, subsets, draw_all(self._training, subsets), strict=True):
            labels = np.unique(self._training.labels[positions])
            if len(labels) < 2:
                only = self._dataset.card.classes[labels[0]]
                self._emitter.failed([run["key"]], f"The subset of this size and seed holds only class {only!r}.")
            else:
                cells.append(_Cell(run["key"], run["config"]["adaptation"], subset, positions))
        return sorted(cells, key=lambda cell: (cell.subset.size, cell.subset.seed))

    def execute(self) -> None:
        """Embed and solve until no run waits."""
        last_round = time.monotonic()
        for _ in self._embedded():
            self._leave_out_cancelled()
            if time.monotonic() - last_round >= SOLVE_SECONDS:
                self._solve_ready()
                last_round = time.monotonic()
        self._solve_ready()

    # ------------------------------------------------------------------------------------------------------- embeddings

    def _embedded(self) -> Iterator[None]:
        """Embed what the waiting runs need and the cache lacks; yields after every chunk that is stored."""
        rows = self._wanted_rows()
        missing = rows[~self._cache.have(items_of(rows))]
        self._emitter.log(f"{len(rows)} images needed, {len(rows) - len(missing)} embedded before")
        if missing.empty:
            return
        # torch takes seconds to import: probes on embeddings that are there do without.
        from fmlab.embeddings.extraction import extract, load_requested

        self._emitter.progress(0, len(missing), f"loading {self._card.title}")
        backbone = load_requested(self._home, self._request, self._emitter.device)
        chunks = extract(self._dataset, backbone, self._request, missing, self._cache, self._tell, self._nothing_left)
        for _ in chunks:
            yield
        if self._rate:
            self._emitter.emit("measured", backbone=self._card.key, what="images_per_second", value=self._rate)

    def _tell(self, done: int, total: int, rate: float) -> None:
        left = (total - done) / rate if rate else None
        self._rate = rate or self._rate
        self._emitter.progress(done, total, "embedding images", rate=rate or None, seconds_left=left)

    def _wanted_rows(self) -> pd.DataFrame:
        """Rows to embed in order of need: test images, then each run's items as the runs are sorted."""
        tests = len(self._test_items)
        first_need = np.full(len(self._train_items), len(self._waiting), np.int64)
        for rank, cell in reversed(list(enumerate(self._waiting))):
            first_need[cell.positions] = rank
        needed = np.flatnonzero(first_need < len(self._waiting))
        in_order = needed[np.argsort(first_need[needed], kind="stable")]
        rows = self._rows.iloc[np.concatenate([np.arange(tests), tests + in_order])]
        return rows.drop_duplicates("content_hash")

    def _nothing_left(self) -> bool:
        self._leave_out_cancelled()
        return not self._waiting

    def _leave_out_cancelled(self) -> None:
        wishes = self._emitter.cancelled(cell.key for cell in self._waiting)
        if wishes:
            self._emitter.emit("cancelled", runs=sorted(wishes))
            self._waiting = [cell for cell in self._waiting if cell.key not in wishes]
        if not self._waiting:
            raise Cancelled("Every run of the group was cancelled.")

    # ---------------------------------------------------------------------------------------------------------- solving

    def _solve_ready(self) -> None:
        """Solve every waiting run whose items and test images are embedded, adaptation by adaptation."""
        if not self._waiting or not self._cache.have(self._test_items).all():
            return
        there = self._cache.have(self._train_items)
        ready = [cell for cell in self._waiting if there[cell.positions].all()]
        batches: dict[str, list[_Cell]] = {}
        for cell in ready:
            batches.setdefault(digest_config("adaptation", cell.adaptation), []).append(cell)
        for cells in batches.values():
            self._solve(cells)

    def _solve(self, cells: list[_Cell]) -> None:
        self._emitter.under_way([cell.key for cell in cells])
        used = np.unique(np.concatenate([cell.positions for cell in cells]))
        began = time.monotonic()
        adaptation = adaptation_from(cells[0].adaptation)
        fits = fit_and_score(
            adaptation,
            self._cache.read(self._train_items[used]),
            self._training.labels[used],
            len(self._dataset.card.classes),
            [np.searchsorted(used, cell.positions) for cell in cells],
            self._cache.read(self._test_items),
            device=self._emitter.device,
            on_progress=lambda done, total: self._emitter.progress(done, total, f"solving {adaptation.kind} probes"),
        )
        keys = tuple(cell.key for cell in cells)
        name = f"{digest_config('predictions', keys)}.parquet"
        predictions = Predictions(keys, self._test_ids, fits.scores, self._dataset.card.classes)
        write_predictions(self._home.predictions / name, predictions)
        results = {
            cell.key: {
                "predictions": name,
                "converged": bool(fits.converged[number]),
                "gap": None if np.isnan(fits.gap[number]) else float(fits.gap[number]),
                "n_train": len(cell.positions),
            }
            for number, cell in enumerate(cells)
        }
        seconds = time.monotonic() - began
        self._emitter.finished(results, seconds)
        self._emitter.log(f"solved {len(cells)} {adaptation.kind} runs in {seconds:.2f} s")
        solved = set(keys)
        self._waiting = [cell for cell in self._waiting if cell.key not in solved]
