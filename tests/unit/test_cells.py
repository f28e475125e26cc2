"""Cells of every kind through the real worker: copies, cross-validation, trainings. Run: pytest tests/unit/test_cells.py"""

import json

import numpy as np
import pandas as pd
import pytest

from fmlab.data.manifest import content_codes
from fmlab.errors import BadInput
from fmlab.runs.launcher import execute
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.studies.configs import study_config
from fmlab.studies.grid import lay_out
from fmlab.studies.launch import launch
from fmlab.studies.needed import needed_items, state_of
from fmlab.studies.results import absent_sentence, results
from fmlab.studies.scoring import item_table
from tests.toys import halves

ANNA = Actor("anna", "test")
TINY = {"kind": "finetune", "input_size": 32, "samples": 256, "batch": 16, "learning_rate": 1e-3}


def study(name="first", **changes):
    settings = {
        "name": name,
        "dataset": "halves",
        "backbones": ["pixels-24"],
        "adaptations": ["linear_svm"],
        "scheme": "sequences",
        "sizes": [2],
        "seeds": 1,
    }
    return study_config(settings | changes)


def run(home, config):
    store = open_store(home)
    launch(home, store, config, ANNA)
    counts = execute(home, config.name)
    assert set(counts) == {"done"}, store.runs(config.name)["reason"].dropna().tolist()
    return store, results(home, store, config.name)


def test_copies_are_items_like_the_images(home):
    dataset = halves(home)
    config = study(copies=4)
    grid = lay_out(home, dataset, config)
    items = needed_items(state_of(dataset), (grid_subset(grid),))
    # 2 sequences of 2 classes, 3 frames each, times 5; and the 24 test images
    assert len(items) == 2 * 2 * 3 * 5 + 24
    assert sorted(np.unique(items["copy"])) == [0, 1, 2, 3, 4]
    tested = dataset.manifest(["content_hash", "split"]).query("split == 'T1'")["content_hash"]
    assert not set(items["content"][items["copy"] > 0]) & set(content_codes(tested))
    table = run(home, config)[1]
    assert table["n_train"].tolist() == [60]
    plain = run(home, study("plain"))[1]
    assert plain["n_train"].tolist() == [12]
    assert set(plain["run"]).isdisjoint(table["run"])


def grid_subset(grid):
    from fmlab.data.subsets import Subset

    return Subset(**grid.requests[0].config["subset"])


def test_by_images_the_largest_size_counts_the_copies(home):
    dataset = halves(home)
    grid = lay_out(home, dataset, study(scheme="images", sizes=["all", 16], copies=4))
    assert grid.sizes == (16, 48 * 5)
    with pytest.raises(BadInput, match="has 48 images"):
        lay_out(home, dataset, study(scheme="images", sizes=[49]))


def test_cross_validation_scores_every_patient_once(home):
    halves(home)
    store, table = run(home, study(folds=4, adaptations=["linear_svm", "knn"], sizes=[1, 5]))
    assert table["test_set"].unique().tolist() == ["folds"]
    assert table["n_images"].unique().tolist() == [48]  # all that the source gives for training; its T1 stays apart
    assert table.loc[table["size"] == 5, "image_accuracy"].min() > 0.8
    items = item_table(home, store, table["run"].iloc[0])
    assert items["patient_id"].nunique() == 16


def test_a_size_that_one_fold_cannot_serve_is_refused(home):
    dataset = halves(home)  # 8 training patients of each class, in folds of 2
    lay_out(home, dataset, study(folds=4, sizes=[6]))
    with pytest.raises(BadInput, match="has 6 sequences per class"):
        lay_out(home, dataset, study(folds=4, sizes=[7]))


def test_a_finetuned_cell_learns_and_leaves_no_checkpoint(home):
    halves(home)
    random = {"backbone": "random-resnet18", "adaptation": {**TINY, "kind": "scratch"}}
    store, table = run(home, study(backbones=["random-resnet18"], adaptations=[TINY], sizes=[8], baselines=[random]))
    assert table["adaptation"].nunique() == 2
    done = store.run(table["run"].iloc[0])
    assert done.kind == "train"
    assert done.result["epochs"] == -(-256 // 48)
    assert table["image_accuracy"].min() > 0.8
    folder = home.runs / done.group
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(losses).all()
    assert not list(folder.rglob("*.safetensors"))
    speed = store.measurement("cpu", "random-resnet18", "train_images_per_second:finetune:32")
    assert speed == pytest.approx(done.result["images_per_second"])


def test_the_same_training_gives_the_same_numbers_in_another_home(home, tmp_path_factory):
    from fmlab.settings import Home

    config = study(backbones=["random-resnet18"], adaptations=[TINY | {"samples": 64}], sizes=[2], folds=2)
    tables = []
    for place in (home, Home(tmp_path_factory.mktemp("other"))):
        halves(place)
        tables.append(run(place, config)[1])
    pd.testing.assert_frame_equal(*tables)


def test_scratch_needs_no_weights_and_knows_its_architecture(home):
    dataset = halves(home)
    scratch = study(backbones=["dinov2-vit-small"], adaptations=["scratch"])
    other = study(backbones=["vit-mae-base"], adaptations=["scratch"])
    keys = {lay_out(home, dataset, each).requests[0].key for each in (scratch, other)}
    assert len(keys) == 2


def test_a_class_that_a_subset_lacks_is_named(home):
    from tests.pages.made_study import make_dataset

    make_dataset(home)  # 12 training images of each of A, B and C
    tiny = TINY | {"kind": "scratch", "samples": 8}
    config = study(dataset="toy", scheme="images", sizes=[2, 36], seeds=8, backbones=["pixels-24"], adaptations=["knn"])
    trained = study(
        "trained", dataset="toy", scheme="images", sizes=[2], seeds=2, backbones=["random-resnet18"], adaptations=[tiny]
    )
    store = open_store(home)
    for each in (config, trained):
        launch(home, store, each, ANNA)
    execute(home)
    table = results(home, store, "first").drop_duplicates("run").set_index("size")
    assert set(table.loc[2, "absent_classes"]) <= {"A", "B", "C"}  # two images of two classes
    assert table.loc[[36], "absent_classes"].tolist() == [""]
    assert "runs drew a subset without" in absent_sentence(results(home, store, "first"))
    same = results(home, store, "trained").set_index("seed")["absent_classes"]  # of seed 0 both images are of one class
    assert set(same.index) == {1}
    assert same.unique().tolist() == table.loc[2].query("seed == 1")["absent_classes"].tolist()
