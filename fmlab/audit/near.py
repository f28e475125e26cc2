"""Near-duplicates: for every picture, the one on another side of the split that looks most like it.

In: perceptual hashes, (N, 8) uint64 (`fmlab.audit.hashes`), and the side on which each picture stands, (N,) int.
Out: for every picture the nearest on another side, −1 where none is near, and in how many bits they differ.

Two pictures are near when they differ in at most 40 of 256 bits of pHash and in at most 30 of 256 of dHash. Unrelated
pictures differ in half of all bits. Ultrasound is far from unrelated, so the limits were held against real sets: among 12
million pairs of different patients or clips (infant gallbladders, echocardiograms, lungs, phantom hearts) the nearest
that were not truly the same picture differ in 42 and 26 bits, of one patient filmed twice; between different patients the
least are 50 and 39. Neighbouring frames of one clip differ by 14 and 11 at the median, of a sparsely sampled beating
heart by 42 and 26, so of those nearly half are caught.

Up to `EXACT` pairs across sides all of them are compared. Beyond, the hashes are sorted `SHUFFLES` times, each time by other bits
first, and neighbours in that order are compared (Charikar, STOC 2002): n log n, identical pictures are always found,
those at the very edge of the limits mostly.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from fmlab.audit.hashes import WORDS

PHASH_LIMIT, DHASH_LIMIT = 40, 30  # bits of 256
EXACT = 1 << 26  # pairs, each counted from both of its ends: about two seconds
SHUFFLES = 24
NEIGHBOURS = 6  # looked at after each picture in sorted order, and again from the next other side on
BLOCK = 64  # rows compared at once
KEY_BITS = 64

_NONE = np.uint64(np.iinfo(np.uint64).max)


def nearest_across(hashes: np.ndarray, sides: np.ndarray, exact: int = EXACT) -> tuple[np.ndarray, np.ndarray]:
    """The nearest picture on another side, (N,) int64 with −1 for none, and the bits that differ, (N,) int64."""
    best = np.full(len(hashes), _NONE)  # bits that differ above, the other picture's position below
    if len(hashes) ** 2 - int((np.unique(sides, return_counts=True)[1] ** 2).sum()) <= exact:
        for rows, others in _across(sides):
            _compare_all(hashes, rows, others, best)
    else:
        _compare_sorted(hashes, sides, best)
    found = best != _NONE
    partner = np.where(found, best & np.uint64(0xFFFFFFFF), 0).astype(np.int64)
    bits = np.where(found, best >> np.uint64(32), 0).astype(np.int64)
    return np.where(found, partner, -1), bits


def differing(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """In how many bits hashes differ, (…,) int64 from (…, W) uint64."""
    return np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int64)


def _across(sides: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of pictures of a side, and of all pictures of other sides."""
    order = np.argsort(sides, kind="stable")
    borders = np.flatnonzero(np.diff(sides[order])) + 1
    for start, end in pairwise([0, *borders.tolist(), len(order)]):
        yield order[start:end], np.r_[order[:start], order[end:]]


def _compare_all(hashes: np.ndarray, rows: np.ndarray, others: np.ndarray, best: np.ndarray) -> None:
    columns = [np.ascontiguousarray(hashes[others, word]) for word in range(WORDS)]
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        bits = np.zeros((len(part), len(others)), np.uint16)
        for word, column in enumerate(columns):
            bits += np.bitwise_count(hashes[part, word, None] ^ column)
        one, other = np.nonzero(bits <= PHASH_LIMIT)
        _keep_near(hashes, part[one], others[other], best)


def _compare_sorted(hashes: np.ndarray, sides: np.ndarray, best: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    bits = np.unpackbits(np.ascontiguousarray(hashes[:, :WORDS]).view(np.uint8), axis=1)
    for _ in range(SHUFFLES):
        chosen = generator.permutation(bits.shape[1])[:KEY_BITS]
        keys = np.ascontiguousarray(np.packbits(bits[:, chosen], axis=1)).view(">u8").ravel()
        order = np.argsort(keys, kind="stable")
        ordered = sides[order]
        borders = np.flatnonzero(np.diff(ordered)) + 1  # where another side begins
        place = np.searchsorted(borders, np.arange(len(order)), side="right")
        beyond = np.r_[borders, len(order)][place]  # the next picture of another side, in sorted order
        here = np.arange(len(order))
        for step in range(NEIGHBOURS):
            for there in (here + step + 1, beyond + step):
                inside = there < len(order)
                one, other = order[here[inside]], order[there[inside]]
                differ = sides[one] != sides[other]
                one, other = one[differ], other[differ]
                close = differing(hashes[one, :WORDS], hashes[other, :WORDS]) <= PHASH_LIMIT
                _keep_near(hashes, one[close], other[close], best)
                _keep_near(hashes, other[close], one[close], best)


def _keep_near(hashes: np.ndarray, rows: np.ndarray, others: np.ndarray, best: np.ndarray) -> None:
    """Note those of the pairs that are near in both hashes as the best of their first picture, where they are."""
    second = differing(hashes[rows, WORDS:], hashes[others, WORDS:])
    near = second <= DHASH_LIMIT
    rows, others, second = rows[near], others[near], second[near]
    bits = differing(hashes[rows, :WORDS], hashes[others, :WORDS]) + second
    np.minimum.at(best, rows, (bits.astype(np.uint64) << np.uint64(32)) | others.astype(np.uint64))
