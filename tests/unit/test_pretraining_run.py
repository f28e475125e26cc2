"""A pretraining from the frames to the backbone: what it leaves, what it refuses, how it goes on, how processes share it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from fmlab.backbones.added import WEIGHTS_FILE
from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.loaders import load_backbone
from fmlab.errors import BadInput, Cancelled, NameTaken
from fmlab.files import read_json, write_json
from fmlab.pretrain import loop
from fmlab.pretrain.configs import pretraining
from fmlab.pretrain.health import HEALTH, METRICS, PROBES
from fmlab.pretrain.journal import read_lines
from fmlab.pretrain.pictures import picture_steps, read_pictures
from fmlab.runs.pretraining import Pretrain
from fmlab.runs.pretraining_guard import read_seen
from fmlab.runs.pretraining_request import pretrain_request
from fmlab.settings import Home
from tests.toys import halves

SIZE, STEPS, BATCH = 32, 3, 8
OF_METHOD = {
    "dinov2": {"local_size": 16, "prototypes": 32},
    "mae": {},
    "simsiam": {"network": "vit-tiny"},
    "simclr": {"network": "vit-tiny"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("home"))
    halves(home)
    return home


def asked(key, method="mae", **options):
    sources = [{"dataset": "halves", "splits": ["train"]}]
    small = {"size": SIZE, "patch": 8, "batch": BATCH, "precision": "fp32"}
    length = {} if "max_minutes" in options else {"steps": STEPS}
    return pretraining({"method": method, "sources": sources, "key": key} | small | length | options)


def begun(home, wanted, **calls):
    request = pretrain_request(home, wanted.plain)
    folder = home.runs / request.group
    return Pretrain(home, request.key, request.config, folder, "cpu", progress=lambda *told: None, **calls), folder


@pytest.fixture(scope="module")
def made(home):
    """A whole MAE pretraining: its result and the run's folder."""
    run, folder = begun(home, asked("ours", licence="for this house alone"))
    return run.execute(), folder


def test_it_becomes_a_backbone_that_gives_the_probes_own_features(home, made):
    """The card's weights, fed the test images, answer the probe as the network did when it was trained."""
    result, _ = made
    card = find_backbone(home, "ours")
    assert (card.features, card.widths) == (("mean", "cls"), (192, 192))
    assert (card.spec.size, card.spec.resize) == (SIZE, "squash")
    assert card.licence_weights == "for this house alone"
    assert card.pretraining_images == 48
    backbone = load_backbone(card, home)
    found = backbone.features(torch.randn(4, 3, SIZE, SIZE))
    assert found.shape == (4, 192)
    assert result["key"] == "ours"
    assert 0 <= result["knn_start"] <= 1
    assert 0 <= result["knn_end"] <= 1


def test_the_story_tells_data_cost_and_the_command(home, made):
    result, folder = made
    story = read_json(home.backbones / "ours" / "pretraining.json")
    assert story["data"]["images"] == 48
    assert story["data"]["sources"][0]["splits"] == ["train"]
    assert story["cost"]["images_seen"] == STEPS * BATCH == result["images_seen"]
    assert story["cost"]["device_hours"] == pytest.approx(result["seconds"] / 3600)
    assert story["setting"]["mean"] == pytest.approx([story["setting"]["mean"][0]])
    assert story["command"] == (
        "fmlab pretrain mae --dataset halves:train --key ours --patch 8 --size 32 --steps 3 --batch 8 --precision fp32 "
        "--licence 'for this house alone'"
    )
    assert [line["step"] for line in story["probes"]] == [0, STEPS]
    assert story["probes"] == read_lines(folder / PROBES)
    assert story["floors"]["pixels"]["knn"] > 0.9  # one half of each image is bright


def test_answers_and_frames_are_kept(home, made):
    answers = pd.read_parquet(home.backbones / "ours" / "probe.parquet")
    seen = read_seen(home, "ours")
    probes = ("knn", "linear")
    columns = [f"{when}{probe}" for when in ("", "start_", "pixels_") for probe in probes]
    assert set(columns) <= set(answers.columns)
    assert set(answers[columns].stack()) <= {"left", "right"}
    end = [line["knn"] for line in read_lines(made[1] / PROBES)][-1]
    recalls = [(rows["knn"] == label).mean() for label, rows in answers.groupby("label")]
    assert np.mean(recalls) == pytest.approx(end)
    assert len(seen) == 48
    assert not set(seen["patient_id"]) & set(answers["patient_id"])


def test_the_run_leaves_its_curves_and_pictures_and_no_checkpoint(made):
    _, folder = made
    assert [line["step"] for line in read_lines(folder / METRICS)] == [1, 2, 3]
    assert read_json(folder / HEALTH)["step"] == STEPS
    assert not (folder / "checkpoints").exists()
    pictures = read_pictures(picture_steps(folder)[STEPS])
    assert {name: each.shape for name, each in pictures.items()} == {
        "images": (8, SIZE, SIZE),
        "pca": (8, 4, 4, 3),
        "masked": (8, SIZE, SIZE),
        "reconstructed": (8, SIZE, SIZE),
    }


