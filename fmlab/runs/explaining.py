"""Work of kind `explain`: where a run looked when it answered an image, found by covering parts of it.

In: one run that names a finished run of a frozen backbone, an image it was scored on and a class. Out: `heat.npy` in the
run's folder, (S, S) float32 over the backbone's input: by how much the score of that class falls when a square there is
covered, the mean over all squares that cover a pixel. Below 0: covering raises the score.

A square is an eighth of the input's side and moves on by half of that. It is covered with black, as a shadow covers, and
as what lies outside the sector is. The probe is fitted again on the same items and embeddings; that it still
gives the run's answer is checked, else nothing is left.

Source: M. Zeiler and R. Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2; by captum's
`Occlusion`.
"""

import time
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import Occlusion
from torch import Tensor

from fmlab.adapt.configs import ZeroShot, adaptation_from
from fmlab.adapt.fit import fit_and_score
from fmlab.backbones.catalogue import find_backbone, weights_digest
from fmlab.backbones.loaders import Backbone
from fmlab.backbones.pixels import fitted_batch, item_reader, normalised
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.embeddings.cache import items_of, open_cache
from fmlab.embeddings.extraction import load_requested
from fmlab.embeddings.keys import EmbeddingsRequest
from fmlab.embeddings.pipeline import CPU_BATCH, GPU_BATCH
from fmlab.errors import BadInput, Cancelled
from fmlab.runs.heat import write_heat
from fmlab.runs.learnt import embeddings_of_run, learnt_items
from fmlab.runs.worker import Emitter
from fmlab.settings import Home

SQUARES = 8  # along a side: small enough to tell parts of a heart apart, few enough to take seconds
FURTHER = 2  # squares overlap by half
# Score of the refitted probe against the run's, relative to the largest: batches of another size change the last bits.
SAME_SCORE = 1e-3


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Explain one answer; see the module's docstring."""
    home = Home(Path(facts["home"]))
    run = facts["runs"][0]
    config = run["config"]
    began = time.monotonic()
    dataset = open_dataset(home, config["dataset"])
    answered = config["answered"]  # the config of the run whose answer it is
    if dataset.card.content_hash != answered["content_hash"]:
        raise BadInput(f"Dataset {dataset.name!r} has changed since that run. Launch its study again.")
    card = find_backbone(home, config["backbone"])
    if weights_digest(card, home) != answered["weights"]:
        raise BadInput(f"The weights of backbone {card.key!r} have changed since that run. Launch its study again.")
    request = embeddings_of_run(home, dataset, answered)
    probe = _Probe(home, dataset, answered, config["image_id"], request)
    emitter.progress(0, 1, f"loading {card.title}")
    backbone = load_requested(home, request, emitter.device)
    cover = _Cover(backbone, request, emitter, run["key"])
    image = _input(dataset, request, backbone, config["image_id"])
    cover.embed(image)
    scores = probe.scores(cover.features, emitter.device)
    _check_answer(scores[0], np.asarray(config["scores"], np.float32), dataset.card.classes)
    heat = cover.heat(image, scores, dataset.card.classes.index(config["target"]))
    path = Path(facts["folder"]) / "heat.npy"
    write_heat(path, heat)
    result = {"heat": str(path.relative_to(home.path)), "target": config["target"], "window": cover.window(image)}
    emitter.finished({run["key"]: result}, time.monotonic() - began)


def _input(dataset: Dataset, request: EmbeddingsRequest, backbone: Backbone, image_id: str) -> Tensor:
    """The image as the backbone gets it, (1, 3, S, S) float32."""
    rows = pd.DataFrame(dataset.rows_of([image_id], ["content_hash", "sector"]))
    pixels = fitted_batch(item_reader(dataset.folder, rows, request.mask_sector), [0], 1, request.spec, pinned=False)
    return normalised(pixels, request.spec, backbone.channels_last)


