"""Duplicates in the pixels: pictures of one moment, or copies of one picture, on both sides of the split.

In: manifest rows with the side on which each stands, their hashes, and a way to confirm a pair by embeddings if there is
one. Out: three checks: near-duplicates, a split that looks as if it had been made by frames, copies that cross.

One pair of a thousand may be chance or a true duplicate that changes no number by much: it is a warning. From a share of
the tested images upward it is a leak.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fmlab.audit.hashes import CHANGES
from fmlab.audit.near import nearest_across
from fmlab.audit.report import ROWS_KEPT, Check, Level, Row, counted, made
from fmlab.audit.tables import image_name

LEAST_SHARE, LEAST_IMAGES = 0.01, 2  # of the tested images: from here on accuracy is flattered visibly
FRAMES_SHARE, FRAMES_IMAGES = 0.05, 3  # so many do not come about by chance: clips were cut apart

NEAR, FRAMES, COPIES = (
    "Pictures that look alike on one side of the split",
    "Frames of one clip on one side of the split",
    "Copies of a picture on its side of the split",
)

Confirm = Callable[
    [np.ndarray, np.ndarray], np.ndarray
]  # positions of the first and second of pairs → which are the same


@dataclass(frozen=True, eq=False)
class Pictures:
    """What the checks look at: rows of the manifest, in step with the arrays."""

    rows: pd.DataFrame  # path, frame, split, label
    sides: np.ndarray  # (N,) int64; pictures of one side may resemble each other
    tested: np.ndarray  # (N,) bool: whose accuracy a duplicate would flatter
    hashes: np.ndarray  # (N, 8) uint64
    flat: np.ndarray  # (N,) bool: shows nothing


def check_near(pictures: Pictures, confirm: Confirm | None, confirmed_by: str) -> tuple[list[Check], np.ndarray]:
    """The checks `near_duplicates` and `frames`, and which pictures they named, (N,) bool."""
    shown = np.flatnonzero(~pictures.flat)
    partner, bits = nearest_across(pictures.hashes[shown], pictures.sides[shown])
    near = np.flatnonzero((partner >= 0) & pictures.tested[shown])
    first, second, bits = shown[near], shown[partner[near]], bits[near]
    if confirm is not None and len(first):
        same = confirm(first, second)
        first, second, bits = first[same], second[same], bits[same]
    named = np.zeros(len(pictures.rows), bool)
    named[first] = True
    order = np.argsort(bits, kind="stable")
    rows = _pair_rows(pictures.rows, first[order], second[order])
    tested = int(pictures.tested.sum())
    return [_near_check(len(first), tested, rows, confirmed_by), _frames_check(len(first), tested, rows)], named


def _near_check(count: int, tested: int, rows: Sequence[Row], confirmed_by: str) -> Check:
    if not count:
        return made(
            "near_duplicates", "fine", NEAR, f"None of {counted(tested, 'image')} resembles one of another side."
        )
    sentence = (
        f"{count:,} of {counted(tested, 'tested image')} {'is' if count == 1 else 'are'} nearly the same as an image of "
        f"another side, {_example(rows)}. {confirmed_by}"
    )
    return made("near_duplicates", _level(count, tested), NEAR, sentence, rows, count)


def _level(count: int, tested: int) -> Level:
    return "leak" if count >= max(LEAST_IMAGES, LEAST_SHARE * tested) else "warning"


def _frames_check(count: int, tested: int, rows: Sequence[Row]) -> Check:
    share = count / max(1, tested)
    if count < FRAMES_IMAGES or share < FRAMES_SHARE:
        return made("frames", "fine", FRAMES, "The split does not look as if clips had been cut apart.")
    sentence = (
        f"{share:.0%} of the tested images have a near-duplicate on the other side: the split looks as if it had been "
        "made by frames. Import the images with their sequences or patients, so that these stay together."
    )
    return made("frames", "leak", FRAMES, sentence, rows, count)


def _example(rows: Sequence[Row]) -> str:
    return f"{rows[0]['image']} ({rows[0]['split']}) and {rows[0]['other']} ({rows[0]['other_split']}) for one"


def _pair_rows(
    rows: pd.DataFrame, first: np.ndarray, second: np.ndarray, how: Sequence[str] | None = None
) -> list[Row]:
    """The first pairs in words: which image, where it stands, which other one; how one became the other if that is known."""
    columns = {name: rows[name].tolist() for name in ("path", "frame", "split", "label")}
    named: list[Row] = []
    for place, (one, other) in enumerate(zip(first[:ROWS_KEPT].tolist(), second[:ROWS_KEPT].tolist(), strict=True)):
        row: Row = {}
        for prefix, index in (("", one), ("other_", other)):
            row[prefix.rstrip("_") or "image"] = image_name(columns["path"][index], columns["frame"][index])
            row[f"{prefix}split"], row[f"{prefix}label"] = columns["split"][index], columns["label"][index]
        named.append(row if how is None else row | {"change": how[place]})
    return named


@dataclass(frozen=True, eq=False)
class Changed:
    """Pictures of one side as their copies would look."""

    positions: np.ndarray  # (n,) int64 among all pictures
    hashes: np.ndarray  # (n, changes, 8) uint64, after each of `CHANGES`


def check_copies(pictures: Pictures, tested: Changed, learnt: Changed) -> Check:
    """Whether a tested image is a tilted, widened, narrowed or mirrored copy of one that is learnt from, or its original.

    `tested` holds tested images, none of them a near-duplicate as it is; `learnt` images that are learnt from.
    """
    if not len(tested.positions) or not len(learnt.positions):
        return made("copies", "skipped", COPIES, "There is no test image to compare with the training images.")
    first, second, changes = _originals_of(pictures, tested, ~pictures.tested)
    originals, copies, ways = _originals_of(pictures, learnt, pictures.tested)
    looked = f"{counted(len(tested.positions), 'test image')} and {counted(len(learnt.positions), 'training image')}"
    if not len(first) and not len(originals):
        what = f"Of {looked} looked at none is the other tilted, resampled or mirrored."
        return made("copies", "fine", COPIES, what)
    rows = _pair_rows(pictures.rows, np.r_[first, copies], np.r_[second, originals], [*changes, *ways])
    sentence = (
        f"Of {looked} looked at, {len(first) + len(originals):,} {'is' if len(first) + len(originals) == 1 else 'are'} "
        f"an image of the other side tilted, resampled or mirrored, {_example(rows)} ({rows[0]['change']}). Split first, "
        "augment afterwards; FMLab makes its own copies of training images alone."
    )
    levels = (_level(len(first), len(tested.positions)), _level(len(originals), len(learnt.positions)))
    level: Level = "leak" if "leak" in levels else "warning"
    return made("copies", level, COPIES, sentence, rows, len(first) + len(originals))


def _originals_of(
    pictures: Pictures, changed: Changed, against: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
    """Which of the changed pictures match which others as they are, positions (h,) each, and after which change."""
    others = np.flatnonzero(against & ~pictures.flat)
    shape = changed.hashes.shape[:2]
    hashes = np.concatenate([pictures.hashes[others], changed.hashes.reshape(shape[0] * shape[1], -1)])
    sides = np.r_[np.zeros(len(others), np.int64), np.ones(shape[0] * shape[1], np.int64)]
    partner, bits = (each[len(others) :].reshape(shape) for each in nearest_across(hashes, sides))
    best = np.where(partner >= 0, bits, np.iinfo(np.int64).max).argmin(axis=1)
    chosen = partner[np.arange(len(best)), best]
    hit = np.flatnonzero(chosen >= 0)
    return changed.positions[hit], others[chosen[hit]], [list(CHANGES)[place] for place in best[hit]]
