"""Reader `table`: a CSV, TSV or Parquet file with a row per image, clip or DICOM file.

In: a table, or a folder that holds exactly one. Out: its rows, with columns mapped to what they mean.

The delimiter (comma, semicolon, tab, bar) and a missing header are recognised. A column is taken for the path, label,
patient and so on when it is named by an option, or when exactly one column has a usual name for it; two that could be
meant are an error. All other columns are kept under their own names. A file's name may lack its folder or its suffix
if exactly one file below the table fits; a path that leaves the table's folder is an error.
"""

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fmlab.data.manifest import COLUMNS, check_name
from fmlab.data.splits import canonical_split
from fmlab.data.writer import ImageRow
from fmlab.errors import BadInput
from fmlab.readers.columns import Table, read_table
from fmlab.readers.dicom import decode_dicom, dicom_row
from fmlab.readers.folder import mask_notes, separate_masks
from fmlab.readers.sources import (
    DecodedImage,
    Decoding,
    Listing,
    ReaderOptions,
    Scan,
    SourceFile,
    kind_of,
    list_files,
    patient_from,
    refuse_options,
    root_of,
)
from fmlab.readers.stills import decode_still
from fmlab.readers.video import CLIP_FRAMES, decode_clip

# What columns are usually called, compared without case and punctuation.
USUAL_COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_name",
             "image_file", "img", "img_path", "dicom_filepath", "video", "video_path", "video_name"),
    "label": ("label", "labels", "class", "class_name", "label_name", "target", "category", "view", "view_label",
              "diagnosis", "plane"),
    "patient": ("patient", "patient_id", "patientid", "patient_num", "patient_number", "subject", "subject_id", "case_id"),
    "sequence": ("sequence", "sequence_id", "clip", "clip_id", "video_id", "cine", "cine_id"),
    "frame": ("frame", "frame_id", "frame_number", "frame_index", "frame_no"),
    "site": ("site", "hospital", "center", "centre", "institution"),
    "split": ("split", "set", "partition", "subset"),
    "mask": ("mask", "mask_path", "mask_file", "segmentation", "segmentation_path"),
    "spacing": ("spacing_mm", "pixel_size_mm", "pixel_spacing_mm", "mm_per_pixel"),
}  # fmt: skip

# `3_0.jpg`: patient 3, image 0. Taken without being asked only in a table without a header, and noted on the card.
NUMBERED_NAME = re.compile(r"\d+_\d+\.\w+")
PROPOSED_PATTERN = r"^(\d+)_"


