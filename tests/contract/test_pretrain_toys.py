"""Toy runs on simulated frames: every method lowers its loss, and DINOv2's features get better at telling views apart."""

import numpy as np
import pytest

from fmlab.phantom.build import build_phantom
from fmlab.phantom.cases import PhantomConfig
from fmlab.pretrain.configs import pretraining
from fmlab.pretrain.health import METRICS
from fmlab.pretrain.journal import read_lines
from fmlab.runs.pretraining import Pretrain
from fmlab.runs.pretraining_request import pretrain_request
from fmlab.settings import Home

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("home"))
    build_phantom(home, "unlabelled", PhantomConfig(seed=100, sequences_per_class=48))
    build_phantom(home, "labelled", PhantomConfig(seed=0))
    return home


def pretrained(home, method, key, **options):
    """The result of a run of the recipe `small` on whole pictures, and its losses line by line."""
    sources = [{"dataset": "unlabelled", "splits": ["train"]}]
    asked = {"method": method, "sources": sources, "key": key, "batch": 64, "policy": "ultrasound-whole"} | options
    request = pretrain_request(home, pretraining(asked).plain)
    folder = home.runs / request.group
    result = Pretrain(home, request.key, request.config, folder, "cpu", progress=lambda *told: None).execute()
    return result, [line["losses"]["total"] for line in read_lines(folder / METRICS)]


@pytest.mark.parametrize("method", ["dinov2", "mae", "simsiam", "simclr"])
def test_the_loss_falls(home, method):
    _, losses = pretrained(home, method, f"short-{method}", steps=40)
    tenth = max(1, len(losses) // 10)
    assert np.mean(losses[-tenth:]) < np.mean(losses[:tenth])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dinov2_learns_to_tell_views_apart(home, seed):
    """Balanced accuracy of nearest neighbours on other patients: at least 5 points above the random start."""
    options = {"seed": seed, "steps": 300, "precision": "bf16", "labelled": "labelled"}
    result, _ = pretrained(home, "dinov2", f"toy-{seed}", **options)
    assert result["knn_end"] >= result["knn_start"] + 0.05
