"""Work of kind `train`: one run, from the backbone's weights (or none) to predictions. It has its group for itself.

In: the run. Out: `predictions/<digest>.parquet` and a `finished` event that names it; meanwhile, in the group's folder,
the log, and for each part of the dataset `metrics.jsonl` and the checkpoints from which an interrupted run goes on.

Under cross-validation there is a part for each fold: what is trained on the others predicts it.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.adapt.configs import Trained, adaptation_from
from fmlab.adapt.finetuning import fit_trained, forget_checkpoints
from fmlab.adapt.recipes import TrainingSetting
from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.data.preprocessing import styled
from fmlab.data.roles import Roles, checked_roles
from fmlab.data.subsets import Subset, absent_classes, draw, training_items
from fmlab.errors import BadInput
from fmlab.files import digest_config, read_json, write_json, written_aside
from fmlab.predictions import Predictions, write_predictions
from fmlab.runs.records import throughput_name
from fmlab.runs.requests import starting_digest
from fmlab.runs.worker import Emitter
from fmlab.settings import Home

PROOF = "fit.json"  # of a fold: written last
AVERAGED = ("final_loss", "images_per_second", "data_wait_share")  # of several folds
SUMMED = ("steps", "seconds_training")


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Execute the run; see the module's docstring."""
    home = Home(Path(facts["home"]))
    for run in facts["runs"]:
        _Training(home, run["key"], run["config"], Path(facts["folder"]), emitter).execute()


class _Training:
    """A run at work."""

    def __init__(self, home: Home, key: str, config: dict[str, Any], folder: Path, emitter: Emitter) -> None:
        self._home, self._key, self._config = home, key, config
        self._emitter, self._folder = emitter, folder
        self._dataset: Dataset = open_dataset(home, config["dataset"])
        self._card = find_backbone(home, config["backbone"])
        self._adaptation = _trained(config["adaptation"])
        self._setting = TrainingSetting(**config["setting"])
        self._subset = Subset(**config["subset"])
        if self._dataset.card.content_hash != config["content_hash"]:
            raise BadInput(
                f"Dataset {self._dataset.name!r} has changed since this run was queued. Launch the study again."
            )
        if starting_digest(self._adaptation, self._card, home) != config["weights"]:
            raise BadInput(f"The weights of backbone {self._card.key!r} have changed since. Launch the study again.")
        self._roles: Roles = checked_roles(self._dataset, config["folds"])

    def execute(self) -> None:
        """Train on every part, write the predictions, forget the checkpoints."""
        began = time.monotonic()
        self._emitter.under_way([self._key])
        scores = np.empty((len(self._roles.test), len(self._dataset.card.classes)), np.float32)
        parts = []
        for number, (learnt, tested) in enumerate(self._roles.parts):
            scores[tested], facts = self._part(number, learnt, tested)
            parts.append(facts)
        name = f"{digest_config('predictions', [self._key])}.parquet"
        images = self._roles.test["image_id"].to_numpy(dtype=str)
        predictions = Predictions((self._key,), images, scores[None], self._dataset.card.classes)
        write_predictions(self._home.predictions / name, predictions)
        self._emitter.finished({self._key: {"predictions": name} | _together(parts)}, time.monotonic() - began)
        self._measured(parts)
        for number in range(len(parts)):
            forget_checkpoints(self._part_folder(number))

    def _part_folder(self, number: int) -> Path:
        return self._folder if self._roles.folds is None else self._folder / f"fold-{number}"

    def _part(self, number: int, learnt: np.ndarray, tested: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Logits (m, K) of one part's test images, and how its training went; taken from disk when it was done before."""
        folder = self._part_folder(number)
        if self._roles.folds is not None and (folder / PROOF).exists():
            return np.load(folder / "scores.npy"), read_json(folder / PROOF)
        classes, copies = self._dataset.card.classes, self._subset.copies
        images = self._roles.train.iloc[learnt]
        items = training_items(images, classes, copies)
        chosen = draw(items, self._subset)
        if len(present := np.unique(items.labels[chosen])) < 2:
            raise BadInput(f"The subset of this size and seed holds only class {classes[present[0]]!r}.")
        rows = images.iloc[chosen // (copies + 1)].assign(copy=items.copies[chosen])
        fit = fit_trained(
            self._home,
            self._dataset,
            self._card,
            self._adaptation,
            self._setting,
            self._config["feature"],
            styled(self._card.spec, self._config["style"]),
            self._config["mask_sector"],
            rows.reset_index(drop=True),
            items.labels[chosen],
            len(classes),
            self._roles.test.iloc[tested].reset_index(drop=True),
            self._emitter.device,
            self._subset.seed,
            folder,
            on_progress=lambda *progress: self._tell(number, *progress),
            cancelled=lambda: bool(self._emitter.cancelled([self._key])),
            log=self._emitter.log,
        )
        fit.facts["absent_classes"] = absent_classes(items, chosen)
        if self._roles.folds is not None:
            with written_aside(folder / "scores.npy") as aside, aside.open("wb") as file:
                np.save(file, fit.scores)
            write_json(folder / PROOF, fit.facts)
        return fit.scores, fit.facts

    def _tell(
        self, number: int, done: int, total: int, message: str, rate: float | None, seconds_left: float | None
    ) -> None:
        parts = len(self._roles.parts)
        if parts > 1:
            message = f"fold {number + 1} of {parts}: {message}"
            each = total / rate * self._setting.batch if rate else None
            seconds_left = None if seconds_left is None or each is None else seconds_left + (parts - 1 - number) * each
            done, total = number * total + done, parts * total
        self._emitter.progress(done, total, message, rate, seconds_left)

    def _measured(self, parts: list[dict[str, Any]]) -> None:
        """What the planner reads before the next training of this kind."""
        what = throughput_name(self._adaptation.kind, self._config["input"]["size"])
        rate = float(np.mean([part["images_per_second"] for part in parts]))
        self._emitter.emit("measured", backbone=self._card.key, what=what, value=rate)


def _trained(config: dict[str, Any]) -> Trained:
    adaptation = adaptation_from(config)
    if not isinstance(adaptation, Trained):
        raise BadInput(f"{adaptation.kind} trains nothing; it is a run of kind adapt.")
    return adaptation


def _together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The facts of a run from those of its folds: sums, means, the smallest batch."""
    facts = dict(parts[0])
    facts |= {name: sum(part[name] for part in parts) for name in SUMMED}
    facts |= {name: float(np.mean([part[name] for part in parts])) for name in AVERAGED}
    facts |= {"absent_classes": sorted({name for part in parts for name in part["absent_classes"]})}
    facts |= {"n_train": round(float(np.mean([part["n_train"] for part in parts])))}
    return facts | {"micro_batch": min(part["micro_batch"] for part in parts)}
