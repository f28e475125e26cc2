"""Reader `folder`: still images, one folder per class.

In: a folder. Out: its images with class, split and masks as the folder names tell them.

    source/benign/benign (1).png            class benign
    source/benign/benign (1)_mask.png       its mask; `_mask_1`, `_mask_2` … are joined with it (BUSI's layout)
    source/train/benign/a.png               split train, class benign; test becomes T1, valid becomes val
    source/a.png, source/images/a.png       no class
    source/masks/a.png                      the mask of source/images/a.png or source/a.png

A folder that holds nothing but one other folder is looked through; folders below the class are part of the path.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fmlab.data.splits import USUAL_NAMES, canonical_split
from fmlab.data.writer import ImageRow
from fmlab.errors import BadInput
from fmlab.readers.sources import (
    DecodedImage,
    Decoding,
    Listing,
    ReaderOptions,
    Scan,
    SourceFile,
    list_files,
    patient_from,
    refuse_options,
)
from fmlab.readers.stills import decode_still

MASK_NAME = re.compile(r"(?P<image>.+?)[ _-]+mask(?:[ _-]*\d+)?", re.IGNORECASE)
MASK_FOLDERS = frozenset(("mask", "masks"))
IMAGE_FOLDERS = ("images", "image", "imgs", "img")
CONTAINERS = frozenset((*IMAGE_FOLDERS, "frames", "data", "pictures", "videos", "clips", "png", "jpg", "dicom"))
NUMBERED_TEST_SET = re.compile(r"t\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """What the folders above a file say of it."""

    split: str | None
    label: str | None


def places(paths: Sequence[str]) -> list[Place]:
    """Split and class of each file, from the folders above it."""
    folders = [PurePosixPath(path).parts[:-1] for path in paths]
    folders = _without_wrapping(folders)
    first = {parts[0] for parts in folders if parts}
    splits: list[str | None] = [None] * len(paths)
    if all(folders) and all(_names_split(name) for name in first) and len({canonical_split(n) for n in first}) > 1:
        splits = [canonical_split(parts[0]) for parts in folders]
        folders = [parts[1:] for parts in folders]
    if {parts[0].casefold() for parts in folders if parts} <= CONTAINERS:
        folders = [() for _ in folders]
    return [Place(split, parts[0] if parts else None) for split, parts in zip(splits, folders, strict=True)]


def _without_wrapping(folders: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    while folders and all(len(parts) > 1 for parts in folders) and len({parts[0] for parts in folders}) == 1:
        folders = [parts[1:] for parts in folders]
    return folders


def _names_split(name: str) -> bool:
    return name.casefold() in USUAL_NAMES or NUMBERED_TEST_SET.fullmatch(name) is not None


def separate_masks(stills: Sequence[str]) -> tuple[list[str], dict[str, tuple[str, ...]], int]:
    """Images; the masks of each image; and the number of masks whose image is not there."""
    by_stem: dict[tuple[str, str], list[str]] = defaultdict(list)
    masks: list[tuple[str, list[tuple[str, str]]]] = []
    images: list[str] = []
    for path in stills:
        pure = PurePosixPath(path)
        owners = _owners(pure)
        if owners:
            masks.append((path, owners))
        else:
            images.append(path)
            by_stem[pure.parent.as_posix(), pure.stem].append(path)
    joined: dict[str, list[str]] = defaultdict(list)
    orphans = 0
    for path, owners in masks:
        image = next((by_stem[owner][0] for owner in owners if by_stem.get(owner)), None)
        if image is None:
            orphans += 1
        else:
            joined[image].append(path)
    return images, {image: tuple(paths) for image, paths in joined.items()}, orphans


def _owners(mask: PurePosixPath) -> list[tuple[str, str]]:
    """Where the image of a mask may stand, as (folder, stem); empty: the file is no mask."""
    named = MASK_NAME.fullmatch(mask.stem)
    stem = named["image"] if named else mask.stem
    owners = [(mask.parent.as_posix(), stem)] if named else []
    parts = mask.parent.parts
    for position in (i for i, part in enumerate(parts) if part.casefold() in MASK_FOLDERS):
        beside = [PurePosixPath(*parts[:position], *parts[position + 1 :])]
        beside += [PurePosixPath(*parts[:position], name, *parts[position + 1 :]) for name in IMAGE_FOLDERS]
        owners += [(folder.as_posix(), stem) for folder in beside]
    return owners


def mask_notes(orphans: int) -> tuple[str, ...]:
    """A note on masks without an image."""
    return (f"{orphans} masks have no image beside them and were left out.",) if orphans else ()


def labels_note(files: Sequence[SourceFile]) -> tuple[str, ...]:
    """A note when only some of the files lie in a class folder."""
    without = sum(file.row.label is None for file in files)
    if 0 < without < len(files):
        return (f"{without} files lie in no class folder and have no label.",)
    return ()


class FolderReader:
    """Still images, one folder per class."""

    name = "folder"
    describe = "A folder of images (PNG, JPEG, TIFF, BMP, WebP), one folder per class; `_mask` files are masks."

    def recognises(self, source: Path, listing: Listing) -> bool:
        """Still images and no clips."""
        return bool(listing.stills) and not listing.clips

    def scan(self, source: Path, options: ReaderOptions, key: bytes) -> Scan:
        """Images with class, split and masks from their folders."""
        refuse_options(options, self.name, ("patient_pattern", "frames", "stride"))
        listing = list_files(source)
        images, masks, orphans = separate_masks(listing.stills)
        if not images:
            raise BadInput(
                f"{source.name!r} holds no images (PNG, JPEG, TIFF, BMP or WebP). Point to a folder with some."
            )
        files = [
            still_file(path, place, masks.get(path, ()), options)
            for path, place in zip(images, places(images), strict=True)
        ]
        notes = mask_notes(orphans) + labels_note(files) + listing.left_out("clips", "dicoms", "arrays", "unnamed")
        root = source if source.is_dir() else source.parent
        return Scan(root, files, notes=notes)

    def decode(self, file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
        """One image, or every frame of a file that holds several."""
        yield from decode_still(file, decoding, default_frames=None)


def still_file(path: str, place: Place, masks: tuple[str, ...], options: ReaderOptions) -> SourceFile:
    """A still image as its folders describe it."""
    row = ImageRow(
        path=path,
        label=place.label,
        split=place.split,
        patient_id=patient_from(path, options.patient_pattern),
        mask_path="|".join(masks) or None,
    )
    return SourceFile(path, row, masks)
