"""Augmented copies of an image: slight tilts and other widths, the same ones whenever they are asked for.

In: a stored image, uint8 (H, W) or (H, W, 3). Out: a variant of it with the same shape, black where nothing is known.

Copies 1 … 4 of a training image are items beside it; which tilt and which width an image gets follows from its content
hash alone, so copies are made on read and never stored. Variants drawn on the fly come from the same family.

Source: the limited-data study, sections 4.2 and 4.4: two copies with "slight angle tilts" and two with "resampling of
widths". It prints no angles and no factors; those below are ours.
"""

from hashlib import blake2b
from math import ceil, cos, radians, sin

import numpy as np
from PIL import Image

from fmlab.errors import BadInput

# Copy → what it is, in words.
COPY_NAMES: dict[int, str] = {0: "original", 1: "tilted left", 2: "tilted right", 3: "narrower", 4: "wider"}

LEAST_TILT, LARGEST_TILT = 3.0, 10.0  # degrees: seen at a glance, and still the same view
LEAST_WIDENING, LARGEST_WIDENING = 0.05, 0.15  # of the width


def augmented(image: np.ndarray, content_hash: str, copy: int) -> np.ndarray:
    """Copy 0 … 4 of the image with that content hash, of the same shape; copy 0 is the image itself.

    Tilts are about the centre by 3 to 10 degrees, widths change by 5 to 15 % about the vertical axis. Another copy
    raises `BadInput`.
    """
    if copy not in COPY_NAMES:
        raise BadInput(f"There is no augmented copy {copy}; choose 0 (the image itself) to {max(COPY_NAMES)}.")
    if copy == 0:
        return image
    share = _share(content_hash, copy)
    tilt = LEAST_TILT + share * (LARGEST_TILT - LEAST_TILT)
    widening = LEAST_WIDENING + share * (LARGEST_WIDENING - LEAST_WIDENING)
    side = 1 if copy in (1, 4) else -1
    return _warped(image, side * tilt, 1.0) if copy in (1, 2) else _resampled(image, 1 + side * widening)


def drawn(
    image: np.ndarray,
    draw: np.random.Generator,
    flip: bool = False,
    jitter: float = 0.0,
    warp: bool = True,
    margin: int = 0,
) -> np.ndarray:
    """A variant drawn on the fly: uint8 of the image's shape, less `margin` pixels on every side.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        draw: five numbers are taken from it, whatever is asked for: what is switched on leaves the rest as it was.
        flip: mirror half of the variants, left to right.
        jitter: largest relative change of brightness, then of contrast about the mean, 0–1.
        warp: tilt by up to 10 degrees either way and change the width by up to 15 % either way.
        margin: pixels that are there only to be turned into the picture; see `margin_for`.
    """
    angle, widening, mirror, brightness, contrast = (2 * draw.random(5) - 1).tolist()
    if warp:
        variant = _warped(image, angle * LARGEST_TILT, 1 + widening * LARGEST_WIDENING, margin)
    else:
        variant = image[margin : image.shape[0] - margin, margin : image.shape[1] - margin]
    if flip and mirror < 0:
        variant = variant[:, ::-1]
    return _recoloured(variant, 1 + jitter * brightness, 1 + jitter * contrast) if jitter else variant


def margin_for(size: int) -> int:
    """Pixels beside a square of that size from which the strongest variant may fetch something, an even number."""
    tilt = radians(LARGEST_TILT)
    reach = size / 2 * (cos(tilt) + sin(tilt)) / (1 - LARGEST_WIDENING) - size / 2
    return 2 * ceil((reach + 1) / 2)  # one pixel more for the interpolation


def _share(content_hash: str, copy: int) -> float:
    """A number in [0, 1) from an image's content and the copy, the same on every machine."""
    digest = blake2b(f"{content_hash}/{copy}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # exactly, and below 1


def _resampled(image: np.ndarray, factor: float) -> np.ndarray:
    """Widened by `factor` about the vertical axis: what leaves the picture is cut, what is missing beside it is black.

    As `_warped` would, to the nearest even number of pixels, in a tenth of the time.
    """
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    if factor >= 1:
        box = (width / 2 * (1 - 1 / factor), 0, width / 2 * (1 + 1 / factor), height)
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box))
    beside = round(width * (1 - factor) / 2)
    narrow = np.zeros_like(image)
    narrow[:, beside : width - beside] = picture.resize((width - 2 * beside, height), Image.Resampling.BILINEAR)
    return narrow


def _warped(image: np.ndarray, degrees: float, factor: float, margin: int = 0) -> np.ndarray:
    """Widened by `factor`, then turned to the left by `degrees`, about the centre; bilinear, black outside."""
    height, width = image.shape[:2]
    across, down = cos(radians(degrees)), sin(radians(degrees))
    # From a place in the variant to its place in the image, both relative to the centre, y downward.
    matrix = np.array([[across / factor, -down / factor], [down, across]])
    centre = np.array([width / 2, height / 2])
    offset = centre - matrix @ (centre - margin)
    places = (*matrix[0], offset[0], *matrix[1], offset[1])
    size = (width - 2 * margin, height - 2 * margin)
    picture = Image.fromarray(image).transform(size, Image.Transform.AFFINE, places, Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _recoloured(image: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """Grey levels times `brightness`, then their distance from the mean times `contrast`, cut to 0–255 and rounded."""
    levels = np.arange(256) * brightness
    mean = image.mean() * brightness
    return np.clip((levels - mean) * contrast + mean, 0, 255).round().astype(np.uint8)[image]
