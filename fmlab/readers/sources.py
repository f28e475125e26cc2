"""What every reader agrees on: options in, a list of source files out, and images decoded from each.

In: a source (a folder or a file on this disk) and `ReaderOptions`. Out: a `Scan`, then `DecodedImage`s file by file.

Two steps, because they run in different places: `scan` looks at names and tables and is quick; `decode` opens one
file at a time in a worker process. A reader never skips in silence: what cannot be decoded comes back with a reason,
what was left out or interpreted stands in the scan's notes.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fmlab.data.writer import ImageRow
from fmlab.errors import BadInput

STILL_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2"))
CLIP_SUFFIXES = frozenset((".mp4", ".mov", ".avi", ".mpeg", ".mpg", ".gif", ".mkv", ".webm", ".m4v", ".wmv"))
DICOM_SUFFIXES = frozenset((".dcm", ".dicom", ".ima"))
TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".parquet"))


class ReaderOptions(BaseModel):
    """What a person can say about a source. Every option has a meaning for some readers; the others refuse it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path_column: str | None = None  # table: the file of each row
    label_column: str | None = None
    patient_column: str | None = None
    sequence_column: str | None = None
    frame_column: str | None = None
    site_column: str | None = None
    split_column: str | None = None
    mask_column: str | None = None
    spacing_column: str | None = None
    patient_pattern: str | None = None  # regular expression with one group: the patient, found in the file's path
    labels: Path | None = Field(default=None, strict=False)  # DICOM: a table path, label; text when read from JSON
    frames: int | None = Field(default=None, ge=1)  # at most so many of each clip, evenly spaced
    stride: int | None = Field(default=None, ge=1)  # every so-manieth frame of each clip

    @model_validator(mode="after")
    def _consistent(self) -> "ReaderOptions":
        if self.frames is not None and self.stride is not None:
            raise ValueError("give either frames or stride, not both")
        if self.patient_pattern is not None:
            try:
                groups = re.compile(self.patient_pattern).groups
            except re.error as error:
                raise ValueError(f"the patient pattern is not a regular expression ({error})") from error
            if groups != 1:
                raise ValueError(f"the patient pattern has {groups} groups, give exactly one: '^(\\d+)_' for 123_4.png")
        return self

    def given(self) -> tuple[str, ...]:
        """Names of the options that were set."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)


def reader_options(**values: object) -> ReaderOptions:
    """Options from loosely typed values (a command line, a form); a wrong one raises `BadInput` with the reason."""
    try:
        return ReaderOptions(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        where = f"Option {str(first['loc'][0]).replace('_', '-')}: " if first["loc"] else "Reader options: "
        raise BadInput(f"{where}{first['msg'].removeprefix('Value error, ')}.") from error


@dataclass(frozen=True)
class SourceFile:
    """One file of a source and what is known of it before it is opened. All paths are POSIX, within the source's root."""

    location: str  # where it lies
    row: ImageRow  # what the manifest will say; readers complete it when they decode
    masks: tuple[str, ...] = ()
    only_frame: int | None = None  # of a clip: the single frame that is meant
    problem: str | None = None  # known before opening: the file is not there


@dataclass(frozen=True)
class DecodedImage:
    """One image, or the reason why there is none. `remarks` are counted and end up in the card's notes."""

    row: ImageRow
    pixels: np.ndarray | None = None  # (H, W) or (H, W, 3) uint8
    mask: np.ndarray | None = None  # (H, W) uint8 class indices
    problem: str | None = None
    remarks: tuple[str, ...] = ()
    region: tuple[float, float, float, float] | None = None  # where the scan lies: left, top, right, bottom, fractions


@dataclass(frozen=True)
class Scan:
    """A source as a reader understands it, before any image is opened."""

    root: Path
    files: list[SourceFile]
    classes: tuple[str, ...] | None = None  # a fixed order; null: from the labels
    notes: tuple[str, ...] = ()
    mask_sector: bool = False


@dataclass(frozen=True)
class Decoding:
    """What a worker needs to open a file of a source."""

    reader: str
    root: Path
    options: ReaderOptions
    key: bytes = field(repr=False)  # for pseudonyms


