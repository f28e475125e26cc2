"""The training loop: the same bits after any interruption, short memory, losses that are no numbers.

Run: pytest tests/unit/test_training_loop.py
"""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from fmlab.adapt.configs import Finetune, LoRA
from fmlab.adapt.finetuning import build_classifier
from fmlab.adapt.recipes import TrainingSetting
from fmlab.backbones.catalogue import find_backbone
from fmlab.data.preprocessing import at_size
from fmlab.errors import BadInput, Cancelled, WorkFailed
from fmlab.training import loop
from fmlab.training.batches import TrainingImages
from fmlab.training.checkpoints import FOLDER, forget_checkpoints
from fmlab.training.loop import TrainingDiverged, batches_of, learning_rate, parameter_groups, train
from tests.toys import halves, small_vit

SIZE = 32
SETTING = TrainingSetting(1e-3, 0.0, 8, 0.0, 1.0, 48, False, 3, None, False, False, 0.0, "fp32")
STEPS = 9  # 22 images: three batches in an epoch, of 8, 8 and 6
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


@pytest.fixture
def images(home):
    dataset = halves(home, patients=11, frames=3)
    rows = dataset.manifest(["image_id", "label", "split", "content_hash", "sector"])
    rows = rows[rows["split"] == "train"].iloc[:20]
    rows = pd.concat([rows.assign(copy=0), rows.iloc[:2].assign(copy=3)], ignore_index=True)
    spec = at_size(small_vit(home).spec, SIZE)
    found = TrainingImages(dataset.folder, rows, spec, False)
    found.labels = (rows["label"] == "right").to_numpy().astype(np.int64)
    return found


@pytest.fixture
def fresh(home):
    """Makes the classifier that every test trains, anew."""

    def make(adaptation=None, key="vit"):
        card = small_vit(home) if key == "vit" else find_backbone(home, key)
        if key == "random-resnet18":
            card = card.model_copy(update={"options": {"channels": (8, 8, 8, 8)}, "widths": (8,)})
        return build_classifier(card, home, adaptation or Finetune(), card.feature, SIZE, 2, seed=0)

    return make


class Interrupted(Exception):
    """What a test throws to stop a training."""


def stop_at(step):
    def on_step(found):
        if found.step == step:
            raise Interrupted

    return on_step


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# ------------------------------------------------------------------------------------------------- order and schedule


def test_every_image_once_an_epoch_in_an_order_of_its_own():
    first, second = (batches_of(22, 8, seed=3, epoch=epoch) for epoch in (0, 1))
    assert [len(batch) for batch in first] == [8, 8, 6]
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(22))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert np.array_equal(np.concatenate(first), np.concatenate(batches_of(22, 8, seed=3, epoch=0)))
    assert not np.array_equal(np.concatenate(first), np.concatenate(batches_of(22, 8, seed=4, epoch=0)))


