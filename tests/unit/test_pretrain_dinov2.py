"""One step of DINOv2 against its formulas, written out image by image; the teacher; what a start decides."""

import math
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone
from fmlab.errors import BadInput
from fmlab.pretrain.configs import pretraining
from fmlab.pretrain.dinov2 import DINOv2
from fmlab.pretrain.method import PretrainBatch
from fmlab.pretrain.networks import build_network, features, start_of, through_blocks, tokens
from fmlab.pretrain.recipes import Distillation, pretrain_setting
from fmlab.settings import Home

SIZE, LOCAL, PATCH, BATCH, LOCALS, PROTOTYPES = 32, 16, 8, 4, 3, 16
STEPS = 20


def setting(**changes):
    asked = {"method": "dinov2", "sources": [{"dataset": "toy"}], "key": "toy", "size": SIZE, "local_size": LOCAL}
    asked |= {"patch": PATCH, "batch": BATCH, "steps": STEPS, "local_crops": LOCALS}
    numbers = Distillation(prototypes=PROTOTYPES, hidden=12, bottleneck=8, **changes)
    return replace(pretrain_setting(pretraining(asked), 100, "cpu"), distillation=numbers)


def made(registers=2, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(
            "vit_tiny_patch16_224", img_size=SIZE, patch_size=PATCH, in_chans=1, depth=2, embed_dim=24, num_heads=2,
            num_classes=0, dynamic_img_size=True, reg_tokens=registers, no_embed_class=registers > 0,
        )  # fmt: skip
    return DINOv2(setting(**changes), network, STEPS).train()


def batch_of(method, seed=0):
    draw = torch.Generator().manual_seed(seed)
    large = torch.randn(2, BATCH, 1, SIZE, SIZE, generator=draw)
    small = torch.randn(LOCALS, BATCH, 1, LOCAL, LOCAL, generator=draw)
    return PretrainBatch(large, small, method.draws(BATCH, np.random.default_rng(seed)))


def cross_entropy(teacher, student, temperature):
    return -(teacher * (student / temperature).log_softmax(-1)).sum()


@pytest.mark.parametrize("registers", [0, 2])
@torch.no_grad()
def test_the_losses_are_those_of_the_formulas_image_by_image(registers):
    """Uncentred, so that each image stands for itself; the teacher differs from the student after a step of it."""
    method = made(registers, centring="none", koleo=0.3, patches=0.7)
    for weights in method.teacher.parameters():
        weights.add_(0.01)
    batch = batch_of(method)
    outcome = method(batch, 0, watched=True)
    taught, temperature = 0.04, 0.1
    prefix = 1 + registers

    def teacher_of(image):
        found = tokens(method.teacher, image[None])[0]
        points = method.teacher_head(torch.cat([found[:1], found[prefix:]])) / taught
        return points.softmax(-1)

    large = across = patches = 0.0
    class_tokens = {}
    for image in range(BATCH):
        said = [teacher_of(batch.globals[crop, image]) for crop in (0, 1)]
        for crop in (0, 1):
            masked = batch.draws["masked"][image, crop]
            found = method.student(batch.globals[crop, image][None], masked[None])[0]
            class_tokens[crop, image] = found[0]
            large += cross_entropy(said[1 - crop][0], method.head(found[:1])[0], temperature)
            hidden = masked.flatten()
            if hidden.any():
                answers = method.head(found[prefix:][hidden])
                patches += cross_entropy(said[crop][1:][hidden], answers, temperature) / hidden.sum()
        for local in batch.locals[:, image]:
            answer = method.head(method.student(local[None])[:, 0])[0]
            across += sum(cross_entropy(one[0], answer, temperature) for one in said)
    pairs = 2 + 2 * LOCALS
    evenness = 0.0
    for crop in (0, 1):
        points = [class_tokens[crop, image] / class_tokens[crop, image].norm() for image in range(BATCH)]
        for own in range(BATCH):
            nearest = min((points[own] - points[other]).norm() for other in range(BATCH) if other != own)
            evenness -= math.log(nearest) / BATCH
    assert outcome.losses["crops"] == pytest.approx(float(large) / BATCH / pairs, rel=1e-4)
    assert outcome.losses["small crops"] == pytest.approx(float(across) / BATCH / pairs, rel=1e-4)
    assert outcome.losses["masked patches"] == pytest.approx(0.7 * float(patches) / (2 * BATCH), rel=1e-4)
    assert outcome.losses["evenness"] == pytest.approx(0.3 * evenness, rel=1e-4)
    assert outcome.signals["koleo"] == pytest.approx(evenness / 2, rel=1e-4)


def test_terms_without_weight_are_left_out():
    method = made(koleo=0.0, patches=0.0)
    batch = batch_of(method)
    assert set(method(batch, 0, False).losses) == {"crops", "small crops"}
    assert set(method(replace(batch, locals=None), 0, False).losses) == {"crops"}


def test_masks_hide_part_of_half_of_the_crops():
    method = made(masked_ratio=(0.2, 0.6))
    masked = method.draws(50, np.random.default_rng(0))["masked"]
    assert masked.shape == (50, 2, 4, 4)
    shares = masked.float().mean((2, 3)).flatten()
    assert (shares > 0).sum() <= 50
    assert (shares > 0).sum() >= 45  # of 50 wanted ones; on a grid of 16 patches a few find no place
    assert shares.max() <= 0.6


def test_the_teacher_moves_by_the_momentum_and_takes_no_gradient():
    method = made(momentum=(0.9, 1.0))
    before = [weights.clone() for weights in method.teacher.parameters()]
    with torch.no_grad():
        for weights in method.student.parameters():
            weights.add_(1.0)
    method.after_step(0)
    for old, new in zip(before, method.teacher.parameters(), strict=True):
        assert torch.allclose(new, old + 0.1, atol=1e-5)
        assert not new.requires_grad
    method.after_step(STEPS)  # the momentum has risen to 1: nothing moves any more
    for old, new in zip(before, method.teacher.parameters(), strict=True):
        assert torch.allclose(new, old + 0.1, atol=1e-5)


def test_the_teacher_evaluates_while_the_student_trains():
    method = made()
    assert method.student.network.training
    assert not method.teacher.training
    assert not made(batch_norm=True).eval().training


def test_temperatures_rise_over_their_share_of_the_steps():
    """0.04 → 0.07 over 30 % of 20 steps: six values, of which the fourth is 0.058; then it stays."""
    method = made()
    assert [round(method._temperature(step), 4) for step in (0, 3, 5, 19)] == [0.04, 0.058, 0.07, 0.07]


def test_centres_follow_the_teachers_mean_and_sinkhorn_needs_none():
    method, even = made(centring="ema"), made(centring="sinkhorn")
    for each in (method, even):
        each(batch_of(each), 0, False)
    assert method.centres["crops"].mean.abs().max() > 0
    assert method.centres["patches"].mean.abs().max() > 0
    assert even.centres["crops"].mean.abs().max() == 0


def test_tokens_are_timms_own_when_nothing_is_masked():
    method = made(registers=2)
    images = torch.randn(3, 1, SIZE, SIZE)
    expected = method.teacher.forward_features(images)
    assert torch.equal(tokens(method.teacher, images), expected)
    assert torch.equal(features(method.teacher, images, "cls"), expected[:, 0])
    assert torch.equal(features(method.teacher, images, "mean"), expected[:, 3:].mean(1))


def test_a_masked_patch_is_not_seen():
    method = made(registers=0)
    images, masked = torch.randn(1, 1, SIZE, SIZE), torch.zeros(1, 4, 4, dtype=torch.bool)
    masked[0, 1, 2] = True
    other = images.clone()
    other[0, 0, 8:16, 16:24] += 5
    assert torch.equal(method.student(images, masked), method.student(other, masked))
    assert not torch.equal(method.student(images), method.student(other))


def test_what_a_start_decides(tmp_path):
    """DINOv2's and UltraDINO's rows say patch, channels, registers and scale; a network without tokens is no start."""
    home = Home(tmp_path)
    start = start_of(find_backbone(home, "ultradino-vit-small"), "digest")
    assert (start.patch, start.channels, start.registers) == (16, 1, 4)
    assert start.layer_scale == pytest.approx(1e-5)
    assert (len(start.mean), len(start.std)) == (1, 1)
    for key in ("random-resnet18", "usfm", "pixels-24"):
        with pytest.raises(BadInput, match=key):
            start_of(find_backbone(home, key), "digest")


def test_a_start_gives_the_network_its_weights(tmp_path):
    card: BackboneCard = find_backbone(Home(tmp_path), "random-vit-tiny")
    asked = {"method": "mae", "sources": [{"dataset": "toy"}], "key": "toy", "init": card.key, "size": 48, "steps": 3}
    begun = pretrain_setting(pretraining(asked), 500, "cpu", start_of(card, "digest"))
    assert (begun.network, begun.patch, begun.channels) == ("vit_tiny_patch16_224", 16, 3)
    donor = build_network(replace(begun, seed=7))
    network = build_network(begun, donor.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(network.parameters(), donor.parameters(), strict=True))
    assert network.pos_embed.shape[1] == 1 + 14 * 14  # the table of the start, resampled for smaller crops
    assert tokens(network, torch.randn(1, 3, 48, 48)).shape == (1, 10, 192)


def test_a_branch_is_skipped_by_a_share_of_the_images_and_scaled_up_for_the_rest():
    """Of one block only attention adds something: half of eight images stay, the others get twice what it adds."""
    method = made(registers=0)
    block = method.teacher.blocks[0]
    method.teacher.blocks = torch.nn.Sequential(block)
    torch.nn.init.zeros_(block.mlp.fc2.weight)
    torch.nn.init.zeros_(block.mlp.fc2.bias)
    placed = torch.randn(8, 5, 24)
    added = block(placed) - placed
    found = through_blocks(method.teacher, placed, 0.5)
    stayed = [torch.equal(one, other) for one, other in zip(found, placed, strict=True)]
    assert sum(stayed) == 4
    for image, stays in enumerate(stayed):
        if not stays:
            assert torch.allclose(found[image], placed[image] + 2 * added[image], atol=1e-5)
    assert torch.equal(through_blocks(method.teacher, placed, 0.0), block(placed))
