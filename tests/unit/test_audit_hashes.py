"""Hashes are ImageHash's, and the search finds what comparing all with all finds."""

import imagehash
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fmlab.audit.hashes import (
    CHANGES,
    HASH_SIZE,
    WORDS,
    changed,
    hash_copies,
    hash_pictures,
    hashed,
    thumbnail,
)
from fmlab.audit.near import DHASH_LIMIT, PHASH_LIMIT, differing, nearest_across
from fmlab.errors import Cancelled


def picture(seed, size=96):
    """Smooth blobs, as unlike from seed to seed as two patients."""
    raw = np.random.default_rng(seed).normal(size=(size, size))
    smooth = ndimage.gaussian_filter(raw, size / 16)
    return np.uint8(np.clip(120 + 60 * smooth / smooth.std(), 0, 255))


def bits_of(hashes):
    return np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8), axis=-1).astype(bool)


@pytest.mark.parametrize("seed", range(5))
def test_the_bits_are_those_of_imagehash(seed):
    small = thumbnail(picture(seed))
    wanted = [imagehash.phash(small, HASH_SIZE).hash, imagehash.dhash(small, HASH_SIZE).hash]
    assert (bits_of(hashed([small]))[0] == np.concatenate([each.ravel() for each in wanted])).all()


def test_colour_pictures_and_odd_sizes_are_hashed():
    grey = picture(0)[:80]
    colour = np.repeat(grey[..., None], 3, axis=2)
    hashes, flat = hash_pictures(lambda i: (grey, colour)[i], 2)
    assert differing(hashes[0], hashes[1]) <= 8
    assert not flat.any()


def test_a_picture_that_shows_nothing_is_flat():
    noisy = np.uint8(100 + np.random.default_rng(0).integers(0, 3, (64, 64)))
    _, flat = hash_pictures(lambda i: (np.full((64, 64), 9, np.uint8), noisy, picture(1))[i], 3)
    assert flat.tolist() == [True, True, False]


def test_progress_is_told_and_a_wish_to_stop_is_heeded():
    told = []
    hash_pictures(lambda i: picture(0), 130, told.append)
    assert told == [64, 128, 130]
    with pytest.raises(Cancelled):
        hash_pictures(lambda i: picture(0), 130, cancelled=lambda: True)


def flipped(generator, hashes, phash, dhash):
    """The hashes with so many bits of each half turned over, chosen at random."""
    bits = bits_of(hashes)
    for row in bits:
        row[generator.choice(256, phash, replace=False)] ^= True
        row[256 + generator.choice(256, dhash, replace=False)] ^= True
    return np.packbits(bits, axis=1).view(np.uint64)


def random_hashes(generator, count):
    return generator.integers(0, 2**64, (count, 2 * WORDS), dtype=np.uint64)


@pytest.mark.parametrize(
    ("phash", "dhash", "near"),
    [(0, 0, True), (PHASH_LIMIT, DHASH_LIMIT, True), (PHASH_LIMIT + 1, 0, False), (0, DHASH_LIMIT + 1, False),
     (256, 0, False)],
)  # fmt: skip
@pytest.mark.parametrize("exact", [1 << 20, 0])
def test_the_limits_are_kept_by_both_ways_of_searching(phash, dhash, near, exact):
    generator = np.random.default_rng(0)
    first = random_hashes(generator, 1)
    both = np.concatenate([first, flipped(generator, first, phash, dhash)])
    partner, bits = nearest_across(both, np.array([0, 1]), exact)
    assert partner.tolist() == ([1, 0] if near else [-1, -1])
    assert bits.tolist() == ([phash + dhash] * 2 if near else [0, 0])


def test_pictures_of_one_side_are_never_partners():
    same = np.repeat(random_hashes(np.random.default_rng(0), 1), 3, axis=0)
    assert nearest_across(same, np.array([2, 2, 2]))[0].tolist() == [-1, -1, -1]
    assert nearest_across(same[:0], np.zeros(0, np.int64))[0].tolist() == []


def test_the_nearest_of_several_is_taken():
    generator = np.random.default_rng(0)
    first = random_hashes(generator, 1)
    three = np.concatenate([first, flipped(generator, first, 9, 9), flipped(generator, first, 3, 3)])
    assert nearest_across(three, np.array([0, 1, 1]))[0].tolist() == [2, 0, 0]


@pytest.mark.parametrize("sides", [2, 400])
def test_sorting_finds_what_comparing_all_finds(sides):
    """A thousand pictures beside a thousand relatives of theirs, ever farther away: all near ones, most of the far ones."""
    generator = np.random.default_rng(1)
    first = random_hashes(generator, 1000)
    relatives = [flipped(generator, first[i : i + 1], i // 50 + 1, 5) for i in range(1000)]
    hashes = np.concatenate([first, *relatives])
    side = np.r_[np.zeros(1000, int), 1 + np.arange(1000) % (sides - 1)]
    wanted, wanted_bits = nearest_across(hashes, side)
    found, bits = nearest_across(hashes, side, exact=0)
    assert (wanted[:1000] == np.arange(1000, 2000)).all()
    agree = found == wanted
    assert agree[wanted_bits <= 20].all()
    assert agree.mean() > 0.99
    assert (bits[agree] == wanted_bits[agree]).all()


def test_sorting_finds_the_one_train_frame_in_a_crowd_of_test_frames():
    """Forty equal frames of T1 stand between it and any that looks only at its neighbours."""
    generator = np.random.default_rng(2)
    crowd = np.repeat(random_hashes(generator, 1), 41, axis=0)
    hashes = np.concatenate([crowd, random_hashes(generator, 500)])
    sides = np.r_[np.full(40, 2), 0, np.zeros(500, int)]
    partner, _ = nearest_across(hashes, sides, exact=0)
    assert (partner[:40] == 40).all()


@pytest.mark.parametrize("seed", range(3))
def test_copies_are_within_reach_of_one_of_the_changes(seed):
    """Angles and widths between two steps are found as well; another picture never is."""
    original = picture(seed, 128)
    other = picture(seed + 100, 128)
    small = thumbnail(original)
    codes = hash_copies(lambda i: (original, other)[i], 2)
    assert codes.shape == (2, len(CHANGES), 2 * WORDS)
    between = [(7.4, 1.0, False), (-4.5, 1.0, False), (0.0, 0.91, False), (0.0, 1.09, False), (0.0, 1.0, True)]
    for change in between:
        copy = hashed([changed(small, change)])[0]
        both = np.stack([differing(codes[..., :WORDS], copy[:WORDS]), differing(codes[..., WORDS:], copy[WORDS:])])
        near = (both[0] <= PHASH_LIMIT) & (both[1] <= DHASH_LIMIT)
        assert near[0].any(), change
        assert not near[1].any(), change


def test_a_change_moves_what_it_says():
    corner = Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), ((10, 98), (10, 98))))
    mirrored = np.asarray(changed(corner, CHANGES["mirrored"]))
    assert mirrored[20, 107] == 255
    assert mirrored[20, 20] == 0
    narrow = np.asarray(changed(corner, CHANGES["88 % as wide"]))
    assert narrow.max(axis=0).nonzero()[0].min() > 14  # towards the middle
