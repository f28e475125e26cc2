"""Still images and masks: one file decoded by Pillow, with every limit checked on its header first.

In: a file. Out: uint8 (H, W) or (H, W, 3) arrays with remarks, or `UnreadableImage` with the reason.

What happens to the pixels: EXIF orientation is applied; palettes are expanded; an alpha channel is dropped (the
colours stay as stored); 16-bit grey is scaled from its full range 0–65535 to 0–255; CMYK and YCbCr become RGB.
"""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fmlab.data.writer import ImageRow
from fmlab.errors import UnreadableImage
from fmlab.readers.sources import DecodedImage, Decoding, SourceFile, chosen_frames

SHORTEST_SIDE = 8  # pixels
LARGEST_RATIO = 50  # of the sides: beyond it a file is a line, not an image
LARGEST_IMAGE = 64 << 20  # pixels: more would take gigabytes and is no image of a body
LARGEST_CLIP = 256 << 20  # pixels in all chosen frames of one file
CLASS_INDICES = 32  # a mask whose values all lie below holds class indices; any other is black and white

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF", "JPEG2000")


def check_size(width: int, height: int, frames: int = 1) -> None:
    """Raise `UnreadableImage` for a size that cannot be an image, or that would exhaust the memory."""
    if min(width, height) < SHORTEST_SIDE:
        raise UnreadableImage(f"It measures {width}×{height} pixels; an image has at least {SHORTEST_SIDE} a side.")
    if max(width, height) > LARGEST_RATIO * min(width, height):
        raise UnreadableImage(f"It measures {width}×{height} pixels: one side is over {LARGEST_RATIO} times the other.")
    if width * height > LARGEST_IMAGE:
        raise UnreadableImage(f"It claims {width}×{height} pixels; the limit is {LARGEST_IMAGE >> 20} megapixels.")
    if width * height * frames > LARGEST_CLIP:
        raise UnreadableImage(
            f"It claims {frames} frames of {width}×{height} pixels; the limit is {LARGEST_CLIP >> 20} megapixels a file. "
            "Choose fewer frames (--frames or --stride)."
        )


def open_still(path: Path) -> Image.Image:
    """A file's header, with its size checked and nothing decoded yet."""
    try:
        if path.stat().st_size == 0:
            raise UnreadableImage("The file is empty.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is checked below
            picture = Image.open(path, formats=FORMATS)
    except FileNotFoundError as error:
        raise UnreadableImage("The file is not there.") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("Its content is not that of an image.") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"It claims more than {LARGEST_IMAGE >> 20} megapixels, the limit.") from error
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise anything at damaged files
        raise UnreadableImage(f"Its header is damaged ({error}).") from error
    try:
        check_size(*picture.size)
    except UnreadableImage:
        picture.close()
        raise
    return picture


def decode_pixels(picture: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels of an opened picture's present frame, uint8 (H, W) or (H, W, 3), and remarks."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities in metadata; what concerns pixels raises
            picture.load()
            upright = ImageOps.exif_transpose(picture)
    except Exception as error:  # decoders raise anything at damaged files
        raise UnreadableImage(f"It is truncated or damaged ({error}).") from error
    mode = upright.mode
    if mode.startswith("I;16"):
        return (np.asarray(upright) >> 8).astype(np.uint8), ("16-bit, scaled from 0–65535 to 0–255",)
    if mode in ("I", "F"):
        raise UnreadableImage(
            "Its pixels are 32-bit numbers without a defined black and white. Convert it to 8 or 16 bits."
        )
    if mode in ("L", "RGB"):
        return np.asarray(upright), ()
    if mode in ("1", "LA", "La"):
        grey = upright.getchannel("L") if mode == "LA" else upright.convert("L")
        return np.asarray(grey), _alpha_remark(mode)
    if mode == "RGBA":
        return np.ascontiguousarray(np.asarray(upright)[..., :3]), _alpha_remark(mode)
    return np.asarray(upright.convert("RGB")), _alpha_remark(mode)


def _alpha_remark(mode: str) -> tuple[str, ...]:
    return ("alpha channel dropped",) if mode in ("LA", "La", "RGBA", "RGBa", "PA") else ()


def read_mask(path: Path) -> np.ndarray:
    """A mask as class indices, (H, W) uint8: values below 32 are taken as they are, black and white becomes 0 and 1."""
    with open_still(path) as picture:
        if picture.mode == "P":
            values = np.asarray(picture)
            if values.max() < CLASS_INDICES:
                return values
        pixels, _ = decode_pixels(picture)
    values = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    return values if values.max() < CLASS_INDICES else (values > 127).astype(np.uint8)


def join_masks(paths: list[Path]) -> np.ndarray:
    """Several masks of one image as one: a pixel belongs to the structure if any of them says so. (H, W) uint8."""
    joined = read_mask(paths[0])
    for path in paths[1:]:
        mask = read_mask(path)
        if mask.shape != joined.shape:
            raise UnreadableImage("Its masks have different sizes.")
        joined = np.maximum(joined, mask)
    return joined


def decode_still(file: SourceFile, decoding: Decoding, default_frames: int | None) -> Iterator[DecodedImage]:
    """The image of a file, or the chosen frames of one that holds several (TIFF stacks, animations)."""
    with open_still(decoding.root / file.location) as picture:
        count = getattr(picture, "n_frames", 1)
        if count == 1:
            pixels, remarks = decode_pixels(picture)
            yield with_mask(DecodedImage(file.row, pixels, remarks=remarks), file, decoding.root)
            return
        frames = chosen_frames(count, decoding.options, default_frames)
        check_size(*picture.size, frames=len(frames))
        for frame in frames.tolist():
            row = frame_row(file, frame)
            try:
                picture.seek(frame)
                pixels, remarks = decode_pixels(picture)
            except Exception as error:  # decoders raise anything at damaged files
                yield DecodedImage(row, problem=f"The file breaks off at this frame ({error}).")
                return
            yield DecodedImage(row, pixels, remarks=remarks)


def frame_row(file: SourceFile, frame: int) -> ImageRow:
    """The manifest row of one frame of a file that is a sequence."""
    return replace(file.row, frame=frame, sequence_id=file.row.sequence_id or file.row.path)


def with_mask(image: DecodedImage, file: SourceFile, root: Path) -> DecodedImage:
    """The image with its masks joined; a mask that does not fit is left out and remarked, the image stays usable."""
    if not file.masks or image.pixels is None:
        return image
    try:
        mask = join_masks([root / path for path in file.masks])
        if mask.shape != image.pixels.shape[:2]:
            raise UnreadableImage("It has not the size of its image.")
    except UnreadableImage as error:
        unmasked = replace(image.row, mask_path=None)
        return replace(image, row=unmasked, remarks=(*image.remarks, f"mask left out: {error}"))
    return replace(image, mask=mask)
