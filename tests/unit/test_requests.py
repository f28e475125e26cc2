"""What is asked to run: a map is named by the images and the weights it shows. Run: pytest tests/unit/test_requests.py"""

import dataclasses

import pytest

from fmlab.adapt.configs import LinearSVM
from fmlab.backbones.catalogue import find_backbone, weights_digest
from fmlab.data.manifest import open_dataset, remove_dataset
from fmlab.data.subsets import Subset
from fmlab.embeddings.projection import read_projection
from fmlab.errors import BadInput, NotFound
from fmlab.runs.launcher import execute
from fmlab.runs.records import Actor
from fmlab.runs.requests import CellFacts, cell_request, projection_request, request_run
from fmlab.runs.store import open_store
from tests.toys import halves

ANNA = Actor("anna", "test")
MAP = {"dataset": "halves", "backbone": "pixels-24", "method": "pca", "style": "native", "mask_sector": False}


def test_a_map_is_its_images_and_its_weights_not_their_names(home):
    halves(home)
    halves(home, "copy")
    halves(home, "fewer", patients=12)
    key = projection_request(home, MAP).key
    assert projection_request(home, MAP | {"dataset": "copy"}).key == key
    changes = {
        "dataset": "fewer",
        "backbone": "random-resnet18",
        "method": "umap",
        "style": "paper",
        "mask_sector": True,
    }
    others = {projection_request(home, MAP | {name: value}).key for name, value in changes.items()}
    assert len(others) == len(changes)
    assert key not in others


def test_what_is_not_there_has_no_map(home):
    with pytest.raises(NotFound, match="no dataset"):
        projection_request(home, MAP)


def test_page_launcher_and_worker_agree_on_the_run(home):
    """What the page will look for is what was queued and what the worker draws; asked for twice it is one run."""
    halves(home)
    store = open_store(home)
    asked = request_run(store, "project", MAP, "a map", ANNA)
    assert request_run(store, "project", MAP, "a map", ANNA).key == asked.key == projection_request(home, MAP).key
    assert execute(home) == {"done": 1}
    done = store.run(projection_request(home, MAP).key)
    assert len(read_projection(home.path / done.result["projection"])) == 24 * 3


def test_a_map_is_not_drawn_of_images_that_changed_meanwhile(home):
    halves(home)
    store = open_store(home)
    asked = request_run(store, "project", MAP, "a map", ANNA)
    remove_dataset(home, "halves")
    halves(home, patients=12)
    assert execute(home) == {"failed": 1}
    assert "have changed since this map was asked for" in store.run(asked.key).reason


def test_a_kind_that_only_a_study_has_is_refused(home):
    with pytest.raises(BadInput, match="cannot be requested alone"):
        request_run(open_store(home), "adapt", {}, "cell", ANNA)


def test_the_same_weights_fed_otherwise_are_another_run(home):
    halves(home)
    dataset = open_dataset(home, "halves")
    card = find_backbone(home, "pixels-24")
    squashed = dataclasses.replace(card.spec, resize="crop", resize_to=32)
    facts = CellFacts(dataset, card, weights_digest(card, home), "native", False, "fp32")
    other = dataclasses.replace(facts, card=card.model_copy(update={"spec": squashed}))
    subset = Subset(scheme="images", size=4, seed=0)
    first, second = (cell_request(each, LinearSVM(), subset) for each in (facts, other))
    assert first.key != second.key
