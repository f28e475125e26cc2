"""Which frames a pretraining learns from.

In: a home and the sources: datasets with their splits, the share of their patients, every how many frames of a clip.
Out: `Frames`: one row per image, each picture once, and of every dataset how many there are and why others are not.

In this order: rows of the chosen splits (unreadable ones are counted); of so many patients (where none is known,
sequences, else images), ordered by a hash of their names, so that a smaller share is part of a larger one; every n-th
frame of a clip; each content once over all datasets; of neighbouring frames that look alike the first
(`fmlab.runs.pretraining_thinning`).

Nothing that is tested is learnt from (`fmlab.runs.pretraining_guard`), unless a person accepts it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmlab.audit.report import counted
from fmlab.data.manifest import TRAIN, VALIDATION, Dataset, content_codes, dataset_names, open_dataset
from fmlab.data.splits import groups, hash_order
from fmlab.errors import BadInput
from fmlab.files import digest_bytes
from fmlab.pretrain.configs import Source
from fmlab.runs.pretraining_guard import COLUMNS, SEEN_COLUMNS, tested_among
from fmlab.runs.pretraining_thinning import Progress, by_sequence, without_lookalikes
from fmlab.settings import Home

NO_SPLIT = "none"  # stands for rows that are in no split
USUAL_SPLITS = (TRAIN, VALIDATION, NO_SPLIT)  # what may be absent
KEPT_COLUMNS = [*COLUMNS, "sector", "height", "width"]
ACCEPTED = "Pretrained on what is tested"  # how the note begins that accepting it leaves on the backbone
SHARE_SEED = 0
PLANS_KEPT = 16


@dataclass(frozen=True)
class SourceCounts:
    """What becomes of the images of one dataset: taken, or left out for one reason."""

    dataset: str
    content_hash: str  # of the dataset
    splits: tuple[str, ...]  # of the chosen ones those that hold an image
    stride: int
    share: float
    unreadable: int
    by_share: int  # of patients that are not among the share
    by_stride: int
    images: int = 0  # taken
    patients: int | None = None  # that those are of; None: unknown
    duplicates: int = 0  # equal, pixel for pixel, to one that is taken before, of this dataset or another
    near_duplicates: int = 0  # frames that look like the last one kept

    @property
    def plain(self) -> dict[str, Any]:
        """As it stands in what is kept beside a backbone."""
        return asdict(self) | {"splits": list(self.splits)}


@dataclass(frozen=True, eq=False)
class Frames:
    """The images that a pretraining learns from."""

    rows: pd.DataFrame  # `dataset` and `KEPT_COLUMNS`, in the order of the sources, then of their manifests
    seen: pd.DataFrame  # `SEEN_COLUMNS`, each once: a picture of two datasets stands there for both
    counts: tuple[SourceCounts, ...]
    digest: str  # of all contents in order
    notes: tuple[str, ...]  # sentences for the backbone's card


@dataclass(frozen=True)
class FramesPlan:
    """What would be learnt from, as far as it is known without looking at a picture."""

    images: int
    counts: tuple[SourceCounts, ...]
    refusal: str | None  # why it is refused unless accepted: what of it is tested


def chosen_frames(
    home: Home,
    sources: Sequence[Source],
    thin: int | None = None,
    allow_test_patients: bool = False,
    on_progress: Progress = lambda done, total, message: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Frames:
    """The images to learn from. `thin`: bits of 256; None: no frame is left out for looking like the one before.

    Raises `NotFound` for a dataset that is not there, `BadInput` for splits that hold nothing, and where test patients
    or test images are among them and `allow_test_patients` is not given; `Cancelled`. `on_progress` gets done, all,
    what is being done.
    """
    selection = _select(home, sources, KEPT_COLUMNS)
    if selection.refusal and not allow_test_patients:
        raise BadInput(selection.refusal)
    rows, counts = selection.rows, selection.counts
    if thin is not None:
        rows = without_lookalikes(home, rows, thin, on_progress, cancelled)
        left = [_taken(each, rows) for each in counts]
        pairs = zip(counts, left, strict=True)
        counts = tuple(replace(after, near_duplicates=each.images - after.images) for each, after in pairs)
    kept = np.isin(content_codes(selection.taken["content_hash"]), content_codes(rows["content_hash"]))
    return Frames(
        rows=rows,
        seen=selection.taken.loc[kept, SEEN_COLUMNS].drop_duplicates(ignore_index=True),
        counts=counts,
        digest=digest_bytes("\n".join(rows["content_hash"]).encode()),
        notes=tuple(_notes(counts, selection.clauses)),
    )


def frames_plan(home: Home, sources: Sequence[Source]) -> FramesPlan:
    """How many images would be learnt from and whether the guard refuses them; no picture is looked at.

    Kept for as long as no dataset changes. Raises as `chosen_frames`, but for what the guard has to say.
    """
    cards = [open_dataset(home, name).card for name in dataset_names(home)]
    return _plan(home.path, tuple(sources), tuple((card.name, card.content_hash, card.created) for card in cards))


@lru_cache(maxsize=PLANS_KEPT)
def _plan(home: Path, sources: tuple[Source, ...], states: tuple[tuple[str, ...], ...]) -> FramesPlan:
    """`states` is part of the key and not otherwise used: the guard looks at every dataset of the home."""
    selection = _select(Home(home), sources, COLUMNS)
    return FramesPlan(len(selection.rows), selection.counts, selection.refusal)


# ------------------------------------------------------------------------------------------------------- the selection


@dataclass(frozen=True, eq=False)
class _Selection:
    taken: pd.DataFrame  # all that the splits, the share and the stride leave
    rows: pd.DataFrame  # of them, each content once
    counts: tuple[SourceCounts, ...]
    clauses: tuple[str, ...]  # of the guard

    @property
    def refusal(self) -> str | None:
        if not self.clauses:
            return None
        return (
            f"What is to be learnt from is also tested, which would flatter the backbone: {'; '.join(self.clauses)}. "
            "Leave these splits or datasets out, or accept it with --allow-test-patients; "
            "it then stands wherever the backbone is shown."
        )


def _select(home: Home, sources: Sequence[Source], columns: list[str]) -> _Selection:
    datasets = [open_dataset(home, source.dataset) for source in sources]
    pairs = [_from_source(dataset, source, columns) for dataset, source in zip(datasets, sources, strict=True)]
    clauses = tested_among(home, [(dataset, rows) for dataset, (rows, _) in zip(datasets, pairs, strict=True)])
    taken = pd.concat([rows for rows, _ in pairs], ignore_index=True)
    again = taken["content_hash"].duplicated()
    rows = taken[~again].reset_index(drop=True)
    counts = [_taken(each, rows) for _, each in pairs]
    before = zip(pairs, counts, strict=True)
    whole = tuple(replace(each, duplicates=len(own) - each.images) for (own, _), each in before)
    return _Selection(taken, rows, whole, clauses)


def _from_source(dataset: Dataset, source: Source, columns: list[str]) -> tuple[pd.DataFrame, SourceCounts]:
    """The readable rows of a source that its splits, its share and its stride leave."""
    table = dataset.manifest([*columns, "problem"])
    readable = table["problem"].isna()
    _check_splits(dataset, source, table.loc[readable, "split"])
    split = table["split"].fillna(NO_SPLIT)
    rows = table[readable & split.isin(source.splits)].drop(columns="problem")
    rows.insert(0, "dataset", dataset.name)
    shared = rows[_of_share(groups(rows), source.share)]
    strided = shared[_every(shared, source.stride)]
    held = set(split[rows.index])
    counts = SourceCounts(
        dataset=dataset.name,
        content_hash=dataset.card.content_hash,
        splits=tuple(name for name in source.splits if name in held),
        stride=source.stride,
        share=source.share,
        unreadable=int((~readable).sum()),
        by_share=len(rows) - len(shared),
        by_stride=len(shared) - len(strided),
    )
    return strided, counts


def _check_splits(dataset: Dataset, source: Source, present: pd.Series) -> None:
    found = present.fillna(NO_SPLIT).value_counts()
    there = ", ".join(f"{name} ({count:,} images)" for name, count in found.sort_index().items())
    unknown = [name for name in source.splits if name not in found.index and name not in USUAL_SPLITS]
    if unknown or not set(source.splits) & set(found.index):
        raise BadInput(
            f"Dataset {dataset.name!r} has no readable image in {' or '.join(unknown or source.splits)}; "
            f"its splits are: {there}. Choose among them."
        )


def _of_share(whom: pd.Series, share: float) -> np.ndarray:
    """Which rows are of the first so many patients in the order of a hash of their names, (N,) bool; at least of one."""
    if share == 1:
        return np.ones(len(whom), bool)
    codes, names = pd.factorize(whom)
    kept = np.zeros(len(names), bool)
    kept[np.argsort(hash_order(np.asarray(names), SHARE_SEED))[: max(1, round(share * len(names)))]] = True
    return kept[codes]


def _every(rows: pd.DataFrame, stride: int) -> np.ndarray:
    """Which rows are the first of their sequence by frame number, the `stride`-th after it, and so on; (N,) bool."""
    order, _, rank = by_sequence(rows)
    kept = np.zeros(len(rows), bool)
    kept[order] = rank % stride == 0
    return kept


def _taken(counts: SourceCounts, rows: pd.DataFrame) -> SourceCounts:
    """The counts with images and patients as they are among the rows of all datasets."""
    own = rows[rows["dataset"] == counts.dataset]
    known = own["patient_id"].dropna()
    return replace(counts, images=len(own), patients=int(known.nunique()) if len(known) else None)


def _notes(counts: Sequence[SourceCounts], clauses: Sequence[str]) -> list[str]:
    """What a person who looks at the backbone has to know of its images, the gravest first."""
    notes = [f"{ACCEPTED}, which flatters it: {'; '.join(clauses)}."] if clauses else []
    for each in counts:
        if each.unreadable:
            notes.append(f"{counted(each.unreadable, 'unreadable image')} of {each.dataset!r} left out.")
    duplicates = sum(each.duplicates for each in counts)
    if duplicates:
        notes.append(f"{counted(duplicates, 'image')} equal to another, pixel for pixel, left out.")
    return notes