class TableReader:
    """A table with a row per image."""

    name = "table"
    describe = "A CSV, TSV or Parquet table with a row per image or clip, beside the files that it names."

    def recognises(self, source: Path, listing: Listing) -> bool:
        """A table by name, or exactly one at the top of a folder whose columns name files."""
        tables = top_tables(listing)
        if source.is_file() or len(tables) != 1:
            return bool(tables)
        try:
            table = read_table(root_of(source) / tables[0])
            return find_columns(table, ReaderOptions())["path"] is not None
        except BadInput:
            return True  # `scan` says what is wrong with it

    def scan(self, source: Path, options: ReaderOptions, key: bytes) -> Scan:
        """One source file per row."""
        refuse_options(options, self.name, set(ReaderOptions.model_fields) - {"labels"})
        listing = list_files(root_of(source))
        return scan_table(root_of(source), listing, read_table(_table_path(source, listing)), options, key)

    def decode(self, file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
        """The image, or the frames of the clip or DICOM file, that a row names."""
        kind = kind_of(file.location)
        if kind == "clips":
            yield from decode_clip(file, decoding)
        elif kind == "stills":
            yield from decode_still(file, decoding, default_frames=CLIP_FRAMES)
        else:
            yield from decode_dicom(file, decoding)


def scan_table(root: Path, listing: Listing, table: Table, options: ReaderOptions, key: bytes) -> Scan:
    """One source file per row of a table whose files lie in `root`."""
    columns = find_columns(table, options)
    if columns["path"] is None:
        raise BadInput(f"No column of {table.name} names the files; it has {seen(table)}. Name it with --path-column.")
    images, masks, orphans = separate_masks(listing.stills)
    finder = FileFinder(root, listing, images)
    pattern, pattern_notes = _patient_pattern(table, columns, options)
    rows = _Rows(table, columns, finder, masks, pattern, key)
    files = [rows.file(position) for position in range(len(table))]
    _refuse_repeated(files, table)
    notes = (*table.notes, *_column_notes(table, columns), *pattern_notes, *rows.notes, *mask_notes(orphans))
    return Scan(root, files, notes=(*notes, *_unnamed_note(files, images, listing)))


def top_tables(listing: Listing) -> list[str]:
    """Tables that lie directly in the source."""
    return [path for path in listing.tables if "/" not in path]


def seen(table: Table) -> str:
    """The columns of a table, for a message."""
    return ", ".join(map(repr, table.columns))


def _table_path(source: Path, listing: Listing) -> Path:
    if source.is_file():
        return source
    tables = top_tables(listing)
    if len(tables) != 1:
        found = f"{len(tables)} tables ({', '.join(tables)})" if tables else "no table"
        raise BadInput(f"{source.name!r} holds {found}; the table reader needs one. Point to the table itself.")
    return source / tables[0]


# ---- columns ----


def find_columns(table: Table, options: ReaderOptions) -> dict[str, str | None]:
    """Which column plays each role; None where there is none. Two that could be meant raise `BadInput`."""
    found: dict[str, str | None] = {}
    for role in USUAL_COLUMNS:
        wanted = getattr(options, f"{role}_column")
        if wanted is not None and wanted not in table.columns:
            raise BadInput(f"The table {table.name} has no column {wanted!r}; it has {seen(table)}.")
        found[role] = wanted
    for role in [role for role, column in found.items() if column is None]:
        taken = {column for column in found.values() if column is not None}
        found[role] = _guess(table, role, taken)
    return found


def _guess(table: Table, role: str, taken: set[str]) -> str | None:
    free = [column for column in table.columns if column not in taken]
    if table.has_header:
        candidates = [column for column in free if _plain(column) in USUAL_COLUMNS[role]]
        if role == "path" and len(candidates) != 1:
            candidates = [column for column in candidates or free if table.names_files(column)] or candidates
    elif role == "path":
        candidates = [column for column in free if table.names_files(column)]
    else:
        # A file and one more column: that one is the label.
        candidates = free if role == "label" and len(table.columns) == 2 else []
    if len(candidates) > 1:
        raise BadInput(
            f"Columns {', '.join(map(repr, candidates))} of {table.name} could each be the {role}. "
            f"Say which with --{role}-column."
        )
    return candidates[0] if candidates else None


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", column.casefold()).strip("_")


def _column_notes(table: Table, columns: Mapping[str, str | None]) -> tuple[str, ...]:
    taken = [f"{role} {column!r}" for role, column in columns.items() if column is not None]
    notes = [f"Columns of {table.name}: {', '.join(taken)}."]
    if columns["label"] is None:
        notes.append(f"No column of {table.name} was taken for the label; it has {seen(table)}.")
    return tuple(notes)


def _patient_pattern(
    table: Table, columns: Mapping[str, str | None], options: ReaderOptions
) -> tuple[str | None, tuple[str, ...]]:
    if options.patient_pattern is not None or columns["patient"] is not None or table.has_header:
        return options.patient_pattern, ()
    names = (PurePosixPath(path).name for path in table.columns[str(columns["path"])])
    if not all(NUMBERED_NAME.fullmatch(name) for name in names):
        return None, ()
    note = f"All files are named <number>_<number>; the first number was taken for the patient ({PROPOSED_PATTERN})."
    return PROPOSED_PATTERN, (note,)


# ---- files ----


@dataclass
class FileFinder:
    """Finds the file that a cell of a table means."""

    root: Path
    listing: Listing
    images: Sequence[str]  # stills that are not masks

    def __post_init__(self) -> None:
        paths = (*self.listing.stills, *self.listing.clips, *self.listing.dicoms, *self.listing.unnamed)
        self._paths = set(paths)
        self._real_root = os.path.realpath(self.root)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            self._by_name[PurePosixPath(path).name].append(path)
        for path in (*self.images, *self.listing.clips, *self.listing.dicoms):
            self._by_stem[PurePosixPath(path).stem].append(path)

    def find(self, cell: str) -> tuple[str, bool]:
        """The file's path within the root and whether it is there. A path that leaves the root raises `BadInput`."""
        path = self._within(cell)
        if path in self._paths:
            return self._not_linked_out(path), True
        name = PurePosixPath(path).name
        fitting = self._by_name.get(name) or self._by_stem.get(name, []) if "/" not in path else []
        if len(fitting) > 1:
            raise BadInput(f"{cell!r} could be {fitting[0]!r} or {fitting[1]!r}. Give the path with its folders.")
        if fitting:
            return self._not_linked_out(fitting[0]), True
        self._not_linked_out(path)
        return path, (self.root / path).is_file()

    def _within(self, cell: str) -> str:
        text = cell if "/" in cell else cell.replace("\\", "/")
        joined = os.path.normpath(os.path.join(os.path.abspath(self.root), text))
        inside = os.path.relpath(joined, os.path.abspath(self.root))
        if inside.split(os.sep)[0] in ("..", ".") or "\x00" in cell:
            raise BadInput(
                f"The path {cell!r} leaves the folder {self.root.name!r} or names it. Keep the files inside it."
            )
        return Path(inside).as_posix()

    def _not_linked_out(self, path: str) -> str:
        real = os.path.realpath(self.root / path)
        if os.path.commonpath((real, self._real_root)) != self._real_root:
            raise BadInput(
                f"The path {path!r} leads out of the folder {self.root.name!r} by a link. Keep the files inside."
            )
        return path


# ---- rows ----


class _Rows:
    """Turns rows of a table into source files."""

    def __init__(
        self,
        table: Table,
        columns: Mapping[str, str | None],
        finder: FileFinder,
        masks: Mapping[str, tuple[str, ...]],
        pattern: str | None,
        key: bytes,
    ) -> None:
        self._table, self._columns, self._finder, self._masks = table, columns, finder, masks
        self._pattern, self._key = pattern, key
        mapped = {column for column in columns.values() if column is not None}
        self._extra = {
            _extra_name(name): _numeric(cells) for name, cells in table.columns.items() if name not in mapped
        }
        self._qualified = self._sequences_recur()
        self.notes = ("Sequence names recur in several patients; each was joined with its patient.",) * self._qualified

    def _sequences_recur(self) -> bool:
        """Whether one sequence name stands with several patients, as when each patient's clips are numbered from 1."""
        patients, sequences = self._columns["patient"], self._columns["sequence"]
        if patients is None or sequences is None:
            return False
        pairs = set(zip(self._table.columns[sequences], self._table.columns[patients], strict=True))
        return len({sequence for sequence, _ in pairs}) < len(pairs)

    def _cell(self, role: str, position: int) -> str | None:
        column = self._columns[role]
        return None if column is None else self._table.columns[column][position] or None

    def _number(self, role: str, position: int) -> float | None:
        text = self._cell(role, position)
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < 0 or (role == "frame" and number != int(number)):
            raise BadInput(f"{text!r} in column {self._columns[role]!r} of {self._table.name} is no {role} number.")
        return number

    def file(self, position: int) -> SourceFile:
        """The source file of one row."""
        cell = self._cell("path", position)
        if cell is None:
            raise BadInput(f"Row {position + 1} of {self._table.name} has no path. Fill it in, or remove the row.")
        location, there = self._finder.find(cell)
        frame = self._number("frame", position)
        masks = self._mask(location, position)
        split = self._cell("split", position)
        sequence, patient = self._cell("sequence", position), self._cell("patient", position)
        row = ImageRow(
            path=location,
            frame=int(frame or 0),
            label=self._cell("label", position),
            sequence_id=f"{patient}/{sequence}" if sequence is not None and self._qualified else sequence,
            patient_id=patient if patient is not None else patient_from(location, self._pattern),
            site=self._cell("site", position),
            split=None if split is None else check_name(canonical_split(split), "split"),
            mask_path="|".join(masks) or None,
            spacing_mm=self._number("spacing", position),
            extra={name: cells[position] for name, cells in self._extra.items()},
        )
        kind = kind_of(location)
        if kind not in ("stills", "clips"):
            row = dicom_row(row, location, self._key)
        moving = kind != "stills" and frame is not None
        problem = None if there else "The file is not there."
        return SourceFile(
            location, row, masks, only_frame=int(frame) if moving and frame is not None else None, problem=problem
        )

    def _mask(self, location: str, position: int) -> tuple[str, ...]:
        named = self._cell("mask", position)
        if named is None:
            return self._masks.get(location, ())
        return (self._finder.find(named)[0],)


def _extra_name(name: str) -> str:
    return f"source_{name}" if name in COLUMNS or name == "fold" else name


def _numeric(cells: list[str]) -> Sequence[str | float | None]:
    """Numbers if every filled cell is one, else text; an empty cell is null."""
    try:
        numbers = [float(cell) if cell else None for cell in cells]
    except ValueError:
        return [cell or None for cell in cells]
    plain = all(cell == "" or re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", cell) for cell in cells)
    return numbers if plain else [cell or None for cell in cells]


def _refuse_repeated(files: Sequence[SourceFile], table: Table) -> None:
    first: dict[tuple[str, int], int] = {}
    for position, file in enumerate(files):
        earlier = first.setdefault((file.location, file.row.frame), position)
        if earlier != position:
            raise BadInput(
                f"Rows {earlier + 1} and {position + 1} of {table.name} name the same image {file.row.path}. Keep one of them."
            )


def _unnamed_note(files: Sequence[SourceFile], images: Sequence[str], listing: Listing) -> tuple[str, ...]:
    named = {file.location for file in files}
    forgotten = sum(path not in named for path in (*images, *listing.clips, *listing.dicoms))
    return (f"{forgotten} image files below the table are not named in it and were left out.",) if forgotten else ()
