"""The manifest: one row per image, and the card that sums it up.

In: a dataset folder. Out: a `Dataset` with its `Card` (read at once) and its manifest (a table, read by column on demand).

Opening a dataset reads the card alone, so a manifest of a million rows costs nothing until a column is asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

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
    leaking: tuple[str, ...] = ()  # patients or sequences that stand on both sides of the split
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

    def first_rows(self, split: str | None = None, per_class: int = 4) -> pd.DataFrame:
        """Up to `per_class` readable rows of each class, to show what the images look like. Reads four columns fully."""
        table = pq.read_table(self.folder / "manifest.parquet", columns=["image_id", "label", "split", "sequence_id"])
        table = table.filter(pc.is_valid(table["split"]) if split is None else pc.equal(table["split"], split))
        frame = to_pandas(table).drop_duplicates("sequence_id")
        return frame.groupby("label", dropna=False, sort=False).head(per_class).reset_index(drop=True)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Arrow to pandas with Arrow-backed strings (null stays null, a million rows stay small)."""
    return table.to_pandas(strings_to_categorical=False, split_blocks=True, self_destruct=True)


def read_manifest(folder: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The manifest stored in a dataset folder."""
    path = folder / "manifest.parquet"
    try:
        return to_pandas(pq.read_table(path, columns=list(columns) if columns else None))
    except (FileNotFoundError, pa.ArrowInvalid) as error:
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
    if not (folder / "card.json").is_file():
        present = ", ".join(dataset_names(home)) or "none yet"
        raise NotFound(f"There is no dataset {name!r}; there are: {present}. Import it with `fmlab data import`.")
    return Dataset(folder, read_card(folder))


def read_card(folder: Path) -> Card:
    """The card in a dataset folder."""
    try:
        return Card.model_validate(read_json(folder / "card.json"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"The card of dataset {folder.name!r} is damaged at {where!r} ({first['msg']}). Import the dataset again."
        ) from error


def dataset_names(home: Home) -> list[str]:
    """Names of the complete datasets on this disk (a card is written last, so a half-made dataset has none)."""
    return sorted(
        path.parent.name for path in home.datasets.glob("*/card.json") if not path.parent.name.startswith(".")
    )


def image_id(path: str, frame: int) -> str:
    """The identity of an image: 16 hex digits from its path within the source and its frame number."""
    return digest_bytes(path.encode(), str(frame).encode())[:16]


def content_codes(content_hashes: pd.Series) -> np.ndarray:
    """The first 64 bits of each content hash, (N,) uint64: how caches name an image's pixels."""
    return np.array([int(text[:16], 16) for text in content_hashes], dtype=np.uint64)


def id_codes(image_ids: Sequence[str] | pd.Series) -> np.ndarray:
    """Image ids as numbers, (N,) uint64."""
    return np.array([int(text, 16) for text in image_ids], dtype=np.uint64)
