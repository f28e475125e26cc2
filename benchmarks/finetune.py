"""How fast finetuning is, against transformers' Trainer on the same images, model, batch and precision.

FMLab: `train` on the image store, as a trained run calls it. Trainer: torchvision's transforms, with 0 and with 2 (on a
GPU 8) loader workers, from decoded images in memory, from JPEG and from PNG files; its better number of workers counts.
Both see the same number of images in the same order for the same number of steps; starting up is measured with both,
since a study starts often. All are measured in turn, round by round; the first round warms up.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms
from transformers import Trainer, TrainingArguments
from transformers.utils import logging as transformers_logging

from benchmarks.extract import INTERPOLATION, Work, make_images, medians
from fmlab.adapt.configs import Finetune
from fmlab.adapt.finetuning import build_classifier
from fmlab.adapt.recipes import TrainingSetting, training_setting
from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import Dataset
from fmlab.data.preprocessing import InputSpec
from fmlab.data.subsets import Subset
from fmlab.settings import Home
from fmlab.training.batches import TrainingImages
from fmlab.training.loop import batches_of, train

GPU = torch.cuda.is_available()
# Key, side of the input in pixels. On a processor at the size of the quick recipe, where reading images weighs most.
BACKBONES = (("vit-base", 224), ("efficientnet-lite0", 224)) if GPU else (("efficientnet-lite0", 96), ("vit-tiny", 96))
ARCHITECTURES = {"vit-base": "vit_base_patch16_224", "vit-tiny": "vit_tiny_patch16_224"}
WORKERS = (0, 8) if GPU else (0, 2)
SOURCES = ("memory", "JPEG files", "PNG files")
GATES = {source: 1.15 for source in SOURCES} if GPU else {"memory": 1.0, "JPEG files": 1.1, "PNG files": 1.4}
CLASSES, SEED, EPOCHS = 10, 0, 2


class Examples(TorchDataset):
    """Labelled images as a user of transformers would give them to the Trainer, from memory or from files."""

    def __init__(self, images: list[Image.Image] | list[Path], labels: np.ndarray, spec: InputSpec) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [
                transforms.Resize(spec.resize_to, interpolation=INTERPOLATION[spec.interpolation]),
                transforms.CenterCrop(spec.size),
                transforms.ToTensor(),
                transforms.Normalize(spec.mean, spec.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images[index]
        picture = Image.open(image) if isinstance(image, Path) else image
        return {"pixel_values": self.transform(picture.convert("RGB")), "labels": int(self.labels[index])}


class WithLoss(nn.Module):
    """A network as the Trainer wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.network(pixel_values)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class InOrder(torch.utils.data.Sampler):
    """FMLab's order of images."""

    def __init__(self, items: int, batch: int) -> None:
        self.items, self.batch, self.epoch = items, batch, 0

    def __len__(self) -> int:
        return self.items

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        yield from np.concatenate(batches_of(self.items, self.batch, SEED, self.epoch)).tolist()


class SameOrder(Trainer):
    """The Trainer as it is, but for the order of images."""

    def _get_train_sampler(self, train_dataset: TorchDataset | None = None) -> InOrder:
        return InOrder(len(self.train_dataset), self.args.per_device_train_batch_size)


@dataclass(frozen=True)
class Fixture:
    """What all competitors get."""

    home: Home
    dataset: Dataset
    paths: dict[str, list[Path]]
    card: BackboneCard
    spec: InputSpec
    setting: TrainingSetting
    labels: np.ndarray
    device: str

    def classifier(self) -> nn.Module:
        """The same weights each time."""
        return build_classifier(self.card, self.home, Finetune(), self.card.feature, self.spec.size, CLASSES, SEED)


def with_fmlab(fixture: Fixture, seen: list[float]) -> Work:
    """The product's loop on the image store; notes the share of time spent waiting for images."""
    rows = fixture.dataset.manifest(["image_id", "content_hash", "sector"]).assign(copy=0)

    def work() -> None:
        images = TrainingImages(fixture.dataset.folder, rows, fixture.spec, False, pinned=GPU)
        with tempfile.TemporaryDirectory() as folder:
            done = train(
                fixture.classifier(), images, fixture.labels, fixture.setting, fixture.device, Path(folder), SEED
            )
        seen.append(done.data_wait_share)

    return work


