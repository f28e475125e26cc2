"""The manifest: one row per image, and the card that sums it up.

In: a dataset folder. Out: a `Dataset` with its `Card` (read at once) and its manifest (a table, read by column on demand).

Opening a dataset reads the card alone, so a manifest of a million rows costs nothing until a column is asked for.
"""

import re
from binascii import unhexlify
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from fmlab.data.folders import PROOF, recover, remove_folder, swapped_names
from fmlab.errors import BadInput, NotFound
from fmlab.files import digest_bytes, read_json
from fmlab.settings import Home

TRAIN = "train"
VALIDATION = "val"

# The columns every manifest has; a reader's own columns stand after them. All of one row describe one image.
COLUMNS: dict[str, pa.DataType] = {
    "image_id": pa.string(),  # 16 hex digits from (path, frame): stays when the dataset grows
    "path": pa.string(),  # within the source; a pseudonym for DICOM
    "frame": pa.int32(),  # 0 in a still image
    "label": pa.string(),  # null: unlabelled
    "sequence_id": pa.string(),  # an image without a sequence is its own
    "patient_id": pa.string(),  # null: unknown
    "site": pa.string(),
    "split": pa.string(),  # train, val, or the name of a test set; null: unreadable
    "scored": pa.bool_(),  # false: a frame of a test sequence that is there to be watched
    "mask_path": pa.string(),
    "spacing_mm": pa.float32(),  # millimetres per stored pixel; null: unknown
    "sector": pa.list_(pa.float32()),  # x0, y0, x1, y1, … of its outline as fractions of width and height; null: none
    "height": pa.int32(),  # of the stored pixels
    "width": pa.int32(),
    "content_hash": pa.string(),  # of the stored pixels and the sector
    "problem": pa.string(),  # why the image cannot be used; null: it can
}

