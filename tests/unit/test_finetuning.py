"""A trained cell from its items to its logits, and a kill in the middle. Run: pytest tests/unit/test_finetuning.py"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fmlab.adapt import finetuning
from fmlab.adapt.configs import Finetune, LastBlocks, LoRA, Scratch
from fmlab.adapt.finetuning import build_classifier, fit_trained, forget_checkpoints, predict
from fmlab.adapt.recipes import training_setting
from fmlab.backbones.pixels import item_reader
from fmlab.data.manifest import open_dataset
from fmlab.data.preprocessing import at_size, prepare
from fmlab.data.subsets import Subset
from fmlab.errors import BadInput, Cancelled
from fmlab.training import loop
from fmlab.training.checkpoints import FOLDER
from fmlab.training.loop import TrainingDiverged
from tests.toys import halves, small_vit

COLUMNS = ["image_id", "label", "split", "content_hash", "sector"]
FACTS = {
    "converged", "gap", "n_train", "epochs", "steps", "final_loss", "seconds_training", "images_per_second",
    "micro_batch", "learning_rate", "data_wait_share",
}  # fmt: skip


class Cell:
    """A cell on the half-bright squares, all training images and a copy of each."""

    def __init__(self, home, adaptation=None, **changes):
        made = (home.datasets / "halves").exists()
        self.home, self.card = home, small_vit(home)
        self.dataset = open_dataset(home, "halves") if made else halves(home)
        rows = self.dataset.manifest(COLUMNS)
        train = rows[rows["split"] == "train"].reset_index(drop=True)
        self.train = train.loc[train.index.repeat(2)].assign(copy=[0, 1] * len(train)).reset_index(drop=True)
        self.test = rows[rows["split"] == "T1"].reset_index(drop=True)
        self.labels = (self.train["label"] == "right").to_numpy().astype(np.int64)
        self.truth = (self.test["label"] == "right").to_numpy().astype(np.int64)
        self.adaptation = adaptation or Finetune(input_size=32, samples=300, learning_rate=3e-3)
        subset = Subset("images", len(self.train), 0, 1)
        self.setting = replace(training_setting(self.adaptation, self.card, subset, "cpu"), **changes)

    def fit(self, folder, card=None, **hooks):
        return fit_trained(
            self.home, self.dataset, card or self.card, self.adaptation, self.setting, "cls", self.card.spec, False,
            self.train, self.labels, 2, self.test, "cpu", 0, folder, **hooks,
        )  # fmt: skip


@pytest.fixture
def cell(home):
    return Cell(home)


def test_finetuning_learns_what_can_be_seen(cell, tmp_path):
    progress, said = [], []
    fit = cell.fit(tmp_path, on_progress=lambda *facts: progress.append(facts), log=said.append)
    assert fit.scores.dtype == np.float32
    assert fit.scores.shape == (len(cell.test), 2)
    assert (fit.scores.argmax(axis=1) == cell.truth).mean() > 0.9
    assert fit.facts.keys() == FACTS
    assert (fit.facts["n_train"], fit.facts["epochs"], fit.facts["steps"]) == (96, 4, 48)
    assert fit.facts["learning_rate"] == 3e-3
    assert {each[2] for each in progress} >= {
        "training, epoch 1 of 4",
        "training, epoch 4 of 4",
        "predicting test images",
    }
    assert progress[-1][:2] == (len(cell.test), len(cell.test))
    assert "trained 48 steps" in said[-1]


@pytest.mark.parametrize("kind", [Scratch, LastBlocks, LoRA])
def test_every_adaptation_gives_logits_and_the_same_ones_again(home, tmp_path, kind):
    cell = Cell(home, kind(input_size=32, samples=8, learning_rate=1e-3))
    first = cell.fit(tmp_path / "first")
    assert np.isfinite(first.scores).all()
    assert np.array_equal(first.scores, cell.fit(tmp_path / "again").scores)


def test_predictions_are_the_forward_pass_on_the_reference_preprocessing(cell):
    spec = at_size(cell.card.spec, 32)
    network = build_classifier(cell.card, cell.home, cell.adaptation, "cls", 32, 2, seed=1)
    network.head.bias.data += torch.tensor([0.25, -0.5])
    read = item_reader(cell.dataset.folder, cell.test, False)
    scores = predict(network, cell.card, read, len(cell.test), spec, "fp32")
    inputs = np.stack([prepare(read(number), spec) for number in range(len(cell.test))])
    with torch.inference_mode():
        by_hand = network.eval()(torch.from_numpy(inputs)).numpy()
    assert np.allclose(scores, by_hand, atol=1e-5)


def test_what_is_drawn_on_the_fly_changes_training_and_repeats_itself(home, tmp_path):
    settings = {"input_size": 32, "samples": 8, "learning_rate": 1e-3}
    plain = Cell(home, Finetune(**settings)).fit(tmp_path / "plain")
    cell = Cell(home, Finetune(augment=True, jitter=0.3, **settings))
    varied, again = (cell.fit(tmp_path / name) for name in ("varied", "again"))
    assert not np.array_equal(plain.scores, varied.scores)
    assert np.array_equal(varied.scores, again.scores)


def test_a_stop_while_training_or_predicting_is_heeded_and_taken_up_again(cell, tmp_path, monkeypatch):
    expected = cell.fit(tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    messages = []

    def stop_while(what):
        return lambda: bool(messages) and messages[-1].startswith(what)

    for what in ("training, epoch 2", "predicting"):
        with pytest.raises(Cancelled):
            cell.fit(tmp_path / "cut", on_progress=lambda *facts: messages.append(facts[2]), cancelled=stop_while(what))
    found = cell.fit(tmp_path / "cut")
    assert np.array_equal(found.scores, expected.scores)
    assert found.facts["final_loss"] == expected.facts["final_loss"]
    assert (tmp_path / "cut" / FOLDER).is_dir()
    forget_checkpoints(tmp_path / "cut")
    assert not (tmp_path / "cut" / FOLDER).exists()
    assert (tmp_path / "cut" / "metrics.jsonl").exists()


def test_short_memory_stands_in_the_facts_and_the_log(cell, tmp_path, monkeypatch):
    """A machine on which four images do not fit."""
    real = finetuning.train

    def short(count):
        if count > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(finetuning, "train", lambda *args, **kwargs: real(*args, **kwargs, before_forward=short))
    said = []
    fit = cell.fit(tmp_path, log=said.append)
    assert fit.facts["micro_batch"] == 2
    assert fit.facts["steps"] == 48
    assert any("2 images at a time" in text for text in said)


def test_a_diverging_training_ends_in_a_sentence(home, tmp_path):
    cell = Cell(home, Finetune(input_size=32, samples=300), learning_rate=1e30, gradient_norm=1e30)
    with pytest.raises(TrainingDiverged, match="at step"):
        cell.fit(tmp_path)


def test_what_has_no_network_is_refused(home, tmp_path):
    with pytest.raises(BadInput, match="no network to train"):
        Cell(home).fit(tmp_path, card=small_vit(home).model_copy(update={"layout": "pixels"}))


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path.cwd()))
from fmlab.settings import Home
from fmlab.training import loop
from tests.unit.test_finetuning import Cell

loop.CHECKPOINT_SECONDS, loop.CHECKPOINT_SHARE = 0.0, 1e9
cell = Cell(Home(Path(sys.argv[1])))
cell.fit(Path(sys.argv[2]), on_progress=lambda done, *facts: print(done, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 7, 20])
def test_killed_at_any_moment_and_taken_up_again_gives_the_same_bits(cell, tmp_path, step):
    expected = cell.fit(tmp_path / "whole")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "other home"), str(tmp_path / "cut")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    while process.stdout.readline() != f"{step}\n":
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    done = []
    found = cell.fit(tmp_path / "cut", on_progress=lambda *facts: done.append(facts[:3]))
    assert done[1][0] >= step  # gone on with, not begun again
    assert np.array_equal(found.scores, expected.scores)
    assert found.facts["final_loss"] == expected.facts["final_loss"]