def with_trainer(fixture: Fixture, source: str, workers: int) -> Work:
    """What a user of transformers would run."""
    files = fixture.paths["JPEG files" if source == "memory" else source]
    images = [Image.open(path).convert("L") for path in files] if source == "memory" else files
    examples = Examples(images, fixture.labels, fixture.spec)

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                learning_rate=fixture.setting.learning_rate,
                num_train_epochs=EPOCHS,
                per_device_train_batch_size=fixture.setting.batch,
                bf16=fixture.setting.precision == "bf16",
                dataloader_num_workers=workers,
                dataloader_persistent_workers=workers > 0,
                use_cpu=not GPU,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                remove_unused_columns=False,
            )
            SameOrder(WithLoss(fixture.classifier()), arguments, train_dataset=examples).train()

    return work


def make_fixture(home: Home, dataset: Dataset, paths: dict[str, list[Path]], key: str, size: int) -> Fixture:
    """Everything for one backbone, in the precision of the device."""
    card = find_backbone(home, key if key in ("efficientnet-lite0",) else "random-vit-tiny")
    if key in ARCHITECTURES and ARCHITECTURES[key] != card.architecture:
        card = card.model_copy(update={"architecture": ARCHITECTURES[key], "widths": (768, 768)})
    device = "cuda:0" if GPU else "cpu"
    count = len(dataset.manifest(["image_id"]))
    setting = training_setting(Finetune(epochs=EPOCHS), card, Subset("images", count, SEED), device)
    spec = InputSpec(size, "crop", round(size * 256 / 224), "bilinear", card.spec.mean, card.spec.std)
    return Fixture(home, dataset, paths, card, spec, setting, np.arange(count) % CLASSES, device)


def run(quick: bool = False) -> Iterator[dict]:
    """A row for each backbone and source: the speed against the better of the Trainer's two."""
    transformers_logging.set_verbosity_error()
    count, rounds = (64, 1) if quick else (2048 if GPU else 128, 3)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        dataset, paths = make_images(home, count)
        for key, size in BACKBONES[:1] if quick else BACKBONES:
            fixture = make_fixture(home, dataset, paths, key, size)
            waits: list[float] = []
            works: dict[str, Work] = {"fmlab": with_fmlab(fixture, waits)}
            for source in SOURCES:
                for workers in WORKERS:
                    works[f"{source}, {workers} workers"] = with_trainer(fixture, source, workers)
            yield from measured(f"{key} at {size} px", fixture, count * EPOCHS, medians(works, rounds), waits)


def measured(
    what: str, fixture: Fixture, seen: int, seconds: dict[str, list[float]], waits: list[float]
) -> Iterator[dict]:
    """The rows of one backbone. Ratios are medians over rounds of the ratio within a round."""
    ours = np.asarray(seconds["fmlab"])
    speed = seen / float(np.median(ours))
    for source in SOURCES:
        rivals = np.stack([seconds[f"{source}, {workers} workers"] for workers in WORKERS])
        ratios = rivals.min(axis=0) / ours
        yield {
            "name": "finetune",
            "what": f"{what} in {fixture.setting.precision}: {speed:.0f} images/s",
            "ratio": float(np.median(ratios)),
            "lowest": float(ratios.min()),
            "against": f"transformers' Trainer from {source}, the better of {WORKERS[0]} and {WORKERS[1]} workers",
            "gate": GATES[source],
            "device": torch.cuda.get_device_name() if GPU else f"cpu, {os.cpu_count()} cores",
            "images_per_second": speed,
            "data_wait_share": float(np.median(waits)),
            "trainer_images_per_second": {
                f"{workers} workers": seen / float(np.median(each))
                for workers, each in zip(WORKERS, rivals, strict=True)
            },
        }
