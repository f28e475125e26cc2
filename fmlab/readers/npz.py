"""Reader `npz`: one file of arrays in MedMNIST's layout.

In: `<name>.npz` with train_images, train_labels, val_images, val_labels, test_images, test_labels; images (N, H, W) or
(N, H, W, 3) uint8, labels (N, 1) or (N,) whole numbers. Out: its images; classes are called 0, 1, 2 …; test is T1.

Arrays are read image by image from the compressed file, so one larger than the memory can be imported. Pickled arrays
are refused. Source: MedMNIST v2 (Yang et al. 2023).
"""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from fmlab.data.splits import canonical_split
from fmlab.data.writer import ImageRow
from fmlab.errors import BadInput, UnreadableImage
from fmlab.readers.sources import (
    DecodedImage,
    Decoding,
    Listing,
    ReaderOptions,
    Scan,
    SourceFile,
    refuse_options,
    root_of,
)
from fmlab.readers.stills import check_size

PARTS = ("train", "val", "test")
ARRAY_ERRORS = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class NpzReader:
    """An .npz file of arrays."""

    name = "npz"
    describe = "One .npz file in MedMNIST's layout: train, val and test images with their labels as arrays."

    def recognises(self, source: Path, listing: Listing) -> bool:
        """A single .npz file."""
        return len(listing.arrays) == 1

    def scan(self, source: Path, options: ReaderOptions, key: bytes) -> Scan:
        """A source file per part; `decode` turns it into images."""
        refuse_options(options, self.name, ())
        found = sorted(source.glob("*.npz")) if source.is_dir() else [source]
        if len(found) != 1:
            raise BadInput(f"{source.name!r} holds {len(found)} .npz files; point to one.")
        labels = {part: _labels(found[0], part) for part in _parts(found[0])}
        values = np.unique(np.concatenate(list(labels.values())))
        files = [
            SourceFile(found[0].name, ImageRow(path=f"{part}_images", split=canonical_split(part))) for part in labels
        ]
        return Scan(root_of(source), files, classes=tuple(str(value) for value in values))

    def decode(self, file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
        """The images of one part, in order; each is called `train_images/17` and so on."""
        path, part = decoding.root / file.location, file.row.path.removesuffix("_images")
        labels = _labels(path, part)
        for number, pixels in enumerate(_images(path, part, len(labels))):
            row = ImageRow(path=f"{part}_images/{number}", label=str(labels[number]), split=file.row.split)
            yield DecodedImage(row, pixels)


def _parts(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except ARRAY_ERRORS as error:
        raise BadInput(f"{path.name} is not a readable .npz file ({error}).") from error
    parts = [part for part in PARTS if {f"{part}_images.npy", f"{part}_labels.npy"} <= names]
    if not parts:
        listed = ", ".join(sorted(name.removesuffix(".npy") for name in names)) or "nothing"
        raise BadInput(f"{path.name} holds {listed}; expected train_images, train_labels and so on.")
    return parts


def _labels(path: Path, part: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = arrays[f"{part}_labels"]
    except ARRAY_ERRORS as error:
        raise BadInput(f"{part}_labels of {path.name} cannot be read ({error}).") from error
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise BadInput(f"{path.name} has {labels.shape[1]} labels per image; datasets here have one label per image.")
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iub":
        raise BadInput(f"{part}_labels of {path.name} is {labels.dtype} {labels.shape}; expected whole numbers (N, 1).")
    return labels.reshape(-1).astype(np.int64)


def _images(path: Path, part: str, count: int) -> Iterator[np.ndarray]:
    """The images of a part one by one, uint8 (H, W) or (H, W, 3)."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{part}_images.npy") as file:
            shape = _header(file, count)
            check_size(shape[2], shape[1])
            size = int(np.prod(shape[1:]))
            for _ in range(count):
                yield np.frombuffer(_exactly(file, size), np.uint8).reshape(shape[1:])
    except ARRAY_ERRORS as error:
        raise UnreadableImage(f"{part}_images is truncated or damaged from here on ({error}).") from error


def _header(file: IO[bytes], count: int) -> tuple[int, ...]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, kind = read(file)
    grey_or_colour = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
    if kind != np.uint8 or by_columns or not grey_or_colour or shape[0] != count:
        raise UnreadableImage(
            f"The images are {kind} {shape} for {count} labels; expected uint8 (N, H, W) or (N, H, W, 3)."
        )
    return shape


def _exactly(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise EOFError(f"{size} bytes expected, {len(content)} left")
    return content
