"""The guard of pretraining: who is tested is not learnt from.

In: a home, and of each dataset the rows that are to be learnt from. Out: which of them are of test patients, or are test
images, in words; none where all is well. And what a backbone has seen, written down beside it, so that a study on a
dataset that comes later can ask (`fmlab.studies.seen`).

Tested is what stands in a test set of its dataset; of a dataset that is cross-validated, every image. Three ways lead
from there into pretraining: an image of a test set itself; a patient (where none is known, a sequence) with further images
in a test set of the same dataset; a picture that is pixel for pixel a test image of any dataset in the home. Names of
patients say nothing across datasets, apart from pseudonyms of DICOM files: there one patient is one name in all imports.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fmlab.audit.report import counted, listed
from fmlab.data.manifest import (
    TRAIN,
    VALIDATION,
    Dataset,
    content_codes,
    dataset_names,
    open_dataset,
    read_card,
    to_pandas,
)
from fmlab.data.splits import groups
from fmlab.data.store import stored_images
from fmlab.errors import BadInput
from fmlab.files import written_aside
from fmlab.settings import Home

SEEN_FILE = "seen.parquet"
SEEN_COLUMNS = ["dataset", "content_hash", "patient_id"]
COLUMNS = ["image_id", "path", "frame", "sequence_id", "patient_id", "split", "content_hash"]
NAMED = 5  # patients or images of each kind; the rest are counted
DATASETS_KEPT = 32
BLANKS_LOOKED_AT = 256  # pictures: where more are equal to others, they are not all blank
PSEUDONYM = (
    r"patient patient-[0-9a-f]{16}"  # a group of `splits.groups` whose patient `readers.sources.pseudonym` named
)


@dataclass(frozen=True, eq=False)
class Tested:
    """What is tested in a dataset."""

    dataset: str
    codes: np.ndarray  # (n,) uint64: of its test images, as `content_codes`
    groups: frozenset[str]  # whom they are of, as `splits.groups`
    pseudonyms: frozenset[str]  # those of the groups whose name means the same in every dataset


def tested_in(dataset: Dataset) -> Tested:
    """What is tested in a dataset: whatever stands in its test sets, labelled or not; kept while it stays the same."""
    return _tested(dataset.folder, dataset.card.content_hash, dataset.card.created)


@lru_cache(maxsize=DATASETS_KEPT)
def _tested(folder: Path, content_hash: str, created: str) -> Tested:
    """`content_hash` and `created` are part of the key and not otherwise used: a dataset made anew is another."""
    dataset = Dataset(folder, read_card(folder))
    rows = dataset.manifest(["image_id", "sequence_id", "patient_id", "split", "content_hash"])
    rows = rows[rows["split"].notna() if dataset.card.folds is not None else in_test_set(rows["split"])]
    whom = groups(rows).drop_duplicates()
    shared = frozenset(whom[whom.str.fullmatch(PSEUDONYM)])
    return Tested(dataset.name, np.unique(content_codes(rows["content_hash"])), frozenset(whom), shared)


def in_test_set(split: pd.Series) -> pd.Series:
    """Which rows stand in a test set, (N,) bool."""
    return split.notna() & ~split.isin((TRAIN, VALIDATION))


def tested_among(home: Home, chosen: Sequence[tuple[Dataset, pd.DataFrame]]) -> tuple[str, ...]:
    """What of the chosen rows of each dataset is tested, a clause for every kind; empty where nothing is.

    The rows have the columns `COLUMNS`.
    """
    everywhere = [tested_in(open_dataset(home, name)) for name in dataset_names(home)]
    clauses: list[str] = []
    for dataset, rows in chosen:
        if dataset.card.folds is not None:
            dealt = f"{dataset.name!r} is cross-validated in {dataset.card.folds} folds, so every image of it is tested"
            clauses.append(dealt)
            continue
        clauses += _test_images(dataset, rows)
        rest = rows[~in_test_set(rows["split"])]
        patients, rest = _test_patients(dataset, rest, everywhere)
        clauses += [*patients, *_copies(dataset, rest, everywhere)]
    return tuple(clauses)


def _test_images(dataset: Dataset, rows: pd.DataFrame) -> Iterator[str]:
    for split, inside in rows[in_test_set(rows["split"])].groupby("split", sort=True):
        stand = "stands" if len(inside) == 1 else "stand"
        yield f"{counted(len(inside), 'image')} of {dataset.name!r} {stand} in its test set {split} ({_named(inside)})"


def _test_patients(
    dataset: Dataset, rows: pd.DataFrame, everywhere: Sequence[Tested]
) -> tuple[list[str], pd.DataFrame]:
    """A clause for every dataset in which patients of these rows are tested, and the rows of nobody."""
    clauses = []
    whom = groups(rows)
    for tested in sorted(everywhere, key=lambda each: each.dataset != dataset.name):
        own = tested.dataset == dataset.name
        among = whom.isin(tested.groups if own else tested.pseudonyms)
        if among.any():
            names = sorted(whom[among].unique())
            where = "its test sets" if own else f"test sets of {tested.dataset!r}"
            has = "has" if len(names) == 1 else "have"
            clauses.append(f"{listed(names, NAMED)} of {dataset.name!r} {has} further images in {where}")
        rows, whom = rows[~among], whom[~among]
    return clauses, rows


def _copies(dataset: Dataset, rows: pd.DataFrame, everywhere: Sequence[Tested]) -> Iterator[str]:
    codes = content_codes(rows["content_hash"])
    for tested in everywhere:
        same = telling_copies(dataset, rows, codes, tested.codes)
        if same.any():
            are = "is" if same.sum() == 1 else "are"
            yield (
                f"{counted(int(same.sum()), 'image')} of {dataset.name!r} {are} pixel for pixel tested in "
                f"{tested.dataset!r} ({_named(rows[same])})"
            )
        rows, codes = rows[~same], codes[~same]


def telling_copies(dataset: Dataset, rows: pd.DataFrame, codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which rows have a content that stands among others and tells whose it is, (N,) bool.

    In: the rows of a dataset with `image_id`, their content codes (N,), the codes of others (n,). Two pictures of one grey
    all over are equal and tell nothing. Pixels are read only where so few contents are equal that they may all be blank.
    """
    same = np.isin(codes, others)
    contents, first = np.unique(codes[same], return_index=True)
    if not len(contents) or len(contents) > BLANKS_LOOKED_AT:
        return same
    images = rows.loc[same, "image_id"].iloc[first].tolist()
    pixels = stored_images(dataset.folder / "store", images)
    blank = [bool((pixels[image] == pixels[image].flat[0]).all()) for image in images]
    return same & ~np.isin(codes, contents[blank])


