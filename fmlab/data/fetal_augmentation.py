"""What a fetal ultrasound image looks like each time it is learnt from: the training augmentation of the fetal study.

In: an image at the network's size, uint8 (H, W) or (H, W, 3), and random numbers. Out: a variant of the same shape.

Each of five things is done to half of the images, in this order: brightness and contrast, gamma, noise, a bent grid, a
mirror image. The study does it before it scales an image to the network's size, we after it, so that an image is read
once: noise is then of single pixels of the input.

Source: jakobamb/UltraDINO, `classification/data/classification_data.py`, which are transforms of albumentations with these
ranges: brightness and contrast ±0.3, gamma 80–120, noise of variance 10–50, five steps of a grid with ±0.3.
"""

import numpy as np

RELATIVE = 0.3  # of brightness (of the whole range of grey) and of contrast
LEAST_GAMMA, LARGEST_GAMMA = 0.8, 1.2
LEAST_VARIANCE, LARGEST_VARIANCE = 10.0, 50.0  # of the noise, in squared grey levels
GRID_STEPS, BENDING = 5, 0.3  # cells along each side, and the largest relative change of a cell's width


def fetal_variant(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A variant drawn on the fly: uint8 of the image's shape."""
    brightened, gamma, noisy, bent, mirrored = (draw.random(5) < 0.5).tolist()
    strengths = draw.random(4)
    cells = 1 + BENDING * (2 * draw.random((2, GRID_STEPS + 1)) - 1)
    levels = np.arange(256, dtype=np.float64)
    if brightened:
        brightness, contrast = (RELATIVE * (2 * strengths[:2] - 1)).tolist()
        levels = _cut(levels * (1 + contrast) + brightness * 255)
    if gamma:
        levels = 255 * (levels / 255) ** (LEAST_GAMMA + strengths[2] * (LARGEST_GAMMA - LEAST_GAMMA))
    variant = levels.round().astype(np.uint8)[image]
    if noisy:
        spread = (LEAST_VARIANCE + strengths[3] * (LARGEST_VARIANCE - LEAST_VARIANCE)) ** 0.5
        noise = draw.standard_normal(image.shape[:2], np.float32) * np.float32(spread)
        variant = _grey(variant + (noise if image.ndim == 2 else noise[..., None]))
    if bent:
        variant = on_bent_grid(variant, *cells)
    return variant[:, ::-1] if mirrored else variant


def on_bent_grid(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The image read along a grid whose cells have other heights and widths, bilinear; beyond its edge it is mirrored.

    `rows` and `columns`: the relative size of each cell, from the top left; whole pixels that the last step leaves over
    are a cell of their own.
    """
    bent = _interpolated(image.astype(np.float32), _places(image.shape[0], rows))
    bent = _interpolated(bent.swapaxes(0, 1), _places(image.shape[1], columns)).swapaxes(0, 1)
    return _grey(bent)


def _places(length: int, cells: np.ndarray) -> np.ndarray:
    """Where each of `length` pixels is read, (length,): cell after cell, each from where the one before it ended."""
    step = max(1, length // GRID_STEPS)
    ends = np.concatenate([[0.0], np.cumsum(step * cells)])
    starts = np.arange(len(ends)) * step
    return np.interp(np.arange(length), starts, ends)


def _interpolated(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The rows of an image at fractional places."""
    last = len(image) - 1
    if last == 0:
        return image
    # A mirror at both edges, which are not repeated themselves.
    inside = last - np.abs(last - np.mod(places, 2 * last))
    lower = np.minimum(np.floor(inside).astype(np.int64), last - 1)
    weight = (inside - lower).astype(np.float32).reshape(-1, *[1] * (image.ndim - 1))
    return image[lower] * (1 - weight) + image[lower + 1] * weight


def _cut(levels: np.ndarray) -> np.ndarray:
    return np.clip(levels, 0, 255)


def _grey(levels: np.ndarray) -> np.ndarray:
    return _cut(levels).round().astype(np.uint8)
