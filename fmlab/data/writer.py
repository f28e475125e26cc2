"""Making a dataset: rows and pixels in, a complete dataset folder out, or nothing.

In: one `ImageRow` per image, with its decoded pixels (or the reason why there are none) and its mask if it has one.
Out: `datasets/<name>/` with manifest.parquet, card.json, store/ and masks/.

Everything is written to a hidden folder beside it; the last step renames that folder. A killed import leaves only
the hidden folder, which the next import of that name removes. A next generation of a dataset (a further test set)
shares the old one's shards by hard links and replaces it in the same way.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fmlab.data.folders import PROOF, FolderLock, install, link_tree, recover, unfinished_folder
from fmlab.data.manifest import COLUMNS, TRAIN, VALIDATION, Card, Dataset, check_name, image_id, read_card, to_pandas
from fmlab.data.splits import draw_folds, draw_split, leaking_groups, mark_scored
from fmlab.data.store import ImageStoreWriter
from fmlab.errors import BadInput, NameTaken
from fmlab.files import digest_bytes, storage_errors, write_json, written_aside
from fmlab.settings import Home

LONGEST_SIDE = 1024  # larger images are scaled down: no backbone here takes more than 518 pixels
BLOCK_ROWS = 1 << 16  # of the manifest: what a page reads at least when it shows the first images
LISTED_LEAKS = 100  # on the card, which is read whole by every page


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
    """Collects rows and pixels; `finish` turns them into a dataset, `abandon` removes every trace.

    As a context manager it abandons by itself when the block raises. While it is open, no one else writes that name.
    """

    def __init__(self, home: Home, name: str, base: Dataset | None = None) -> None:
        """Begin dataset `name`; with `base`, the dataset of that name on disk, begin its next generation."""
        self.name, self._home, self._base = check_name(name), home, base
        recover(home, name)
        if base is None and (home.datasets / name / PROOF).exists():
            raise NameTaken(f"A dataset {name!r} exists already. Choose another name, or remove that one first.")
        self._lock = FolderLock(home, name)
        if base is not None and read_card(home.datasets / name) != base.card:
            self._lock.release()
            raise BadInput(f"Dataset {name!r} was changed by another import meanwhile. Repeat yours.")
        self.folder = unfinished_folder(home, name)
        shutil.rmtree(self.folder, ignore_errors=True)
        if base is not None:
            link_tree(base.folder, self.folder, without=(PROOF, "manifest.parquet"))
        self._store = ImageStoreWriter(self.folder / "store")
        self._masks = ImageStoreWriter(self.folder / "masks")
        self._rows: list[dict[str, object]] = []
        self._blocks: list[pa.Table] = []
        self._ids: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abandon()

    def add(self, row: ImageRow, pixels: np.ndarray, mask: np.ndarray | None = None) -> str:
        """Add a readable image, uint8 (H, W) or (H, W, 3), and its mask, uint8 (H, W) class indices. Returns its id."""
        pixels, growth = shrink(without_colour(pixels))
        identity = self._identity(row)
        self._store.append(identity, pixels)
        if mask is not None:
            self._masks.append(identity, _as_large_as(mask, pixels))
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
        if identity in self._ids:
            raise BadInput(f"The source names {row.path} frame {row.frame} twice. Name each image once.")
        self._ids.add(identity)
        return identity

    def _append(self, row: ImageRow, identity: str, measured: dict[str, object]) -> None:
        clash = sorted(COLUMNS.keys() & row.extra.keys())
        if clash:
            raise BadInput(f"The source's own columns {', '.join(clash)} have names the manifest uses. Rename them.")
        facts = vars(row) | measured | {"image_id": identity, "sequence_id": row.sequence_id or identity}
        del facts["extra"]
        self._rows.append(facts | dict(row.extra))
        if len(self._rows) >= BLOCK_ROWS:
            self._close_block()

    def _close_block(self) -> None:
        """Turn the collected rows into a table: a million dictionaries would take gigabytes."""
        extra = [name for name in self._rows[-1] if name not in COLUMNS] if self._rows else []
        extra += sorted({name for row in self._rows for name in row} - COLUMNS.keys() - set(extra))
        columns = {
            name: pa.array([row.get(name) for row in self._rows], type=COLUMNS.get(name)) for name in [*COLUMNS, *extra]
        }
        self._blocks.append(pa.table(columns))
        self._rows = []

    def finish(
        self,
        facts: CardFacts,
        classes: Sequence[str] | None = None,
        split_seed: int = 0,
        folds: int | None = None,
        labels: Mapping[str, str | None] | None = None,
    ) -> Dataset:
        """Write manifest and card and give the dataset its name. Without a split in the source, one is drawn by patient.

        `classes` fixes the class order; by default numbers ascending, else the labels in alphabetical order. With
        `folds`, everything outside the source's test sets is train and carries a fold number for cross-validation.
        `labels`, image id → label or None, replace those of some images once split and classes are settled without them.
        """
        with self._completing():
            manifest, origin = _with_split(self._table(), split_seed, folds)
            if labels:
                readable = manifest[manifest["problem"].isna()]
                classes = class_order(list(readable["label"].dropna().unique())) if classes is None else classes
                manifest = _relabelled(manifest, labels)
            card = make_card(self.name, manifest, facts, classes, origin, folds)
            self._write(manifest, card)
        return Dataset(self._home.datasets / self.name, card)

    def finish_attached(
        self, test_set: str, notes: Sequence[str] = (), labels: Mapping[str, str | None] | None = None
    ) -> Dataset:
        """Write the next generation of the base dataset, the added images as its test set `test_set`.

        Classes and split of the base stay, and so does its pixels key: embeddings made before remain valid. `labels`,
        image id → label or None, replace those of some of the added images.
        """
        base = self._base
        if base is None:
            raise ValueError("Only a writer made with a base dataset can finish an attached test set.")
        with self._completing():
            added = _relabelled(self._table(), labels or {})
            added["split"] = np.where(added["problem"].isna(), test_set, None)
            manifest = pd.concat([base.manifest(), added], ignore_index=True)
            manifest["scored"] = mark_scored(manifest)
            facts = CardFacts(**{name: getattr(base.card, name) for name in CardFacts.__dataclass_fields__})
            facts = replace(facts, notes=(*facts.notes, *notes))
            origin = f"{base.card.split_origin}; {test_set} attached"
            card = make_card(self.name, manifest, facts, base.card.classes, origin, base.card.folds)
            card = card.model_copy(update={"pixels_key": base.card.pixels_key})
            self._write(manifest, card)
        return Dataset(self._home.datasets / self.name, card)

    @contextmanager
    def _completing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abandon()
            raise
        self._lock.release()

    def _write(self, manifest: pd.DataFrame, card: Card) -> None:
        self._store.close()
        self._masks.close()
        write_manifest(self.folder, manifest)
        write_json(self.folder / PROOF, card.model_dump(mode="json"))
        install(self._home, self.name)

    def abandon(self) -> None:
        """Remove what was written so far; harmless when there is nothing left."""
        self._store.abandon()
        self._masks.abandon()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def _table(self) -> pd.DataFrame:
        self._close_block()
        table = pa.concat_tables(self._blocks, promote_options="permissive")
        self._blocks = []
        if table["problem"].null_count == 0:
            reason = f" The first of {len(table)}: {table['problem'][0].as_py()}" if len(table) else ""
            raise BadInput(f"The source holds no readable image.{reason} Point to a folder, table or file with images.")
        return to_pandas(table).assign(scored=True)


def _as_large_as(mask: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The mask at the stored image's size, without inventing classes between two neighbours."""
    height, width = pixels.shape[:2]
    if mask.shape == (height, width):
        return mask
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _relabelled(manifest: pd.DataFrame, labels: Mapping[str, str | None]) -> pd.DataFrame:
    """The rows, those of some images with another label; None: without one."""
    if not labels:
        return manifest
    changed = [labels.get(image, label) for image, label in zip(manifest["image_id"], manifest["label"], strict=True)]
    return manifest.assign(label=pd.Series(changed, index=manifest.index, dtype=object))