ID_DIGITS = 16  # hex digits of an image's id
HASH_DIGITS = 32  # and of its content hash

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Card(BaseModel):
    """A dataset in one page: what it is, where it comes from, what may be done with it, and its counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str = ""
    description: str = ""
    source: str  # the reader, or "phantom"
    licence: str | None = None
    citation: str | None = None
    synthetic: bool = False  # true: every number from it says so
    classes: tuple[str, ...]  # the order of class indices everywhere
    images: int  # readable ones
    unreadable: int
    unlabelled: int
    sequences: int
    patients: int | None  # null: patients unknown
    splits: dict[str, int]  # readable images in each
    class_counts: dict[str, int]  # labelled readable images of each class
    split_classes: dict[str, dict[str, int]]  # split → class → images
    sites: dict[str, int]
    split_origin: str  # "source", or how it was drawn
    folds: int | None = None  # of the column `fold`; null: not drawn
    leaking: tuple[str, ...] = ()  # patients or sequences that stand on both sides of the split; the first hundred
    leaking_count: int = 0  # all of them
    longest_side: int  # larger images were scaled down to this many pixels
    sectors_found: int
    mask_sector: bool  # whether masking outside the sector is on by default
    notes: tuple[str, ...] = ()  # what the reader noticed
    pixels_key: str  # names the embeddings; survives attaching and relabelling
    content_hash: str  # of everything a run depends on
    created: str  # ISO 8601, UTC


@dataclass(frozen=True)
class Dataset:
    """A dataset on this disk: its folder and card; tables are read when asked for."""

    folder: Path
    card: Card

    @property
    def name(self) -> str:
        """The name it was imported under."""
        return self.card.name

    @cached_property
    def test_sets(self) -> tuple[str, ...]:
        """Names of its test sets, in alphabetical order."""
        return tuple(sorted(name for name in self.card.splits if name not in (TRAIN, VALIDATION)))

    def manifest(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The manifest, or the named columns of it, one row per image, unreadable ones included."""
        return read_manifest(self.folder, columns)

    def rows_of(self, image_ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
        """image_id and `columns` of a few images, in the order given; one that is not in the manifest raises `NotFound`.

        Values are plain, null is None. Costs no more memory than a block of the manifest, whatever its length.
        """
        with manifest_file(self.folder) as file:
            return rows_of_images(file, image_ids, columns, f"dataset {self.name!r}").to_pylist()

    def first_rows(self, split: str | None = None, per_class: int = 4) -> pd.DataFrame:
        """Up to `per_class` readable rows of each class (and of the unlabelled), to show what the images look like.

        Columns image_id, label, split, sequence_id; one row per sequence. Reads the manifest block by block and stops
        as soon as every class has its rows.
        """
        return _first_rows(self, split, per_class)


FIRST_COLUMNS = ["image_id", "label", "split", "sequence_id"]


def _first_rows(dataset: "Dataset", split: str | None, per_class: int) -> pd.DataFrame:
    counts = dataset.card.split_classes.get(split, {}) if split is not None else dataset.card.class_counts
    wanted: dict[str | None, int] = {label: per_class for label, images in counts.items() if images}
    wanted[None] = per_class if dataset.card.unlabelled else 0
    rows: list[dict[str, str | None]] = []
    seen: set[str] = set()
    with manifest_file(dataset.folder) as file:
        for block in range(file.num_row_groups):
            if not any(wanted.values()):
                break
            if not _may_hold(file.metadata.row_group(block), [label for label, count in wanted.items() if count]):
                continue
            table = file.read_row_group(block, columns=FIRST_COLUMNS, use_threads=False)
            table = table.filter(pc.is_valid(table["split"]) if split is None else pc.equal(table["split"], split))
            for label in [name for name, count in wanted.items() if count]:
                chosen = table.filter(pc.is_null(table["label"]) if label is None else pc.equal(table["label"], label))
                for row in _one_per_sequence(chosen, seen, wanted[label]):
                    rows.append(row)
                    wanted[label] -= 1
    return pd.DataFrame(rows, columns=FIRST_COLUMNS)


def _may_hold(block: pq.RowGroupMetaData, labels: Sequence[str | None]) -> bool:
    """Whether a block of the manifest can hold rows of these labels, by the range that its header gives."""
    columns = (block.column(position) for position in range(block.num_columns))
    statistics = next(column.statistics for column in columns if column.path_in_schema == "label")
    if statistics is None or not statistics.has_null_count:
        return True
    known = statistics.has_min_max
    return any(
        statistics.null_count > 0 if label is None else known and statistics.min <= label <= statistics.max
        for label in labels
    )


def _one_per_sequence(table: pa.Table, seen: set[str], count: int) -> list[dict[str, str | None]]:
    """The first rows of up to `count` sequences that are not yet in `seen`, which grows by them."""
    chosen: list[dict[str, str | None]] = []
    for batch in table.to_batches(max_chunksize=512):  # the first rows nearly always do
        for row in batch.to_pylist():
            if len(chosen) == count:
                return chosen
            if row["sequence_id"] not in seen:
                seen.add(row["sequence_id"])
                chosen.append(row)
    return chosen


def rows_of_images(file: pq.ParquetFile, image_ids: Sequence[str], columns: Sequence[str], where: str) -> pa.Table:
    """The rows of a few images of a table with a column `image_id`, in the order given, read block by block.

    An image that is not there raises `NotFound`, which names `where`.
    """
    wanted = pa.array(list(image_ids), pa.string())
    found = []
    for block in range(file.num_row_groups):
        table = file.read_row_group(block, columns=["image_id", *columns])
        found.append(table.filter(pc.is_in(table["image_id"], wanted)))
        if sum(map(len, found)) == len(pc.unique(wanted)):
            break
    rows = pa.concat_tables(found) if found else file.schema_arrow.empty_table().select(["image_id", *columns])
    places = pc.index_in(wanted, rows["image_id"].combine_chunks())
    if places.null_count:
        lacking = wanted.filter(places.is_null())
        raise NotFound(f"{len(lacking)} images are not in {where}, {lacking[0]} for one. Import the dataset again.")
    return rows.take(places)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Arrow to pandas with Arrow-backed strings (null stays null, a million rows stay small)."""
    return table.to_pandas(strings_to_categorical=False, split_blocks=True, self_destruct=True)


def read_manifest(folder: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The manifest stored in a dataset folder; a column that it does not have raises `BadInput`."""
    with manifest_file(folder) as file:
        missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
        if missing:
            raise BadInput(
                f"The manifest of dataset {folder.name!r} has no column {', '.join(missing)}; "
                f"it has {', '.join(file.schema_arrow.names)}."
            )
        return to_pandas(file.read(columns=list(columns) if columns else None))


@contextmanager
def manifest_file(folder: Path) -> Iterator[pq.ParquetFile]:
    """The manifest's parquet file, open; a damaged or missing one raises `BadInput`, whenever that shows."""
    try:
        with pq.ParquetFile(folder / "manifest.parquet") as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(
            f"The manifest of dataset {folder.name!r} is missing or damaged ({error}). Restore it, or import the dataset again."
        ) from error


def check_name(name: str, what: str = "dataset") -> str:
    """Return `name` if it can name a folder on every platform, else raise `BadInput`."""
    if not NAME_PATTERN.fullmatch(name):
        raise BadInput(
            f"{name!r} cannot name a {what}: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit."
        )
    return name


def open_dataset(home: Home, name: str) -> Dataset:
    """The dataset of that name; `NotFound` lists those there are."""
    folder = home.datasets / check_name(name)
    recover(home, name)
    if not (folder / PROOF).is_file():
        present = ", ".join(dataset_names(home)) or "none yet"
        raise NotFound(f"There is no dataset {name!r}; there are: {present}. Import it with `fmlab data import`.")
    return Dataset(folder, read_card(folder))


def remove_dataset(home: Home, name: str) -> None:
    """Remove a dataset: its manifest, pixels and masks. Predictions made on it stay."""
    open_dataset(home, name)
    remove_folder(home, name)


def read_card(folder: Path) -> Card:
    """The card in a dataset folder."""
    try:
        return Card.model_validate(read_json(folder / PROOF))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"The card of dataset {folder.name!r} is damaged at {where!r} ({first['msg']}). Import the dataset again."
        ) from error


