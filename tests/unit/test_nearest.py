"""Beside an image: neighbours, distances and other backbones' answers of real runs, against brute force.

Run: pytest tests/unit/test_nearest.py
"""

import numpy as np
import pytest

from fmlab.backbones.catalogue import find_backbone
from fmlab.data.roles import roles
from fmlab.embeddings.cache import items_of, open_cache
from fmlab.errors import BadInput
from fmlab.predictions import read_predictions
from fmlab.runs.launcher import execute
from fmlab.runs.learnt import embeddings_of_run, learnt_items
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store
from fmlab.settings import HOME_VARIABLE, Home
from fmlab.studies import nearest
from fmlab.studies.configs import study_config
from fmlab.studies.label_versions import publish
from fmlab.studies.launch import launch
from fmlab.studies.nearest import (
    Space,
    answers_of_others,
    class_scores,
    lacking_embeddings,
    nearest_training,
    training_distances,
)
from tests.toys import halves

ANNA = Actor("anna", "test")
SETTINGS = {"dataset": "halves", "backbones": ["pixels-24", "random-vit-tiny"], "adaptations": ["linear_svm", "knn"]}
SCHEME = {"scheme": "sequences", "sizes": [1, 2], "seeds": 2}


class World:
    """Two finished studies on half-bright squares; only `pixels-24` has all of its images embedded."""

    def __init__(self, home):
        self.home, self.dataset, self.store = home, halves(home, noise=160), open_store(home)
        launch(home, self.store, study_config({"name": "grid"} | SETTINGS | SCHEME), ANNA)
        dealt = SETTINGS | SCHEME | {"name": "dealt", "folds": 3, "backbones": ["pixels-24"], "sizes": [1], "seeds": 1}
        launch(home, self.store, study_config(dealt), ANNA)
        named = {"dataset": "halves", "backbone": "pixels-24", "method": "pca", "style": "native", "mask_sector": False}
        request_run(self.store, "project", named, "map", ANNA)
        counts = execute(home)
        assert set(counts) == {"done"}, self.store.runs()["reason"].dropna().tolist()
        self.pixels = find_backbone(home, "pixels-24")
        self.found = roles(self.dataset)

    def space(self, folds=None):
        return Space(self.home, self.dataset, self.pixels, "native", False, folds)

    def run_of(self, study, backbone="pixels-24", size=1, seed=0, adaptation="linear_svm"):
        wanted = ("sequences", size, seed)
        return next(
            run
            for run in self.store.study_runs(study)
            if run.config["backbone"] == backbone
            and run.config["adaptation"]["kind"] == adaptation
            and tuple(run.config["subset"][name] for name in ("scheme", "size", "seed")) == wanted
        )

    def embedded(self, rows):
        request = embeddings_of_run(self.home, self.dataset, self.run_of("grid").config)
        return open_cache(self.home, request).read(items_of(rows)).astype(np.float64)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("nearest") / "home"
        patch.setenv(HOME_VARIABLE, str(folder))
        yield World(Home(folder))


def cosine_distances(queries, pool):
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(pool, axis=1)
    return 1 - queries @ pool.T / lengths


def sequences(world, table):
    """The sequences of a table's images, in its order."""
    owners = world.dataset.manifest(["image_id", "sequence_id"]).set_index("image_id")["sequence_id"]
    return owners.loc[table["image_id"]].tolist()


def test_the_nearest_image_of_each_of_the_nearest_sequences_is_that_of_brute_force(world):
    own = world.found.test.iloc[[4]]
    table = nearest_training(world.space(), own["image_id"].iloc[0], count=5)
    distances = cosine_distances(world.embedded(own), world.embedded(world.found.train))[0]
    order = np.argsort(distances, kind="stable")
    order = order[~world.found.train["sequence_id"].iloc[order].duplicated().to_numpy()][:5]
    assert list(table.columns) == ["image_id", "label", "distance", "same_class"]
    assert table["image_id"].tolist() == world.found.train["image_id"].iloc[order].tolist()
    assert np.allclose(table["distance"], distances[order], atol=1e-6)
    assert table["label"].tolist() == world.found.train["label"].iloc[order].tolist()
    assert table["same_class"].tolist() == (table["label"] == own["label"].iloc[0]).tolist()


def test_the_sequence_of_a_training_image_is_not_among_its_neighbours(world):
    own = world.found.train.iloc[0]
    table = nearest_training(world.space(), own["image_id"], count=1000)
    assert sorted(sequences(world, table)) == sorted(set(world.found.train["sequence_id"]) - {own["sequence_id"]})


def test_under_cross_validation_neighbours_are_of_other_folds(world):
    found = roles(world.dataset, 3)
    own = found.test.iloc[0]
    table = nearest_training(world.space(3), own["image_id"], count=1000)
    expected = found.train.loc[found.train["fold"] != own["fold"], "sequence_id"]
    assert sorted(sequences(world, table)) == sorted(set(expected))
    with pytest.raises(BadInput, match="stands in no fold"):
        nearest_training(world.space(3), world.found.test["image_id"].iloc[0])