def test_a_key_in_use_is_refused(home, made):
    with pytest.raises(NameTaken, match="ours"):
        pretrain_request(home, asked("ours").plain)


@pytest.mark.parametrize("method", ["dinov2", "simsiam", "simclr"])
def test_every_method_leaves_a_backbone(home, method):
    run, _ = begun(home, asked(f"ours-{method}", method, **OF_METHOD[method]))
    assert run.execute()["steps"] == STEPS
    assert find_backbone(home, f"ours-{method}").features[0] == "cls"


def test_a_convolutional_network_leaves_a_backbone_too(home):
    sources = [{"dataset": "halves", "splits": ["train"]}]
    config = {"method": "simsiam", "sources": sources, "key": "ours-resnet", "network": "resnet18"}
    run, folder = begun(home, pretraining(config | {"size": SIZE, "batch": BATCH, "steps": STEPS}))
    run.execute()
    card = find_backbone(home, "ours-resnet")
    assert (card.architecture, card.features, card.options) == ("resnet18", ("pooled",), {"in_chans": 1})
    pictures = [read_pictures(path)["pca"] for path in picture_steps(folder).values()]
    assert {picture.shape for picture in pictures} == {(8, SIZE // 16, SIZE // 16, 3)}
    statistics = load_file(home.backbones / "ours-resnet" / WEIGHTS_FILE)["bn1.num_batches_tracked"]
    assert statistics == STEPS * 2  # crops; whoever looks leaves them alone


def test_it_goes_on_from_a_backbone_of_the_catalogue(home, made):
    """With no step of any size the weights stay, so that start and end of the probe are what the start gave."""
    run, _ = begun(home, pretraining(asked("further").plain | {"init": "ours", "patch": None, "learning_rate": 1e-12}))
    result = run.execute()
    assert result["knn_start"] == made[0]["knn_end"]
    assert find_backbone(home, "further").options == find_backbone(home, "ours").options
    assert len(read_seen(home, "further")) == 48


def test_stopped_and_taken_up_it_ends_with_the_same_weights(home, made, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", np.inf)
    wanted = asked("again", seed=0)
    folder = home.runs / pretrain_request(home, wanted.plain).group
    stopped, _ = begun(home, wanted, cancelled=lambda: len(read_lines(folder / METRICS)) == 2)
    with pytest.raises(Cancelled):
        stopped.execute()
    assert (folder / "checkpoints" / "done.json").exists()
    begun(home, wanted)[0].execute()
    first, second = (load_backbone(find_backbone(home, key), home).encoder.state_dict() for key in ("ours", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_dataset_that_changed_since_is_refused(home):
    request = pretrain_request(home, asked("late").plain)
    config = request.config | {"content_hashes": {"halves": "another"}}
    with pytest.raises(BadInput, match=r"'halves' has changed since"):
        Pretrain(home, request.key, config, home.runs / "late", "cpu", progress=lambda *told: None)


def test_minutes_become_steps_once_and_stay(home):
    """A plan that an interrupted attempt left is kept: the same steps, whatever the machine does now."""
    run, folder = begun(home, asked("timed", max_minutes=0.01))
    write_json(folder / "plan.json", {"steps": 2, "evaluations": 1})
    result = run.execute()
    assert result["steps"] == 2
    assert "--steps 2" in read_json(home.backbones / "timed" / "pretraining.json")["command"]


TWO = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from fmlab.pretrain.configs import pretraining
from fmlab.runs.pretraining import run_here
from fmlab.settings import Home
run_here(Home(Path(sys.argv[1])), pretraining(json.loads(sys.argv[2])), lambda *told: None, lambda text: None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dinov2", "mae", "simsiam", "simclr"])
def test_two_processes_train_as_one(home, method, tmp_path):
    """The same command under torchrun: losses and gradients of one process with the same global batch."""
    one = asked(f"alone-{method}", method, **OF_METHOD[method])
    run, alone = begun(home, one)
    run.execute()
    both = asked(f"both-{method}", method, **OF_METHOD[method])
    together = home.runs / pretrain_request(home, both.plain).group
    script = tmp_path / "two.py"
    script.write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    shared = subprocess.run(
        [*command, str(home.path), json.dumps(both.plain)], capture_output=True, text=True, env=environment, check=False
    )
    assert shared.returncode == 0, shared.stderr
    for single, double in zip(read_lines(alone / METRICS), read_lines(together / METRICS), strict=True):
        assert double["losses"] == pytest.approx(single["losses"], rel=1e-4, abs=1e-6)
        assert double["signals"]["gradient_norm"] == pytest.approx(single["signals"]["gradient_norm"], rel=1e-3)
    assert find_backbone(home, f"both-{method}").parameters == find_backbone(home, f"alone-{method}").parameters
