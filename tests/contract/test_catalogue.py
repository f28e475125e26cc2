"""What every row of the catalogue promises, checked on every row: a new row gets these tests by being there.

Run: pytest tests/contract/test_catalogue.py
"""

import dataclasses
import hashlib
import json
import math

import numpy as np
import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file

from fmlab.backbones.catalogue import ASSETS, describe, weights_digest
from fmlab.backbones.encoders import timm_encoder
from fmlab.backbones.loaders import build_encoder, load_backbone
from fmlab.backbones.rows import BUILT_IN
from fmlab.data.preprocessing import InputSpec, prepare, styled

KEYS = [card.key for card in BUILT_IN]
CARDS = dict(zip(KEYS, BUILT_IN, strict=True))

# Rows whose weights need no download; the others load in miniature in test_layouts_*.py.
LOADABLE = [card.key for card in BUILT_IN if not card.files or card.package or card.shipped]
SHIPPED = [card.key for card in BUILT_IN if card.shipped]

every_row = pytest.mark.parametrize("key", KEYS)
every_loadable_row = pytest.mark.parametrize("key", LOADABLE)


def images(card, count=3, size=None):
    spec = card.spec if size is None else styled(card.spec, "paper")
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, (90, 120), dtype=np.uint8) for _ in range(count)]
    return torch.from_numpy(np.stack([prepare(picture, spec) for picture in pictures]))


@pytest.fixture
def backbone(key, home):
    return load_backbone(CARDS[key], home)


@every_loadable_row
def test_it_gives_finite_features_of_the_stated_width_and_repeats_them(backbone):
    card = backbone.card
    batch = images(card)
    for kind, width in zip(card.features, card.widths, strict=True):
        features = backbone.features(batch, kind)
        assert features.shape == (3, width)
        assert features.dtype == torch.float32
        assert bool(torch.isfinite(features).all())
        assert float(features.std(dim=0).max()) > 1e-4, "three different images give the same features"
        assert torch.equal(features, backbone.features(batch, kind))
    assert torch.equal(backbone.features(batch), backbone.features(batch, card.feature))


@every_loadable_row
def test_an_images_features_do_not_depend_on_the_images_beside_it(backbone):
    batch = images(backbone.card)
    together = backbone.features(batch)
    black = backbone.features(torch.cat([batch[:1], torch.zeros_like(batch[1:])]))[0]
    assert torch.equal(together[0], black)
    alone = backbone.features(batch[:1])[0]
    assert float((together[0] - alone).abs().max()) <= 1e-6 * max(1.0, float(alone.abs().max()))


@every_row
def test_its_architecture_has_the_stated_parameters_and_widths(key):
    card = CARDS[key]
    if card.architecture is None:
        assert card.parameters == 0
        return
    with torch.device("meta"):
        encoder = timm_encoder(card)
    assert sum(weights.numel() for weights in encoder.parameters()) == card.parameters
    widths = {
        "pooled": encoder.network.head_hidden_size,
        "cls": encoder.network.num_features,
        "mean": encoder.network.num_features,
        "projected": card.projection,
    }
    assert card.widths == tuple(widths[feature] for feature in card.features)


@every_loadable_row
def test_nothing_of_it_can_be_trained_by_accident(backbone):
    assert not any(weights.requires_grad for weights in backbone.encoder.parameters())


@every_loadable_row
def test_its_spatial_maps_are_where_the_card_promises_them(backbone):
    card = backbone.card
    if not card.taps:
        with pytest.raises(Exception, match="no spatial maps"):
            backbone.dense(images(card))
        return
    maps = backbone.dense(images(card))
    assert len(maps) == len(card.taps)
    for each in maps:
        assert each.ndim == 4
        assert len(each) == 3
        assert min(each.shape[2:]) >= 4
        assert bool(torch.isfinite(each).all())


@every_loadable_row
def test_it_takes_the_papers_preprocessing_too(backbone, home):
    card = backbone.card
    size = styled(card.spec, "paper").size
    other = load_backbone(card, home, size=size)
    assert other.features(images(card, size=size)).shape == (3, card.width)


