"""The loop of every pretraining: interruption, alarms, memory, what learns at which rate."""

import math
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from fmlab.errors import BadInput, Cancelled, WorkFailed
from fmlab.files import read_json
from fmlab.pretrain import loop
from fmlab.pretrain.configs import pretraining
from fmlab.pretrain.health import HEALTH, METRICS
from fmlab.pretrain.journal import read_lines
from fmlab.pretrain.loop import Calls, Collapsed, Length, pretrain
from fmlab.pretrain.method import Method, Outcome, PretrainBatch
from fmlab.pretrain.methods import METHODS
from fmlab.pretrain.recipes import pretrain_setting
from fmlab.pretrain.step import optimizer_for, take_step
from fmlab.training.device import accelerated, reproducible

IMAGES, BATCH, STEPS = 48, 8, 9
SHORT = {"dinov2": {"local_size": 16, "local_crops": 2, "prototypes": 32}}


def setting_of(method, **changes):
    asked = {"method": method, "sources": [{"dataset": "toy"}], "key": "toy", "steps": STEPS, "batch": BATCH}
    options = {"size": 32, "patch": 8} | SHORT.get(method, {})
    return replace(pretrain_setting(pretraining(asked | options), IMAGES, "cpu"), **changes)


def build_method(setting, steps, depth=2):
    """The method over a thin network of two blocks."""
    sizes = {"img_size": setting.size, "patch_size": setting.patch, "in_chans": 1, "dynamic_img_size": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(
            "vit_tiny_patch16_224", depth=depth, embed_dim=24, num_heads=2, num_classes=0, **sizes
        )
    return METHODS[setting.method](setting, network, steps)


class NoisyViews:
    """Fixed random images; a view is one with noise that follows from the step."""

    def __init__(self, setting, method):
        self.setting, self.method = setting, method
        draw = torch.Generator().manual_seed(0)
        self.images = torch.randn(IMAGES, setting.channels, setting.size, setting.size, generator=draw)

    def __len__(self):
        return IMAGES

    def ahead(self, wanted):
        for each in wanted:
            draw, images = torch.Generator().manual_seed(each.step), self.images[each.positions]
            views = torch.stack([self.noisy(images, draw) for _ in range(self.setting.views)])
            side = self.setting.local_size
            small = [self.noisy(images[..., :side, :side], draw) for _ in range(self.setting.local_crops)]
            drawn = self.method.draws(each.images, np.random.default_rng((self.setting.seed, each.step)))
            own = {name: value[each.first : each.first + len(images)] for name, value in drawn.items()}
            yield PretrainBatch(views, torch.stack(small) if small else None, own)

    @staticmethod
    def noisy(images, draw):
        return images + 0.3 * torch.randn(images.shape, generator=draw)


def run(setting, folder, method=None, **calls):
    """Pretrain in a folder; the method and its losses by step."""
    method = method or build_method(setting, STEPS)
    losses = []
    told = Calls(on_step=lambda step: losses.append(step.loss), **calls)
    with reproducible(torch.device("cpu")), accelerated(torch.device("cpu"), setting.precision) as accelerator:
        batches = NoisyViews(setting, method)
        pretrain(method, batches, setting, Length(STEPS, 3), accelerator, folder, {"images": "toy"}, told)
    return method, losses


@pytest.mark.parametrize("name", ["dinov2", "mae", "simsiam", "simclr"])
def test_a_stopped_pretraining_goes_on_with_the_same_bits(name, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", math.inf)
    setting = setting_of(name, drop_path=0.2)
    whole, losses = run(setting, tmp_path / "whole")
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        run(setting, tmp_path / "parts", cancelled=lambda: next(asked) == 4)
    looked = []
    parts, rest = run(setting, tmp_path / "parts", look=lambda step, method: looked.append(step))
    assert rest == losses[4:]
    assert looked == [6, 9]  # the one before the first step is not repeated
    assert [line["losses"] for line in read_lines(tmp_path / "parts" / METRICS)] == [
        line["losses"] for line in read_lines(tmp_path / "whole" / METRICS)
    ]
    for (at, one), (_, other) in zip(whole.kept(), parts.kept(), strict=True):
        assert torch.equal(one, other), at


def test_evaluations_come_before_between_and_after(tmp_path):
    looked = []
    run(setting_of("mae"), tmp_path, look=lambda step, method: looked.append(step))
    assert looked == [0, 3, 6, 9]


def test_a_checkpoint_of_another_pretraining_is_refused(tmp_path):
    run(setting_of("mae"), tmp_path)
    with pytest.raises(BadInput, match="other settings"):
        run(setting_of("mae", learning_rate=1e-5), tmp_path)


def test_a_damaged_checkpoint_begins_again_with_the_same_result(tmp_path, monkeypatch):
    whole, losses = run(setting_of("mae"), tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", math.inf)
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        run(setting_of("mae"), tmp_path / "cut", cancelled=lambda: next(asked) == 4)
    (kept,) = (tmp_path / "cut" / "checkpoints").glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:1000])
    said = []
    again, repeated = run(setting_of("mae"), tmp_path / "cut", log=said.append)
    assert "begins again" in said[0]
    assert repeated == losses
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(whole.kept(), again.kept(), strict=True))


def test_memory_that_is_short_names_the_largest_batch_that_fits(tmp_path):
    def short(images):
        if images > 5:
            raise torch.OutOfMemoryError("no room for 6")

    with pytest.raises(WorkFailed, match=r"batch of 8 \(no room for 6\).*largest batch that fits is 5"):
        run(setting_of("mae"), tmp_path, before_forward=short)


