"""A decoding process: opens source files, finds the sector, sends images back.

In: on standard input, pickled: a `Decoding` once, then lists of `SourceFile`s. Out: on standard output, for each list,
pickled lists of `DecodedImage`s of about 16 MB, then None or the error that stopped it. It ends when its input closes.

Started as `python -m fmlab.readers.worker`, not by multiprocessing, which would run the page or script that imports
once more in every child. A decoder that crashes takes this process with it and nothing else.
"""

import os
import pickle
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from fmlab.data.sector import find_sector
from fmlab.data.writer import shrink, without_colour
from fmlab.errors import UnreadableImage
from fmlab.readers.auto import READERS
from fmlab.readers.sources import DecodedImage, Decoding, SourceFile

MESSAGE_BYTES = 16 << 20
HELD_BYTES = 128 << 20  # of a long clip, so that its sector is found from all of it
SECTOR_FRAMES = 8  # of a sequence, evenly spaced: enough for speckle to fill the sector


Sectors = dict[tuple[str | int, ...], tuple[float, ...] | None]  # (sequence, height, width) → its sector


def decode_file(file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
    """The images of one source file, ready to be stored; a file that cannot be opened is one row with the reason."""
    if file.problem is not None:
        yield DecodedImage(file.row, problem=file.problem)
        return
    reader = READERS[decoding.reader]
    last = replace(file.row, frame=file.row.frame - 1)
    try:
        for image in reader.decode(file, decoding):
            yield _storable(image)
            last = image.row
    except UnreadableImage as error:
        yield DecodedImage(replace(last, frame=last.frame + 1), problem=str(error))
    except MemoryError:
        yield DecodedImage(replace(last, frame=last.frame + 1), problem="There is not enough memory to decode it.")


def _storable(image: DecodedImage) -> DecodedImage:
    """Grey as one channel and within the longest side, so that no more than needed crosses the process boundary."""
    if image.pixels is None:
        return image
    pixels, growth = shrink(without_colour(image.pixels))
    spacing = None if image.row.spacing_mm is None else image.row.spacing_mm * growth
    return replace(image, pixels=pixels, row=replace(image.row, spacing_mm=spacing))


def decode_files(files: Sequence[SourceFile], decoding: Decoding) -> Iterator[list[DecodedImage]]:
    """The images of several files in lists of about 16 MB, each image with its sector."""
    held: list[DecodedImage] = []
    sectors: Sectors = {}
    size = 0
    for file in files:
        for image in decode_file(file, decoding):
            held.append(image)
            size += 0 if image.pixels is None else image.pixels.nbytes
            if size > HELD_BYTES:
                yield from _messages(with_sectors(held, sectors))
                held, size = [], 0
        if size > MESSAGE_BYTES:
            yield from _messages(with_sectors(held, sectors))
            held, size = [], 0
    yield from _messages(with_sectors(held, sectors))


def _messages(images: list[DecodedImage]) -> Iterator[list[DecodedImage]]:
    some: list[DecodedImage] = []
    size = 0
    for image in images:
        some.append(image)
        size += 0 if image.pixels is None else image.pixels.nbytes
        if size > MESSAGE_BYTES:
            yield some
            some, size = [], 0
    yield some


def with_sectors(images: list[DecodedImage], known: Sectors) -> list[DecodedImage]:
    """The images with their sector, one for all images of a sequence that have the same size; `known` remembers it."""
    alike: dict[tuple[str | int, ...], list[int]] = defaultdict(list)
    for position, image in enumerate(images):
        if image.pixels is not None and image.row.sector is None:
            alike[image.row.sequence_id or position, *image.pixels.shape[:2]].append(position)
    found = list(images)
    for key, positions in alike.items():
        if key not in known or not isinstance(key[0], str):
            chosen = positions[:: max(1, len(positions) // SECTOR_FRAMES)][:SECTOR_FRAMES]
            frames = [pixels for position in chosen if (pixels := images[position].pixels) is not None]
            known[key] = find_sector(frames, images[positions[0]].region)
        for position in positions:
            found[position] = replace(images[position], row=replace(images[position].row, sector=known[key]))
    return found


def serve() -> None:
    """Answer lists of files until the input closes."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries that print must not write into the answers
    np.seterr(all="ignore")
    decoding: Decoding = pickle.load(source)
    while True:
        try:
            files: list[SourceFile] = pickle.load(source)
        except EOFError:
            return
        try:
            for images in decode_files(files, decoding):
                pickle.dump(images, target, protocol=pickle.HIGHEST_PROTOCOL)
                target.flush()
            answer = None
        except Exception as error:  # raised again where the import runs
            answer = error
        pickle.dump(answer, target)
        target.flush()


if __name__ == "__main__":
    serve()
