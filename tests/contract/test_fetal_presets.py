"""The fetal study's presets on a miniature of FETAL_PLANES_DB, with a teacher in UltraDINO's format: planned, priced, run.

Run: pytest tests/contract/test_fetal_presets.py
"""

import pytest
import torch

from fmlab.adapt.configs import LinearHead
from fmlab.backbones.added import SpecOverrides, add_backbone
from fmlab.readers.fetal_planes import PLANES
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import reader_options
from fmlab.runs.launcher import execute
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.studies.grid import lay_out
from fmlab.studies.launch import launch
from fmlab.studies.planner import plan
from fmlab.studies.presets import FETAL_BACKBONES, find_preset, preset_config
from fmlab.studies.results import results
from tests.contract.original_models import vit
from tests.contract.reader_miniatures import fetal_planes

PATIENTS = 6  # two of them are tested; each has an image of every plane
ANNA = Actor("anna", "test")


@pytest.fixture
def planes(home, tmp_path):
    """The published archive in miniature, imported."""
    rows = [
        (f"Patient{patient:05}_Plane{place}_1_of_1", str(patient), plane, "Not A Brain", "Op. 1", "Aloka", half)
        for patient in range(1, PATIENTS + 1)
        for half in ["1" if patient <= 4 else "0"]
        for place, plane in enumerate(PLANES, start=1)
    ]
    source = fetal_planes(tmp_path / "FETAL_PLANES_ZENODO", rows)
    return import_dataset(home, source, "planes", options=reader_options(), processes=0)


@pytest.fixture
def teacher(home, tmp_path):
    """A teacher as UltraDINO's training writes it: one grey channel, four registers; small, and recognised as what it is."""
    path = tmp_path / "teacher_checkpoint.pth"
    own = vit(patch=16, grid=2, channels=1, registers=4, scales=True)
    torch.save({"teacher": {f"backbone.{name}": value for name, value in own.items()}}, path)
    return add_backbone(home, path, "mine", overrides=SpecOverrides(mean=(0.2,) * 3, std=(0.2,) * 3)).key


def priced(home, dataset, key, **changes):
    config = preset_config(home, key, dataset, "fetal", **changes)
    return config, plan(home, open_store(home), config)


def test_the_presets_are_the_studys(home, planes):
    probe, finetune = (find_preset(f"fetal/{name}") for name in ("probe", "finetune"))
    assert {"ultradino-vit-small", "ultradino-vit-base", "usfm", "ibot-vit-base"} <= set(FETAL_BACKBONES)
    assert (probe.sizes, probe.copies, probe.style) == (("all",), 0, "squash")
    assert finetune.adaptations == ({"kind": "finetune", "recipe": "fetal"},)
    grid = LinearHead(**probe.adaptations[0])
    assert (len(grid.learning_rates), grid.blocks, grid.average_pool, grid.epochs) == (13, (1, 4), (False, True), 10)
    config, price = priced(home, planes, "fetal/probe", backbones=("random-vit-tiny",))
    (request,) = lay_out(home, planes, config).requests
    assert request.config["feature"] == "blocks"
    fed = request.config["input"]
    assert (fed["size"], fed["resize"], fed["resize_to"]) == (224, "squash", 224)
    assert price.refusals == ()


def test_finetuning_is_priced_by_its_epochs(home, planes):
    _, price = priced(home, planes, "fetal/finetune", backbones=("random-vit-tiny",))
    (row,) = price.backbones
    assert row.images == 200 * 24 + 12  # every training image 200 times, every test image once
    assert row.seconds == pytest.approx(200 * 24 / row.images_per_second, rel=0.05)
    assert price.refusals == ()
    short = priced(
        home, planes, "fetal/finetune", backbones=("random-vit-tiny",),
        adaptations=({"kind": "finetune", "recipe": "fetal", "epochs": 2},),
    )[1]  # fmt: skip
    assert short.backbones[0].images == 2 * 24 + 12


def test_few_shot_draws_images_of_every_plane_and_drops_what_there_is_not(home, planes):
    config, price = priced(home, planes, "fetal/few-shot", backbones=("pixels-24",))
    grid = lay_out(home, planes, config)
    assert grid.sizes == (1, 2)  # four training images of every plane
    assert price.cells == 2 * 2 * 20
    assert price.dropped == ("Sizes 5, 10, 20, 50 were dropped: the training set has 4 sequences per class.",)


def test_what_differs_from_the_study_is_said(home, planes):
    said = {
        key: " ".join(priced(home, planes, f"fetal/{key}", backbones=("pixels-24",))[1].differences)
        for key in ("probe", "few-shot")
    }
    said["finetune"] = " ".join(priced(home, planes, "fetal/finetune", backbones=("random-vit-tiny",))[1].differences)
    assert all("6 classes, 24 training and 12 test images; the study has 6, 5,804" in text for text in said.values())
    assert all("No images are kept to choose by" in text for text in said.values())
    assert all("ultradino-vit-base" in text for text in said.values())  # whose weights are not here
    assert "chosen by cross-validation inside the training images" in said["probe"]
    assert "our own extension" in said["few-shot"]
    assert "after the last epoch" in said["finetune"]


def test_a_teacher_in_ultradinos_format_runs_in_them(home, planes, teacher):
    store = open_store(home)
    quick = {"kind": "finetune", "recipe": "fetal", "epochs": 3, "input_size": 32}
    changes = {"probe": {}, "few-shot": {"seeds": 2}, "finetune": {"adaptations": (quick,)}}
    cells = {}
    for key, change in changes.items():
        config = preset_config(home, f"fetal/{key}", planes, key, backbones=(teacher,), **change)
        assert plan(home, store, config).refusals == ()
        cells[key] = len(lay_out(home, planes, config).requests)
        launch(home, store, config, ANNA)
    assert cells == {"probe": 1, "few-shot": 8, "finetune": 1}
    assert execute(home) == {"done": 10}
    for key, count in cells.items():
        table = results(home, store, key)
        assert len(table) == count
        assert (table["n_images"] == 12).all()
        numbers = table[["macro_f1", "image_accuracy", "auroc"]].to_numpy(dtype=float)
        assert ((numbers >= 0) & (numbers <= 1)).all()
    (run,) = store.study_runs("finetune", "done")
    assert (run.result["epochs"], run.result["steps"], run.result["micro_batch"]) == (3, 3, 128)
