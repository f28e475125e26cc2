"""Losses, centring and Sinkhorn against loops, lightly's, and two processes. Run: pytest tests/unit/test_pretrain_losses.py

lightly is imported where it is compared with: the processes that a test starts import this file too.
"""

import math

import numpy as np
import pytest
import torch

from fmlab.errors import BadInput
from fmlab.pretrain.losses import (
    Centre,
    contrast,
    cross_entropy,
    koleo,
    masked_patch_loss,
    sinkhorn,
    swapped_cross_entropy,
)

B, K, L = 3, 7, 4
STUDENT, TEACHER = 0.1, 0.05  # temperatures


def draws(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def probabilities(seed, *shape):
    return (draws(seed, *shape) / TEACHER).softmax(-1)


def entropy_by_hand(student, teacher):
    """−Σ t log softmax(s) of one row each, in plain Python floats."""
    scaled = [value / STUDENT for value in student.tolist()]
    normaliser = max(scaled) + math.log(sum(math.exp(value - max(scaled)) for value in scaled))
    return -sum(t * (s - normaliser) for s, t in zip(scaled, teacher.tolist(), strict=True))


# -------------------------------------------------------------------------------------------------------- cross-entropy


def test_cross_entropy_of_two_prototypes_by_hand():
    """Equal logits are one bit apart from anything; a student twice as sure of the wrong one pays the difference."""
    student = torch.tensor([[0.0, 0.0], [0.0, STUDENT * math.log(3)]])
    teacher = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    assert cross_entropy(student, teacher, STUDENT).tolist() == pytest.approx([math.log(2), math.log(4)])


def test_cross_entropys_gradient_is_that_of_the_plain_expression():
    student, teacher = draws(0, L, B, K).double().requires_grad_(), probabilities(1, B, K).double()
    plain = -(teacher * (student / STUDENT).log_softmax(-1)).sum(-1)
    (expected,) = torch.autograd.grad((plain * draws(2, L, B)).sum(), student)
    loss = cross_entropy(student, teacher, STUDENT)
    (gradient,) = torch.autograd.grad((loss * draws(2, L, B)).sum(), student)
    torch.testing.assert_close(loss.double(), plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_cross_entropy_of_half_precision_logits_is_computed_in_full():
    student, teacher = draws(0, B, K).bfloat16().requires_grad_(), probabilities(1, B, K)
    loss = cross_entropy(student, teacher, STUDENT)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, cross_entropy(student.float(), teacher, STUDENT))
    loss.sum().backward()
    assert student.grad.dtype == torch.bfloat16


# -------------------------------------------------------------------------------------------------------- class tokens


def test_each_large_crop_is_compared_with_the_other_and_each_small_one_with_both():
    large, small, teacher = draws(0, 2, B, K), draws(1, L, B, K), probabilities(2, 2, B, K)
    of_large = sum(entropy_by_hand(large[view, b], teacher[1 - view, b]) for view in (0, 1) for b in range(B))
    of_small = sum(
        entropy_by_hand(small[crop, b], teacher[view, b]) for crop in range(L) for view in (0, 1) for b in range(B)
    )
    losses = swapped_cross_entropy(large, small, teacher, STUDENT)
    assert [loss.item() for loss in losses] == pytest.approx(
        [of_large / B / (2 + 2 * L), of_small / B / (2 + 2 * L)], rel=1e-5
    )


def test_without_small_crops_the_two_pairs_are_averaged():
    large, teacher = draws(0, 2, B, K), probabilities(2, 2, B, K)
    expected = sum(entropy_by_hand(large[view, b], teacher[1 - view, b]) for view in (0, 1) for b in range(B)) / B / 2
    loss, small = swapped_cross_entropy(large, None, teacher, STUDENT)
    assert (loss.item(), small.item()) == (pytest.approx(expected, rel=1e-5), 0.0)


def test_together_they_are_lightlys_dino_loss():
    from lightly.loss import DINOLoss

    large, small, logits = draws(0, 2, B, K), draws(1, L, B, K), draws(2, 2, B, K)
    theirs = DINOLoss(K, teacher_temp=TEACHER, student_temp=STUDENT)
    expected = theirs(list(logits), [*large, *small], teacher_temp=TEACHER)
    centre = Centre(K)
    ours = swapped_cross_entropy(large, small, centre(logits, TEACHER), STUDENT)
    centre.update(logits.flatten(0, 1))
    torch.testing.assert_close(sum(ours), expected)
    torch.testing.assert_close(centre.mean, theirs.center.flatten())


def test_the_teacher_takes_no_gradient():
    teacher = probabilities(2, 2, B, K).requires_grad_()
    large = draws(0, 2, B, K).requires_grad_()
    sum(swapped_cross_entropy(large, None, teacher, STUDENT)).backward()
    assert teacher.grad is None
    assert large.grad.abs().sum() > 0


# -------------------------------------------------------------------------------------------------------------- patches


def masked():
    """Four crops of 2 × 3 patches with 3, 0, 1 and 2 of them masked."""
    mask = torch.zeros(4, 2, 3, dtype=torch.bool)
    mask[0, 0], mask[2, 1, 1], mask[3, :, 0] = True, True, True
    return mask, mask.nonzero()[:, 0]


def test_patches_are_averaged_within_images_then_over_all_images():
    _, image = masked()
    student, teacher = draws(0, 6, K), probabilities(1, 6, K)
    each = [entropy_by_hand(student[row], teacher[row]) for row in range(6)]
    expected = (sum(each[:3]) / 3 + each[3] + sum(each[4:]) / 2) / 4
    assert masked_patch_loss(student, teacher, image, 4, STUDENT).item() == pytest.approx(expected, rel=1e-5)


def test_it_is_lightlys_patch_loss():
    from lightly.loss import IBOTPatchLoss

    mask, image = masked()
    student, logits = draws(0, 6, K), draws(1, 6, K)
    expected = IBOTPatchLoss(K, TEACHER, STUDENT)(logits, student, mask)
    ours = masked_patch_loss(student, Centre(K)(logits, TEACHER), image, 4, STUDENT)
    torch.testing.assert_close(ours, expected)


def test_no_masked_patch_at_all_is_a_loss_of_nothing():
    student = torch.zeros(0, K, requires_grad=True)
    loss = masked_patch_loss(student, torch.zeros(0, K), torch.zeros(0, dtype=torch.int64), 4, STUDENT)
    loss.backward()
    assert loss.item() == 0.0


# ---------------------------------------------------------------------------------------------------------------- KoLeo


def test_koleo_of_points_on_a_circle_by_hand():
    """Four points at 0°, 90°, 180° and 190°: nearest neighbours lie at chords of 90°, 90°, 10° and 10°."""
    angles = torch.deg2rad(torch.tensor([0.0, 90.0, 180.0, 190.0]))
    points = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [5.0], [0.2], [3.0]])
    far, near = 2 * math.sin(math.radians(45)), 2 * math.sin(math.radians(5))
    expected = -(2 * math.log(far) + 2 * math.log(near)) / 4
    assert koleo(points).item() == pytest.approx(expected, rel=1e-4)