class _Cover:
    """Covers an image square by square. Captum says which pixels, twice: first all are embedded, then all are scored.

    So the probe is fitted once, on the features of all covered images together.
    """

    def __init__(self, backbone: Backbone, request: EmbeddingsRequest, emitter: Emitter, key: str) -> None:
        self._backbone = backbone
        self._request = request
        self._emitter = emitter
        self._key = key
        self._batch = GPU_BATCH if backbone.device.type == "cuda" else CPU_BATCH
        self._parts: list[np.ndarray] = []

    @property
    def features(self) -> np.ndarray:
        """(1 + P, D) float32: of the image itself, then of each covered one."""
        return np.concatenate(self._parts)

    @staticmethod
    def window(image: Tensor) -> int:
        """The side of a square in pixels of the input."""
        return max(1, image.shape[-1] // SQUARES)

    def embed(self, image: Tensor) -> None:
        """Embed the image and all that is seen of it when a square is covered."""
        window = self.window(image)
        along = 1 + ceil((image.shape[-1] - window) / max(1, window // FURTHER))
        total, done = 1 + along * along, 0

        def embedded(images: Tensor) -> Tensor:
            nonlocal done
            if self._emitter.cancelled([self._key]):
                raise Cancelled("The explanation was stopped.")
            self._parts.append(self._backbone.features(images, self._request.feature).cpu().numpy())
            done += len(images)
            self._emitter.progress(done, total, "covering parts of the image")
            return torch.zeros(len(images))

        self._covered(image, embedded, None)

    def heat(self, image: Tensor, scores: np.ndarray, target: int) -> np.ndarray:
        """(S, S) float32 from the scores (1 + P, K) of the image and of each covered one."""
        given = torch.from_numpy(np.ascontiguousarray(scores))
        passed = 0

        def scored(images: Tensor) -> Tensor:
            nonlocal passed
            passed += len(images)
            return given[passed - len(images) : passed]

        # All three channels are covered together and so have the same heat.
        return self._covered(image, scored, target)[0, 0].numpy().astype(np.float32)

    def _covered(self, image: Tensor, forward: Any, target: int | None) -> Tensor:
        window = self.window(image)
        side = image.shape[-1]
        black = normalised(torch.zeros((1, side, side), dtype=torch.uint8), self._request.spec, channels_last=False)
        return Occlusion(forward).attribute(
            image,
            sliding_window_shapes=(3, window, window),
            strides=(3, max(1, window // FURTHER), max(1, window // FURTHER)),
            baselines=black,
            target=target,
            perturbations_per_eval=self._batch,
        )


class _Probe:
    """The run's probe with what it is fitted on; embeddings that are gone are missed before anything is covered."""

    def __init__(
        self, home: Home, dataset: Dataset, answered: dict[str, Any], image_id: str, request: EmbeddingsRequest
    ) -> None:
        self._home = home
        self._classes = dataset.card.classes
        self._adaptation = adaptation_from(answered["adaptation"])
        self._seed = answered["subset"]["seed"]
        self._request = request
        self._items = learnt_items(dataset, answered, image_id)
        self._learnt = open_cache(home, request).read(items_of(self._items))

    def scores(self, features: np.ndarray, device: str) -> np.ndarray:
        """Scores (P, K) float32 of features (P, D) under the probe, fitted again."""
        if isinstance(self._adaptation, ZeroShot):
            # Text towers bring transformers with them; probes do without.
            from fmlab.adapt.zero_shot import zero_shot_scores

            card = find_backbone(self._home, self._request.backbone)
            return zero_shot_scores(self._home, card, self._adaptation, self._classes, features, device)
        fits = fit_and_score(
            self._adaptation,
            self._learnt,
            pd.Index(self._classes).get_indexer(self._items["label"]),
            len(self._classes),
            [np.arange(len(self._items))],
            features,
            device=device,
            feature=self._request.feature,
            groups=pd.factorize(self._items["sequence_id"])[0],
            seeds=[self._seed],
        )
        return fits.scores[0]


def _check_answer(scores: np.ndarray, expected: np.ndarray, classes: tuple[str, ...]) -> None:
    """Refuse an explanation of another answer than the run's: scores (K,) now and then."""
    if np.abs(scores - expected).max() > SAME_SCORE * max(1.0, float(np.abs(expected).max())):
        raise BadInput(
            f"Fitted again, this run answers {classes[int(scores.argmax())]!r} with {scores.max():.4g}, and it had answered "
            f"{classes[int(expected.argmax())]!r} with {expected.max():.4g}. Its libraries have changed; launch its study "
            "again under another name."
        )