@pytest.mark.parametrize("key", SHIPPED)
def test_what_is_shipped_is_small_is_as_its_row_says_and_carries_a_caution(key):
    card = CARDS[key]
    (name,) = card.files
    path = ASSETS / name
    assert card.sizes == {name: path.stat().st_size}
    assert path.stat().st_size <= 15_000_000
    assert card.digests == {name: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    assert "no evidence about real data" in card.caution
    story = json.loads(path.with_suffix(".json").read_text())
    assert story["command"] in card.note
    assert story["cost"]["device_hours"] <= 1.5
    assert story["health"]["state"] == "healthy"


@every_loadable_row
def test_loading_it_again_reads_nothing(backbone, home):
    assert load_backbone(backbone.card, home) is backbone


@every_row
def test_a_random_one_depends_on_its_seed_alone(key, home):
    card = CARDS[key]
    assert (card.seed is not None) == key.startswith("random-")
    if card.seed is None:
        return
    torch.manual_seed(1)
    first = next(build_encoder(card, home).parameters())
    torch.manual_seed(2)
    assert torch.equal(first, next(build_encoder(card, home).parameters()))
    other = card.model_copy(update={"seed": card.seed + 1})
    assert not torch.equal(first, next(build_encoder(other, home).parameters()))
    assert weights_digest(card, home) != weights_digest(other, home)


# The mean size of the features of the three test images. A library that draws other numbers from the same seed, or
# scales images otherwise, changes these; then `RECIPES` in the catalogue has to change with them, and with it the keys.
RANDOM_SIZES = {
    "random-efficientnet-lite0": 1.4803,
    "random-resnet18": 0.10365,
    "random-resnet50": 0.044727,
    "random-vit-tiny": 0.79699,
}


@every_row
def test_a_random_one_draws_the_numbers_its_digest_stands_for(key, home):
    if key in RANDOM_SIZES:
        card = CARDS[key]
        size = float(load_backbone(card, home).features(images(card)).abs().mean())
        assert size == pytest.approx(RANDOM_SIZES[key], rel=1e-3)


@every_row
def test_its_row_says_everything_that_lists_show(key, home):
    row = describe(CARDS[key], home)
    wanted = "key source width parameters input_size resize interpolation mean std feature licence domain on_disk"
    assert set(wanted.split()) <= set(row)
    assert row["width"] == CARDS[key].width
    with pytest.raises(dataclasses.FrozenInstanceError):
        CARDS[key].spec.size = 1


# Where the authors of weights in timm's repositories resize otherwise than timm; open_clip does as they do.
AS_OPEN_CLIP = {"siglip2-base": ("ViT-B-16-SigLIP2", "webli")}


@every_row
def test_what_comes_from_timms_repository_is_fed_as_timm_says_of_exactly_these_weights(key):
    card = CARDS[key]
    if card.layout != "timm" or card.shipped:
        return
    weights = str(card.remote.repository).removeprefix("timm/")
    config = timm.get_pretrained_cfg(weights, allow_unregistered=False)
    size = config.input_size[-1]
    spec = InputSpec(size, "crop", math.floor(size / config.crop_pct), config.interpolation, config.mean, config.std)
    if key in AS_OPEN_CLIP:
        assert open_clip.get_pretrained_cfg(*AS_OPEN_CLIP[key])["resize_mode"] == "squash"
        spec = dataclasses.replace(spec, resize="squash", resize_to=size)
    assert config.crop_mode == "center"
    assert card.spec == spec
    assert weights == f"{card.architecture}.{config.tag}"
    assert card.unused == ((f"{config.classifier}.",) if config.num_classes else ())
    assert str(card.licence_weights).lower().replace(" ", "-") == config.license


# Table 1 of the limited-data study: order, name, type, width, millions of parameters, images; and, where the printed
# numbers do not fit the model, what has to be said.
TABLE_1 = {
    "vit-mae-base": (1, "ViTMAE", "image", 768, 85.8, "1.2M", ""),
    "dinov2-base-imagenet1k-1-layer": (2, "DINOv2", "image", 768, 86.6, "140M", ""),
    "clip-vit-base-patch16": (3, "CLIP", "image+text", 512, 87.5, "400M", "87,456,000"),
    "echo-clip": (4, "EchoCLIP", "image+text", 512, 88.1, "1M", ""),
    "medimageinsight": (5, "MedImageInsight", "image+text", 768, 360, "3.8M", "it gives 1024"),
    "random-resnet50": (6, "ResNet50", "image", 2048, 25.6, "", "25,557,032"),
}


@every_row
def test_what_the_study_prints_of_its_models_is_on_their_rows(key):
    card = CARDS[key]
    assert (card.printed is not None) == (key in TABLE_1)
    if card.printed is None:
        return
    order, name, kind, width, millions, images, remark = TABLE_1[key]
    printed = card.printed
    assert (printed.order, printed.name, card.type) == (order, name, kind)
    assert (printed.width, printed.parameters, printed.images) == (width, millions, images)
    assert remark in printed.remark
    # What does not fit is explained, and nothing else is.
    fits = round(card.parameters / 1e6, 1) == millions or round(card.parameters / 1e6) == millions
    assert (fits and card.width == width) == (printed.remark == "")
