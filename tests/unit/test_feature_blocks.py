"""The feature `blocks`, on which linear heads are trained, against a forward pass written by hand through timm's blocks.

Run: pytest tests/unit/test_feature_blocks.py
"""

from itertools import pairwise

import pytest
import torch

from fmlab.adapt.linear_head_features import head_feature
from fmlab.backbones.encoders import grey, timm_encoder
from fmlab.backbones.input_specs import crop
from fmlab.backbones.loaders import load_backbone
from fmlab.backbones.rows import BUILT_IN
from fmlab.backbones.rows_small import RANDOM_VIT_TINY
from fmlab.errors import BadInput

WIDTH = 32
SMALL = {"embed_dim": WIDTH, "depth": 6, "num_heads": 4, "img_size": 64}
SPEC = crop(64, 64, RANDOM_VIT_TINY.spec.mean, RANDOM_VIT_TINY.spec.std)

# With a class token; with registers behind it and for grey images; with rotary positions; without a class token.
WITH_TOKEN = {
    "vit_base_patch16_224": {},
    "vit_small_patch16_224": {"in_chans": 1, "reg_tokens": 4, "no_embed_class": True, "init_values": 1e-1},
    "vit_base_patch16_dinov3": {},
}
WITHOUT_TOKEN = {"vit_base_patch16_siglip_224": {}}


def small(architecture, options, home, **update):
    """A backbone with random weights, none of which is 0 or 1."""
    features = ("pooled", "mean") if architecture in WITHOUT_TOKEN else ("cls", "mean")
    changes = {"architecture": architecture, "options": SMALL | options, "features": features, "spec": SPEC}
    card = RANDOM_VIT_TINY.model_copy(update=changes | {"widths": (WIDTH, WIDTH), "seed": 7} | update)
    backbone = load_backbone(card, home)
    generator = torch.Generator().manual_seed(3)
    for values in backbone.encoder.parameters():
        values.data = values.data + 0.1 * torch.randn(values.shape, generator=generator)
    return backbone


def by_hand(encoder, images):
    """(patch tokens, prefix tokens) of every block, each after the final norm."""
    network = encoder.network
    tokens = network._pos_embed(network.patch_embed(grey(images)[:, None] if encoder.channels == 1 else images))
    rotary = {}
    if isinstance(tokens, tuple):
        tokens, rotary = tokens[0], {"rope": tokens[1]}
    tokens = network.norm_pre(tokens)
    found = []
    for block in network.blocks:
        tokens = block(tokens, **rotary)
        found.append(network.norm(tokens))
    prefix = network.num_prefix_tokens
    return [each[:, prefix:] for each in found], [each[:, :prefix] for each in found]


def pictures():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("architecture", WITH_TOKEN)
@torch.no_grad()
def test_it_holds_the_class_tokens_of_the_last_four_blocks_in_order_and_the_mean_of_the_last(architecture, home):
    backbone = small(architecture, WITH_TOKEN[architecture], home)
    patches, prefixes = by_hand(backbone.encoder, pictures())
    found = backbone.features(pictures(), "blocks")
    assert found.shape == (2, backbone.card.width_of("blocks")) == (2, 5 * WIDTH)
    expected = [prefixes[number][:, 0] for number in (2, 3, 4, 5)] + [patches[5].mean(dim=1)]
    for number, part in enumerate(expected):
        assert torch.allclose(found[:, number * WIDTH : (number + 1) * WIDTH], part, atol=1e-5), number
    # The parts differ, so that an exchange of two would show; the last ones are the backbone's own features.
    assert min(float((a - b).abs().max()) for a, b in pairwise(expected)) > 1e-2
    assert torch.allclose(found[:, 3 * WIDTH : 4 * WIDTH], backbone.features(pictures(), "cls"), atol=1e-5)
    assert torch.allclose(found[:, 4 * WIDTH :], backbone.features(pictures(), "mean"), atol=1e-5)


@torch.no_grad()
def test_without_a_class_token_the_mean_of_a_block_stands_for_it(home):
    backbone = small("vit_base_patch16_siglip_224", {}, home)
    patches, _ = by_hand(backbone.encoder, pictures())
    expected = torch.cat([patches[number].mean(dim=1) for number in (2, 3, 4, 5, 5)], dim=1)
    assert torch.allclose(backbone.features(pictures(), "blocks"), expected, atol=1e-5)


def test_networks_without_tokens_or_with_few_blocks_are_refused(home):
    with pytest.raises(BadInput, match="the last 4 blocks, and this network has 3"):
        small("vit_base_patch16_224", {"depth": 3}, home).features(pictures(), "blocks")
    resnet = next(card for card in BUILT_IN if card.key == "random-resnet18")
    with pytest.raises(BadInput, match="gives no feature 'blocks'; choose pooled"):
        load_backbone(resnet, home).features(torch.zeros(1, 3, 64, 64), "blocks")
    with pytest.raises(BadInput, match="choose cls or mean or blocks"):
        small("vit_base_patch16_224", {}, home).features(pictures(), "pooled")


def test_linear_heads_read_blocks_where_there_are_tokens_and_else_the_first_feature():
    read = {card.key: head_feature(card) for card in BUILT_IN}
    assert read["dinov2-vit-base"] == read["ultradino-vit-small"] == read["siglip2-base"] == "blocks"
    assert read["clip-vit-base-patch16"] == "blocks"  # not the projected feature, which comes first there
    assert read["echo-clip"] == read["medimageinsight"] == "projected"
    assert read["usfm"] == read["resnet50-imagenet"] == "pooled"
    assert read["pixels-24"] == "pixels"
    assert all("blocks" not in card.features for card in BUILT_IN)


@pytest.mark.parametrize("card", [card for card in BUILT_IN if "mean" in card.features], ids=lambda card: card.key)
def test_every_row_with_tokens_gives_as_many_numbers_as_it_says(card):
    with torch.device("meta"):
        encoder = timm_encoder(card).eval()
        side = encoder.network.patch_embed.img_size[0]
        assert encoder(torch.zeros(1, 3, side, side), "blocks").shape == (1, card.width_of("blocks"))
