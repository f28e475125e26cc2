"""The images of a pretraining: decoded once, fitted to squares of one size, kept in a memory map. Worker only.

In: rows of the manifests of one or several datasets. Out: `PretrainImages`: uint8 batches (B, K, K) or (B, K, K, 3) by
position, their codes, and the mean and standard deviation of all their pixels.

Layout of a folder below `pretraining/` of the home: `images.npy` and, last, `done.json` (the facts that the folder's name
is the digest of, and the counts of grey levels). The facts hold every content hash in order, so another dataset, order,
size or form is another folder; methods that ask for the same images share one. What a kill leaves has no `done.json`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import psutil
import torch
from PIL import Image
from torch import Tensor

from fmlab.backbones.pixels import ReadImage, item_reader
from fmlab.data.manifest import content_codes, open_dataset
from fmlab.data.preprocessing import InputSpec, fit
from fmlab.data.store import ImageStore
from fmlab.embeddings.pipeline import in_order
from fmlab.errors import BadInput, Cancelled, UnreadableImage
from fmlab.files import digest_bytes, digest_config, read_json, storage_errors, write_json, written_aside
from fmlab.settings import Home

Resize = Literal["crop", "squash", "pad"]
Progress = Callable[[int, int], None]
Wanted = TypeVar("Wanted")
Made = TypeVar("Made")

FOLDER = "pretraining"
PIXELS, PROOF = "images.npy", "done.json"
BLOCK = 64  # images that a thread decodes at once
AHEAD = 2  # pieces of work that wait to be taken, beside those that threads work on
GREY_LEVELS = 256


class PretrainImages:
    """Squares of K pixels in a memory map, by position. Its methods may be called from several threads."""

    def __init__(self, folder: Path, facts: dict[str, Any], codes: np.ndarray) -> None:
        """Open what `prepare` made; a folder that was made for other images, or is damaged, raises `BadInput`.

        Args:
            folder: of these images.
            facts: that its name is the digest of.
            codes: (N,) uint64 of the images, in order.
        """
        self.folder = folder
        self.codes = codes
        done = read_json(folder / PROOF)
        found = done.get("facts") if isinstance(done, dict) else None
        if found != facts:
            other = [name for name, fact in facts.items() if not isinstance(found, dict) or found.get(name) != fact]
            raise BadInput(
                f"The images in {folder.name} were prepared for another pretraining (they differ in "
                f"{', '.join(other) or 'further facts'}); remove that folder and they are prepared again."
            )
        side = facts["kept"]
        shapes = [(facts["images"], side, side), (facts["images"], side, side, 3)][: 1 if facts["channels"] == 1 else 2]
        try:
            self._pixels = np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False)
            levels = np.array(done["levels"], dtype=np.int64)  # (1 or 3, 256) images' pixels of each level
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{_damaged(folder)} ({error}).") from error
        planes = 1 if self._pixels.ndim == 3 else 3
        if (
            self._pixels.dtype != np.uint8
            or self._pixels.shape not in shapes
            or levels.shape != (planes, GREY_LEVELS)
            or (levels.sum(axis=1) != facts["images"] * side**2).any()
        ):
            raise BadInput(f"{_damaged(folder)} ({self._pixels.dtype} {self._pixels.shape}).")
        self.mean, self.std = (_of_channels(numbers, facts["channels"]) for numbers in mean_and_std(levels))

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def colour(self) -> bool:
        """Whether any image is in colour: batches have three channels then."""
        return self._pixels.ndim == 4

    def batch(self, positions: np.ndarray) -> Tensor:
        """The images at (B,) positions: uint8 (B, K, K), or (B, K, K, 3) when any of all images is in colour."""
        return torch.from_numpy(np.ascontiguousarray(np.take(self._pixels, positions, axis=0)))

    def ahead(self, wanted: Sequence[Wanted], work: Callable[[Wanted], Made], threads: int = 1) -> Iterator[Made]:
        """`work(each)` for each of `wanted` in turn, done by threads before it is asked for.

        Each thread computes with one thread of torch. At most `threads` + 2 results wait to be taken. Closing the
        iterator stops the threads; what `work` raises comes out in its turn.
        """
        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(threads, "pretrain-images", initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield from in_order(pool, lambda turn: work(wanted[turn]), range(len(wanted)), threads + AHEAD)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(before)


def prepare(
    home: Home,
    rows: pd.DataFrame,
    kept: int,
    resize: Resize,
    channels: int,
    mask_sector: bool,
    on_progress: Progress = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> PretrainImages:
    """The images of some rows, decoded now unless they are there already.

    Args:
        home: where the datasets are and the memory map goes.
        rows: columns dataset, image_id, content_hash, sector; at least one row.
        kept: K, pixels of the squares' sides.
        resize: how an image becomes a square: cut, squashed, or with black beside it.
        channels: 1: colours become grey levels; 3: kept in colour where any image is.
        mask_sector: black outside the sector, before anything else.
        on_progress: gets images done and all.
        cancelled: asked between blocks of images.

    Raises:
        BadInput: no rows; an image that cannot be read, by name; a folder that holds something else.
        Cancelled: `cancelled()` became true; nothing is kept.
    """
    check_readable(rows)
    facts = {
        "content": digest_bytes(*(content.encode() for content in rows["content_hash"])),
        "images": len(rows),
        "kept": kept,
        "resize": resize,
        "channels": channels,
        "mask_sector": mask_sector,
    }
    folder = home.path / FOLDER / digest_config("pretraining images", facts)
    if not (folder / PROOF).exists():
        clear_strays(folder)
        source = _Source(home, rows, kept, resize, channels, mask_sector)
        with written_aside(folder / PIXELS) as aside:
            levels = _write(aside, source, on_progress, cancelled)
        write_json(folder / PROOF, {"facts": facts, "levels": levels.tolist()})
    return PretrainImages(folder, facts, content_codes(rows["content_hash"]))


def check_readable(rows: pd.DataFrame) -> None:
    """Refuse no rows at all, and rows of unreadable images, the first of which is named."""
    if not len(rows):
        raise BadInput("There is no image to pretrain on; choose a dataset and splits that have some.")
    unreadable = rows["content_hash"].isna().to_numpy()
    if unreadable.any():
        first = rows.iloc[int(np.argmax(unreadable))]
        raise BadInput(
            f"{int(unreadable.sum())} of {len(rows)} images are unreadable, {first['image_id']} of dataset "
            f"{first['dataset']!r} for one; leave them out."
        )


def clear_strays(folder: Path) -> None:
    """Remove what processes that are no more left unfinished."""
    for stray in folder.glob(f".{PIXELS}.*"):
        owner = stray.suffix.removeprefix(".")
        if not owner.isdigit() or int(owner) == os.getpid() or not psutil.pid_exists(int(owner)):
            stray.unlink(missing_ok=True)


def mean_and_std(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, each (C,) at 0–1, from how often each of 256 levels stands there, (C, 256)."""
    values = np.arange(GREY_LEVELS) / (GREY_LEVELS - 1)
    shares = levels / levels.sum(axis=1, keepdims=True)
    mean = shares @ values
    return mean, np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))


