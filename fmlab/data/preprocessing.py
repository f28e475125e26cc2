"""What a backbone is fed: the reference preprocessing, in Pillow and NumPy.

In: a stored image, uint8 (H, W) or (H, W, 3). Out: uint8 (size, size) or (size, size, 3) from `fit`, and from
`prepare` the exact input, (3, size, size) float32, normalised by the backbone's own mean and standard deviation.

Styles: `native` is what the backbone's authors did. Two studies have one of their own for every backbone alike, with its
mean and std: `paper` is the limited-data study's (section 4.4), shorter side to 256, centre crop 224; `squash` is the
fetal study's, both sides to 224 (jakobamb/UltraDINO, `classification/data`).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

PAPER_RESIZE = 256
PAPER_SIZE = 224

Style = Literal["native", "paper", "squash"]

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class InputSpec:
    """The input a backbone demands. `crop` scales the shorter side to `resize_to` and cuts the centre; `squash` ignores
    the aspect ratio and scales both sides to `size`; `pad` adds black to make the image a square and scales that to
    `size`. Mean and std are per RGB channel of a 0–1 image."""

    size: int
    resize: Literal["crop", "squash", "pad"]
    resize_to: int
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """A study's choice: the style, and whether everything outside the ultrasound sector is blacked out first."""

    style: Style = "native"
    mask_sector: bool = False


def styled(spec: InputSpec, style: Style) -> InputSpec:
    """The spec under a style: itself, or a study's own way to 224 pixels with the backbone's mean and std."""
    if style == "native":
        return spec
    if style == "squash":
        return replace(spec, size=PAPER_SIZE, resize="squash", resize_to=PAPER_SIZE)
    return replace(spec, size=PAPER_SIZE, resize="crop", resize_to=PAPER_RESIZE)


def at_size(spec: InputSpec, size: int) -> InputSpec:
    """The spec for inputs of another size in pixels, cutting away the same share of the image."""
    return replace(spec, size=size, resize_to=round(spec.resize_to * size / spec.size))


def mask_outside(image: np.ndarray, sector: np.ndarray | None) -> np.ndarray:
    """A copy with everything outside the sector set to 0. `sector` is (2V,) fractions x0, y0, x1, y1, …; None: as is."""
    if sector is None or len(sector) == 0:
        return image
    height, width = image.shape[:2]
    outline = [(x * width - 0.5, y * height - 0.5) for x, y in np.asarray(sector, dtype=float).reshape(-1, 2)]
    inside = Image.new("1", (width, height))
    ImageDraw.Draw(inside).polygon(outline, fill=1)
    keep = np.asarray(inside)
    return np.where(keep if image.ndim == 2 else keep[..., None], image, np.uint8(0))


def fit(image: np.ndarray, spec: InputSpec, sector: np.ndarray | None = None) -> np.ndarray:
    """Scale and crop to the backbone's square: uint8 (size, size) for grey, (size, size, 3) for colour."""
    picture = Image.fromarray(mask_outside(image, sector))
    if spec.resize == "pad":
        picture = _padded(picture)
    width, height = picture.size
    filtering = RESAMPLING[spec.interpolation]
    if spec.resize != "crop":
        target = (spec.size, spec.size)
    else:
        # As torchvision's Resize(int): the shorter side exactly, the longer one rounded down, in whole numbers.
        longer = spec.resize_to * max(width, height) // min(width, height)
        target = (spec.resize_to, longer) if width <= height else (longer, spec.resize_to)
    if picture.size != target:
        picture = picture.resize(target, filtering)
    if spec.resize != "crop":
        return np.asarray(picture)
    left = round((target[0] - spec.size) / 2)
    top = round((target[1] - spec.size) / 2)
    # Pillow pads with black where the crop is larger than the picture, as torchvision's CenterCrop does.
    return np.asarray(picture.crop((left, top, left + spec.size, top + spec.size)))


def _padded(picture: Image.Image) -> Image.Image:
    """The picture in the middle of a black square; of an odd number of rows or columns the one more comes after it."""
    side = max(picture.size)
    square = Image.new(picture.mode, (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def normalise(fitted: np.ndarray, spec: InputSpec) -> np.ndarray:
    """uint8 (size, size[, 3]) to (3, size, size) float32: grey repeated, scaled to 0–1, mean removed, std divided."""
    channels = np.repeat(fitted[None], 3, axis=0) if fitted.ndim == 2 else np.moveaxis(fitted, 2, 0)
    mean = np.asarray(spec.mean, np.float32)[:, None, None]
    std = np.asarray(spec.std, np.float32)[:, None, None]
    return (channels.astype(np.float32) / np.float32(255) - mean) / std


def prepare(image: np.ndarray, spec: InputSpec, sector: np.ndarray | None = None) -> np.ndarray:
    """The exact input of a backbone for one image, (3, size, size) float32."""
    return normalise(fit(image, spec, sector), spec)


def seen_by_model(image: np.ndarray, spec: InputSpec, sector: np.ndarray | None = None) -> np.ndarray:
    """What the model sees, to be shown to a person: its input before normalisation, uint8 (size, size, 3)."""
    fitted = fit(image, spec, sector)
    return fitted if fitted.ndim == 3 else np.repeat(fitted[..., None], 3, axis=2)
