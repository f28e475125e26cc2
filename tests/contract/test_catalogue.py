"""What every row of the catalogue promises, checked on every row: a new row gets these tests by being there.

Run: pytest tests/contract/test_catalogue.py
"""

import dataclasses

import numpy as np
import pytest
import torch

from fmlab.backbones.catalogue import describe, on_disk, weights_digest
from fmlab.backbones.loaders import build_encoder, load_backbone
from fmlab.backbones.rows import BUILT_IN
from fmlab.data.preprocessing import prepare, styled

KEYS = [card.key for card in BUILT_IN]
CARDS = dict(zip(KEYS, BUILT_IN, strict=True))

pytestmark = pytest.mark.parametrize("key", KEYS)


def images(card, count=3, size=None):
    spec = card.spec if size is None else styled(card.spec, "paper")
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, (90, 120), dtype=np.uint8) for _ in range(count)]
    return torch.from_numpy(np.stack([prepare(picture, spec) for picture in pictures]))


@pytest.fixture
def backbone(key, home):
    card = CARDS[key]
    if not on_disk(card, home):
        pytest.skip(f"the weights of {key} are not on this disk")
    return load_backbone(card, home)


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


def test_an_images_features_do_not_depend_on_the_images_beside_it(backbone):
    batch = images(backbone.card)
    together = backbone.features(batch)
    black = backbone.features(torch.cat([batch[:1], torch.zeros_like(batch[1:])]))[0]
    assert torch.equal(together[0], black)
    alone = backbone.features(batch[:1])[0]
    assert float((together[0] - alone).abs().max()) <= 1e-6 * max(1.0, float(alone.abs().max()))


def test_it_has_the_stated_number_of_parameters(backbone):
    assert sum(weights.numel() for weights in backbone.encoder.parameters()) == backbone.card.parameters
    assert not any(weights.requires_grad for weights in backbone.encoder.parameters())


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
        assert min(each.shape[2:]) >= 5
        assert bool(torch.isfinite(each).all())


def test_it_takes_the_papers_preprocessing_too(backbone, home):
    card = backbone.card
    size = styled(card.spec, "paper").size
    other = load_backbone(card, home, size=size)
    assert other.features(images(card, size=size)).shape == (3, card.width)


def test_loading_it_again_reads_nothing(backbone, home):
    assert load_backbone(backbone.card, home) is backbone


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
RANDOM_SIZES = {"random-efficientnet-lite0": 1.4803, "random-resnet18": 0.10365, "random-vit-tiny": 0.79699}


def test_a_random_one_draws_the_numbers_its_digest_stands_for(key, home):
    if key in RANDOM_SIZES:
        card = CARDS[key]
        size = float(load_backbone(card, home).features(images(card)).abs().mean())
        assert size == pytest.approx(RANDOM_SIZES[key], rel=1e-3)


def test_its_row_says_everything_that_lists_show(key, home):
    row = describe(CARDS[key], home)
    wanted = "key source width parameters input_size resize interpolation mean std feature licence domain on_disk"
    assert set(wanted.split()) <= set(row)
    assert row["width"] == CARDS[key].width
    with pytest.raises(dataclasses.FrozenInstanceError):
        CARDS[key].spec.size = 1
