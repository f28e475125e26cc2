"""Small made-up datasets whose right answers can be seen by eye.

In: a home. Out: a dataset of grey squares: class `left` is bright on the left half, class `right` on the right half.
"""

import numpy as np

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import Dataset
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.settings import Home

CLASSES = ("left", "right")


def half_bright(side: str, rng: np.random.Generator, noise: int = 60, size: int = 32) -> np.ndarray:
    """A noisy square, brighter by 40 grey levels on one half, uint8 (size, size)."""
    picture = rng.integers(60, 60 + noise, (size, size))
    half = slice(0, size // 2) if side == "left" else slice(size // 2, size)
    picture[:, half] += 40
    return picture.astype(np.uint8)


def halves(home: Home, name: str = "halves", patients: int = 24, frames: int = 3, noise: int = 60) -> Dataset:
    """A dataset of one sequence per patient; two thirds of the patients train, one third is T1."""
    rng = np.random.default_rng(7)
    with DatasetWriter(home, name) as writer:
        for patient in range(patients):
            side = CLASSES[patient % 2]
            for frame in range(frames):
                row = ImageRow(
                    path=f"p{patient}.png",
                    frame=frame,
                    label=side,
                    sequence_id=f"s{patient}",
                    patient_id=f"p{patient}",
                    site="north" if patient % 4 < 2 else "south",
                    split="T1" if patient % 3 == 2 else "train",
                )
                writer.add(row, half_bright(side, rng, noise))
        return writer.finish(CardFacts("toy", title="Half-bright squares"), CLASSES)


def small_vit(home: Home) -> BackboneCard:
    """ViT-Tiny cut down to two blocks of width 24 with random weights: a step takes milliseconds."""
    options = {"depth": 2, "embed_dim": 24, "num_heads": 2}
    return find_backbone(home, "random-vit-tiny").model_copy(update={"options": options, "widths": (24, 24)})
