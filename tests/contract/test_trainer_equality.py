"""The training loop against transformers' Trainer: same weights, same order of images, same losses at every step.

Run: pytest tests/contract/test_trainer_equality.py
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments, get_linear_schedule_with_warmup

from fmlab.adapt.configs import Finetune
from fmlab.adapt.finetuning import build_classifier
from fmlab.adapt.recipes import TrainingSetting, training_setting
from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.pixels import item_reader
from fmlab.data.preprocessing import at_size, prepare
from fmlab.data.subsets import Subset
from fmlab.training.batches import TrainingImages
from fmlab.training.loop import batches_of, learning_rate, train
from tests.toys import halves, small_vit

SIZE, SEED, EPOCHS = 32, 4, 10
ITEMS = 43  # six batches in an epoch, the last of three images: 60 steps in all


class InOrder(torch.utils.data.Sampler):
    """Gives the Trainer our order of images, epoch after epoch."""

    def __init__(self, items, batch):
        self.items, self.batch, self.epoch = items, batch, 0

    def __len__(self):
        return self.items

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        yield from np.concatenate(batches_of(self.items, self.batch, SEED, self.epoch)).tolist()


class Recording(Trainer):
    """The Trainer as it is, but for the order of images; keeps every batch's loss."""

    losses: list[float]

    def _get_train_sampler(self, train_dataset=None):
        return InOrder(len(self.train_dataset), self.args.per_device_train_batch_size)

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


class WithLoss(nn.Module):
    """A network as the Trainer wants it: images and labels in, loss and logits out."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixel_values, labels):
        logits = self.network(pixel_values)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


def trainers_losses(network, examples, folder, setting):
    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=setting.learning_rate,
        num_train_epochs=EPOCHS,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    trainer = Recording(WithLoss(network), arguments, train_dataset=examples)
    trainer.losses = []
    trainer.train()
    return trainer.losses


@pytest.mark.parametrize(
    ("whole", "rate"), [(False, None), (False, 1e-3), pytest.param(True, None, marks=pytest.mark.slow)]
)
def test_fifty_steps_have_the_trainers_losses(home, tmp_path, whole, rate):
    """`whole`: ViT-Tiny itself; else two narrow blocks of it. The rates: the Trainer's own, and one that changes much."""
    dataset = halves(home, patients=33, frames=2)
    rows = dataset.manifest(["image_id", "label", "split", "content_hash", "sector"])
    rows = rows[rows["split"] == "train"].iloc[:ITEMS].assign(copy=0).reset_index(drop=True)
    labels = (rows["label"] == "right").to_numpy().astype(np.int64)
    card = find_backbone(home, "random-vit-tiny") if whole else small_vit(home)
    spec = at_size(card.spec, SIZE)
    adaptation = Finetune(learning_rate=rate, epochs=EPOCHS)
    subset = Subset("images", ITEMS, SEED)
    setting = training_setting(adaptation, card.model_copy(update={"floor": False}), subset, "cpu")
    assert (setting.batch, setting.warmup, setting.weight_decay) == (8, 0.0, 0.0)
    ours, theirs = (build_classifier(card, home, adaptation, "cls", SIZE, 2, SEED) for _ in range(2))
    losses = []
    images = TrainingImages(dataset.folder, rows, spec, False)
    train(ours, images, labels, setting, "cpu", tmp_path, SEED, lambda step: losses.append(step.loss))
    read = item_reader(dataset.folder, rows, False)
    examples = [
        {"pixel_values": torch.from_numpy(prepare(read(number), spec)), "labels": int(label)}
        for number, label in enumerate(labels)
    ]
    expected = trainers_losses(theirs, examples, tmp_path / "trainer", setting)
    assert len(losses) == len(expected) == setting.steps_for(ITEMS) == 60
    assert losses[:50] == pytest.approx(expected[:50], rel=1e-5)
    assert max(losses) > 1.01 * min(losses)  # and they are not all the same
    for name, weights in ours.state_dict().items():
        torch.testing.assert_close(weights, theirs.state_dict()[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.3])
def test_the_learning_rate_is_that_of_transformers_schedule(warmup):
    steps = 37
    setting = TrainingSetting(2e-3, 0.0, 8, warmup, 1.0, 1, False, None, None, False, False, 0.0, "fp32")
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=setting.learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, int(np.ceil(warmup * steps)), steps)
    for step in range(steps):
        assert learning_rate(setting, step, steps) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        schedule.step()
