"""The fetal study's finetuning in the training loop: its numbers, its schedule, its layers, and the same bits after any
interruption or in parts.

Run: pytest tests/unit/test_fetal_recipe.py
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.optim import param_groups_layer_decay

from fmlab.adapt.configs import Finetune, LinearHead, LoRA, Scratch, adaptation_from, short_name
from fmlab.adapt.finetuning import build_classifier, linear_layer, predict
from fmlab.adapt.recipes import TrainingSetting, training_setting
from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.pixels import item_reader
from fmlab.data.preprocessing import at_size
from fmlab.data.subsets import Subset
from fmlab.errors import BadInput
from fmlab.files import digest_config
from fmlab.training import loop
from fmlab.training.batches import TrainingImages, Variation
from fmlab.training.loop import learning_rate, parameter_groups, train
from fmlab.training.network import HeadNorm, layer_shares
from tests.toys import halves, small_vit

SIZE = 32
MIXED = TrainingSetting(
    1e-3, 0.01, 8, 0.0, 0.0, 48, False, 3, None, False, False, 0.0, "fp32",
    schedule="cosine", layer_decay=0.65, mixup=0.8, cutmix=1.0, smoothing=0.1, normalised_head=True, augmentation="fetal",
)  # fmt: skip
STEPS = 9  # 21 images: three batches in an epoch, of 8, 8 and 5


@pytest.fixture
def rows(home):
    found = halves(home, patients=11, frames=3).manifest(["image_id", "label", "split", "content_hash", "sector"])
    return found[found["split"] == "train"].iloc[:21].reset_index(drop=True)


@pytest.fixture
def images(home, rows):
    spec = at_size(small_vit(home).spec, SIZE)
    return TrainingImages(home.datasets / "halves", rows, spec, False, Variation(fetal=True))


@pytest.fixture
def labels(rows):
    return (rows["label"] == "right").to_numpy().astype(np.int64)


def fresh(home, key="vit", adaptation=None, normalised=True):
    card = small_vit(home) if key == "vit" else find_backbone(home, key)
    return build_classifier(card, home, adaptation or Finetune(), card.feature, SIZE, 2, 0, normalised)


def setting_of(home, adaptation, key="random-vit-tiny", items=1000):
    return training_setting(adaptation_from(adaptation), find_backbone(home, key), Subset("images", items, 0), "cpu")


# ------------------------------------------------------------------------------------------------------------ the numbers


def test_the_recipe_has_the_studys_numbers(home):
    setting = setting_of(home, {"kind": "finetune", "recipe": "fetal"})
    assert (setting.learning_rate, setting.batch, setting.epochs_for(5804)) == (1e-4, 128, 200)
    assert (setting.schedule, setting.layer_decay, setting.weight_decay) == ("cosine", 0.65, 0.01)
    assert (setting.mixup, setting.cutmix, setting.smoothing) == (0.8, 1.0, 0.1)
    assert (setting.normalised_head, setting.augmentation, setting.gradient_norm) == (True, "fetal", 0.0)
    assert setting.steps_for(5804) == 200 * 46


def test_whatever_a_person_says_comes_before_the_recipe(home):
    said = {"epochs": 3, "layer_decay": 1.0, "mixup": 0.0, "smoothing": 0.0, "learning_rate": 1e-3, "input_size": 96}
    setting = setting_of(home, {"kind": "lora", "recipe": "fetal", "augmentation": "none"} | said)
    assert (setting.epochs, setting.layer_decay, setting.mixup, setting.cutmix) == (3, 1.0, 0.0, 1.0)
    assert (setting.smoothing, setting.learning_rate, setting.input_size) == (0.0, 1e-3, 96)
    assert setting.augmentation == "none"
    assert setting_of(home, {"kind": "finetune", "recipe": "fetal", "samples": 4000}).epochs_for(1000) == 4
    assert setting_of(home, {"kind": "finetune", "mixup": 0.2, "augmentation": "fetal"}).plain["mixup"] == 0.2


def test_runs_that_ask_for_none_of_it_keep_their_keys(home):
    """What a run's key was made of before any of these settings existed, written out and digested."""
    card = find_backbone(home, "random-vit-tiny").model_copy(update={"floor": False})
    plain = training_setting(Finetune(), card, Subset("images", 256, 0), "cpu").plain
    assert plain == {
        "learning_rate": 5e-5, "weight_decay": 0.0, "batch": 8, "warmup": 0.0, "gradient_norm": 1.0, "samples": 16_384,
        "at_most": False, "epochs": None, "input_size": None, "augment": False, "flip": False, "jitter": 0.0,
        "precision": "fp32",
    }  # fmt: skip
    assert TrainingSetting(**plain).plain == plain
    assert TrainingSetting(**MIXED.plain) == MIXED
    rates = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1]
    grid = {"learning_rates": rates, "blocks": [1, 4], "average_pool": [False, True]}
    head = {"kind": "linear_head"} | grid | {"batch": 128, "samples": 16_384, "folds": 3}
    assert digest_config("a", LinearHead().model_dump(mode="json")) == digest_config("a", head)
    assert LinearHead(epochs=10).model_dump(mode="json") == head | {"epochs": 10}
    assert adaptation_from(head) == LinearHead()
    assert short_name({"kind": "linear_head", "epochs": 10}) == "linear_head(epochs=10)"


