"""One trained cell: a backbone becomes a classifier, is trained on its items, and scores the test images. Worker only.

In: a card, an adaptation that trains, its setting, training items with labels (N,) int64, test images.
Out: scores (M, K) float32, which are logits, and the facts of the training for the run's row.

Source: the limited-data study, section 3.4.2: all weights under a linear layer on the backbone's own feature.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmlab.adapt.configs import LastBlocks, LoRA, Scratch, Trained
from fmlab.adapt.recipes import TrainingSetting
from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.encoders import TimmEncoder, random_encoder, resize_input
from fmlab.backbones.loaders import Backbone, Precision, build_encoder
from fmlab.backbones.pixels import ReadImage, item_reader
from fmlab.data.manifest import Dataset
from fmlab.data.preprocessing import InputSpec, at_size
from fmlab.embeddings.pipeline import stream_features
from fmlab.errors import BadInput, Cancelled
from fmlab.settings import Home
from fmlab.training.batches import TrainingImages, Variation
from fmlab.training.checkpoints import forget_checkpoints
from fmlab.training.loop import Step, train
from fmlab.training.network import Classifier, add_low_rank, leave_out_projection, train_last_blocks

__all__ = ["TrainedFit", "build_classifier", "fit_trained", "forget_checkpoints"]

Report = Callable[[int, int, str, float | None, float | None], None]


@dataclass(frozen=True)
class TrainedFit:
    """What a trained cell leaves: logits for every test image, and how the training went."""

    scores: np.ndarray  # (M, K) float32
    facts: dict[str, Any]


def fit_trained(
    home: Home,
    dataset: Dataset,
    card: BackboneCard,
    adaptation: Trained,
    setting: TrainingSetting,
    feature: str,
    spec: InputSpec,
    mask_sector: bool,
    train_rows: pd.DataFrame,
    labels: np.ndarray,
    classes: int,
    test_rows: pd.DataFrame,
    device: str,
    seed: int,
    folder: Path,
    on_progress: Report = lambda done, total, message, rate, seconds_left: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda text: None,
) -> TrainedFit:
    """Train a backbone on labelled items and score the test images.

    Called again with the same arguments after an interruption, it goes on from the last checkpoint in `folder` and ends
    with the same numbers. The caller calls `forget_checkpoints(folder)` once the predictions are written.

    Args:
        spec: the study's input for this backbone; `setting.input_size` changes its size.
        train_rows: (N) columns image_id, content_hash, sector, copy.
        labels: (N,) int64, 0 … classes − 1.
        test_rows: (M) columns image_id, content_hash, sector.
        folder: of this fit alone; holds metrics.jsonl, and checkpoints while it runs.
        on_progress: gets done, total, what is being done, images per second, seconds left.

    Raises:
        BadInput: the backbone cannot be trained in this way.
        TrainingDiverged: the loss is no number any more.
        Cancelled: `cancelled()` became true.
    """
    spec = at_size(spec, setting.input_size) if setting.input_size else spec
    on_progress(0, setting.steps_for(len(train_rows)), f"loading {card.title}", None, None)
    classifier = build_classifier(card, home, adaptation, feature, spec.size, classes, seed, setting.normalised_head)
    images = TrainingImages(
        dataset.folder,
        train_rows,
        spec,
        mask_sector,
        Variation(setting.augment, setting.flip, setting.jitter, setting.augmentation == "fetal"),
        seed,
        pinned=device.startswith("cuda"),
    )

    def tell(step: Step) -> None:
        message = f"training, epoch {step.epoch} of {step.epochs}"
        on_progress(step.step, step.steps, message, step.images_per_second, step.seconds_left)

    trained = train(classifier, images, labels, setting, device, folder, seed, tell, cancelled, log=log)
    log(
        f"trained {trained.steps} steps in {trained.seconds:.1f} s, {trained.images_per_second:.1f} images/s, "
        f"{trained.data_wait_share:.1%} of the time waiting for images, last epoch's loss {trained.final_loss:.4g}"
    )
    if trained.micro_batch < setting.batch:
        log(f"memory was short: batches of {setting.batch} were computed {trained.micro_batch} images at a time")
    read = item_reader(dataset.folder, test_rows, mask_sector)
    scores = predict(classifier, card, read, len(test_rows), spec, setting.precision, on_progress, cancelled)
    facts = {
        "converged": True,
        "gap": None,
        "n_train": len(train_rows),
        "epochs": trained.epochs,
        "steps": trained.steps,
        "final_loss": trained.final_loss,
        "seconds_training": trained.seconds,
        "images_per_second": trained.images_per_second,
        "micro_batch": trained.micro_batch,
        "learning_rate": setting.learning_rate,
        "data_wait_share": trained.data_wait_share,
    }
    return TrainedFit(scores, facts)


def build_classifier(
    card: BackboneCard,
    home: Home,
    adaptation: Trained,
    feature: str,
    size: int,
    classes: int,
    seed: int,
    normalised: bool = False,
) -> Classifier:
    """A new classifier on the CPU in fp32 for inputs of `size` pixels; what the adaptation trains requires gradients.

    The seed draws the linear layer on top, LoRA's additions, and under `scratch` all weights. `normalised` puts a
    normalisation over the batch before the linear layer. Raises `BadInput` for a
    backbone without a network, and for more last blocks than there are.
    """
    if card.layout == "pixels":
        raise BadInput(
            f"{card.key} is the image itself, with no network to train; probe it, or choose another backbone."
        )
    if feature not in card.features:
        raise BadInput(f"{card.key} gives no feature {feature!r}; choose {' or '.join(card.features)}.")
    encoder = fresh_encoder(card, size, seed) if isinstance(adaptation, Scratch) else build_encoder(card, home, size)
    if isinstance(adaptation, LastBlocks):
        train_last_blocks(encoder, adaptation.blocks)
    elif isinstance(adaptation, LoRA):
        add_low_rank(encoder, adaptation.rank, adaptation.alpha, adaptation.dropout, size, seed)
    leave_out_projection(encoder, feature)
    return Classifier(encoder, feature, card.width_of(feature), classes, seed, normalised)


def fresh_encoder(card: BackboneCard, size: int, seed: int) -> TimmEncoder:
    """A card's architecture with weights drawn under a seed, for inputs of `size` pixels."""
    encoder = random_encoder(card.model_copy(update={"seed": seed}))
    resize_input(encoder, size, card.positions)
    return encoder