def test_koleo_and_its_gradient_are_lightlys():
    from lightly.loss import KoLeoLoss

    ours, theirs = draws(0, 16, 5).requires_grad_(), draws(0, 16, 5).requires_grad_()
    losses = koleo(ours), KoLeoLoss()(theirs)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_koleo_is_computed_in_full_precision_under_autocast():
    features = draws(0, 16, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(koleo(features), koleo(features.clone()))
        inside = koleo(features)
    assert torch.equal(inside, koleo(features))


def test_koleo_of_identical_features_stays_finite():
    features = torch.ones(4, 5, requires_grad=True)
    loss = koleo(features)
    loss.backward()
    assert 15 < loss.item() < 20
    assert features.grad.isfinite().all()


def test_koleo_refuses_a_single_image():
    with pytest.raises(BadInput, match="batch of one; take a batch of at least 2"):
        koleo(draws(0, 1, 5))


# ------------------------------------------------------------------------------------------------------------- contrast


def test_contrast_of_two_images_by_hand():
    """Views at 0° and 60°, other image's at 180° and 180°: of each view, its like against the two of the other image."""

    def point(degrees):
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]

    first, second = torch.tensor([point(0), point(180)]), 3 * torch.tensor([point(60), point(180)])
    pairs = [(0.5, (-1, -1)), (1.0, (-1, -0.5)), (0.5, (-0.5, -0.5)), (1.0, (-0.5, -1))]
    each = [-like / 0.5 + math.log(sum(math.exp(c / 0.5) for c in (like, *others))) for like, others in pairs]
    assert contrast(first, second, 0.5).item() == pytest.approx(sum(each) / 4, rel=1e-5)


def test_contrast_and_its_gradient_are_lightlys():
    from lightly.loss import NTXentLoss

    ours = [draws(seed, 8, 5).requires_grad_() for seed in (0, 1)]
    theirs = [draws(seed, 8, 5).requires_grad_() for seed in (0, 1)]
    losses = contrast(*ours, 0.2), NTXentLoss(0.2)(*theirs)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses)
    for own, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.grad, their.grad)


def test_contrast_of_images_that_are_all_the_same_is_chance():
    assert contrast(torch.ones(8, 5), torch.ones(8, 5), 0.2).item() == pytest.approx(math.log(15))


