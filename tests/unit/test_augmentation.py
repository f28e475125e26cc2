"""Augmented copies: slight, about the centre, black outside, and the same on every machine and in every order.

Run: pytest tests/unit/test_augmentation.py
"""

import hashlib
import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from fmlab.data.augmentation import COPY_NAMES, augmented, drawn, margin_for
from fmlab.data.subsets import COPIES
from fmlab.errors import BadInput

HASHES = [hashlib.md5(str(number).encode()).hexdigest() for number in range(40)]
SHAPES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))
)


@cache
def spot(right, down, size=(201, 301)):
    """A soft bright spot so many pixels right of and below the centre of a black image."""
    y, x = np.mgrid[: size[0], : size[1]]
    across, along = x - (size[1] - 1) / 2 - right, y - (size[0] - 1) / 2 - down
    return np.round(250 * np.exp(-(across**2 + along**2) / 50)).astype(np.uint8)


def place(image):
    """Where the spot is: pixels right of and below the centre."""
    rows, columns = image.sum(axis=1, dtype=float), image.sum(axis=0, dtype=float)
    right, down = (np.average(np.arange(len(sums)) - (len(sums) - 1) / 2, weights=sums) for sums in (columns, rows))
    return right, down


def degrees_to_the_left(right, down):
    return math.degrees(math.atan2(-down, right))


def test_the_copies_are_those_of_subsets():
    assert list(COPY_NAMES) == list(range(COPIES + 1))


@settings(max_examples=60, deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)), st.sampled_from(HASHES), st.integers(0, 4))
def test_a_copy_has_the_images_shape_and_no_new_brightness(image, content_hash, copy):
    before = image.copy()
    variant = augmented(image, content_hash, copy)
    assert variant.shape == image.shape
    assert variant.dtype == np.uint8
    assert variant.max() <= image.max()
    assert (variant == augmented(image.copy(), content_hash, copy)).all()
    assert (image == before).all()
    if copy == 0:
        assert variant is image
    if image.ndim == 3:  # channels are treated alike and apart
        assert (variant[..., 1] == augmented(np.ascontiguousarray(image[..., 1]), content_hash, copy)).all()


def test_tilts_are_slight_about_the_centre_and_to_both_sides():
    angles = {1: [], 2: []}
    for copy, found in angles.items():
        for content_hash in HASHES:
            right, down = place(augmented(spot(80, 0), content_hash, copy))
            assert math.hypot(right, down) == pytest.approx(80, abs=0.3)
            found.append(degrees_to_the_left(right, down))
            assert place(augmented(spot(0, 0), content_hash, copy)) == pytest.approx((0, 0), abs=0.05)
    for found in (np.array(angles[1]), -np.array(angles[2])):
        assert found.min() >= 2.9
        assert found.max() <= 10.1
        assert np.histogram(found, [2.9, 4.75, 6.5, 8.25, 10.1])[0].min() >= 4  # all along the range
    assert not np.allclose(angles[1], -np.array(angles[2]), atol=0.5)  # the copies are drawn apart


def test_widths_change_about_the_vertical_axis_and_heights_do_not():
    for content_hash in HASHES:
        (narrow, down), (wide, below) = (place(augmented(spot(80, 40), content_hash, copy)) for copy in (3, 4))
        assert 80 * 0.849 <= narrow <= 80 * 0.951
        assert 80 * 1.049 <= wide <= 80 * 1.151
        assert (down, below) == pytest.approx((40, 40), abs=0.1)


def test_what_is_not_known_is_black():
    white = np.full((100, 200), 255, np.uint8)
    narrower, wider = augmented(white, HASHES[0], 3), augmented(white, HASHES[0], 4)
    assert (narrower[:, :5] == 0).all()
    assert (narrower[:, -5:] == 0).all()
    assert (narrower[:, 15:-15] == 255).all()
    assert (wider == 255).all()
    for copy in (1, 2):
        tilted = augmented(white, HASHES[0], copy)
        assert tilted[0, 0] == tilted[0, -1] == tilted[-1, 0] == tilted[-1, -1] == 0
        assert (tilted[30:-30, 30:-30] == 255).all()


def test_a_tilt_is_what_scipy_makes_of_the_same_angle():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).uniform(0, 255, (120, 90)), 3)
    image = np.clip((smooth - smooth.min()) / np.ptp(smooth) * 255, 0, 255).astype(np.uint8)
    spotted = augmented(spot(80, 0), HASHES[3], 1)
    reference = ndimage.rotate(image.astype(float), degrees_to_the_left(*place(spotted)), reshape=False, order=1)
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(augmented(image, HASHES[3], 1)[inner] - reference[inner]).max() <= 1.5


