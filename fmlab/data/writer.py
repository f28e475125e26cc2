"""Making a dataset: rows and pixels in, a complete dataset folder out, or nothing.

In: one `ImageRow` per image, with its decoded pixels (or the reason why there are none) and its mask if it has one.
Out: `datasets/<name>/` with manifest.parquet, card.json, store/ and masks/.

Everything is written to a hidden folder beside it; the last step renames that folder. A killed import leaves only
the hidden folder, which the next import of that name removes.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fmlab.data.manifest import COLUMNS, TRAIN, VALIDATION, Card, Dataset, check_name, image_id, read_card
from fmlab.data.splits import draw_split, leaking_groups
from fmlab.data.store import ImageStoreWriter
from fmlab.errors import BadInput, NameTaken
from fmlab.files import digest_bytes, storage_errors, write_json, written_aside
from fmlab.settings import Home

LONGEST_SIDE = 1024  # larger images are scaled down: no backbone here takes more than 518 pixels
SCORED_FRAMES = 5  # of a test sequence; limited-data study, section 4.2


@dataclass(frozen=True)
class ImageRow:
    """What a source says of one image. Null means that it does not say."""

    path: str
    frame: int = 0
    label: str | None = None
    sequence_id: str | None = None
    patient_id: str | None = None
    site: str | None = None
    split: str | None = None
    mask_path: str | None = None
    spacing_mm: float | None = None
    sector: tuple[float, ...] | None = None
    extra: Mapping[str, str | float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class CardFacts:
    """What a card says beyond its counts."""

    source: str
    title: str = ""
    description: str = ""
    licence: str | None = None
    citation: str | None = None
    synthetic: bool = False
    mask_sector: bool = False
    notes: tuple[str, ...] = ()


def shrink(pixels: np.ndarray, longest_side: int = LONGEST_SIDE) -> tuple[np.ndarray, float]:
    """The image scaled down to fit `longest_side`, and the factor by which a pixel grew (1.0: untouched)."""
    longest = max(pixels.shape[:2])
    if longest <= longest_side:
        return pixels, 1.0
    scale = longest_side / longest
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)), 1 / scale


def without_colour(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) whose three channels are equal becomes (H, W); everything else stays."""
    if pixels.ndim == 3 and (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all():
        return np.ascontiguousarray(pixels[..., 0])
    return pixels


def content_hash(pixels: np.ndarray, sector: Sequence[float] | None) -> str:
    """What a run depends on in one image: its stored pixels and its sector, as 32 hex digits."""
    outline = b"" if sector is None else np.asarray(sector, "<f4").tobytes()
    return digest_bytes(repr(pixels.shape).encode(), np.ascontiguousarray(pixels).data.tobytes(), outline)


class DatasetWriter:
    """Collects rows and pixels; `finish` turns them into a dataset, `abandon` removes every trace."""

    def __init__(self, home: Home, name: str) -> None:
        self._target = home.datasets / check_name(name)
        if (self._target / "card.json").exists():
            raise NameTaken(f"A dataset {name!r} exists already. Choose another name, or remove that one first.")
        self.folder = home.datasets / f".{name}.unfinished"
        shutil.rmtree(self.folder, ignore_errors=True)
        self._store = ImageStoreWriter(self.folder / "store")
        self._masks = ImageStoreWriter(self.folder / "masks")
        self._rows: list[dict[str, object]] = []
        self._ids: dict[str, str] = {}

    def add(self, row: ImageRow, pixels: np.ndarray, mask: np.ndarray | None = None) -> str:
        """Add a readable image, uint8 (H, W) or (H, W, 3), and its mask, uint8 (H, W) class indices. Returns its id."""
        pixels, growth = shrink(without_colour(pixels))
        identity = self._identity(row)
        self._store.append(identity, pixels)
        if mask is not None:
            self._masks.append(identity, mask)
        spacing = None if row.spacing_mm is None else row.spacing_mm * growth
        measured = {"height": pixels.shape[0], "width": pixels.shape[1], "spacing_mm": spacing}
        self._append(row, identity, measured | {"content_hash": content_hash(pixels, row.sector), "problem": None})
        return identity

    def add_unreadable(self, row: ImageRow, problem: str) -> str:
        """Add an image that cannot be used, with the reason. It counts, but stands in no split. Returns its id."""
        identity = self._identity(row)
        self._append(row, identity, {"height": None, "width": None, "content_hash": None, "problem": problem})
        return identity

    def _identity(self, row: ImageRow) -> str:
        identity = image_id(row.path, row.frame)
        where = f"{row.path} frame {row.frame}"
        if identity in self._ids:
            raise BadInput(f"The source names {where} twice (first as {self._ids[identity]}). Name each image once.")
        self._ids[identity] = where
        return identity

    def _append(self, row: ImageRow, identity: str, measured: dict[str, object]) -> None:
        facts = asdict(row) | measured
        extra = facts.pop("extra")
        clash = sorted(set(extra) & (set(COLUMNS)))
        if clash:
            raise BadInput(f"The source's own columns {', '.join(clash)} have names the manifest uses. Rename them.")
        facts["image_id"] = identity
        facts["sequence_id"] = row.sequence_id or identity
        self._rows.append(facts | dict(extra))

    def finish(self, facts: CardFacts, classes: Sequence[str] | None = None, split_seed: int = 0) -> Dataset:
        """Write manifest and card and give the dataset its name. Without a split in the source, one is drawn by patient.

        `classes` fixes the class order; by default the labels in alphabetical order.
        """
        try:
            manifest, origin = self._with_split(self._table(), split_seed)
            self._store.close()
            self._masks.close()
            card = make_card(self._target.name, manifest, facts, classes, origin)
            write_manifest(self.folder, manifest)
            write_json(self.folder / "card.json", card.model_dump(mode="json"))
            shutil.rmtree(self._target, ignore_errors=True)  # a folder without a card is nobody's dataset
            self.folder.rename(self._target)
        except BaseException:
            self.abandon()
            raise
        return Dataset(self._target, read_card(self._target))

    def abandon(self) -> None:
        """Remove what was written so far."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _table(self) -> pd.DataFrame:
        usable = sum(row["problem"] is None for row in self._rows)
        if not usable:
            reason = f" The first of {len(self._rows)}: {self._rows[0]['problem']}" if self._rows else ""
            raise BadInput(f"The source holds no readable image.{reason} Point to a folder, table or file with images.")
        table = pd.DataFrame(self._rows)
        table["scored"] = True
        extra = [name for name in table.columns if name not in COLUMNS]
        return table.reindex(columns=[*COLUMNS, *extra])

    def _with_split(self, manifest: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, str]:
        readable = manifest["problem"].isna()
        named = manifest.loc[readable, "split"].notna()
        if named.any() and not named.all():
            raise BadInput(
                f"{int((~named).sum())} of {len(named)} images have no split while others have one. "
                "Give every image a split, or none, and one is drawn by patient."
            )
        origin = "as in the source"
        if not named.any():
            manifest.loc[readable, "split"] = draw_split(manifest[readable], seed)
            origin = f"drawn by patient, 30 % of each class's patients to T1, seed {seed}"
        manifest.loc[~readable, "split"] = None
        manifest["scored"] = readable & mark_scored(manifest)
        return manifest, origin


def mark_scored(manifest: pd.DataFrame) -> pd.Series:
    """True for the frames that count: all of train, and five evenly spaced ones of a longer test sequence. (N,) bool."""
    counts = manifest["split"].notna()
    testing = manifest[counts & ~manifest["split"].isin((TRAIN, VALIDATION))].sort_values(["sequence_id", "frame"])
    sequence = testing.groupby("sequence_id", sort=False)
    rank, length = sequence.cumcount().to_numpy(), sequence["frame"].transform("size").to_numpy()
    # Frame r of n is chosen when it is the middle of one of five equal stretches: floor((2i + 1) n / 10) for i in 0 … 4.
    chosen = np.zeros(len(testing), bool)
    for part in range(SCORED_FRAMES):
        chosen |= rank == (2 * part + 1) * length // (2 * SCORED_FRAMES)
    counts.loc[testing.index] = chosen | (length <= SCORED_FRAMES)
    return counts


def write_manifest(folder: Path, manifest: pd.DataFrame) -> None:
    """Write a manifest table to its dataset folder; extra columns keep the type pandas gives them."""
    extra = [name for name in manifest.columns if name not in COLUMNS]
    table = pa.table(
        {name: pa.array(manifest[name], type=kind, from_pandas=True) for name, kind in COLUMNS.items()}
        | {name: pa.array(manifest[name], from_pandas=True) for name in extra}
    )
    with written_aside(folder / "manifest.parquet") as aside, storage_errors("the manifest"):
        pq.write_table(table, aside, compression="zstd")


def make_card(
    name: str, manifest: pd.DataFrame, facts: CardFacts, classes: Sequence[str] | None, split_origin: str
) -> Card:
    """Count a manifest and sum it up."""
    usable = manifest[manifest["problem"].isna()]
    labelled = usable[usable["label"].notna()]
    order = tuple(classes) if classes is not None else tuple(sorted(labelled["label"].unique()))
    unknown = sorted(set(labelled["label"]) - set(order))
    if unknown:
        raise BadInput(f"Labels {', '.join(unknown)} are not among the classes {', '.join(order)}.")
    by_split = labelled.groupby(["split", "label"]).size()
    known = usable["patient_id"].dropna()
    return Card(
        name=name,
        classes=order,
        images=len(usable),
        unreadable=len(manifest) - len(usable),
        unlabelled=len(usable) - len(labelled),
        sequences=int(usable["sequence_id"].nunique()),
        patients=int(known.nunique()) if len(known) else None,
        splits={str(split): int(n) for split, n in usable["split"].value_counts(sort=False).sort_index().items()},
        class_counts={label: int((labelled["label"] == label).sum()) for label in order},
        split_classes={
            split: {label: int(by_split.get((split, label), 0)) for label in order}
            for split in sorted(usable["split"].unique())
        },
        sites={str(site): int(n) for site, n in usable["site"].value_counts(sort=False).sort_index().items()},
        split_origin=split_origin,
        leaking=tuple(leaking_groups(usable)),
        longest_side=LONGEST_SIDE,
        sectors_found=int(usable["sector"].notna().sum()),
        pixels_key=pixels_key(usable),
        content_hash=manifest_hash(usable, order),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **asdict(facts),
    )


def pixels_key(usable: pd.DataFrame) -> str:
    """Names the pixels of a dataset, whatever their order, labels and split."""
    return digest_bytes(*(text.encode() for text in sorted(usable["content_hash"])))


def manifest_hash(usable: pd.DataFrame, classes: Sequence[str]) -> str:
    """Digest of everything a run depends on: pixels, labels, split, scored frames, sequences, patients, class order."""
    columns = ["image_id", "content_hash", "label", "split", "scored", "sequence_id", "patient_id"]
    rows = usable[columns].sort_values("image_id").astype("string").fillna("\x00")
    return digest_bytes("\x1f".join(classes).encode(), *(rows[name].str.cat(sep="\x1f").encode() for name in columns))
