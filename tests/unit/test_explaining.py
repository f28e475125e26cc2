"""Where a run looked: real runs on squares whose answer rests on one half. Run: pytest tests/unit/test_explaining.py"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.loaders import load_backbone
from fmlab.data.preprocessing import fit, normalise
from fmlab.data.store import stored_images
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput
from fmlab.predictions import Predictions, read_predictions, write_predictions
from fmlab.runs.heat import explanation_request, read_heat, write_heat
from fmlab.runs.launcher import execute
from fmlab.runs.learnt import learnt_items
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.settings import HOME_VARIABLE, Home
from fmlab.studies.configs import study_config
from fmlab.studies.launch import launch

ANNA = Actor("anna", "test")


def lamps(home, patients=18, side=48):
    """Noisy squares with a lamp in the left half: above in class `lit`, below in `dim`; the right half is only noise."""
    rng = np.random.default_rng(3)
    with DatasetWriter(home, "lamps") as writer:
        for patient in range(patients):
            label = ("lit", "dim")[patient % 2]
            picture = rng.integers(60, 90, (side, side))
            lamp = slice(0, side // 2) if label == "lit" else slice(side // 2, side)
            picture[lamp, : side // 2] += 60
            row = ImageRow(
                f"p{patient}.png", label=label, patient_id=f"p{patient}", split=("train", "T1")[patient % 3 == 2]
            )
            writer.add(row, picture.astype(np.uint8))
        return writer.finish(CardFacts("toy"), ("lit", "dim"))


STUDIES = {  # each is one run
    "svm": {"adaptations": ["linear_svm"], "sizes": [4]},
    "knn": {"adaptations": ["knn"], "sizes": [2]},
    "logistic": {"adaptations": ["logistic"], "sizes": [2]},
    "copies": {"adaptations": ["linear_svm"], "sizes": [2], "copies": 2},
    "folds": {"adaptations": ["linear_svm"], "sizes": [2], "folds": 3},
}


class World:
    """A home with the finished studies, one run each, and the explanations that the tests look at.

    Worker processes take seconds to start: one makes all studies, a second one all explanations.
    """

    def __init__(self, home):
        self.home, self.dataset, self.store = home, lamps(home), open_store(home)
        for name, changes in STUDIES.items():
            settings = {"name": name, "dataset": "lamps", "backbones": ["pixels-24"], "scheme": "sequences", "seeds": 1}
            launch(home, self.store, study_config(settings | changes), ANNA)
        counts = execute(home)
        assert set(counts) == {"done"}, self.store.runs()["reason"].dropna().tolist()
        self.runs = {name: self.store.study_runs(name)[0] for name in STUDIES}
        self.asked = {}
        for name in STUDIES:
            self.ask(name, "lit")
            self.ask(name, "dim")
        self.ask("svm", "lit", target="dim")
        # A run whose predictions are not what its probe gives: their columns are swapped.
        self.forged = self.forge(self.runs["logistic"])
        execute(home)

    def ask(self, name, label, target=None):
        request = explanation_request(
            self.home, self.runs[name], self.image_of(label, split="train" if name == "folds" else "T1"), target
        )
        self.asked[name, label, target] = self.store.request(request, ANNA).key

    def forge(self, run):
        path = self.home.predictions / run.result["predictions"]
        whole = path.read_bytes()
        known = read_predictions(path)
        write_predictions(path, Predictions(known.runs, known.image_ids, known.scores[..., ::-1].copy(), known.classes))
        request = explanation_request(self.home, run, self.image_of("lit", place=1))
        path.write_bytes(whole)
        return self.store.request(request, ANNA).key

    def image_of(self, label, place=0, split="T1"):
        rows = self.dataset.manifest(["image_id", "label", "split"])
        return rows[(rows["split"] == split) & (rows["label"] == label)]["image_id"].iloc[place]

    def explained(self, name, label, target=None):
        done = self.store.run(self.asked[name, label, target])
        assert done.state == "done", done.reason
        return done, read_heat(self.home, done)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("explaining") / "home"
        patch.setenv(HOME_VARIABLE, str(folder))
        yield World(Home(folder))


def test_the_answer_rests_on_the_half_that_decides_it(world):
    done, heat = world.explained("svm", "lit")
    assert done.config["answer"] == done.result["target"] == "lit"
    assert heat.shape == (24, 24)
    left, right = heat[:, :12], heat[:, 12:]
    assert np.abs(left).mean() > 5 * np.abs(right).mean()
    lamp = left[:11]  # a square across the middle touches both places
    assert lamp.min() > 0  # darkness there speaks against the lamp
    assert np.unravel_index(heat.argmax(), heat.shape) < (12, 12)
    # For the other class the same part speaks with the other sign.
    assert np.allclose(world.explained("svm", "lit", "dim")[1], -heat, atol=1e-5)


def test_the_heat_is_the_mean_fall_of_the_score_over_the_squares_that_cover_a_pixel(world):
    """Covered by hand with black, square by square, and scored by the votes of nearest neighbours."""
    done, heat = world.explained("knn", "dim")
    card = find_backbone(world.home, "pixels-24")
    backbone = load_backbone(card, world.home)
    items = learnt_items(world.dataset, world.runs["knn"].config, done.config["image_id"])

    def fitted(image_id):
        return fit(stored_images(world.dataset.folder / "store", [image_id])[image_id], card.spec)

    def directions(pictures):
        batch = torch.from_numpy(np.stack([normalise(picture, card.spec) for picture in pictures]))
        features = backbone.features(batch).numpy().astype(np.float64)
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    learnt = directions([fitted(image_id) for image_id in items["image_id"]])
    mine = items["label"].to_numpy() == done.config["target"]

    def score(pictures):
        weights = np.exp(directions(pictures) @ learnt.T / 0.07)
        return weights[:, mine].sum(axis=1) / weights.sum(axis=1)

    picture = fitted(done.config["image_id"])
    side, window = len(picture), len(picture) // 8
    total, times = np.zeros((side, side)), np.zeros((side, side))
    for top in range(side - window + 1):
        for left in range(side - window + 1):
            square = slice(top, top + window), slice(left, left + window)
            covered = picture.copy()
            covered[square] = 0
            total[square] += score([picture])[0] - score([covered])[0]
            times[square] += 1
    assert np.abs(heat).max() > 1e-3
    assert np.allclose(heat, total / times, atol=1e-5)


@pytest.mark.parametrize("name", STUDIES)
def test_the_probe_fitted_again_is_the_runs(world, name):
    """The worker refuses scores other than the run's, so a finished explanation says that they are the same."""
    for label in ("lit", "dim"):
        assert np.abs(world.explained(name, label)[1]).max() > 0