def _named(rows: pd.DataFrame) -> str:
    """The first few images by path and frame, and how many more there are."""
    shown = rows.iloc[:NAMED]
    names = [
        path + (f" frame {frame}" if frame else "") for path, frame in zip(shown["path"], shown["frame"], strict=True)
    ]
    return ", ".join(names) + (f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else "")


# ------------------------------------------------------------------------------------------------------ what was seen


def write_seen(home: Home, key: str, seen: pd.DataFrame, start: str | None = None) -> None:
    """Keep beside a backbone what it has seen (`SEEN_COLUMNS`), and what its start, another backbone, had seen before."""
    before = read_seen(home, start) if start is not None else seen.iloc[:0]
    whole = pd.concat([before, seen[SEEN_COLUMNS]], ignore_index=True).drop_duplicates()
    table = pa.table({name: pa.array(whole[name], pa.string(), from_pandas=True) for name in SEEN_COLUMNS})
    with written_aside(home.backbones / key / SEEN_FILE) as aside:
        pq.write_table(table, aside, compression="zstd")


def read_seen(home: Home, key: str) -> pd.DataFrame:
    """What a backbone has seen, `SEEN_COLUMNS`; no rows for one that was not pretrained here."""
    path = home.backbones / key / SEEN_FILE
    if not path.exists():
        return pd.DataFrame({name: pd.Series(dtype="string") for name in SEEN_COLUMNS})
    try:
        return to_pandas(pq.read_table(path, columns=SEEN_COLUMNS))
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(
            f"What backbone {key!r} has seen is damaged ({error}), so nobody can tell whether a test of it is fair. "
            f"Restore its {SEEN_FILE}, or pretrain it again."
        ) from error