def test_a_loss_that_is_no_number_ends_it_in_words(tmp_path):
    with pytest.raises(Collapsed, match=r"became (nan|inf).*smaller learning rate"):
        run(setting_of("mae", learning_rate=1e30, gradient_norm=None), tmp_path)


class Constant(Method):
    """Answers the same to every image, whatever is trained."""

    def __init__(self, setting):
        super().__init__()
        self.setting = setting
        self.network = nn.Linear(2, 2)

    def encoder(self):
        return self.network

    def forward(self, batch, step, watched):
        count = batch.globals.shape[1]
        features = torch.ones(count, 4) + 1e-6 * torch.arange(4)
        return Outcome({"contrast": self.network.weight.square().sum()}, {}, features)


def test_a_collapse_stops_it_and_says_which_number_told(tmp_path):
    setting = setting_of("simclr", steps=400, warmup=0.0)
    with pytest.raises(Collapsed, match="effective rank") as caught:
        method = Constant(setting)
        with accelerated(torch.device("cpu"), "fp32") as accelerator:
            pretrain(method, NoisyViews(setting, method), setting, Length(400, 1), accelerator, tmp_path, {}, Calls())
    health = read_json(tmp_path / HEALTH)
    assert health["state"] == "collapsed"
    assert health["sentence"] == str(caught.value)
    assert health["step"] < 400


def test_dinov2_without_centring_and_koleo_collapses_and_is_stopped(tmp_path):
    """Nothing keeps the teacher from giving all images one answer."""
    setting = setting_of("dinov2", warmup=0.0, steps=600, learning_rate=3e-3)
    numbers = replace(setting.distillation, centring="none", koleo=0.0, patches=0.0, momentum=(0.9, 1.0))
    setting = replace(setting, distillation=replace(numbers, batch_norm=False, teacher_temperature=(0.07, 0.07)))
    method = build_method(setting, 600)
    with reproducible(torch.device("cpu")), accelerated(torch.device("cpu"), "fp32") as accelerator:
        given = (method, NoisyViews(setting, method), setting, Length(600, 1), accelerator, tmp_path, {}, Calls())
        with pytest.raises(Collapsed, match="prototype"):
            pretrain(*given)
    assert read_lines(tmp_path / METRICS)[-1]["step"] < 600


def test_rates_follow_layer_patch_and_prototypes():
    """Of 12 blocks the first decays by 0.9 twelve times, the stem once more and by 0.2 besides."""
    setting = setting_of("dinov2", layer_decay=0.9, patch_rate=0.2)
    setting = replace(setting, distillation=replace(setting.distillation, freeze_last=0.3))
    method = build_method(setting, STEPS, depth=12)
    optimizer = optimizer_for(method, setting)
    where = {id(weights): group for group in optimizer.param_groups for weights in group["params"]}
    groups = {name: where[id(weights)] for name, weights in method.trainable().items()}
    assert groups["student.network.blocks.0.attn.qkv.weight"]["factor"] == pytest.approx(0.9**12)
    assert groups["student.network.blocks.11.mlp.fc1.weight"]["factor"] == pytest.approx(0.9)
    assert groups["student.network.patch_embed.proj.weight"]["factor"] == pytest.approx(0.9**13 * 0.2)
    assert groups["head.mlp.0.weight"]["factor"] == 1
    assert groups["head.direction"]["still"]
    assert not groups["head.mlp.0.weight"]["still"]
    assert method.stands_still(2)
    assert not method.stands_still(3)
    assert groups["student.network.blocks.0.attn.qkv.weight"]["decays"]
    assert not groups["student.network.blocks.0.attn.qkv.bias"]["decays"]
    assert not groups["student.network.norm.weight"]["decays"]


def test_the_predictor_of_simsiam_keeps_its_rate():
    setting = setting_of("simsiam")
    method = build_method(setting, STEPS)
    groups = optimizer_for(method, setting).param_groups
    constant = {id(weights) for group in groups if group["constant"] for weights in group["params"]}
    assert constant == {id(weights) for weights in method.predictor.parameters()}


@pytest.mark.parametrize(("optimizer", "biases"), [("sgd", True), ("adamw", False)])
def test_biases_and_gains_decay_under_sgd_alone(optimizer, biases):
    setting = setting_of("simsiam", optimizer=optimizer)
    method = build_method(setting, STEPS)
    where = {id(weights): group for group in optimizer_for(method, setting).param_groups for weights in group["params"]}
    decaying = {weights.ndim > 1: where[id(weights)]["decays"] for weights in method.trainable().values()}
    assert decaying == {True: True, False: biases}


@pytest.mark.parametrize("clipped", [None, 0.01])
def test_gradients_are_clipped_for_each_part(clipped, tmp_path):
    """SGD at rate 1 without momentum moves weights by their gradient: with clipping, by no more than the norm."""
    setting = setting_of(
        "simsiam", optimizer="sgd", betas=(0.0, 0.0), learning_rate=1.0, weight_decay=(0.0, 0.0), warmup=0.0
    )
    setting = replace(setting, gradient_norm=clipped)
    method = build_method(setting, STEPS)
    before = {name: [w.detach().clone() for w in part.parameters()] for name, part in method.parts().items()}
    with accelerated(torch.device("cpu"), "fp32") as accelerator:
        optimizer = optimizer_for(method, setting)
        wanted = loop.Wanted(0, 0, np.arange(BATCH), BATCH, 0)
        batch = next(NoisyViews(setting, method).ahead([wanted]))
        take_step(method, method, optimizer, setting, accelerator, batch, 0, False)
    for name, part in method.parts().items():
        moved = [now.detach() - then for now, then in zip(part.parameters(), before[name], strict=True)]
        length = torch.stack([each.norm() for each in moved]).norm()
        assert length == pytest.approx(clipped, rel=1e-3) if clipped else length > 0.02
