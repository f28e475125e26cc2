"""Networks built without drawing their weights equal those built with them, once both have the same tensors.

Run: pytest tests/unit/test_backbones_encoders.py
"""

import pytest
import torch

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.encoders import blank_encoder, resize_input, timm_encoder, without_values
from fmlab.backbones.loaders import encoder_tensors, load_tensors
from fmlab.backbones.rows_small import RANDOM_VIT_TINY

VIT = {"embed_dim": 64, "depth": 2, "num_heads": 4, "img_size": 64}

# Small networks of every family, those with buffers that no file holds first: rotary tables, indices of relative
# positions, masks of shifted windows.
SMALL = {
    "vit_base_patch16_dinov3": VIT,
    "beit_base_patch16_224": VIT,
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "img_size": 56},
    "davit_huge_fl": {"embed_dims": (16, 32, 64, 128), "num_heads": (2, 4, 8, 16)},
    "vit_base_patch14_dinov2": VIT | {"img_size": 56},
    "vit_base_patch16_siglip_224": VIT,
    "convnext_base": {"depths": (1, 1, 2, 1), "dims": (8, 16, 32, 64)},
    "tf_efficientnet_lite0": {},
}


# Swin makes its indices where its parameters lie, so it cannot do without them.
DRAWN = ("swin_tiny_patch4_window7_224",)


def small(architecture: str) -> BackboneCard:
    return RANDOM_VIT_TINY.model_copy(update={"architecture": architecture, "options": SMALL[architecture]})


@pytest.mark.parametrize("architecture", SMALL)
def test_a_network_built_without_values_and_loaded_is_the_one_whose_tensors_it_got(architecture):
    drawn, blank = timm_encoder(small(architecture)).eval(), blank_encoder(small(architecture)).eval()
    assert all(weights.is_meta for weights in blank.parameters()) == (architecture not in DRAWN)
    load_tensors(blank, encoder_tensors(drawn))
    for (name, ours), (other, theirs) in zip(blank.named_parameters(), drawn.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs), name
        assert (ours.requires_grad, ours.dtype) == (theirs.requires_grad, theirs.dtype), name
    for (name, ours), (other, theirs) in zip(blank.named_buffers(), drawn.named_buffers(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs), name
    side = SMALL[architecture].get("img_size", 64)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        assert torch.equal(blank(images, blank.kinds()[0]), drawn(images, drawn.kinds()[0]))


def test_some_of_these_networks_have_buffers_that_no_file_holds():
    """Otherwise the test above would say nothing of them."""
    for architecture in ("vit_base_patch16_dinov3", "beit_base_patch16_224", *DRAWN):
        encoder = timm_encoder(small(architecture))
        assert {name for name, _ in encoder.named_buffers()} - set(encoder.state_dict()), architecture


def test_networks_built_later_draw_their_weights_again_even_after_an_error():
    with pytest.raises(RuntimeError, match="stop"), without_values():
        assert torch.nn.Linear(3, 3).weight.is_meta
        raise RuntimeError("stop")
    assert float(torch.nn.Linear(3, 3).weight.detach().abs().max()) > 0


def test_what_is_loaded_are_copies_in_the_networks_precision():
    given = encoder_tensors(timm_encoder(small("vit_base_patch16_siglip_224")))
    encoder = blank_encoder(small("vit_base_patch16_siglip_224"))
    load_tensors(encoder, {name: value.half() for name, value in given.items()})
    assert {weights.dtype for weights in encoder.parameters()} == {torch.float32}
    load_tensors(encoder, given)
    before = encoder.network.pos_embed.detach().clone()
    given["pos_embed"].detach().zero_()
    assert torch.equal(encoder.network.pos_embed, before)
    assert float(before.abs().max()) > 0


@pytest.mark.parametrize(("positions", "scale"), [("plain", 16 / 37), ("offset", 16.1 / 37)])
def test_a_table_of_positions_is_sampled_where_each_library_samples_it(positions, scale):
    # A table that rises by one from column to column says of each new position where it was taken from.
    card = RANDOM_VIT_TINY.model_copy(
        update={"architecture": "vit_base_patch14_dinov2", "options": VIT | {"img_size": 518}}
    )
    encoder = timm_encoder(card)
    with torch.no_grad():
        encoder.network.pos_embed[:, 1:] = torch.arange(37.0).repeat(37)[None, :, None]
    resize_input(encoder, 224, positions)
    columns = encoder.network.pos_embed[0, 1:, 0].reshape(16, 16)[8]
    expected = (torch.arange(16) + 0.5) / scale - 0.5
    # torch's cubic keeps a slope to within a twentieth; the two ways differ by up to a fifth here.
    assert torch.allclose(columns[2:14], expected[2:14], atol=0.055)
    other = (torch.arange(16) + 0.5) * 37 / (32.1 - scale * 37) - 0.5
    assert not torch.allclose(columns[2:14], other[2:14], atol=0.055)
