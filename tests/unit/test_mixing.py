"""Mixed images and soft labels: against timm's Mixup, by hand, and the same however a batch is computed.

Run: pytest tests/unit/test_mixing.py
"""

import numpy as np
import pytest
import torch
from timm.data import mixup as timm_mixup
from torch.nn.functional import cross_entropy

from fmlab.training.mixing import Mixture, _cut_out, draw_mixture, soft_targets


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(("share", "centre"), [(0.3, (0.5, 0.5)), (0.75, (0.0, 0.9)), (0.05, (0.99, 0.02))])
def test_images_and_targets_are_timms(monkeypatch, cut, share, centre):
    """timm's own mixing, given our draw: the share, and the centre of the box."""
    images = torch.rand(6, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1, 1])
    theirs = timm_mixup.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=3)
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (share, cut))
    places = iter(centre)
    monkeypatch.setattr(
        timm_mixup.np.random, "randint", lambda low, high, size=None: int(low + next(places) * (high - low))
    )
    expected, expected_targets = theirs(images.clone(), labels)
    mixture = _cut_out(share, (16, 12), np.array(centre)) if cut else Mixture(share)
    torch.testing.assert_close(mixture.applied(images, images.flip(0)), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(soft_targets(labels, 3, mixture.share, 0.1), expected_targets, rtol=1e-6, atol=1e-7)


def test_blended_by_hand():
    images = torch.tensor([0.0, 8.0, 4.0]).reshape(3, 1, 1, 1)
    mixed = Mixture(0.75).applied(images, images.flip(0))
    assert mixed.flatten().tolist() == [1.0, 8.0, 3.0]  # the one in the middle is its own partner
    targets = soft_targets(torch.tensor([0, 1, 1]), 2, 0.75, 0.0)
    assert targets.tolist() == [[0.75, 0.25], [0.0, 1.0], [0.25, 0.75]]


def test_cut_out_by_hand():
    """A quarter of 4×4 pixels about the centre is 2×2; in a corner, half of each side of it is left."""
    whole, corner = (_cut_out(0.75, (4, 4), np.array(centre)) for centre in ((0.5, 0.5), (0.0, 0.99)))
    assert (whole.box, whole.share) == ((1, 3, 1, 3), 0.75)
    assert (corner.box, corner.share) == ((0, 1, 2, 4), 1 - 2 / 16)
    images = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    mixed = whole.applied(images, images.flip(0))
    assert mixed[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert torch.equal(mixed[1], 1 - mixed[0])
    assert torch.equal(images[0], torch.zeros(1, 4, 4))


def test_smoothing_by_hand_and_as_torch_has_it():
    labels = torch.tensor([2, 0])
    targets = soft_targets(labels, 4, 1.0, 0.2)
    torch.testing.assert_close(targets, torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]))
    logits = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.3, 0.1, -1.0, 2.0]])
    torch.testing.assert_close(cross_entropy(logits, targets), cross_entropy(logits, labels, label_smoothing=0.2))


def test_draws_follow_from_seed_and_step_and_have_the_distributions_that_were_asked_for():
    first, again, later, other = (
        draw_mixture(0.8, 1.0, (32, 32), seed, step) for seed, step in ((3, 5), (3, 5), (3, 6), (4, 5))
    )
    assert first == again
    assert len({str(each) for each in (first, later, other)}) == 3
    drawn = [draw_mixture(0.8, 1.0, (32, 32), 0, step) for step in range(2000)]
    cut = [each for each in drawn if each.box is not None]
    assert len(cut) == pytest.approx(1000, abs=4 * 22)  # half of them, within four standard deviations
    blended = np.array([each.share for each in drawn if each.box is None])
    assert blended.mean() == pytest.approx(0.5, abs=0.04)
    assert blended.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), rel=0.1)  # of Beta(0.8, 0.8)
    assert all(each.box is None for each in (draw_mixture(0.8, 0.0, (32, 32), 0, step) for step in range(20)))
    assert all(each.box is not None for each in (draw_mixture(0.0, 1.0, (32, 32), 0, step) for step in range(20)))
    assert draw_mixture(0.0, 0.0, (32, 32), 0, 0) is None