def _with_split(manifest: pd.DataFrame, seed: int, folds: int | None) -> tuple[pd.DataFrame, str]:
    """Complete the split and the scored frames; also how the split came about, in words for the card."""
    readable = manifest["problem"].isna()
    named = manifest.loc[readable, "split"].notna()
    if named.any() and not named.all():
        raise BadInput(
            f"{int((~named).sum())} of {len(named)} images have no split while others have one. "
            "Give every image a split, or none, and one is drawn by patient."
        )
    origin = "as in the source"
    if not named.any():
        drawn = TRAIN if folds is not None else draw_split(manifest[readable], seed)
        manifest.loc[readable, "split"] = drawn
        origin = f"drawn by {unit_of_split(manifest)}, 30 % of each class to T1, seed {seed}"
    manifest.loc[~readable, "split"] = None
    if folds is not None:
        dealt = readable & manifest["split"].isin((TRAIN, VALIDATION))
        manifest["fold"] = draw_folds(manifest[dealt], folds, seed).astype("Int32").reindex(manifest.index)
        manifest.loc[dealt, "split"] = TRAIN
        origin = f"{folds} folds drawn by {unit_of_split(manifest)}, seed {seed}" + (
            ", test sets as in the source" if named.any() else ""
        )
    manifest["scored"] = mark_scored(manifest)
    return manifest, origin


