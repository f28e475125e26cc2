"""What is looked at while a pretraining goes on: what its features tell of labels, and pictures of its tokens.

In: the labelled images, the images that are learnt from, the method at a step. Out: in the run's folder a line of
probes.jsonl, `pictures/step-NNNNNNNN.npz`, and the answers of the probe before the first step.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import interpolate

from fmlab.files import written_aside
from fmlab.pretrain.crops import planes
from fmlab.pretrain.health import METRICS, PROBES
from fmlab.pretrain.images import PretrainImages
from fmlab.pretrain.journal import Lines, read_lines
from fmlab.pretrain.method import Method
from fmlab.pretrain.methods import build_method
from fmlab.pretrain.networks import features, patch_features
from fmlab.pretrain.pictures import (
    Basis,
    picture_steps,
    read_pictures,
    reconstructions,
    token_pictures,
    write_pictures,
)
from fmlab.pretrain.probe import LabelledImages
from fmlab.pretrain.recipes import PretrainSetting

START = "probe-start.npz"
PICTURES = 8

Answers = dict[str, np.ndarray]


@dataclass(frozen=True)
class Found:
    """What the probe found in the end; None and empty where there were no labels."""

    labelled: str | None
    lines: list[dict[str, float]]  # of probes.jsonl
    pixels: dict[str, float]  # the probe of the images themselves
    answers: pd.DataFrame | None  # a row for each test image
    note: str  # which images were asked


class Watch:
    """Looks at a pretraining at its evaluations. Without labelled images it takes pictures alone."""

    def __init__(
        self,
        folder: Path,
        labelled: LabelledImages | None,
        images: PretrainImages,
        setting: PretrainSetting,
        device: str,
    ) -> None:
        self._folder, self._labelled, self._setting, self._device = folder, labelled, setting, device
        chosen = np.unique(np.linspace(0, len(images) - 1, PICTURES).astype(int))
        self._shown = planes(images.batch(chosen), setting.channels)
        self._basis: Basis | None = None
        self._last: tuple[int, Answers] | None = None  # of the latest look

    @property
    def pixels(self) -> dict[str, float] | None:
        """What both probes reach on the images themselves, 0–1."""
        return None if self._labelled is None else self._labelled.pixel_floor.plain

    def seconds(self) -> float:
        """How long one evaluation takes, about: the labels are asked for once of a network that is thrown away."""
        if self._labelled is None:
            return 0.0
        method = build_method(self._setting, 1).to(self._device)
        before = time.perf_counter()
        self._answers(method.eval())
        return time.perf_counter() - before

    def look(self, step: int, method: Method) -> None:
        """Ask for the labels and take the pictures; lines of later steps, of an interrupted attempt, go."""
        self._take_pictures(step, method)
        if self._labelled is None:
            return
        answers = self._answers(method)
        self._last = step, answers
        if step == 0:
            with written_aside(self._folder / START) as aside, aside.open("wb") as file:
                np.savez(file, **answers)
        metrics = read_lines(self._folder / METRICS)
        line = {"step": step, "images": step * self._setting.batch, "seconds": metrics[-1]["seconds"] if metrics else 0}
        lines = Lines(self._folder / PROBES, step - 1)
        lines.add(line | self._labelled.result(answers["knn"], answers["linear"]).plain)
        lines.close()

    def found(self, method: Method) -> Found:
        """Everything, once the last step is done."""
        if self._labelled is None:
            return Found(None, [], {}, None, "")
        labelled, lines = self._labelled, read_lines(self._folder / PROBES)
        # After an interruption behind the last look nothing is known of it any more.
        end = self._last[1] if self._last and self._last[0] == lines[-1]["step"] else self._answers(method)
        with np.load(self._folder / START, allow_pickle=False) as start:
            before = {f"start_{name}": start[name] for name in start.files}
        pixels = dict(zip(("pixels_knn", "pixels_linear"), labelled.predicted(labelled.pixels), strict=True))
        rows = labelled.test_rows[["image_id", "patient_id"]].reset_index(drop=True)
        named = {name: np.asarray(labelled.classes)[codes] for name, codes in (end | before | pixels).items()}
        answers = rows.assign(label=np.asarray(labelled.classes)[labelled.truth], **named)
        floor = labelled.pixel_floor.plain
        return Found(labelled.dataset, lines, floor, answers, labelled.note)

    def _answers(self, method: Method) -> Answers:
        with _evaluated(method) as encoder:
            given = self._labelled.features(
                lambda images: features(encoder, images, method.feature), device=self._device
            )
        return dict(zip(("knn", "linear"), self._labelled.predicted(given), strict=True))

    @torch.no_grad()
    def _take_pictures(self, step: int, method: Method) -> None:
        shown = interpolate(self._shown, size=(self._setting.size,) * 2, mode="bilinear", antialias=True)
        mean, std = (torch.tensor(each)[:, None, None] for each in (self._setting.mean, self._setting.std))
        given = ((shown - mean) / std).to(self._device)
        with _evaluated(method) as encoder:
            found = patch_features(encoder, given).float().cpu().numpy()
        if self._basis is None:
            self._basis = _last_basis(self._folder, step)
        pca, self._basis = token_pictures(found, self._basis)
        grey = (shown.mean(1) * 255).round().clamp(0, 255).byte().numpy()
        rebuilt = method.rebuilt(given, np.random.default_rng(self._setting.seed))
        if rebuilt is None:
            write_pictures(self._folder, step, grey, pca)
            return
        predicted, hidden = (each.cpu().numpy() for each in rebuilt)
        whole = (shown.movedim(1, -1) * 255).round().clamp(0, 255).byte().numpy()
        whole = whole[..., 0] if whole.shape[-1] == 1 else whole
        masked, reconstructed = reconstructions(whole, predicted, hidden, self._setting.patch)
        write_pictures(self._folder, step, grey, pca, masked, reconstructed)


@contextmanager
def _evaluated(method: Method) -> Iterator[nn.Module]:
    """The encoder as it is used later, its batch statistics left alone; then as it was."""
    encoder = method.encoder()
    training = encoder.training
    encoder.eval()
    try:
        yield encoder
    finally:
        encoder.train(training)


def _last_basis(folder: Path, step: int) -> Basis | None:
    """How colours stood before an interruption; None at the beginning."""
    earlier = [path for taken, path in picture_steps(folder).items() if taken < step]
    return Basis.of_picture(read_pictures(earlier[-1])["pca"]) if earlier else None
