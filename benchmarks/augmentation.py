"""How fast images become crops, against lightly's DINOTransform with the same numbers in a DataLoader.

FMLab: batches from the memory map through `Crops`, made ahead as a pretraining takes them. lightly: pictures decoded in
memory, DINOTransform on Pillow images with hue and grey at 0 and FMLab's `fetal` numbers (but horizontal flips), batches
by DataLoader. One core: one thread against 0 workers. Two cores: two threads against 2 workers. Grey pictures in one
channel on both sides, coloured ones in three.
Both make 2 large and 8 small crops of an image. lightly samples bicubically and blurs with Pillow's approximation.

Measured in turn, round by round, the first one warms up. Seconds are of the clock; on one core also of the processor,
which others on the machine disturb less. Ratios are medians over rounds of the ratio within a round.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightly.transforms import DINOTransform
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks.extract import speckle
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.pretrain.crops import Crops, Views
from fmlab.pretrain.images import PretrainImages, prepare
from fmlab.pretrain.policies import policy
from fmlab.settings import Home

SIZES = ((96, 48), (224, 96))  # pixels of the large and the small crops
LOCALS, BATCH, SEED = 8, 32, 0
CORES = (1, 2)
MEAN, STD = 0.18, 0.22
GATE = 3.0
POLICY = policy("fetal", "horizontal")


class Pictures(TorchDataset):
    """Images as a user of lightly would give them to a DataLoader, in memory."""

    def __init__(self, images: np.ndarray, transform: DINOTransform) -> None:
        self.images, self.transform = [Image.fromarray(image) for image in images], transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        return self.transform(self.images[index])


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock and of the processor."""

    clock: float
    processor: float


def with_fmlab(images: PretrainImages, size: int, local_size: int, channels: int, threads: int) -> None:
    """All images once, in batches."""
    crops = Crops(POLICY, size, local_size, LOCALS, channels, (MEAN,) * channels, (STD,) * channels)

    def work(positions: np.ndarray) -> Views:
        return crops(images.batch(positions), images.codes[positions], SEED, 0)

    batches = np.split(np.random.default_rng(SEED).permutation(len(images)), len(images) // BATCH)
    with closing(images.ahead(batches, work, threads)) as stream:
        for views in stream:
            assert views.globals.shape[:2] == (2, BATCH)


def lightly_loader(images: np.ndarray, size: int, local_size: int, channels: int, workers: int) -> DataLoader:
    """A loader of all images, whose workers stay from one pass to the next."""
    transform = DINOTransform(
        global_crop_size=size,
        global_crop_scale=POLICY.global_scale,
        local_crop_size=local_size,
        local_crop_scale=POLICY.local_scale,
        n_local_views=LOCALS,
        cj_prob=POLICY.jitter_share,
        cj_strength=1.0,
        cj_bright=POLICY.brightness,
        cj_contrast=POLICY.contrast,
        cj_sat=POLICY.saturation,
        cj_hue=0.0,
        random_gray_scale=0.0,
        gaussian_blur=POLICY.blur_shares,
        sigmas=POLICY.blur_sigma,
        solarization_prob=POLICY.solarise_share,
        normalize={"mean": [MEAN] * channels, "std": [STD] * channels},
    )
    pictures = Pictures(images, transform)
    return DataLoader(pictures, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def with_lightly(loader: DataLoader) -> None:
    """All images once, in batches."""
    for views in loader:
        assert len(views) == 2 + LOCALS


def make_images(home: Home, kept: int, channels: int, count: int) -> PretrainImages:
    """Grains of ultrasound as a prepared set, tinted where there are three channels."""
    rng = np.random.default_rng(SEED)
    with DatasetWriter(home, f"speckle-{kept}-{channels}") as writer:
        for number in range(count):
            pixels = speckle(rng)
            if channels == 3:
                pixels = np.stack([pixels, pixels // 2 + 20, 255 - pixels], axis=-1)
            writer.add(ImageRow(f"{number}.png", patient_id=str(number)), pixels)
        dataset = writer.finish(CardFacts("benchmark"))
    rows = dataset.manifest(["image_id", "content_hash", "sector"]).assign(dataset=dataset.name)
    return prepare(home, rows, kept, "crop", channels, False)


def spent(work: partial) -> Spent:
    """What one pass takes."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - clock, time.process_time() - processor)


def run(quick: bool = False) -> Iterator[dict]:
    """A row for each size, number of channels and number of cores."""
    count, rounds = (32, 1) if quick else (96, 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for size, local_size in SIZES:
                for channels in (1, 3):
                    kept = 2 * round(size * 4 / 7)  # 256 for 224
                    images = make_images(Home(Path(folder)), kept, channels, count)
                    pixels = images.batch(np.arange(count)).numpy()
                    for cores in CORES[: os.cpu_count()]:
                        arguments = (size, local_size, channels)
                        works = (
                            partial(with_fmlab, images, *arguments, cores),
                            partial(with_lightly, lightly_loader(pixels, *arguments, 0 if cores == 1 else cores)),
                        )
                        pairs = [[spent(work) for work in works] for _ in range(rounds + 1)][1:]
                        yield measured(size, local_size, channels, cores, count, pairs)
    finally:
        torch.set_num_threads(threads)


def measured(size: int, local_size: int, channels: int, cores: int, count: int, pairs: list[list[Spent]]) -> dict:
    """One row."""
    ours, theirs = (np.array([pair[side].clock for pair in pairs]) for side in (0, 1))
    ratios = theirs / ours
    row = {
        "name": "augmentation",
        "what": f"2×{size} + {LOCALS}×{local_size}, {channels} channels, {cores} cores: {count / np.median(ours):.0f} images/s",
        "ratio": float(np.median(ratios)),
        "lowest": float(ratios.min()),
        "against": "lightly's DINOTransform in a DataLoader",
        "gate": GATE,
        "device": f"cpu, {os.cpu_count()} cores",
        "images_per_second_and_core": count / float(np.median(ours)) / cores,
        "lightly_images_per_second_and_core": count / float(np.median(theirs)) / cores,
    }
    if cores == 1:  # the processor time of a DataLoader's workers is not this process's
        row["processor_ratio"] = float(np.median([pair[1].processor / pair[0].processor for pair in pairs]))
    return row
