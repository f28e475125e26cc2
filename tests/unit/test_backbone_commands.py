"""`fmlab backbones` and the runs behind it: listing, checks, additions. Run: pytest tests/unit/test_backbone_commands.py"""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from fmlab.backbones.catalogue import catalogue, find_backbone, licence_kind, require_weights
from fmlab.errors import BadWeights
from fmlab.files import write_bytes
from fmlab.runs.launcher import execute
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store

ANNA = Actor("anna", "test")
SMALL = "test_resnet.r160_in1k"  # an architecture of timm made for tests


@pytest.fixture
def backbones(fmlab):
    """Runs `fmlab backbones` in this process."""
    return partial(fmlab, "backbones")


@pytest.fixture
def checkpoint(tmp_path):
    """A whole checkpoint of a small network of timm's."""
    torch.manual_seed(3)
    save_file(timm.create_model(SMALL, pretrained=False).state_dict(), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def test_listing_imports_nothing_that_takes_long(home):
    """Under half a second: `python -m benchmarks listing` prints how long it takes."""
    slow = ("torch", "timm", "transformers", "open_clip", "pandas", "scipy", "pyarrow", "pydicom", "streamlit")
    code = (
        "import sys; sys.argv = ['fmlab', 'backbones', 'list']\n"
        "from fmlab import cli; cli.main()\n"
        f"print([name for name in {slow!r} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"
    assert "pixels-24" in ended.stdout


def test_a_list_can_be_narrowed(backbones, home):
    cards = catalogue(home)
    _, out, _ = backbones("list", "--domain", "ultrasound", "--json")
    assert [row["key"] for row in json.loads(out)] == [
        key for key, card in cards.items() if card.domain == "ultrasound"
    ]
    _, out, _ = backbones("list", "--licence", "restricted", "--json")
    assert [row["key"] for row in json.loads(out)] == [
        key for key, card in cards.items() if licence_kind(card) == "restricted"
    ]
    status, out, err = backbones("list", "--domain", "cats")
    assert (status, out) == (2, "")
    assert "choose natural, medical, ultrasound, none" in err


def test_table_1_comes_from_the_catalogue(backbones):
    status, out, _ = backbones("list", "--table1", "--json")
    assert status == 0
    rows = json.loads(out)
    assert [row["model"] for row in rows] == ["ViTMAE", "DINOv2", "CLIP", "EchoCLIP", "MedImageInsight", "ResNet50"]
    assert [row["images_printed"] for row in rows[:5]] == ["1.2M", "140M", "400M", "1M", "3.8M"]
    clip = rows[2]
    assert (clip["parameters_printed"], clip["parameters"]) == (87.5, pytest.approx(86.19264))
    assert clip["remark"]
    _, out, _ = backbones("list", "--table1")
    assert "87.500" in out
    assert "86.193" in out


def test_show_names_what_was_not_verified(backbones, home):
    key = next(key for key, card in catalogue(home).items() if card.unverified)
    _, out, _ = backbones("show", key)
    assert find_backbone(home, key).unverified[0] in out


def test_a_check_that_fails_is_exit_status_1(backbones, home):
    card = find_backbone(home, "vit-mae-base")
    write_bytes(home.backbones / card.key / card.files[0], b"no tensors")
    status, out, _ = backbones("verify", "pixels-24", card.key, "--json")
    assert status == 1
    good, bad = json.loads(out)
    assert (good["passed"], bad["passed"]) == (True, False)
    assert Path(good["picture"]).is_file()
    assert [check["name"] for check in bad["checks"] if not check["passed"]] == ["tensors"]
    status, out, _ = backbones("verify", "pixels-24")
    assert status == 0
    assert "all checks passed" in out
    assert "Mean: " in out


def test_a_checkpoint_is_added_with_its_own_preprocessing(backbones, home, checkpoint):
    words = ("add", checkpoint, "--key", "small", "--architecture", SMALL, "--licence", "MIT", "--domain", "ultrasound")
    status, out, err = backbones(
        *words, "--size", 64, "--resize", "squash", "--mean", "0.1,0.2,0.3", "--title", "Small"
    )
    assert (status, out) == (0, ""), err
    card = find_backbone(home, "small")
    assert (card.title, card.licence_weights, card.domain) == ("Small", "MIT", "ultrasound")
    assert (card.spec.size, card.spec.resize, card.spec.mean) == (64, "squash", (0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mean", "1,2"), "three numbers"),
        (("--resize", "stretch"), "--resize is 'stretch'"),
        (("--domain", "cats"), "--domain is 'cats'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_a_sentence(backbones, home, checkpoint, options, said):
    status, out, err = backbones("add", checkpoint, "--key", "small", "--architecture", SMALL, *options)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert "small" not in catalogue(home)


def test_any_timm_model_becomes_a_row_without_a_network(backbones, home):
    assert backbones("add-timm", SMALL, "--key", "small")[0] == 0
    card = find_backbone(home, "small")
    assert card.remote.repository.startswith("timm/")
    with pytest.raises(BadWeights, match="fmlab backbones download small"):
        require_weights(card, home)


def test_an_addition_asked_for_on_the_page_is_a_run(home, checkpoint, tmp_path):
    store = open_store(home)
    config = {"path": str(checkpoint), "architecture": SMALL, "overrides": {"mean": [0.1, 0.2, 0.3]}, "facts": {}}
    good = request_run(store, "add", config | {"backbone": "small"}, "Add small", ANNA)
    wrong = request_run(store, "add", config | {"backbone": "bad", "architecture": "resnet18"}, "Add bad", ANNA)
    timms = request_run(store, "add", {"backbone": "", "timm": SMALL}, "Add timm's", ANNA)
    assert execute(home) == {"done": 2, "failed": 1}
    assert store.run(good.key).device == "files"
    assert store.run(good.key).result["backbone"] == "small"
    assert find_backbone(home, "small").spec.mean == (0.1, 0.2, 0.3)
    assert "resnet18" in store.run(wrong.key).reason
    assert "bad" not in catalogue(home)
    assert store.run(timms.key).result["backbone"] in catalogue(home)


def test_a_row_without_weights_says_how_to_have_them(backbones, home):
    assert (
        f"put model.safetensors or pytorch_model.bin into {home.backbones / 'vit-mae-base'}"
        in backbones("show", "vit-mae-base", "--home", home.path)[1]
    )
    assert "to have its weights" not in backbones("show", "pixels-24", "--home", home.path)[1]