def dataset_names(home: Home) -> list[str]:
    """Names of the complete datasets on this disk (a card is written last, so a half-made dataset has none)."""
    for name in swapped_names(home):
        recover(home, name)
    found = (path.parent.name for path in home.datasets.glob(f"*/{PROOF}"))
    return sorted(name for name in found if not name.startswith("."))


def image_id(path: str, frame: int) -> str:
    """The identity of an image: 16 hex digits from its path within the source and its frame number."""
    return digest_bytes(path.encode(), str(frame).encode())[:ID_DIGITS]


def content_codes(content_hashes: Sequence[str] | pd.Series) -> np.ndarray:
    """The first 64 bits of each content hash, (N,) uint64: how caches name an image's pixels."""
    return _hex_codes(content_hashes, HASH_DIGITS)


def id_codes(image_ids: Sequence[str] | pd.Series) -> np.ndarray:
    """Image ids as numbers, (N,) uint64."""
    return _hex_codes(image_ids, ID_DIGITS)


def _hex_codes(texts: Sequence[str] | pd.Series, digits: int) -> np.ndarray:
    """The first 16 of so many hex digits as a number, (N,) uint64; all at once, because a million are asked for."""
    column = pa.array(texts, pa.string(), from_pandas=True)
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    wrong = pc.invert(pc.fill_null(pc.equal(pc.binary_length(column), digits), False))
    if pc.any(wrong).as_py():
        example = column.filter(wrong)[0].as_py()
        raise BadInput(f"{example!r} is not an identity of {digits} hex digits. Import the dataset again.")
    if not len(column):
        return np.zeros(0, np.uint64)
    written = pc.utf8_slice_codeunits(column, 0, ID_DIGITS)  # a new array, whose characters lie one after the other
    try:
        return np.frombuffer(unhexlify(written.buffers()[2][: len(written) * ID_DIGITS]), ">u8").astype(np.uint64)
    except ValueError as error:
        raise BadInput(f"An identity holds what is no hex digit ({error}). Import the dataset again.") from error