def test_only_what_a_run_learnt_from_is_searched_where_that_is_asked(world):
    run = world.run_of("grid", size=2)
    own = world.found.test["image_id"].iloc[0]
    table = nearest_training(world.space(), own, count=1000, learnt_by=run)
    learnt = learnt_items(world.dataset, run.config, own)
    assert set(table["image_id"]) <= set(learnt["image_id"])
    assert sorted(sequences(world, table)) == sorted(set(learnt["sequence_id"]))
    assert len(table) == 2 * 2  # sequences of 2 classes


def test_embeddings_that_are_not_there_are_named_and_counted(world):
    tiny = find_backbone(world.home, "random-vit-tiny")
    space = Space(world.home, world.dataset, tiny, "native", False)
    lacking = lacking_embeddings(space)
    assert 0 < lacking < len(world.found.train)
    assert lacking_embeddings(world.space()) == 0
    own = world.found.test["image_id"].iloc[0]
    with pytest.raises(BadInput, match=f"{lacking} of the .* not embedded with random-vit-tiny yet. Embed all"):
        nearest_training(space, own)
    with pytest.raises(BadInput, match="drawing its map"):
        training_distances(space)
    # What the run learnt from is there in any case.
    run = world.run_of("grid", "random-vit-tiny", size=1)
    assert len(nearest_training(space, own, learnt_by=run)) == 2


@pytest.mark.parametrize("folds", [None, 3])
def test_distances_of_test_sets_are_those_of_brute_force(world, folds):
    found = roles(world.dataset, folds)
    table = training_distances(world.space(folds))
    assert set(table["test_set"]) == {"T1" if folds is None else "folds"}
    assert sorted(table["image_id"]) == sorted(found.test["image_id"])
    assert set(table["images"]) == {len(found.test)}
    distances = cosine_distances(world.embedded(found.test), world.embedded(found.train))
    if folds is not None:
        distances[found.test["fold"].to_numpy()[:, None] == found.train["fold"].to_numpy()] = np.inf
    expected = dict(zip(found.test["image_id"], distances.min(axis=1), strict=True))
    assert np.allclose(table["distance"], [expected[image] for image in table["image_id"]], atol=1e-6)


def test_of_a_large_test_set_a_fixed_sample_is_measured(world, monkeypatch):
    monkeypatch.setattr(nearest, "MOST_TESTED", 5)
    nearest._training_distances.cache_clear()
    table = training_distances(world.space())
    nearest._training_distances.cache_clear()
    assert table["image_id"].tolist() == sorted(world.found.test["image_id"])[:5]
    assert set(table["images"]) == {24}


def test_scores_and_other_answers_are_those_of_the_predictions(world):
    image, truth = world.found.test[["image_id", "label"]].iloc[7]
    run, other = (world.run_of("grid", backbone, size=2, seed=1) for backbone in ("pixels-24", "random-vit-tiny"))

    def stored(run):
        known = read_predictions(world.home.predictions / run.result["predictions"], run.key)
        return dict(zip(known.classes, known.scores[0, known.image_ids.tolist().index(image)].tolist(), strict=True))

    table = class_scores(world.home, world.store, run, image)
    assert dict(zip(table["class"], table["score"], strict=True)) == pytest.approx(stored(run))
    assert table["score"].is_monotonic_decreasing
    assert table.loc[table["answer"], "class"].tolist() == [max(stored(run), key=stored(run).get)]
    assert table.loc[table["truth"], "class"].tolist() == [truth]
    others = answers_of_others(world.home, world.store, "grid", run, image)
    answer = max(stored(other), key=stored(other).get)
    assert others.to_dict("records") == [
        {"backbone": "random-vit-tiny", "adaptation": "linear_svm", "answer": answer, "right": answer == truth}
    ]
    learnt = world.found.train["image_id"].iloc[0]
    assert class_scores(world.home, world.store, run, learnt).empty
    assert answers_of_others(world.home, world.store, "grid", run, learnt).empty
    assert answers_of_others(world.home, world.store, "dealt", world.run_of("dealt"), learnt).empty


def test_what_is_right_depends_on_the_label_version(world):
    image, truth = world.found.test[["image_id", "label"]].iloc[2]
    gone = world.found.test["image_id"].iloc[3]
    wrong = next(name for name in world.dataset.card.classes if name != truth)
    publish(world.store, world.dataset, "v2", {image: wrong, gone: None}, "", ANNA)
    run = world.run_of("grid", size=2, seed=1)
    before = answers_of_others(world.home, world.store, "grid", run, image, "T1")
    after = answers_of_others(world.home, world.store, "grid", run, image, "T1@v2")
    assert before["right"].tolist() == [not right for right in after["right"]]
    table = class_scores(world.home, world.store, run, image, "T1@v2")
    assert table.loc[table["truth"], "class"].tolist() == [wrong]
    assert class_scores(world.home, world.store, run, gone, "T1@v2").empty