def unit_of_split(manifest: pd.DataFrame) -> str:
    """What was kept together when a split was drawn, in words."""
    if manifest["patient_id"].notna().any():
        return "patient"
    alone = (manifest["sequence_id"] == manifest["image_id"]).all()
    return "image (neither patients nor sequences are known)" if alone else "sequence (patients are unknown)"


def write_manifest(folder: Path, manifest: pd.DataFrame) -> None:
    """Write a manifest table to its dataset folder; extra columns keep the type pandas gives them."""
    extra = [name for name in manifest.columns if name not in COLUMNS]
    table = pa.table(
        {name: pa.array(manifest[name], type=kind, from_pandas=True) for name, kind in COLUMNS.items()}
        | {name: pa.array(manifest[name], from_pandas=True) for name in extra}
    )
    with written_aside(folder / "manifest.parquet") as aside, storage_errors("the manifest"):
        pq.write_table(table, aside, compression="zstd", row_group_size=BLOCK_ROWS)


def class_order(labels: Sequence[str]) -> tuple[str, ...]:
    """Classes in the order of their indices: whole numbers ascending, anything else alphabetical."""
    if all(label.isascii() and label.isdigit() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def make_card(
    name: str,
    manifest: pd.DataFrame,
    facts: CardFacts,
    classes: Sequence[str] | None,
    split_origin: str,
    folds: int | None = None,
) -> Card:
    """Count a manifest and sum it up."""
    usable = manifest[manifest["problem"].isna()]
    labelled = usable[usable["label"].notna()]
    order = tuple(classes) if classes is not None else class_order(list(labelled["label"].unique()))
    present = set(labelled["label"].unique())
    unknown = sorted(present - set(order))
    if unknown:
        raise BadInput(f"Labels {', '.join(unknown)} are not among the classes {', '.join(order)}.")
    leaking = leaking_groups(usable)
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
        class_counts={
            label: int(by_split.xs(label, level="label").sum()) if label in present else 0 for label in order
        },
        split_classes={
            split: {label: int(by_split.get((split, label), 0)) for label in order}
            for split in sorted(usable["split"].unique())
        },
        sites={str(site): int(n) for site, n in usable["site"].value_counts(sort=False).sort_index().items()},
        split_origin=split_origin,
        folds=folds,
        leaking=tuple(leaking[:LISTED_LEAKS]),
        leaking_count=len(leaking),
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
