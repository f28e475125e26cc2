"""Masks: how much is hidden, in which shapes, of how many images. Run: pytest tests/unit/test_pretrain_masks.py"""

import numpy as np
import pytest

from fmlab.errors import BadInput
from fmlab.pretrain.masks import block_masks, random_tokens


def rng(seed=0):
    return np.random.default_rng(seed)


# --------------------------------------------------------------------------------------------------------------- blocks


def test_half_of_the_images_are_masked_with_ratios_spread_over_the_range():
    """As the reference: with N masked images the i-th smallest ratio is drawn from the i-th N-th of 0.1–0.5."""
    masks = block_masks(64, (14, 14), draw=rng())
    hidden = np.sort(masks.sum((1, 2)))
    assert masks.shape == (64, 14, 14)
    assert masks.dtype == bool
    assert (hidden[:32] == 0).all()
    upper = 196 * np.linspace(0.1, 0.5, 33)[1:]
    assert (hidden[32:] <= upper).all()
    # Rectangles stop short of the wanted number where none fits any more: by little, on a grid of this size.
    assert hidden[32:].sum() > 0.93 * 196 * 32 * 0.3
    assert hidden[-1] > 0.4 * 196


def test_the_order_of_masked_images_is_shuffled():
    masked = block_masks(64, (14, 14), draw=rng()).any((1, 2))
    assert 0 < masked[:32].sum() < 32


def test_a_share_is_rounded_down():
    assert block_masks(5, (14, 14), draw=rng()).any((1, 2)).sum() == 2
    assert not block_masks(1, (14, 14), draw=rng()).any()
    assert block_masks(5, (14, 14), share=1.0, draw=rng()).any((1, 2)).all()


def test_one_mask_follows_the_algorithm_step_by_step():
    """The published algorithm, written out for one image from the same random numbers."""
    draw, expected, wanted = rng(5), np.zeros((8, 8), bool), None
    wanted = int(64 * draw.uniform(0.3, 0.3))
    while expected.sum() < wanted:
        left_over, done = wanted - expected.sum(), False
        for _ in range(10):
            area = draw.uniform(*sorted((4, left_over)))
            shape = np.exp(draw.uniform(np.log(0.3), np.log(1 / 0.3)))
            h, w = int(np.rint(np.sqrt(area * shape))), int(np.rint(np.sqrt(area / shape)))
            if h < 8 and w < 8:
                top, left = draw.integers(0, 8 - h, endpoint=True), draw.integers(0, 8 - w, endpoint=True)
                new = h * w - expected[top : top + h, left : left + w].sum()
                if 0 < new <= left_over:
                    expected[top : top + h, left : left + w] = done = True
                    break
        if not done:
            break
    assert np.array_equal(block_masks(1, (8, 8), share=1.0, ratio=(0.3, 0.3), draw=rng(5))[0], expected)


def test_masks_are_blocks_not_scattered_patches():
    masks = block_masks(200, (14, 14), ratio=(0.3, 0.3), share=1.0, draw=rng())
    beside = (masks[:, 1:] & masks[:, :-1]).sum() / masks[:, 1:].sum()
    assert beside > 0.7  # of scattered ones it would be 0.3


@pytest.mark.parametrize("grid", [(6, 6), (3, 3), (6, 4), (2, 2)])
def test_small_grids_work(grid):
    masks = block_masks(400, grid, share=1.0, draw=rng())
    hidden = masks.sum((1, 2))
    assert hidden.max() <= grid[0] * grid[1] / 2
    if grid == (6, 6):
        assert (hidden > 0).mean() > 0.9
        assert hidden.mean() > 0.75 * 36 * 0.3


def test_the_same_draw_makes_the_same_masks():
    assert np.array_equal(block_masks(8, (6, 6), draw=rng(1)), block_masks(8, (6, 6), draw=rng(1)))
    assert not np.array_equal(block_masks(8, (6, 6), draw=rng(1)), block_masks(8, (6, 6), draw=rng(2)))


@pytest.mark.parametrize("wrong", [{"ratio": (0.5, 0.1)}, {"ratio": (0.1, 1.5)}, {"share": 1.5}])
def test_impossible_masks_are_refused(wrong):
    with pytest.raises(BadInput, match="within 0–1"):
        block_masks(8, (6, 6), draw=rng(), **wrong)


# ------------------------------------------------------------------------------------------------------- single patches


def test_each_patch_is_either_kept_or_hidden():
    kept, hidden = random_tokens(50, 196, 0.75, draw=rng())
    assert (kept.shape, hidden.shape) == ((50, 49), (50, 147))
    assert np.array_equal(np.sort(np.concatenate([kept, hidden], 1), 1), np.tile(np.arange(196), (50, 1)))
    assert (np.diff(kept) > 0).all()
    assert len(np.unique(kept, axis=0)) == 50


def test_every_patch_is_kept_equally_often():
    kept, _ = random_tokens(4000, 36, 0.75, draw=rng())
    often = np.bincount(kept.ravel(), minlength=36)
    assert often.min() > 850  # of 1,000 expected, five standard deviations off
    assert often.max() < 1150


def test_an_image_is_drawn_the_same_however_many_follow():
    alone, _ = random_tokens(2, 36, 0.75, draw=rng())
    among, _ = random_tokens(9, 36, 0.75, draw=rng())
    assert np.array_equal(alone, among[:2])


def test_nothing_hidden_keeps_all_and_nothing_kept_is_refused():
    kept, hidden = random_tokens(2, 4, 0.0, draw=rng())
    assert (kept.tolist(), hidden.shape) == ([[0, 1, 2, 3]] * 2, (2, 0))
    with pytest.raises(BadInput, match="keeps 0; keep at least one"):
        random_tokens(2, 4, 0.9, draw=rng())