# ------------------------------------------------------------------------------------------------------------- Sinkhorn


def sinkhorn_by_loops(logits, temperature, iterations):
    """The reference's own steps, one matrix at a time: prototypes by samples, whole matrix at 1, rows at 1/K, columns at 1/n."""
    q = np.exp(logits.double().numpy() / temperature).T
    q /= q.sum()
    prototypes, samples = q.shape
    for _ in range(iterations):
        for row in range(prototypes):
            q[row] /= q[row].sum() * prototypes
        for column in range(samples):
            q[:, column] /= q[:, column].sum() * samples
    return (q * samples).T


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_sinkhorn_is_the_reference(iterations):
    logits = draws(0, 6, K)
    expected = sinkhorn_by_loops(logits, 0.3, iterations)
    assert sinkhorn(logits, 0.3, iterations).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_sinkhorn_uses_every_prototype_though_all_rows_prefer_one():
    """Two images that both lean to the first prototype, one a little more: they are dealt one each."""
    shares = sinkhorn(torch.tensor([[1.0, 0.0], [1.0, 0.2]]), 0.05, 500)
    assert shares.sum(1).tolist() == pytest.approx([1, 1])
    assert shares.sum(0).tolist() == pytest.approx([1, 1], abs=1e-2)
    assert shares[0, 0] > 0.8
    assert shares[1, 1] > 0.8


@pytest.mark.parametrize("scale", [100.0, 1000.0])
def test_sinkhorn_stays_finite_where_exponentials_would_not(scale):
    shares = sinkhorn(draws(0, 6, K).bfloat16() * scale, 0.04)
    assert shares.isfinite().all()
    assert shares.sum(1).tolist() == pytest.approx([1] * 6, abs=1e-4)


def test_sinkhorn_is_computed_in_full_precision_under_autocast():
    logits = draws(0, 6, K)
    with torch.autocast("cpu", torch.bfloat16):
        inside = sinkhorn(logits, 0.3)
    assert torch.equal(inside, sinkhorn(logits, 0.3))


# -------------------------------------------------------------------------------------------------------------- centres


def test_a_centre_follows_the_batches_mean_and_comes_off_before_the_softmax():
    centre = Centre(2, momentum=0.5)
    centre.update(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    assert centre.mean.tolist() == [1.0, 2.0]
    centre.update(torch.tensor([[1.0, 0.0]]))
    assert centre.mean.tolist() == [1.0, 1.0]
    sure = centre(torch.tensor([[1.0, 1.0 + 0.1 * math.log(3)]]), 0.1)
    assert sure.tolist()[0] == pytest.approx([0.25, 0.75])


def test_a_centre_is_part_of_the_state_and_stands_still_without_rows():
    centre = Centre(3)
    assert list(centre.state_dict()) == ["mean"]
    centre.update(torch.zeros(0, 3))
    assert centre.mean.tolist() == [0, 0, 0]


# ------------------------------------------------------------------------------------------------------------ processes


def on_one_of_two(rank, folder):
    """What a process computes of its rows, in a file: of ten, the first process has four; of others, none."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    logits, features = draws(0, 10, K), draws(1, 8, 5)
    own = logits[:4] if rank == 0 else logits[4:]
    centre = Centre(K)
    centre.update(own)
    half = features.chunk(2)[rank].clone().requires_grad_()
    loss = koleo(half) + contrast(half, half.roll(1, 1), 0.2)
    loss.backward()
    seen = {
        "sinkhorn": sinkhorn(own, 0.3),
        "one-sided": sinkhorn(logits[:0] if rank == 0 else logits, 0.3),
        "centre": centre.mean,
        "loss": loss.detach(),
        "gradient": half.grad,
    }
    torch.save(seen, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_compute_what_one_does(tmp_path):
    torch.multiprocessing.spawn(on_one_of_two, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    logits, features = draws(0, 10, K), draws(1, 8, 5).requires_grad_()
    centre = Centre(K)
    centre.update(logits)
    loss = koleo(features) + contrast(features, features.roll(1, 1), 0.2)
    loss.backward()
    torch.testing.assert_close(torch.cat([first["sinkhorn"], second["sinkhorn"]]), sinkhorn(logits, 0.3))
    assert len(first["one-sided"]) == 0
    torch.testing.assert_close(second["one-sided"], sinkhorn(logits, 0.3))
    torch.testing.assert_close(first["centre"], centre.mean)
    assert torch.equal(first["centre"], second["centre"])
    torch.testing.assert_close((first["loss"] + second["loss"]) / 2, loss.detach())
    # Data-parallel training averages the gradients of processes, each of whose weights made its own half.
    torch.testing.assert_close(torch.cat([first["gradient"], second["gradient"]]) / 2, features.grad)
