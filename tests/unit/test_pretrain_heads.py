"""The head over prototypes against lightly's and torch's weight norm. Run: pytest tests/unit/test_pretrain_heads.py"""

import warnings
from copy import deepcopy

import pytest
import torch
from lightly.models.modules.heads import DINOv2ProjectionHead
from torch import nn

from fmlab.pretrain.heads import PrototypeHead, SharedBatchNorm, share_statistics

WIDTH, HIDDEN, BOTTLENECK, K = 6, 8, 4, 10


def head(layers=3, batch_norm=False, seed=0):
    return PrototypeHead(WIDTH, HIDDEN, BOTTLENECK, K, layers, batch_norm, torch.Generator().manual_seed(seed))


def features(n=5, seed=1):
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_computes_what_lightlys_head_does_with_the_same_weights(batch_norm):
    ours = head(batch_norm=batch_norm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's word on the old weight norm
        theirs = DINOv2ProjectionHead(WIDTH, HIDDEN, BOTTLENECK, K, batch_norm)
    gains = torch.linspace(0.5, 2, K)[:, None]
    with torch.no_grad():
        ours.gain.copy_(gains)
        theirs.last_layer.weight_g.copy_(gains)
        theirs.last_layer.weight_v.copy_(ours.direction)
    # The reference's layers have biases in front of batch normalisation too; lightly's have none. They start at zero.
    named = theirs.layers.state_dict()
    theirs.layers.load_state_dict({name: value for name, value in ours.mlp.state_dict().items() if name in named})
    torch.testing.assert_close(ours(features()), theirs(features()))


def test_logits_are_cosines_while_the_gain_is_one():
    logits = head()(features(200))
    assert logits.shape == (200, K)
    assert logits.abs().max() <= 1 + 1e-6
    assert logits.std() > 0.1


@pytest.mark.parametrize(
    ("layers", "sides"), [(1, [(6, 4)]), (2, [(6, 8), (8, 4)]), (4, [(6, 8), (8, 8), (8, 8), (8, 4)])]
)
def test_layers_are_counted_as_the_reference_counts_them(layers, sides):
    built = [part for part in head(layers).mlp if isinstance(part, nn.Linear)]
    assert [(part.in_features, part.out_features) for part in built] == sides
    assert isinstance(list(head(layers).mlp)[-1], nn.Linear)


def test_first_weights_are_the_references_and_follow_from_the_draw():
    wide = PrototypeHead(256, 512, 64, 128, 3, draw=torch.Generator().manual_seed(0))
    for part in wide.mlp:
        if isinstance(part, nn.Linear):
            assert part.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert not part.bias.any()
    assert torch.equal(wide.gain, torch.ones(128, 1))
    assert torch.equal(head(seed=3).direction, head(seed=3).direction)
    assert not torch.equal(head(seed=3).direction, head(seed=4).direction)


def test_a_copy_computes_the_same_and_is_another():
    ours = head()
    copy = deepcopy(ours)
    assert torch.equal(copy(features()), ours(features()))
    with torch.no_grad():
        copy.gain.mul_(2)
    torch.testing.assert_close(copy(features()), 2 * ours(features()))


def test_the_length_of_a_direction_is_of_no_meaning():
    ours = head()
    before = ours(features())
    with torch.no_grad():
        ours.direction.mul_(7)
    torch.testing.assert_close(ours(features()), before)


def test_under_autocast_the_logits_stay_within_the_precision_of_bf16():
    ours = head()
    with torch.autocast("cpu", torch.bfloat16):
        logits = ours(features())
    torch.testing.assert_close(logits.float(), ours(features()), rtol=0.05, atol=0.02)


def test_batch_normalisations_are_exchanged_for_shared_ones_that_compute_the_same():
    draw = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(16, affine=False))
    network[1].bias.requires_grad_(False)
    plain = deepcopy(network)
    share_statistics(network)
    assert [type(part) for part in network][1::2] == [SharedBatchNorm] * 2
    assert list(network.state_dict()) == list(plain.state_dict())
    assert not network[1].bias.requires_grad
    images = torch.randn(6, 1, 4, 4, generator=draw)
    assert torch.equal(network(images), plain(images))
    assert torch.equal(network.eval()(images), plain.eval()(images))


def test_a_normalisation_that_does_more_is_refused():
    class WithActivation(nn.BatchNorm2d):
        pass

    with pytest.raises(TypeError, match="WithActivation cannot share its statistics"):
        share_statistics(nn.Sequential(WithActivation(3)))
