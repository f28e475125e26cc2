"""Work of kind `adapt`: embed what is missing, solve every run whose items are there, leave predictions.

In: the runs of one group, which share a frozen backbone on one dataset; under cross-validation each of them is a fit per
fold, and its predictions those of every image when it was not learnt from. Out: `predictions/<digest>.parquet` for each
batch of runs solved together, and a `finished` event that names it.

Scored test images come first, then the items of the smallest subsets, so that a first point appears long before the
last image is embedded. Every fit depends on its own subset alone, not on what it was solved together with.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmlab.adapt.configs import Adaptation, ZeroShot, adaptation_from
from fmlab.adapt.fit import Fits, fit_and_score
from fmlab.backbones.catalogue import find_backbone, weights_digest
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.data.preprocessing import Preprocessing
from fmlab.data.roles import checked_roles
from fmlab.data.subsets import Subset, absent_classes, draw_all, training_items
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
    """A run of the group with its training items, as positions in the training table: one array per part."""

    key: str
    adaptation: dict[str, Any]
    subset: Subset
    positions: tuple[np.ndarray, ...]  # (n,) int64 each; empty without labels
    absent: tuple[str, ...]  # classes of which some part holds no item

    @cached_property
    def needed(self) -> np.ndarray:
        """The items of all parts, each once."""
        return np.unique(np.concatenate(self.positions))


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
        found = checked_roles(dataset, shared.get("folds"))
        copies = Subset(**runs[0]["config"]["subset"]).copies
        self._train = _with_copies(found.train, copies)
        self._labels = pd.Index(dataset.card.classes).get_indexer(self._train["label"])
        self._sequences = pd.factorize(self._train["sequence_id"])[0]
        self._train_items = items_of(self._train)
        self._test_items = items_of(found.test)
        self._test_ids = found.test["image_id"].to_numpy(dtype=str)
        self._rows = pd.concat([found.test.assign(copy=np.uint8(0)), self._train], ignore_index=True)
        each = copies + 1
        # Items of image i are i·each … i·each + copies.
        self._parts = [((learnt[:, None] * each + np.arange(each)).ravel(), tested) for learnt, tested in found.parts]
        self._waiting = self._cells(runs, copies)
        self._rate: float | None = None  # images per second, measured

    def _cells(self, runs: Sequence[dict[str, Any]], copies: int) -> list[_Cell]:
        """The group's runs, smallest subsets first. A subset that holds one class alone fails at once."""
        subsets = [Subset(**run["config"]["subset"]) for run in runs]
        drawn: list[list[np.ndarray]] = [[] for _ in runs]
        absent: list[set[str]] = [set() for _ in runs]
        budgeted = [number for number, subset in enumerate(subsets) if subset.size]
        for pool, _ in self._parts:
            images = self._train.iloc[pool[:: copies + 1]]
            items = training_items(images, self._dataset.card.classes, copies)
            for number, positions in zip(budgeted, draw_all(items, [subsets[i] for i in budgeted]), strict=True):
                drawn[number].append(pool[positions])
                absent[number].update(absent_classes(items, positions))
        cells = []
        for run, subset, parts, lacking in zip(runs, subsets, drawn, absent, strict=True):
            parts = tuple(parts) or (np.empty(0, np.int64),) * len(self._parts)
            alone = [labels[0] for part in parts if len(labels := np.unique(self._labels[part])) == 1]
            if alone:
                only = self._dataset.card.classes[alone[0]]
                self._emitter.failed([run["key"]], f"The subset of this size and seed holds only class {only!r}.")
            else:
                cells.append(_Cell(run["key"], run["config"]["adaptation"], subset, parts, tuple(sorted(lacking))))
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
            first_need[cell.needed] = rank
        needed = np.flatnonzero(first_need < len(self._waiting))
        in_order = needed[np.argsort(first_need[needed], kind="stable")]
        rows = self._rows.iloc[np.concatenate([np.arange(tests), tests + in_order])]
        return rows.drop_duplicates(["content_hash", "copy"])

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
        ready = [cell for cell in self._waiting if there[cell.needed].all()]
        batches: dict[str, list[_Cell]] = {}
        for cell in ready:
            batches.setdefault(digest_config("adaptation", cell.adaptation), []).append(cell)
        for cells in batches.values():
            self._solve(cells)

    def _solve(self, cells: list[_Cell]) -> None:
        self._emitter.under_way([cell.key for cell in cells])
        began = time.monotonic()
        adaptation = adaptation_from(cells[0].adaptation)
        scores = np.empty((len(cells), len(self._test_ids), len(self._dataset.card.classes)), np.float32)
        fits: list[Fits] = []
        for part, (_, tested) in enumerate(self._parts):
            if isinstance(adaptation, ZeroShot):
                scores[:, tested] = self._zero_shot(adaptation, tested)
            else:
                fits.append(self._fit(adaptation, cells, part, tested))
                scores[:, tested] = fits[-1].scores
        keys = tuple(cell.key for cell in cells)
        name = f"{digest_config('predictions', keys)}.parquet"
        write_predictions(
            self._home.predictions / name, Predictions(keys, self._test_ids, scores, self._dataset.card.classes)
        )
        seconds = time.monotonic() - began
        results = {cell.key: _result(name, number, cell, fits) for number, cell in enumerate(cells)}
        self._emitter.finished(results, seconds)
        self._emitter.log(f"solved {len(cells)} {adaptation.kind} runs in {seconds:.2f} s")
        solved = set(keys)
        self._waiting = [cell for cell in self._waiting if cell.key not in solved]

    def _fit(self, adaptation: Adaptation, cells: list[_Cell], part: int, tested: np.ndarray) -> Fits:
        """Every cell's fit on one part of the dataset, and its scores of the images tested there."""
        used = np.unique(np.concatenate([cell.positions[part] for cell in cells]))
        return fit_and_score(
            adaptation,
            self._cache.read(self._train_items[used]),
            self._labels[used],
            len(self._dataset.card.classes),
            [np.searchsorted(used, cell.positions[part]) for cell in cells],
            self._cache.read(self._test_items[tested]),
            device=self._emitter.device,
            on_progress=lambda done, total: self._emitter.progress(done, total, f"solving {adaptation.kind} probes"),
            feature=self._request.feature,
            groups=self._sequences[used],
            seeds=[cell.subset.seed for cell in cells],
        )

    def _zero_shot(self, adaptation: ZeroShot, tested: np.ndarray) -> np.ndarray:
        # Text towers bring transformers with them; probes do without.
        from fmlab.adapt.zero_shot import zero_shot_scores

        self._emitter.progress(0, 1, "reading the prompts")
        features = self._cache.read(self._test_items[tested])
        return zero_shot_scores(
            self._home, self._card, adaptation, self._dataset.card.classes, features, self._emitter.device
        )


def _with_copies(rows: pd.DataFrame, copies: int) -> pd.DataFrame:
    """Every row once for the image and once for each of its augmented copies, together; column `copy`."""
    repeated = rows.loc[rows.index.repeat(copies + 1)].reset_index(drop=True)
    return repeated.assign(copy=np.tile(np.arange(copies + 1, dtype=np.uint8), len(rows)))


def _result(name: str, number: int, cell: _Cell, fits: list[Fits]) -> dict[str, Any]:
    """What is kept of a run beside its predictions; of several folds the worst gap and the mean number of items."""
    gaps = [float(fit.gap[number]) for fit in fits if not np.isnan(fit.gap[number])]
    notes = [dict(fit.notes[number]) for fit in fits if fit.notes[number]]
    return {
        "predictions": name,
        "converged": all(bool(fit.converged[number]) for fit in fits),
        "gap": max(gaps, default=None),
        "n_train": round(float(np.mean([len(part) for part in cell.positions]))),
        "absent_classes": list(cell.absent),
    } | ({"chosen": notes} if notes else {})
