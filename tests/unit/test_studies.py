"""From a study's config to its runs and its price. Run: pytest tests/unit/test_studies.py"""

import shutil
import time

import numpy as np
import pytest

from fmlab.data.manifest import content_codes, remove_dataset
from fmlab.data.subsets import Subset, draw_all
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput, NameTaken
from fmlab.runs.launcher import execute
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.studies.configs import study_config
from fmlab.studies.grid import lay_out
from fmlab.studies.launch import launch
from fmlab.studies.needed import labelled_items, needed_items, state_of
from fmlab.studies.planner import plan
from tests.toys import CLASSES, half_bright, halves

ANNA = Actor("anna", "test")


def config(**changes):
    settings = {
        "name": "first",
        "dataset": "halves",
        "backbones": ["pixels-24"],
        "adaptations": ["knn"],
        "scheme": "sequences",
        "sizes": [2, 1, 2],
        "seeds": 3,
    }
    return study_config(settings | changes)


def test_a_grid_has_a_cell_for_every_combination(home):
    grid = lay_out(
        home, halves(home), config(backbones=["pixels-24", "random-resnet18"], adaptations=["knn", "logistic"])
    )
    assert grid.sizes == (1, 2)
    assert len(grid.requests) == 2 * 2 * 2 * 3
    assert len({request.key for request in grid.requests}) == len(grid.requests)
    assert len({request.group for request in grid.requests}) == 2  # runs of one backbone are executed together


def test_a_cell_is_its_content_not_its_names(home):
    first, second = halves(home, "halves"), halves(home, "copy")
    keys = [
        {r.key for r in lay_out(home, dataset, config(dataset=dataset.name)).requests} for dataset in (first, second)
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    "change",
    [{"style": "paper"}, {"mask_sector": True}, {"adaptations": [{"kind": "knn", "k": 3}]}, {"scheme": "images"}],
)
def test_what_decides_the_numbers_decides_the_key(home, change):
    dataset = halves(home)
    before = {request.key for request in lay_out(home, dataset, config()).requests}
    after = {request.key for request in lay_out(home, dataset, config(**change)).requests}
    assert not before & after


def test_a_config_comes_back_from_its_plain_form():
    first = config(adaptations=["linear_svm", {"kind": "knn", "k": 3}])
    assert study_config(first.plain()) == first


def test_a_plan_counts_what_is_there_and_what_is_missing(home):
    halves(home)
    store = open_store(home)
    before = plan(home, store, config())
    assert (before.cells, before.cached, before.to_compute) == (6, 0, 6)
    assert before.backbones[0].images_cached == 0
    launch(home, store, config(), ANNA)
    assert execute(home) == {"done": 6}
    after = plan(home, store, config(name="second"))
    assert (after.cells, after.cached, after.seconds) == (6, 6, 0)
    more = plan(home, store, config(name="third", seeds=4))
    assert more.to_compute == 2
    assert more.backbones[0].images_cached > 0
    assert more.backbones[0].measured


def test_a_plan_forgets_what_is_gone_and_sees_what_changed(home):
    """What a page keeps between two clicks is dropped with the embeddings, and with the images, that it was counted from."""
    dataset = halves(home)
    store = open_store(home)
    launch(home, store, config(scheme="images", sizes=[48]), ANNA)
    execute(home)
    wider = config(name="wider", scheme="images", sizes=[48], adaptations=["logistic"])
    assert plan(home, store, wider).backbones[0].images_cached == len(dataset.manifest(["image_id"]))
    shutil.rmtree(home.embeddings)
    assert plan(home, store, wider).backbones[0].images_cached == 0
    remove_dataset(home, "halves")
    fewer = halves(home, patients=23)
    assert plan(home, store, config(scheme="images", sizes=[45])).backbones[0].images == len(
        fewer.manifest(["image_id"])
    )


def test_the_images_that_subsets_need_are_each_counted_once(home):
    dataset = halves(home)
    state = state_of(dataset)
    table = dataset.manifest(["content_hash", "split"])
    train = table["content_hash"][table["split"] == "train"].reset_index(drop=True)
    subsets = (Subset("images", 10, 0), Subset("images", 10, 1))
    drawn = np.union1d(*draw_all(labelled_items(state), subsets))
    wanted = {*content_codes(train[drawn]), *content_codes(table["content_hash"][table["split"] == "T1"])}
    found = needed_items(state, subsets)["content"].tolist()
    assert len(found) == len(set(found))
    assert set(found) == wanted


def test_a_plan_says_what_refuses_it(home):
    halves(home)
    store = open_store(home)
    assert "Choose sizes from 1 to 8" in plan(home, store, config(sizes=[9])).refusals[0]
    assert "no dataset" in plan(home, store, config(dataset="nothing")).refusals[0]


def leaking_dataset(home):
    with DatasetWriter(home, "leaky") as writer:
        rng = np.random.default_rng(0)
        for number in range(12):
            side = CLASSES[number % 2]
            split = "T1" if number % 3 == 0 else "train"
            writer.add(
                ImageRow(f"{number}.png", label=side, patient_id=f"p{number // 4}", split=split), half_bright(side, rng)
            )
        return writer.finish(CardFacts("toy"), CLASSES)


def test_a_leaking_split_is_refused_unless_accepted_by_name(home):
    leaking_dataset(home)
    store = open_store(home)
    study = {"dataset": "leaky", "scheme": "images", "sizes": [4]}
    with pytest.raises(BadInput, match=r"patient p0.*both sides"):
        launch(home, store, config(**study), ANNA)
    assert store.studies() == []
    assert "leaks" in plan(home, store, config(**study)).refusals[0]
    record = launch(home, store, config(**study, allow_leaking="leaky"), ANNA)
    assert any("leaks" in note for note in record.notes)


def test_a_study_is_launched_once(home):
    halves(home)
    store = open_store(home)
    launch(home, store, config(), ANNA)
    with pytest.raises(NameTaken):
        launch(home, store, config(), ANNA)


def test_a_demo_goes_on_after_the_server_was_restarted(home, monkeypatch):
    """The phantom was being drawn when the server ended: the new one waits for it and launches the study."""
    from fmlab.phantom.build import build_phantom
    from fmlab.phantom.cases import PhantomConfig
    from fmlab.runs.queue import Queue
    from fmlab.studies import demo

    store = open_store(home)
    demo.start_demo(home, store, ANNA)
    demo.start_demo(home, store, ANNA)  # pressed twice: still one phantom
    assert len(store.runs()) == 1
    queue = Queue(store)
    queue.acquire()
    claim = queue.claim("files")
    demo.resume_demo(home, store, ANNA)
    build_phantom(
        home, demo.DATASET, PhantomConfig(sequences_per_class=1, t1_sequences=12, t2_sequences=9, frames_per_sequence=5)
    )
    queue.finish({claim.runs[0][0]: {}}, 1.0)
    for _ in range(100):
        if store.studies():
            break
        time.sleep(0.1)
    assert [study.name for study in store.studies()] == ["demo"]