class Reader(Protocol):
    """A source layout."""

    name: str
    describe: str  # one sentence

    def recognises(self, source: Path, listing: "Listing") -> bool:
        """Whether the source has this layout, judged by names alone."""
        ...

    def scan(self, source: Path, options: ReaderOptions, key: bytes) -> Scan:
        """Its files with everything that names and tables tell. `BadInput` if the source is not of this layout."""
        ...

    def decode(self, file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
        """The images of one file, in order. What cannot be decoded comes back with a reason."""
        ...


@dataclass(frozen=True)
class Listing:
    """The files below a folder, by kind; paths are POSIX and sorted. Hidden files and folders are not looked at."""

    stills: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()
    dicoms: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()  # no suffix, or a number for one: DICOM files are often so
    others: Mapping[str, int] = field(default_factory=dict)  # suffix → count

    def left_out(self, *kinds: str, anonymous: bool = False) -> tuple[str, ...]:
        """A note on files that a reader does not take: those of the named kinds, and those of no known kind.

        `anonymous`: without the suffixes of unknown kinds, which can be a part of a name.
        """
        counts = Counter(self.others)
        if anonymous and self.others:
            counts = Counter({"of other kinds": sum(self.others.values())})
        for kind in kinds:
            counts.update(PurePosixPath(path).suffix.lower() for path in getattr(self, kind))
        if not counts:
            return ()
        listed = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in sorted(counts.items()))
        return (f"Files that were left out: {listed}.",)


def list_files(root: Path) -> Listing:
    """Every file below `root`; a single file is a listing of one."""
    found: dict[str, list[str]] = {kind: [] for kind in ("stills", "clips", "dicoms", "tables", "arrays", "unnamed")}
    others: Counter[str] = Counter()
    for path in _walk(root):
        kind = kind_of(path)
        if kind is None:
            others[PurePosixPath(path).suffix.lower()] += 1
        else:
            found[kind].append(path)
    return Listing(**{kind: tuple(sorted(paths)) for kind, paths in found.items()}, others=dict(others))


def _walk(root: Path) -> Iterator[str]:
    if root.is_file():
        yield root.name
        return
    seen: set[str] = set()  # linked folders are followed, and a link to a folder above must not lead round in a circle
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        below = Path(folder).relative_to(root)
        for name in files:
            if not name.startswith("."):
                yield (below / name).as_posix()


def kind_of(path: str) -> str | None:
    """The field of `Listing` in which a file belongs by its name, None for a kind that no reader takes."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in STILL_SUFFIXES:
        return "stills"
    if suffix in CLIP_SUFFIXES:
        return "clips"
    if suffix in DICOM_SUFFIXES:
        return "dicoms"
    if suffix in TABLE_SUFFIXES:
        return "tables"
    if suffix == ".npz":
        return "arrays"
    return "unnamed" if suffix == "" or suffix[1:].isdigit() else None


def root_of(source: Path) -> Path:
    """The folder that paths of a source are relative to: itself, or the one that holds a single file."""
    return source if source.is_dir() else source.parent


def refuse_options(options: ReaderOptions, reader: str, understood: Iterable[str]) -> None:
    """Raise `BadInput` for an option that a reader would silently ignore."""
    ignored = sorted(set(options.given()) - set(understood))
    if ignored:
        names = ", ".join("--" + name.replace("_", "-") for name in ignored)
        raise BadInput(f"The {reader} reader has no use for {names}. Leave it out, or choose another --reader.")


def patient_from(path: str, pattern: str | None) -> str | None:
    """The patient that a file's path names under a pattern; a path that it does not fit raises `BadInput`.

    The pattern is searched in the file's name, or in its whole path within the source if it holds a slash.
    """
    if pattern is None:
        return None
    found = re.search(pattern, path if "/" in pattern else PurePosixPath(path).name)
    if found is None or found[1] is None:
        raise BadInput(
            f"The patient pattern {pattern!r} finds no patient in {path!r}. Widen the pattern, or leave it out."
        )
    return found[1]


def pseudonym(kind: str, identifier: str, key: bytes, digits: int = 16) -> str:
    """A keyed hash in place of an identifier: the same one gets the same pseudonym wherever the key is the same."""
    state = blake2b(identifier.strip().encode("utf-8", "surrogateescape"), key=key, person=kind.encode()[:16])
    return f"{kind}-{state.hexdigest()[:digits]}"


def chosen_frames(count: int, options: ReaderOptions, default: int | None) -> np.ndarray:
    """Which frames of a clip of `count` frames are taken, ascending (n,) int64: every stride-th, or at most so many.

    Evenly spaced frames are the middles of equal stretches, so neither end is favoured. `default` None: all.
    """
    if options.stride is not None:
        return np.arange(0, count, options.stride)
    wanted = options.frames if options.frames is not None else default
    if wanted is None or wanted >= count:
        return np.arange(count)
    return (2 * np.arange(wanted) + 1) * count // (2 * wanted)