class _Source:
    """Reads and fits images by their rows' positions."""

    def __init__(
        self, home: Home, rows: pd.DataFrame, kept: int, resize: Resize, channels: int, mask_sector: bool
    ) -> None:
        self._rows = rows
        self._spec = InputSpec(kept, resize, kept, "bicubic", (0.0,) * 3, (1.0,) * 3)
        self._grey = channels == 1
        self._readers: dict[str, ReadImage] = {}
        self._places = np.empty(len(rows), np.int64)  # of each row among those of its dataset
        self.colour = False
        names = rows["dataset"].to_numpy()
        for name in dict.fromkeys(names):
            chosen = np.flatnonzero(names == name)
            folder = open_dataset(home, name).folder
            self._readers[name] = item_reader(folder, rows.iloc[chosen], mask_sector)
            self._places[chosen] = np.arange(len(chosen))
            store = ImageStore(folder / "store")
            coloured = store.index["channels"].to_numpy()[store.positions(rows["image_id"].iloc[chosen])] == 3
            self.colour |= channels == 3 and bool(coloured.any())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all images."""
        return (len(self._rows), self._spec.size, self._spec.size, *([3] if self.colour else []))

    def block(self, first: int) -> np.ndarray:
        """Images first … first + BLOCK − 1, uint8."""
        last = min(first + BLOCK, len(self._rows))
        pixels = np.empty((last - first, *self.shape[1:]), np.uint8)
        for row in range(first, last):
            image = self._read(row)
            pixels[row - first] = image[..., None] if self.colour and image.ndim == 2 else image
        return pixels

    def _read(self, row: int) -> np.ndarray:
        name, image_id = self._rows["dataset"].iloc[row], self._rows["image_id"].iloc[row]
        try:
            image = self._readers[name](int(self._places[row]))
        except (OSError, ValueError, UnreadableImage) as error:
            raise BadInput(
                f"Image {image_id} of dataset {name!r} cannot be read ({error}). Import the dataset again, or leave the "
                "image out."
            ) from error
        if self._grey and image.ndim == 3:
            image = np.asarray(Image.fromarray(image).convert("L"))
        return fit(image, self._spec)


def _write(path: Path, source: _Source, on_progress: Progress, cancelled: Callable[[], bool]) -> np.ndarray:
    """Write all images as one .npy file; how often each level stands there, (C, 256) int64."""
    total, planes = source.shape[0], 3 if source.colour else 1
    levels = np.zeros((planes, GREY_LEVELS), np.int64)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": source.shape}
    on_progress(0, total)
    with storage_errors("the images of the pretraining"), path.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        done = 0
        with closing(_blocks(source)) as blocks:
            for pixels in blocks:
                if cancelled():
                    raise Cancelled("The images of the pretraining were not all decoded; nothing was kept.")
                file.write(pixels.data)  # an ordinary write: on a full disk it fails, where a mapped page would kill
                for plane in range(planes):
                    levels[plane] += np.bincount(pixels.reshape(-1, planes)[:, plane], minlength=GREY_LEVELS)
                done += len(pixels)
                on_progress(done, total)
    return levels


def _blocks(source: _Source) -> Iterator[np.ndarray]:
    """The blocks of all images in order, decoded by threads; a few at most wait in memory."""
    threads = os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads, "decoding")
    try:
        yield from in_order(pool, source.block, range(0, source.shape[0], BLOCK), threads + AHEAD)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _of_channels(numbers: np.ndarray, channels: int) -> tuple[float, ...]:
    return tuple(np.broadcast_to(numbers, channels).tolist())


def _damaged(folder: Path) -> str:
    return f"The images in {folder.name} are damaged; remove that folder and they are prepared again"