def test_asked_again_it_is_the_run_that_is_there(world):
    done, _ = world.explained("svm", "lit")
    assert world.store.request(explanation_request(world.home, world.runs["svm"], world.image_of("lit")), ANNA) == done


def test_an_answer_that_the_probe_does_not_give_is_not_explained(world):
    refused = world.store.run(world.forged)
    assert refused.state == "failed"
    assert "Fitted again, this run answers 'lit'" in refused.reason
    with pytest.raises(BadInput, match="missing or damaged"):
        read_heat(world.home, refused)


def test_what_has_no_explanation_is_said(world):
    run, image = world.runs["svm"], world.image_of("lit")
    learnt = world.dataset.manifest(["image_id", "split"]).query("split == 'train'")["image_id"].iloc[0]
    with pytest.raises(BadInput, match="was not scored by this run"):
        explanation_request(world.home, run, learnt)
    with pytest.raises(BadInput, match="'lamp' is no class"):
        explanation_request(world.home, run, image, "lamp")
    with pytest.raises(BadInput, match="its weights were not kept"):
        explanation_request(world.home, replace(run, kind="train"), image)
    with pytest.raises(BadInput, match="is queued"):
        explanation_request(world.home, replace(run, state="queued"), image)


def test_what_a_run_learnt_from_is_its_subset(world):
    """Sequences per class, all their items; under cross-validation none of the tested image's own fold."""
    image = world.image_of("lit", split="train")
    items = {name: learnt_items(world.dataset, run.config, image) for name, run in world.runs.items()}
    for name, size, each in (("svm", 4, 1), ("knn", 2, 1), ("copies", 2, 3), ("folds", 2, 1)):
        assert items[name]["label"].value_counts().to_dict() == {"lit": size * each, "dim": size * each}
    assert sorted(items["copies"]["copy"].unique()) == [0, 1, 2]
    assert image not in set(items["folds"]["image_id"])


def test_a_damaged_heat_is_said(world, tmp_path):
    done, _ = world.explained("logistic", "dim")
    path = world.home.path / done.result["heat"]
    write_heat(path, np.zeros(3, np.float32))
    with pytest.raises(BadInput, match="expected float32"):
        read_heat(world.home, done)
    path.write_bytes(b"no array")
    with pytest.raises(BadInput, match="missing or damaged"):
        read_heat(world.home, done)
