"""What the parts of a study cost: time, memory and disk, from measured speeds or from a guess.

In: the runs that one backbone still has to do, on a device. Out: a `Cost` in seconds and bytes.

Guesses come from the number of parameters. Activations are those that a backward pass keeps, counted for seven networks of
torch in fp32 at 224 pixels: 22 (ResNet-18), 80 (EfficientNet-Lite0), 86 (ResNet-50), 118 (ViT-B/16), 172 (ViT-B/14) and
232 MB (ConvNeXt-B) an image; the line below lies above all of them.
"""

from dataclasses import dataclass
from typing import Any

from fmlab.adapt.configs import LastBlocks, LoRA, Trained, adaptation_from
from fmlab.adapt.recipes import TrainingSetting
from fmlab.backbones.cards import BackboneCard
from fmlab.runs.store import Store

NUMBER = 4  # bytes, fp32
OVERHEAD_BYTES = 1 << 30  # the worker itself: Python, torch, buffers of one batch

# Before anything was measured: a model of n parameters embeds about this much / n images of 224 pixels a second.
GUESSED_SPEED = {"cpu": 4e8, "cuda": 2e11}
GUESSED_SIZE = 224
BACKWARD = 3  # a step of training costs as much as this many passes forward
GUESSED_FIT_SECONDS = {"linear_head": 5.0}
USUAL_FIT_SECONDS = 0.1

ACTIVATION_BYTES = 90e6  # an image, and so many bytes more for each parameter
ACTIVATION_PER_PARAMETER = 1.7
OPTIMISER_COPIES = 3  # gradient and AdamW's two averages
CHECKPOINTS = 2  # the one that stands while the next is written
KEPT_PIXELS = 0.25  # of the free memory, at most, for fitted training images
LEAST_DEPTH = 12  # networks with fewer blocks have most of their weights in the last ones


@dataclass(frozen=True)
class Speed:
    """Images a second, measured on this machine or guessed."""

    images_per_second: float
    measured: bool


@dataclass(frozen=True)
class Cost:
    """What one part of a study takes while it runs; `gpu_least_bytes` is for batches cut down to one image."""

    seconds: float = 0.0
    memory_bytes: int = 0
    gpu_bytes: int = 0
    gpu_least_bytes: int = 0
    kept_bytes: int = 0  # on disk, for good
    passing_bytes: int = 0  # on disk, while it runs


def embedding_speed(store: Store, device: str, card: BackboneCard, size: int) -> Speed:
    """How fast a backbone embeds images of a size in pixels."""
    measured = store.measurement(device, card.key, "images_per_second")
    return Speed(measured, True) if measured else Speed(_guessed(device, card, size), False)


def training_speed(store: Store, device: str, card: BackboneCard, kind: str, size: int) -> Speed:
    """How fast a backbone learns from images of a size in pixels."""
    measured = store.measurement(device, card.key, f"train_images_per_second:{kind}:{size}")
    return Speed(measured, True) if measured else Speed(_guessed(device, card, size) / BACKWARD, False)


def _guessed(device: str, card: BackboneCard, size: int) -> float:
    return GUESSED_SPEED[device.split(":")[0]] / max(card.parameters, 100_000) * (GUESSED_SIZE / size) ** 2


def fit_seconds(store: Store, kind: str) -> float:
    """How long one probe of a kind takes, its embeddings being there."""
    return store.mean_seconds(kind) or GUESSED_FIT_SECONDS.get(kind, USUAL_FIT_SECONDS)


def frozen_cost(device: str, card: BackboneCard, missing: int, held: int, width: int, seconds: float) -> Cost:
    """Of embedding so many missing images and solving on so many, (held, width) in memory, in so many seconds."""
    model, matrix = card.parameters * NUMBER, held * width * NUMBER * 2
    on_gpu = device.startswith("cuda")
    return Cost(
        seconds=seconds,
        memory_bytes=OVERHEAD_BYTES + matrix + (0 if on_gpu else model),
        gpu_bytes=model if on_gpu else 0,
        gpu_least_bytes=model if on_gpu else 0,
        kept_bytes=missing * width * NUMBER,
    )


def training_cost(device: str, card: BackboneCard, config: dict[str, Any], items: int, free: int) -> Cost:
    """Of one training with the run's `config` on so many items; `free` bytes of memory are there. Seconds are left out."""
    setting, size = TrainingSetting(**config["setting"]), config["input"]["size"]
    share = trained_share(adaptation_from(config["adaptation"]), card)
    weights = card.parameters * NUMBER * (1 + OPTIMISER_COPIES * share)
    number = 0.5 if setting.precision == "bf16" else 1.0
    image = (ACTIVATION_BYTES + ACTIVATION_PER_PARAMETER * card.parameters) * (size / GUESSED_SIZE) ** 2 * number
    batch = min(setting.batch, items) * image
    pixels = min(items * size * size, KEPT_PIXELS * free)
    on_gpu = device.startswith("cuda")
    return Cost(
        memory_bytes=int(OVERHEAD_BYTES + pixels + (0 if on_gpu else weights + batch)),
        gpu_bytes=int(weights + batch) if on_gpu else 0,
        gpu_least_bytes=int(weights + image) if on_gpu else 0,
        passing_bytes=int(CHECKPOINTS * card.parameters * NUMBER * (1 + 2 * share)),
    )


def trained_share(adaptation: Any, card: BackboneCard) -> float:
    """The share of a backbone's weights that an adaptation trains, 0–1, rather too much than too little."""
    depth = max(card.taps, default=0) + 1
    if isinstance(adaptation, LoRA):
        return min(1.0, adaptation.rank / 100)
    if isinstance(adaptation, LastBlocks) and depth >= LEAST_DEPTH:
        return min(1.0, adaptation.blocks / depth)
    return 1.0 if isinstance(adaptation, Trained) else 0.0
