"""Classifiers: what each adaptation trains, and what it leaves as it was. Run: pytest tests/unit/test_training_network.py"""

import pytest
import torch
from torch import nn

from fmlab.adapt.configs import Finetune, LastBlocks, LoRA, Scratch
from fmlab.adapt.finetuning import build_classifier
from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.encoders import TimmEncoder
from fmlab.backbones.loaders import build_encoder
from fmlab.errors import BadInput
from fmlab.training.network import Classifier, add_low_rank
from tests.toys import small_vit

SIZE = 32


def classifier(home, adaptation, key="vit", seed=0):
    card = small_vit(home) if key == "vit" else find_backbone(home, key)
    return build_classifier(card, home, adaptation, card.feature, SIZE, 3, seed)


def trained_parts(network):
    return {name.removeprefix("encoder.network.") for name in network.trainable()}


def one_step(network):
    """Gradients of one batch, and all weights after a step along them; returns the names of what changed."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    network.train()
    nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 0])).backward()
    with torch.no_grad():
        for weights in network.parameters():
            if weights.grad is not None:
                weights -= weights.grad
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def test_the_head_is_drawn_from_the_seed(home):
    first, again, other = (classifier(home, Finetune(), "efficientnet-lite0", seed).head for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    assert first.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert not first.bias.any()


def test_finetuning_starts_from_the_backbones_weights_and_trains_all(home):
    network = classifier(home, Finetune(), "efficientnet-lite0")
    card = find_backbone(home, "efficientnet-lite0")
    loaded = build_encoder(card, home, SIZE).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in network.encoder.state_dict().items())
    assert len(network.trainable()) == len(list(network.parameters()))
    assert set(network.trainable()) <= one_step(network)


def test_scratch_draws_the_same_architecture_from_the_seed(home):
    first, again, other = (classifier(home, Scratch(), "efficientnet-lite0", seed) for seed in (0, 0, 1))
    trained = classifier(home, Finetune(), "efficientnet-lite0")
    assert first.state_dict().keys() == trained.state_dict().keys()
    name = "encoder.network.conv_head.weight"
    weights = [network.state_dict()[name] for network in (first, again, other, trained)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])


def test_last_blocks_of_a_transformer_are_its_blocks_norm_and_head(home):
    network = classifier(home, LastBlocks(blocks=1))
    assert {name.split(".")[0] + "." + name.split(".")[1] for name in trained_parts(network)} == {
        "blocks.1", "norm.weight", "norm.bias", "head.weight", "head.bias",
    }  # fmt: skip
    # A class token's keys have no bias to speak of, but everything that changes is among what is trained.
    assert one_step(network) <= set(network.trainable())


@pytest.mark.parametrize(
    ("key", "first_trained", "frozen_norm"),
    [
        ("random-resnet18", ("layer3", "layer4", "head"), "layer2.0.bn1"),
        ("efficientnet-lite0", ("blocks.5", "blocks.6", "conv_head", "bn2", "head"), "blocks.4.0.bn1"),
    ],
)
def test_last_blocks_of_a_convolutional_network_are_its_stages(home, key, first_trained, frozen_norm):
    network = classifier(home, LastBlocks(blocks=2), key)
    assert all(name.startswith(first_trained) for name in trained_parts(network))
    assert all(any(name.startswith(part) for name in trained_parts(network)) for part in first_trained)
    changed = one_step(network)
    # Frozen normalisation keeps its running statistics; the trained one's move.
    assert not any(name.startswith(f"encoder.network.{frozen_norm}") for name in changed)
    assert any("running_mean" in name for name in changed)
    assert {name for name in changed if "running" not in name and "tracked" not in name} <= set(network.trainable())


def test_more_last_blocks_than_there_are_are_refused(home):
    with pytest.raises(BadInput, match="choose 1 to 2"):
        classifier(home, LastBlocks(blocks=3))
    with pytest.raises(BadInput, match="choose 1 to 4"):
        classifier(home, LastBlocks(blocks=5), "random-resnet18")


@pytest.mark.parametrize("key", ["vit", "efficientnet-lite0"])
def test_lora_begins_as_the_backbone_and_trains_its_additions_alone(home, key):
    network = classifier(home, LoRA(rank=2), key)
    plain = classifier(home, Finetune(), key)
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        assert torch.allclose(network.eval()(images), plain.eval()(images), atol=1e-6)
    parts = trained_parts(network)
    assert all("lora_" in name or name.startswith("head") for name in parts)
    changed = one_step(network)
    assert changed <= set(network.trainable())
    # B begins at zero, so that A has no gradient yet; every B has one.
    assert {name for name in network.trainable() if "lora_B" in name} <= changed


def test_lora_adds_to_attention_and_mlp_of_each_block(home):
    parts = trained_parts(classifier(home, LoRA()))
    added = {name.split(".lora_")[0] for name in parts if "lora_" in name}
    assert added == {f"blocks.{n}.{part}" for n in (0, 1) for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}


def test_lora_leaves_out_layers_whose_matrix_is_read_without_calling_them():
    """BEiT multiplies by its queries' matrix itself: an addition to that layer would never be computed."""
    options = {"img_size": SIZE, "depth": 1, "embed_dim": 24, "num_heads": 2}
    encoder = TimmEncoder("beit_base_patch16_224", options)
    add_low_rank(encoder, 2, 4.0, 0.0, SIZE, seed=0)
    network = Classifier(encoder, "pooled", 24, 3, seed=0)
    added = {name.split(".lora_")[0].removeprefix("encoder.network.") for name in network.trainable() if "lora" in name}
    assert added == {"blocks.0.attn.proj", "blocks.0.mlp.fc1", "blocks.0.mlp.fc2"}


def test_lora_is_drawn_from_the_seed_and_leaves_the_callers_randomness(home):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (classifier(home, LoRA(), seed=seed).trainable() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    name = next(name for name in first if "lora_A" in name)
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_what_is_no_network_or_has_no_such_feature_is_refused(home):
    with pytest.raises(BadInput, match="no network to train"):
        classifier(home, Finetune(), "pixels-24")
    card = small_vit(home)
    with pytest.raises(BadInput, match="choose cls or mean"):
        build_classifier(card, home, Finetune(), "projected", SIZE, 3, 0)
