"""How fast images become embeddings, against the bare model and against a torch DataLoader.

Ceiling: eager fp32 forward passes of batches of 32 on tensors that lie in memory, with all cores. Store: the product's
`extract` with its cache on disk. Files: the product's decoding in the same pipeline. DataLoader: what a user would
write, with torchvision's transforms, 0 and 2 worker processes, batches of 32. All are measured in turn, round by round.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import Dataset
from fmlab.data.preprocessing import RESAMPLING, InputSpec, Preprocessing
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.embeddings.cache import items_of, open_cache
from fmlab.embeddings.extraction import extract, load_requested
from fmlab.embeddings.keys import EmbeddingsRequest, request_embeddings
from fmlab.embeddings.pipeline import stream_features
from fmlab.readers.stills import decode_pixels, open_still
from fmlab.settings import Home

BACKBONES = ("efficientnet-lite0", "random-vit-tiny", "random-resnet18")
SIDE = 256  # pixels of the images
BATCH = 32
GATES = {"the store": 0.90, "JPEG files": 0.80, "PNG files": 0.70}

Work = Callable[[], object]


class Files(TorchDataset):
    """Image files as a user of PyTorch would read them."""

    def __init__(self, paths: list[Path], spec: InputSpec) -> None:
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.Resize(spec.resize_to, interpolation=INTERPOLATION[spec.interpolation]),
                transforms.CenterCrop(spec.size),
                transforms.ToTensor(),
                transforms.Normalize(spec.mean, spec.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as picture:
            return self.transform(picture.convert("RGB"))


INTERPOLATION = {name: transforms.InterpolationMode(name) for name in RESAMPLING}


def speckle(rng: np.random.Generator) -> np.ndarray:
    """A grey image with the grain of ultrasound in a sector, uint8 (256, 256)."""
    field = rng.normal(size=(2, SIDE // 2, SIDE // 2))
    envelope = np.hypot(*field)
    tissue = np.kron(rng.uniform(0.1, 1.0, (8, 8)), np.ones((SIDE // 16, SIDE // 16)))
    grey = np.clip(60 * np.log1p(4 * envelope * tissue), 0, 255).astype(np.uint8)
    picture = np.array(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    down, across = np.mgrid[:SIDE, :SIDE] / SIDE
    picture[np.abs(across - 0.5) > 0.08 + 0.5 * down] = 0
    return picture


def make_images(home: Home, count: int) -> tuple[Dataset, dict[str, list[Path]]]:
    """The same images in a store, as JPEG and as PNG files."""
    rng = np.random.default_rng(0)
    paths: dict[str, list[Path]] = {"JPEG files": [], "PNG files": []}
    home.uploads.mkdir(parents=True)
    with DatasetWriter(home, "speckle") as writer:
        for number in range(count):
            picture = speckle(rng)
            writer.add(ImageRow(f"{number}.png", label="ab"[number % 2], patient_id=str(number // 2)), picture)
            for kind, ending in (("JPEG files", "jpg"), ("PNG files", "png")):
                path = home.uploads / f"{number}.{ending}"
                Image.fromarray(picture).save(path, quality=92)
                paths[kind].append(path)
        return writer.finish(CardFacts("speckle")), paths


def bare_forward(architecture: str, spec: InputSpec, count: int) -> Work:
    """Eager fp32 forward passes on tensors in memory."""
    model = timm.create_model(architecture, num_classes=0).eval()
    images = torch.randn(count, 3, spec.size, spec.size).split(BATCH)

    def work() -> None:
        with torch.inference_mode():
            for batch in images:
                model(batch)

    return work


def with_loader(architecture: str, files: Files, workers: int) -> Work:
    """What a user would write. Its workers are started beforehand, in favour of the rival."""
    model = timm.create_model(architecture, num_classes=0).eval()
    loader = DataLoader(files, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)

    def work() -> None:
        with torch.inference_mode():
            for batch in loader:
                model(batch)

    return work


def from_store(home: Home, dataset: Dataset, request: EmbeddingsRequest) -> Work:
    """The product's extraction into an empty cache."""
    backbone = load_requested(home, request)
    rows = dataset.manifest(["image_id", "content_hash", "sector"])

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            cache = open_cache(Home(Path(folder)), request)
            for _ in extract(dataset, backbone, request, rows, cache):
                pass
            if not cache.have(items_of(rows)).all():
                raise RuntimeError("the extraction left images out")

    return work


def from_files(home: Home, paths: list[Path], request: EmbeddingsRequest) -> Work:
    """The product's decoding and preprocessing of files, in the same pipeline."""
    backbone = load_requested(home, request)

    def read(index: int) -> np.ndarray:
        with open_still(paths[index]) as picture:
            return decode_pixels(picture)[0]

    def work() -> None:
        for _ in stream_features(read, len(paths), backbone, request.spec, request.feature):
            pass

    return work


def medians(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, measured in turn; the first round warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            before = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - before)
    return seconds


def run(quick: bool = False) -> Iterator[dict]:
    """A row for each backbone and source: the share of the ceiling, and the speed against the better DataLoader."""
    count, rounds = (64, 2) if quick else (256, 5)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        dataset, paths = make_images(home, count)
        for key in BACKBONES[:2] if quick else BACKBONES:
            card = find_backbone(home, key)
            request = request_embeddings(home, dataset.card.pixels_key, card, Preprocessing())
            works = {"bare": bare_forward(card.architecture, card.spec, count)}
            works["the store"] = from_store(home, dataset, request)
            for kind, files in paths.items():
                works[kind] = from_files(home, files, request)
                for workers in (0, 2):
                    name = f"{kind}, {workers} workers"
                    works[name] = with_loader(card.architecture, Files(files, card.spec), workers)
            yield from measured(key, count, medians(works, rounds))


def measured(key: str, count: int, seconds: dict[str, list[float]]) -> list[dict]:
    """The rows of one backbone. Ratios are medians over rounds of the ratio within a round."""
    rows = []

    def row(what: str, against: str, rivals: list[str], gate: float | None) -> dict:
        best = np.min([seconds[rival] for rival in rivals], axis=0)
        ratios = best / np.asarray(seconds[what])
        return {
            "name": "extract",
            "what": f"{key} from {what}: {count / np.median(seconds[what]):.0f} images/s",
            "ratio": float(np.median(ratios)),
            "lowest": float(ratios.min()),
            "against": against,
            "gate": gate,
            "device": f"cpu, {os.cpu_count()} cores",
            "images_per_second": count / float(np.median(seconds[what])),
        }

    for what, gate in GATES.items():
        rows.append(row(what, "bare forward passes on tensors in memory", ["bare"], gate))
        if what != "the store":
            rivals = [f"{what}, {workers} workers" for workers in (0, 2)]
            rows.append(row(what, "the better of a DataLoader with 0 and 2 workers", rivals, 1.0))
    return rows