# ----------------------------------------------------------------------------------------------------------- the schedule


def test_the_rate_rises_over_whole_epochs_and_falls_as_a_cosine():
    setting = replace(MIXED, learning_rate=1.0, warmup=0.25)
    assert [learning_rate(setting, step, 8) for step in range(8)] == pytest.approx(
        [0, 0.5, 1, *((1 + math.cos(math.pi * done / 6)) / 2 for done in range(1, 6))]
    )
    assert learning_rate(setting, 5, 8) == pytest.approx(0.5)
    for epoch in range(1, 400):  # 5 of 200 epochs are five, however many steps an epoch has
        study = replace(setting, warmup=5 / 200)
        assert learning_rate(study, 5 * epoch, 200 * epoch) == 1.0
        assert learning_rate(study, 5 * epoch - 1, 200 * epoch) < 1.0


# --------------------------------------------------------------------------------------------------------------- layers


def test_the_shares_of_layers_by_hand(home):
    """Two blocks: the stem is three layers from the end, the head and the last norm none."""
    shares = layer_shares(fresh(home), 0.5)
    inside = {name.removeprefix("encoder.network."): share for name, share in shares.items()}
    assert {inside[name] for name in ("cls_token", "pos_embed", "patch_embed.proj.weight")} == {0.125}
    assert {share for name, share in inside.items() if name.startswith("blocks.0.")} == {0.25}
    assert {share for name, share in inside.items() if name.startswith("blocks.1.")} == {0.5}
    assert {inside[name] for name in ("norm.weight", "norm.bias", "head.weight", "head.bias")} == {1.0}


@pytest.mark.parametrize("key", ["vit", "random-resnet18", "efficientnet-lite0"])
def test_the_shares_are_timms_also_of_convolutional_networks(home, key):
    """timm counts from the end of the encoder, ours from the head after it; a tail belongs to timm's last block."""
    network = fresh(home, key)
    shares = layer_shares(network, 0.65)
    theirs = param_groups_layer_decay(network.encoder.network, layer_decay=0.65)
    expected = {id(weights): group["lr_scale"] for group in theirs for weights in group["params"]}
    inside = {name: weights for name, weights in network.trainable().items() if name.startswith("encoder.network.")}
    tails = ("norm.", "conv_head.", "bn2.")
    for name, weights in inside.items():
        tail = name.removeprefix("encoder.network.").startswith(tails)
        assert shares[name] == pytest.approx(1.0 if tail else 0.65 * expected[id(weights)]), name
    assert len(set(shares.values())) > 3


def test_each_parameter_is_in_one_group_with_its_share_and_decay(home):
    network = fresh(home)
    groups = parameter_groups(network, 0.01, 0.5)
    trained, shares = network.trainable(), layer_shares(network, 0.5)
    assert sum(len(group["params"]) for group in groups) == len(trained)
    names = {id(weights): name for name, weights in trained.items()}
    assert all(shares[names[id(weights)]] == group["share"] for group in groups for weights in group["params"])
    assert {(group["share"], group["weight_decay"]) for group in groups} >= {(0.125, 0.0), (0.25, 0.01), (1.0, 0.01)}


def test_a_rate_that_vanishes_towards_the_input_leaves_the_stem_as_it_was(home, images, labels, tmp_path):
    network = fresh(home)
    before = {name: weights.clone() for name, weights in network.trainable().items()}
    train(network, images, labels, replace(MIXED, layer_decay=1e-9, epochs=1), "cpu", tmp_path, 0)
    moved = {name for name, weights in network.trainable().items() if not torch.equal(weights, before[name])}
    assert not any("patch_embed" in name for name in moved)
    assert {"head.weight", "encoder.network.norm.weight"} <= moved