def test_the_learning_rate_rises_and_falls_linearly():
    setting = replace(SETTING, learning_rate=1.0, warmup=0.2)
    assert [learning_rate(setting, step, 10) for step in range(10)] == pytest.approx(
        [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    )
    assert [learning_rate(replace(SETTING, learning_rate=1.0), step, 4) for step in range(4)] == [1, 0.75, 0.5, 0.25]


def test_biases_norms_tokens_and_positions_do_not_decay(fresh):
    network = fresh()
    decaying, spared = parameter_groups(network, 0.05)
    names = {weights: name for name, weights in network.trainable().items()}
    assert (decaying["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert {"encoder.network.blocks.0.attn.qkv.weight", "head.weight"} <= {names[each] for each in decaying["params"]}
    assert {"encoder.network.pos_embed", "encoder.network.cls_token", "head.bias", "encoder.network.norm.weight"} <= {
        names[each] for each in spared["params"]
    }
    assert len(decaying["params"]) + len(spared["params"]) == len(names)


# ------------------------------------------------------------------------------------------------------ a whole training


def test_a_training_learns_and_says_so(images, fresh, tmp_path):
    steps = []
    trained = train(
        fresh(), images, images.labels, replace(SETTING, epochs=12), "cpu", tmp_path, 0, on_step=steps.append
    )
    assert (trained.steps, trained.epochs, trained.micro_batch) == (36, 12, 8)
    assert [step.step for step in steps] == list(range(1, 37))
    assert [step.epoch for step in steps] == [1 + (step - 1) // 3 for step in range(1, 37)]
    last = [step.loss for step in steps[-3:]]
    assert trained.final_loss == pytest.approx((8 * last[0] + 8 * last[1] + 6 * last[2]) / 22)
    assert trained.final_loss < 0.5 * steps[0].loss
    assert steps[-1].seconds_left == 0
    assert 0 <= trained.data_wait_share < 1
    assert trained.images_per_second > 0
    assert lines(tmp_path)[0].keys() == {"step", "epoch", "loss", "learning_rate", "images_per_second", "time"}
    assert lines(tmp_path)[-1]["step"] == 36
    assert not (tmp_path / FOLDER).exists()  # it was over before the first checkpoint was due


def test_an_epoch_is_cut_short_where_no_more_images_may_be_seen(images, fresh, tmp_path):
    """22 items in batches of 8: at most 16 images are two of the three batches, and resume ends at the same place."""
    setting = replace(SETTING, epochs=None, samples=16, at_most=True)
    steps = []
    trained = train(fresh(), images, images.labels, setting, "cpu", tmp_path / "whole", 0, on_step=steps.append)
    assert (trained.steps, trained.epochs) == (2, 1)
    assert trained.final_loss == pytest.approx((steps[0].loss + steps[1].loss) / 2)
    with pytest.raises(Interrupted):
        train(fresh(), images, images.labels, setting, "cpu", tmp_path / "cut", 0, on_step=stop_at(1))
    again = train(fresh(), images, images.labels, setting, "cpu", tmp_path / "cut", 0)
    assert again.final_loss == trained.final_loss


def test_precision_is_each_trainings_own_and_the_callers_state_stays(images, fresh, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    losses = {}
    for number, precision in enumerate(["bf16", "fp32", "bf16", "fp32"]):
        setting = replace(SETTING, precision=precision)
        trained = train(fresh(), images, images.labels, setting, "cpu", tmp_path / str(number), 0)
        losses.setdefault(precision, []).append(trained.final_loss)
    assert losses["fp32"][0] == losses["fp32"][1]
    assert losses["bf16"][0] == losses["bf16"][1]
    assert losses["bf16"][0] != losses["fp32"][0]
    assert losses["bf16"][0] == pytest.approx(losses["fp32"][0], rel=0.02)
    assert torch.equal(torch.rand(2), expected)


# ---------------------------------------------------------------------------------------------------------- interruption


@pytest.mark.parametrize("kept", ["every step", "some steps"])
@pytest.mark.parametrize("step", [1, 2, 3, 5, STEPS])
def test_interrupted_at_any_step_and_taken_up_again_ends_with_the_same_bits(
    images, fresh, tmp_path, monkeypatch, step, kept
):
    adaptation = LoRA(rank=2, dropout=0.5)
    whole = fresh(adaptation)
    expected = train(whole, images, images.labels, SETTING, "cpu", tmp_path / "whole", 0)
    if kept == "every step":
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
    else:
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.02)  # whatever steps these fall on
    with pytest.raises(Interrupted):
        train(fresh(adaptation), images, images.labels, SETTING, "cpu", tmp_path / "cut", 0, on_step=stop_at(step))
    steps = []
    network = fresh(adaptation)
    found = train(network, images, images.labels, SETTING, "cpu", tmp_path / "cut", 0, on_step=steps.append)
    if kept == "every step":
        assert steps[0].step == step  # the step that was interrupted before it was kept
    assert steps[-1].step == STEPS
    assert found.final_loss == expected.final_loss
    assert all(torch.equal(value, state(network)[name]) for name, value in state(whole).items())


def test_running_statistics_and_moments_in_any_memory_format_are_kept(images, fresh, tmp_path, monkeypatch):
    whole = fresh(key="random-resnet18")
    expected = train(whole, images, images.labels, SETTING, "cpu", tmp_path / "whole", 0)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    for step in (2, 4, 7):
        with pytest.raises(Interrupted):
            network = fresh(key="random-resnet18")
            train(network, images, images.labels, SETTING, "cpu", tmp_path / "cut", 0, on_step=stop_at(step))
    network = fresh(key="random-resnet18")
    found = train(network, images, images.labels, SETTING, "cpu", tmp_path / "cut", 0)
    assert found.final_loss == expected.final_loss
    assert all(torch.equal(value, state(network)[name]) for name, value in state(whole).items())


def test_the_last_checkpoint_alone_is_enough_for_the_result(images, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
    expected = train(fresh(), images, images.labels, SETTING, "cpu", tmp_path, 0)
    steps = []
    found = train(fresh(), images, images.labels, SETTING, "cpu", tmp_path, 0, on_step=steps.append)
    assert steps == []
    assert found.final_loss == expected.final_loss
    assert found.seconds >= expected.seconds * 0.5
    assert len(list((tmp_path / FOLDER).glob("*.safetensors"))) == 1
    forget_checkpoints(tmp_path)
    assert not (tmp_path / FOLDER).exists()


def test_metrics_of_steps_that_were_lost_are_lost_with_them(images, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr("fmlab.training.journal.LINE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
    with pytest.raises(Interrupted):
        train(fresh(), images, images.labels, SETTING, "cpu", tmp_path, 0, on_step=stop_at(4))
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]  # step 4 was written and not kept
    train(fresh(), images, images.labels, SETTING, "cpu", tmp_path, 0)
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, STEPS + 1))


def test_a_damaged_checkpoint_is_named_and_the_training_begins_again(images, fresh, tmp_path, monkeypatch):
    expected = train(fresh(), images, images.labels, SETTING, "cpu", tmp_path / "whole", 0)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        train(fresh(), images, images.labels, SETTING, "cpu", tmp_path / "cut", 0, on_step=stop_at(5))
    file = next((tmp_path / "cut" / FOLDER).glob("*.safetensors"))
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    said, steps = [], []
    found = train(
        fresh(), images, images.labels, SETTING, "cpu", tmp_path / "cut", 0, on_step=steps.append, log=said.append
    )
    assert any("bytes instead of" in text and "begins again" in text for text in said)
    assert steps[0].step == 1
    assert found.final_loss == expected.final_loss


def test_another_trainings_checkpoint_is_refused(images, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    train(fresh(), images, images.labels, SETTING, "cpu", tmp_path, 0)
    for setting, seed, labels in [
        (replace(SETTING, learning_rate=2e-3), 0, images.labels),
        (SETTING, 1, images.labels),
        (SETTING, 0, 1 - images.labels),
    ]:
        with pytest.raises(BadInput, match="a folder of its own"):
            train(fresh(), images, labels, setting, "cpu", tmp_path, seed)


def test_a_wish_to_stop_is_heeded_before_the_next_step(images, fresh, tmp_path):
    steps = []
    with pytest.raises(Cancelled):
        train(
            fresh(), images, images.labels, SETTING, "cpu", tmp_path, 0, steps.append, cancelled=lambda: len(steps) == 4
        )
    assert len(steps) == 4


# ---------------------------------------------------------------------------------------------------------- what goes wrong


def poison(network, call):
    """A hook that makes the head infinite before the given pass."""
    calls = iter(range(1, 1000))

    def before(count):
        if next(calls) == call:
            with torch.no_grad():
                network.head.weight.fill_(float("inf"))

    return before


@pytest.mark.parametrize(
    ("seconds", "good"), [(0.0, "the last good checkpoint is that of step 4"), (60, "no checkpoint")]
)
def test_a_loss_that_is_no_number_stops_the_training(images, fresh, tmp_path, monkeypatch, seconds, good):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", seconds)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
    network, steps = fresh(), []
    with pytest.raises(TrainingDiverged, match=f"at step 5 of {STEPS}.*{good}"):
        before = poison(network, 5)
        train(network, images, images.labels, SETTING, "cpu", tmp_path, 0, steps.append, before_forward=before)
    assert len(steps) == 4
    if not seconds:  # what was kept is good: from there it ends as ever
        expected = train(fresh(), images, images.labels, SETTING, "cpu", tmp_path / "whole", 0)
        assert train(fresh(), images, images.labels, SETTING, "cpu", tmp_path, 0).final_loss == expected.final_loss


def test_a_learning_rate_far_too_large_ends_in_that_sentence(images, fresh, tmp_path):
    setting = replace(SETTING, learning_rate=1e30, gradient_norm=1e30)
    with pytest.raises(TrainingDiverged, match="Choose a smaller learning rate"):
        train(fresh(), images, images.labels, setting, "cpu", tmp_path, 0)


def short_of(limit, counts):
    """A hook that runs out of memory above so many images, noting what it was asked for."""

    def before(count):
        counts.append(count)
        if count > limit:
            raise OUT_OF_MEMORY

    return before


def test_a_batch_that_memory_is_short_for_is_computed_in_pieces(images, fresh, tmp_path):
    whole, pieces, counts = [], [], []
    train(fresh(), images, images.labels, SETTING, "cpu", tmp_path / "whole", 0, whole.append)
    found = train(
        fresh(), images, images.labels, SETTING, "cpu", tmp_path / "pieces", 0, pieces.append,
        before_forward=short_of(3, counts),
    )  # fmt: skip
    assert (found.steps, found.micro_batch) == (STEPS, 2)
    assert counts[:6] == [8, 4, 2, 2, 2, 2]
    assert max(counts[2:]) == 2  # learnt once, not tried again at every step
    assert [step.loss for step in pieces] == pytest.approx([step.loss for step in whole], rel=1e-4)


def test_a_pass_that_failed_leaves_no_trace_in_running_statistics(images, fresh, tmp_path):
    """Memory runs out in the second half of a batch, after its first half went through batch normalisation."""
    network = fresh(key="random-resnet18")
    passes = iter([None, OUT_OF_MEMORY])

    def before(count):
        error = next(passes, None)
        if error is not None:
            raise error

    setting = replace(SETTING, batch=22, epochs=1)
    assert network.encoder.network.bn1.num_batches_tracked == 0
    train(network, images, images.labels, setting, "cpu", tmp_path, 0, before_forward=before)
    assert network.encoder.network.bn1.num_batches_tracked == 1


def test_memory_short_for_a_single_image_ends_in_a_sentence(images, fresh, tmp_path):
    counts = []
    with pytest.raises(WorkFailed, match=r"even for one image at a time.*CUDA out of memory"):
        train(fresh(), images, images.labels, SETTING, "cpu", tmp_path, 0, before_forward=short_of(0, counts))
    assert counts == [8, 4, 2, 1]


def test_any_other_error_is_passed_on(images, fresh, tmp_path):
    def before(count):
        raise RuntimeError("device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        train(fresh(), images, images.labels, SETTING, "cpu", tmp_path, 0, before_forward=before)


def test_labels_and_images_must_match(images, fresh, tmp_path):
    with pytest.raises(BadInput, match=f"{len(images)} images and 5 labels"):
        train(fresh(), images, images.labels[:5], SETTING, "cpu", tmp_path, 0)
