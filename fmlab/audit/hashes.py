"""Perceptual hashes: pictures that look alike have hashes that differ in few bits.

In: pictures, uint8 (H, W) or (H, W, 3). Out: (8,) uint64 each: 256 bits of pHash, then 256 bits of dHash.

With the usual 64 bits different patients' pictures of one view collide: all of them are a bright fan on black. With 256
bits they do not (see `fmlab.audit.near`). The bits are those of the ImageHash package with `hash_size=16`, worked out for
many thumbnails at once.

Source: N. Krawetz, "Looks Like It" (2011) and "Kind of Like That" (2013), as ImageHash has them: pHash is which of the
lowest 16 × 16 frequencies of a 64 × 64 picture lie above their median, dHash where each of 16 rows of 17 grows brighter.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image

from fmlab.errors import Cancelled

HASH_SIZE = 16
WORDS = HASH_SIZE * HASH_SIZE // 64  # uint64 words of each of the two
COSINES = 4 * HASH_SIZE  # pixels of the picture that pHash transforms
THUMBNAIL = 128  # pixels
FLAT = 2.0  # grey levels: pictures of a smaller standard deviation show nothing
AT_ONCE = 64  # pictures of a thread between two looks at whether it is cancelled

Result = TypeVar("Result")

# What a copy of a picture may have been through, in words → how to do it: degrees, width factor, mirrored. A copy that lies
# between two steps is within the reach of both hashes.
CHANGES: dict[str, tuple[float, float, bool]] = {
    **{f"tilted by {angle} degrees": (float(angle), 1.0, False) for angle in (-9, -6, -3, 3, 6, 9)},
    **{f"{percent} % as wide": (0.0, percent / 100, False) for percent in (88, 94, 106, 112)},
    "mirrored": (0.0, 1.0, True),
}


def thumbnail(picture: np.ndarray) -> Image.Image:
    """A grey square of `THUMBNAIL` pixels."""
    small = Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=1.5)
    return small.convert("L")


def hashed(thumbnails: Sequence[Image.Image]) -> np.ndarray:
    """Both hashes of each thumbnail, (n, 8) uint64."""
    lanczos = Image.Resampling.LANCZOS
    square = np.stack([np.asarray(each.resize((COSINES, COSINES), lanczos)) for each in thumbnails])
    rows = np.stack([np.asarray(each.resize((HASH_SIZE + 1, HASH_SIZE), lanczos)) for each in thumbnails])
    basis = _cosines()
    low = basis @ square.astype(np.float64) @ basis.T
    above = low > np.median(low.reshape(len(low), -1), axis=1)[:, None, None]
    brighter = rows[:, :, 1:] > rows[:, :, :-1]
    bits = np.concatenate([above.reshape(len(low), -1), brighter.reshape(len(low), -1)], axis=1)
    return np.packbits(bits, axis=1).view(np.uint64)


def _cosines() -> np.ndarray:
    """The lowest rows of the cosine transform of type II, (16, 64) float64."""
    frequency, place = np.arange(HASH_SIZE)[:, None], np.arange(COSINES)
    return 2 * np.cos(np.pi * frequency * (2 * place + 1) / (2 * COSINES))


def changed(small: Image.Image, change: tuple[float, float, bool]) -> Image.Image:
    """The thumbnail tilted about its centre, resampled in width about its middle, or mirrored; black beside it."""
    angle, widening, mirror = change
    if mirror:
        return small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if angle:
        return small.rotate(angle, Image.Resampling.BILINEAR)
    across = (1 / widening, 0, small.width / 2 * (1 - 1 / widening), 0, 1, 0)
    return small.transform(small.size, Image.Transform.AFFINE, across, Image.Resampling.BILINEAR)


def hash_pictures(
    read: Callable[[int], np.ndarray],
    count: int,
    on_progress: Callable[[int], None] = lambda done: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of pictures 0 … count − 1, (count, 8) uint64, and which of them show nothing at all, (count,) bool."""

    def several(places: range) -> tuple[np.ndarray, np.ndarray]:
        small = [thumbnail(read(place)) for place in places]
        return hashed(small), np.array([np.asarray(each).std() < FLAT for each in small])

    hashes, flat = np.zeros((count, 2 * WORDS), np.uint64), np.zeros(count, bool)
    for places, (codes, nothing) in _in_threads(several, count, cancelled):
        hashes[places.start : places.stop], flat[places.start : places.stop] = codes, nothing
        on_progress(places.stop)
    return hashes, flat


def hash_copies(
    read: Callable[[int], np.ndarray], count: int, cancelled: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """Hashes of what copies of pictures 0 … count − 1 would look like, (count, changes, 8) uint64, as in `CHANGES`."""

    def several(places: range) -> np.ndarray:
        small = [thumbnail(read(place)) for place in places]
        return hashed([changed(each, change) for each in small for change in CHANGES.values()])

    hashes = np.zeros((count, len(CHANGES), 2 * WORDS), np.uint64)
    for places, codes in _in_threads(several, count, cancelled):
        hashes[places.start : places.stop] = codes.reshape(len(places), len(CHANGES), -1)
    return hashes


def _in_threads(
    several: Callable[[range], Result], count: int, cancelled: Callable[[], bool]
) -> Iterator[tuple[range, Result]]:
    """The results for blocks of 0 … count − 1, in order; raises `Cancelled`."""
    waiting: deque[tuple[range, Future[Result]]] = deque()
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads, "hashing") as pool:
        for start in range(0, count, AT_ONCE):
            if cancelled():
                raise Cancelled("The audit was stopped.")
            places = range(start, min(start + AT_ONCE, count))
            waiting.append((places, pool.submit(several, places)))
            if len(waiting) > threads:
                yield waiting[0][0], waiting.popleft()[1].result()
        while waiting:
            yield waiting[0][0], waiting.popleft()[1].result()