def test_a_network_without_layers_is_refused(home):
    network = fresh(home)
    network.encoder.network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(BadInput, match="Sequential is not divided into layers"):
        layer_shares(network, 0.65)


def test_low_rank_additions_learn_at_the_rate_of_their_block(home):
    shares = layer_shares(fresh(home, adaptation=LoRA(rank=2)), 0.5)
    assert {share for name, share in shares.items() if "blocks.0" in name} == {0.25}
    assert {share for name, share in shares.items() if "blocks.1" in name} == {0.5}


# ------------------------------------------------------------------------------------------------------------- the head


def test_features_are_normalised_over_the_batch_and_one_image_by_what_was_seen():
    norm = HeadNorm(2).train()
    features = torch.tensor([[0.0, 10.0], [2.0, 30.0]])
    torch.testing.assert_close(norm(features), torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    assert norm.running_mean.tolist() == pytest.approx([0.1, 2.0])
    alone = norm(features[:1])
    torch.testing.assert_close(alone, (features[:1] - norm.running_mean) / (norm.running_var + norm.eps).sqrt())
    assert norm.running_mean.tolist() == pytest.approx([0.1, 2.0])


def test_predictions_have_the_normalisation_in_them(home, rows, images, labels, tmp_path):
    network = fresh(home)
    train(network, images, labels, replace(MIXED, epochs=1), "cpu", tmp_path, 0)
    card, spec = small_vit(home), images.spec
    scores = predict(network, card, item_reader(home.datasets / "halves", rows, False), 4, spec, "fp32")
    plain = TrainingImages(home.datasets / "halves", rows, spec, False)
    with torch.inference_mode():
        pixels = loop.normalised(plain.batch(np.arange(4), 0), spec, False)
        expected = network.eval()(pixels).numpy()
    assert scores == pytest.approx(expected, abs=1e-4)
    weight, _ = linear_layer(network)
    assert not np.allclose(weight, network.head.weight.detach().numpy())


# ----------------------------------------------------------------------------------------------------- the whole training


def run(network, images, labels, folder, setting=MIXED, **hooks):
    losses = []
    train(network, images, labels, setting, "cpu", folder, 0, on_step=lambda step: losses.append(step.loss), **hooks)
    return losses, {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("step", [1, 4, 8])
def test_interrupted_and_taken_up_again_ends_with_the_same_bits(home, images, labels, tmp_path, monkeypatch, step):
    losses, expected = run(fresh(home), images, labels, tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
    passes = iter(range(step))
    with pytest.raises(StopIteration):
        run(fresh(home), images, labels, tmp_path / "cut", before_forward=lambda count: next(passes))
    again, found = run(fresh(home), images, labels, tmp_path / "cut")
    assert again == losses[step:]
    assert len(losses) == STEPS
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_in_parts_the_same_images_are_mixed(home, images, labels, tmp_path):
    """Without the normalisation, which every part has for itself, parts add up to the batch."""
    whole, expected = run(fresh(home, normalised=False), images, labels, tmp_path / "whole")

    def short(count):
        if count > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    parts, found = run(fresh(home, normalised=False), images, labels, tmp_path / "parts", before_forward=short)
    assert parts == pytest.approx(whole, rel=1e-4)
    assert all(torch.allclose(value, found[name], atol=2e-4) for name, value in expected.items())


@pytest.mark.parametrize("change", [{"mixup": 0.0, "cutmix": 0.0}, {"smoothing": 0.0}, {"layer_decay": 1.0}])
def test_every_part_of_the_recipe_changes_the_training(home, images, labels, tmp_path, change):
    changed = run(fresh(home), images, labels, tmp_path / "changed", replace(MIXED, **change))[0]
    assert changed != run(fresh(home), images, labels, tmp_path / "whole")[0]


def test_the_last_image_of_an_epoch_may_stand_alone(home, images, labels, tmp_path):
    losses, _ = run(fresh(home), images, labels, tmp_path, replace(MIXED, batch=20, epochs=2))
    assert len(losses) == 4
    assert np.isfinite(losses).all()


def test_a_convolutional_network_learns_by_it_too(home, images, labels, tmp_path):
    card = find_backbone(home, "random-resnet18").model_copy(
        update={"options": {"channels": (8, 8, 8, 8)}, "widths": (8,)}
    )
    network = build_classifier(card, home, Scratch(), "pooled", SIZE, 2, 0, True)
    losses, _ = run(network, images, labels, tmp_path, replace(MIXED, epochs=1))
    assert np.isfinite(losses).all()
