"""The fetal study's training augmentation: what it does by hand, and how much of it.

Run: pytest tests/unit/test_fetal_augmentation.py
"""

import numpy as np
import pytest

from fmlab.data.fetal_augmentation import fetal_variant, on_bent_grid


class Drawn:
    """Random numbers that a test has chosen: which of the five things are done, and how strongly."""

    def __init__(self, done, strengths=(0.5, 0.5, 0.5, 0.5), cells=0.5):
        self.given = iter([[0.0 if each in done else 0.9 for each in range(5)], strengths, np.full((2, 6), cells)])

    def random(self, shape):
        return np.array(next(self.given), dtype=float).reshape(shape)

    def standard_normal(self, shape, dtype):
        return np.ones(shape, dtype)


IMAGE = np.arange(100, 120, dtype=np.uint8).reshape(4, 5)


@pytest.mark.parametrize(
    ("done", "strengths", "expected"),
    [
        ([], (1, 1, 1, 1), IMAGE),
        ([0], (1, 0.5, 0, 0), np.clip(IMAGE + 76.5, 0, 255).round()),  # 0.3 of the range brighter
        ([0], (0.5, 0, 0, 0), (IMAGE * 0.7).round()),  # 0.3 less contrast
        ([1], (0, 0, 1, 0), (255 * (IMAGE / 255) ** 1.2).round()),
        ([2], (0, 0, 0, 1), (IMAGE + 50**0.5).round()),  # noise of one standard deviation everywhere
        ([3], (0, 0, 0, 0), IMAGE),  # a grid whose cells are as they were
        ([4], (0, 0, 0, 0), IMAGE[:, ::-1]),
    ],
)
def test_each_thing_by_hand(done, strengths, expected):
    assert np.array_equal(fetal_variant(IMAGE, Drawn(done, strengths)), expected)


def test_a_bent_grid_by_hand():
    """Ten pixels in five cells of two: the first cell reads half as far again, and all after it one pixel later; the last
    pixel, beyond the edge, is the mirror image."""
    image = np.tile(np.arange(0, 100, 10, dtype=np.uint8), (10, 1))
    bent = on_bent_grid(image, np.ones(6), np.array([1.5, 1, 1, 1, 1, 1]))
    assert bent[0].tolist() == [0, 15, 30, 40, 50, 60, 70, 80, 90, 80]
    assert (bent == bent[0]).all()
    assert np.array_equal(on_bent_grid(image.T, np.array([1.5, 1, 1, 1, 1, 1]), np.ones(6)), bent.T)


@pytest.mark.parametrize("shape", [(224, 224), (48, 40, 3), (3, 3), (1, 1)])
def test_shape_and_type_stay_and_the_same_draw_gives_the_same_bits(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    first, again, other = (fetal_variant(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first.shape, first.dtype) == (shape, np.uint8)
    assert np.array_equal(first, again)
    assert shape == (1, 1) or not np.array_equal(first, other)


def test_half_of_the_images_are_mirrored_and_few_are_left_alone():
    ramp = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (24, 1))
    drawn = [fetal_variant(ramp, np.random.default_rng(seed)) for seed in range(400)]
    mirrored = sum(float(each[:, :8].mean()) > float(each[:, -8:].mean()) for each in drawn)
    assert mirrored == pytest.approx(200, abs=40)
    assert sum(np.array_equal(each, ramp) for each in drawn) == pytest.approx(400 / 32, abs=14)