def predict(
    classifier: Classifier,
    card: BackboneCard,
    read: ReadImage,
    count: int,
    spec: InputSpec,
    precision: Precision,
    on_progress: Report = lambda done, total, message, rate, seconds_left: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Logits (count, K) float32 of images 0 … count − 1, from the device on which the classifier lies."""
    classifier.eval()
    weight, bias = linear_layer(classifier)
    encoder, device = classifier.encoder, classifier.head.weight.device
    backbone = Backbone(card, "trained", encoder, device, precision, encoder.convolutional)
    scores = np.empty((count, len(bias)), np.float32)
    done, began = 0, time.perf_counter()
    with closing(stream_features(read, count, backbone, spec, classifier.feature)) as stream:
        for features in stream:
            if cancelled():
                raise Cancelled("The prediction was stopped.")
            scores[done : done + len(features)] = features @ weight.T + bias
            done += len(features)
            rate = done / (time.perf_counter() - began)
            on_progress(done, count, "predicting test images", rate, (count - done) / rate)
    return scores


def linear_layer(classifier: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """What turns features into logits: weights (K, D) and biases (K,) float32, a normalisation before it folded in."""
    weight, bias = (part.detach().double().cpu() for part in (classifier.head.weight, classifier.head.bias))
    if (norm := classifier.norm) is not None:
        mean, variance = norm.running_mean.double().cpu(), norm.running_var.double().cpu()
        weight = weight / (variance + norm.eps).sqrt()
        bias = bias - weight @ mean
    return weight.float().numpy(), bias.float().numpy()
