"""Pixels on their way into a network: items from the store, fitted batches, normalised tensors. Worker only.

In: items of a dataset's image store, or any function that gives image i as uint8 (H, W) or (H, W, 3).
Out: uint8 batches (B, S, S) or (B, S, S, 3), and from them (B, 3, S, S) float32.

Pixels are those of `fmlab.data.preprocessing`, bit by bit on a CPU; on a GPU its division may differ in the last bit.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fmlab.data.augmentation import augmented
from fmlab.data.preprocessing import InputSpec, fit, mask_outside
from fmlab.data.store import ImageStore

ReadImage = Callable[[int], np.ndarray]


def item_reader(folder: Path, rows: pd.DataFrame, mask_sector: bool) -> ReadImage:
    """Reads item i of some rows of a dataset (columns image_id, content_hash, sector; copy, else 0) at native size.

    The image comes from the store in the dataset's folder, is blacked out outside its sector where that is asked for,
    and is then tilted or resampled if the item is an augmented copy.
    """
    store = ImageStore(folder / "store")
    positions = store.positions(rows["image_id"]).tolist()
    sectors = rows["sector"].tolist() if mask_sector else None
    hashes = rows["content_hash"].tolist()
    copies = rows["copy"].tolist() if "copy" in rows else [0] * len(rows)

    def read(index: int) -> np.ndarray:
        image = store.read(positions[index])
        if sectors is not None:
            image = mask_outside(image, sectors[index])
        return augmented(image, hashes[index], copies[index])

    return read


def fitted_batch(read: ReadImage, positions: Iterable[int], size: int, spec: InputSpec, pinned: bool) -> Tensor:
    """Images scaled and cropped, uint8 (size, S, S) while all are grey, else (size, S, S, 3); black after the last."""
    return stacked([fit(read(position), spec) for position in positions], size, pinned)


def stacked(images: list[np.ndarray], size: int, pinned: bool) -> Tensor:
    """Squares of one side as a batch, uint8 (size, S, S) while all are grey, else (size, S, S, 3); black after the last."""
    colour = any(image.ndim == 3 for image in images)
    side = images[0].shape[:2]
    batch = torch.empty((size, *side, 3) if colour else (size, *side), dtype=torch.uint8, pin_memory=pinned)
    pixels = batch.numpy()
    pixels[len(images) :] = 0
    for row, image in enumerate(images):
        pixels[row] = image[..., None] if colour and image.ndim == 2 else image
    return batch


def normalised(pixels: Tensor, spec: InputSpec, channels_last: bool) -> Tensor:
    """(B, 3, S, S) float32 from uint8 (B, S, S) or (B, S, S, 3): what `fmlab.data.preprocessing.normalise` gives."""
    scaled = pixels.to(torch.float32) / 255
    count, height, width = pixels.shape[:3]
    form = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.empty((count, 3, height, width), device=pixels.device, memory_format=form)
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        plane = scaled if scaled.ndim == 3 else scaled[..., channel]
        images[:, channel] = (plane - np.float32(mean).item()) / np.float32(std).item()
    return images