def test_what_an_image_gets_never_changes():
    """Embeddings of copies lie in caches: other angles or widths would need another version of the preprocessing."""
    right, down = place(augmented(spot(80, 0), "0123456789abcdef" * 2, 1))
    assert degrees_to_the_left(right, down) == pytest.approx(4.898, abs=0.02)
    assert place(augmented(spot(80, 0), "0123456789abcdef" * 2, 4))[0] / 80 == pytest.approx(1.0642, abs=0.0005)


def test_an_unknown_copy_is_refused():
    for copy in (-1, 5):
        with pytest.raises(BadInput, match="choose 0"):
            augmented(spot(0, 0), HASHES[0], copy)


# ------------------------------------------------------------------------------------------------ drawn on the fly


def test_variants_come_from_the_same_family_and_cover_it():
    rng = np.random.default_rng(0)
    angles, widths = [], []
    for _ in range(100):
        seed = int(rng.integers(1 << 30))
        below, beside = (place(drawn(spot(*where), np.random.default_rng(seed))) for where in ((0, 80), (80, 0)))
        angles.append(math.degrees(math.atan2(below[0], below[1])))  # the vertical is only turned
        widths.append(math.hypot(*beside) / 80)
    assert -10.1 <= min(angles) < -8
    assert 8 < max(angles) <= 10.1
    assert 0.849 <= min(widths) < 0.87
    assert 1.13 < max(widths) <= 1.151


def test_nothing_is_changed_that_was_not_asked_for():
    image = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    assert (drawn(image, np.random.default_rng(2), warp=False) == image).all()
    assert (drawn(image, np.random.default_rng(2), warp=False, margin=4) == image[4:-4, 4:-4]).all()
    flipped = [drawn(image, np.random.default_rng(seed), flip=True, warp=False) for seed in range(200)]
    mirrored = [(variant == image[:, ::-1]).all() for variant in flipped]
    assert all((variant == image).all() or mirror for variant, mirror in zip(flipped, mirrored, strict=True))
    assert 70 <= sum(mirrored) <= 130


def test_what_is_switched_on_leaves_the_rest_as_it_was():
    image = np.random.default_rng(1).integers(0, 256, (30, 40), np.uint8)
    for seed in range(20):
        plain = drawn(image, np.random.default_rng(seed))
        flipped = drawn(image, np.random.default_rng(seed), flip=True)
        assert (flipped == plain).all() or (flipped == plain[:, ::-1]).all()


def test_jitter_is_brightness_then_contrast_about_the_mean():
    image = np.array([[100, 60], [140, 100]], np.uint8)
    means, spreads = [], []
    for seed in range(300):
        levels = drawn(image, np.random.default_rng(seed), jitter=0.2, warp=False).astype(float)
        means.append(levels.mean() / 100)
        spreads.append((levels[1, 0] - levels[0, 1]) / 80)
    assert 0.795 <= min(means) < 0.82
    assert 1.18 < max(means) <= 1.205
    assert 0.8 * 0.8 - 0.02 <= min(spreads) < 0.72
    assert 1.35 < max(spreads) <= 1.2 * 1.2 + 0.02
    white = np.array([[0, 255]], np.uint8)
    assert all(drawn(white, np.random.default_rng(seed), jitter=0.9, warp=False).max() <= 255 for seed in range(20))


@pytest.mark.parametrize("size", [32, 96, 224])
def test_the_margin_holds_what_the_strongest_variant_turns_in_and_little_more(size):
    white = np.full((size + 2 * margin_for(size),) * 2, 255, np.uint8)
    assert margin_for(size) % 2 == 0
    for seed in range(300):
        variant = drawn(white, np.random.default_rng(seed), margin=margin_for(size))
        assert variant.shape == (size, size)
        assert (variant == 255).all()
    extreme = Extreme()
    assert (drawn(white, extreme, margin=margin_for(size)) == 255).all()
    less = white[4:-4, 4:-4]
    assert (drawn(less, extreme, margin=margin_for(size) - 4) == 0).any()


class Extreme:
    """A draw of the largest tilt and the narrowest width."""

    def random(self, count):
        return np.array([1.0, 0.0, 1.0, 1.0, 1.0])[:count]
