"""The Embeddings page without a dataset, before, while and after a map is made, with a selection, and on a broken home.

The harness runs no script of a component: what the browser would say is put into the session's state.
"""

import base64
import json

import numpy as np
import pandas as pd

from fmlab.data.manifest import open_dataset
from fmlab.review.queues import queues_of
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.ui.map_view import ChosenMap
from tests.pages.conftest import text_of
from tests.pages.made_study import make_dataset, make_study

CONFIG = {"dataset": "toy", "backbone": "pixels-24", "method": "umap", "style": "native", "mask_sector": False}
OTHER = "efficientnet-lite0"
OUTLINE = "a0_0.0_9000.0_9000.9000"


def write_map(home, place):
    """Images in a row, as the worker would leave them."""
    images = open_dataset(home, "toy").manifest(["image_id"])["image_id"]
    place.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"image_id": images, "x": np.arange(len(images)), "y": 0.0}).to_parquet(place)


def project(home, store, config=None):
    """A finished map."""
    run = request_run(store, "project", config or CONFIG, "map", Actor("tester", "test"))
    place = home.embeddings / run.key / "umap.parquet"
    write_map(home, place)
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    queue.finish({run.key: {"projection": str(place.relative_to(home.path))}}, 1.0)
    queue.release()
    return place


def pca_path(home, store):
    return ChosenMap(home, store, open_dataset(home, "toy"), "pixels-24", "umap").path("pca")


def component(page, name):
    return [each.proto for each in page.get("bidi_component") if each.proto.component_name == name]


def view_of(page):
    """What the page tells the map to show; None without a map."""
    found = component(page, "fmlab_embedding_map")
    return json.loads(found[0].json) if found else None


def select(page, positions=(), picked=None, outlines=OUTLINE):
    """As if the browser had said what is inside the outlines, and what was clicked."""
    geometry = view_of(page)["geometry"]
    bits = np.zeros(200, bool)
    bits[list(positions)] = True
    packed = base64.b64encode(np.packbits(bits, bitorder="little").tobytes()).decode()
    said = {"geometry": geometry, "bits": packed, "outlines": outlines, "hidden": ["C"], "background": "points"}
    state = {"selected": said}
    if picked is not None:
        state["picked"] = {"geometry": geometry, "position": picked}
    page.session_state["embedding_map"] = state
    return page.run()


def test_an_empty_home_says_what_to_do_next(open_page):
    page = open_page("embeddings")
    assert not page.exception
    assert "No dataset yet" in text_of(page)


def test_without_a_map_there_is_a_button_that_asks_for_one(open_page, home):
    store = make_study(home)
    page = open_page("embeddings", dataset="toy", backbone="pixels-24")
    assert not page.exception
    assert view_of(page) is None
    button = next(button for button in page.button if button.label == "Draw the map")
    button.click().run()
    assert not page.exception
    runs = store.runs()
    asked = store.run(runs.loc[runs["kind"] == "project", "key"].iloc[0])
    assert {name: asked.config[name] for name in CONFIG} == CONFIG
    assert "appears here as soon as" in text_of(page)


def test_principal_components_stand_in_until_umap_is_there(open_page, home):
    store = make_study(home)
    write_map(home, pca_path(home, store))
    page = open_page("embeddings", dataset="toy", backbone="pixels-24")
    assert view_of(page) is not None
    assert "No UMAP projection" in text_of(page)
    before = view_of(page)["geometry"]
    next(button for button in page.button if button.label == "Draw the map").click().run()
    assert "PCA for now; UMAP takes its place by itself" in text_of(page)
    assert view_of(page)["geometry"] == before


def test_principal_components_of_a_umap_need_no_run_of_their_own(open_page, home):
    write_map(home, pca_path(home, make_study(home)))
    page = open_page("embeddings", dataset="toy", backbone="pixels-24", method="PCA")
    assert view_of(page) is not None
    assert "Draw the map" not in [button.label for button in page.button]


COLOURS = {
    "Label": "label",
    "Split": "split",
    "Site": "site",
    "Sequence": "sequence",
    "Verdict": "verdict",
    "Prediction": "prediction",
    "Correctness": "correct",
    "Confidence": "confidence",
}


def test_the_map_is_coloured_as_asked(open_page, home):
    project(home, make_study(home))
    page = open_page("embeddings", dataset="toy", backbone="pixels-24", colour="Site", s=OUTLINE)
    assert view_of(page)["colour"] == "site"
    for colour, column in COLOURS.items():
        page.selectbox(key="colour").set_value(colour).run()
        assert not page.exception
        assert not page.error
        view = view_of(page)
        assert (view["colour"], view["shape"], view["selection"], view["panels"]) == (column, "test_set", OUTLINE, [0])
        assert ("a linear SVM gives no probabilities" in text_of(page)) == (colour == "Confidence")
        assert "axes have no unit" in text_of(page)


def test_two_backbones_stand_side_by_side(open_page, home):
    store = make_study(home)
    project(home, store)
    project(home, store, CONFIG | {"backbone": OTHER})
    page = open_page("embeddings", dataset="toy", backbone="pixels-24", compare=OTHER)
    assert not page.exception
    assert view_of(page)["panels"] == [0, 1]
    blob = component(page, "fmlab_map_geometry")[0].bytes
    assert f'["pixels-24 \\u00b7 UMAP", "{OTHER} \\u00b7 UMAP"]'.encode() in blob


def test_a_selection_shows_its_images_classes_and_answers(open_page, home):
    project(home, make_study(home))
    page = open_page("embeddings", dataset="toy", backbone="pixels-24")
    assert "Nothing selected" in text_of(page)
    select(page, range(33, 57))  # three training images, then all 21 of T1
    assert not page.exception
    assert not page.error
    assert "**24 images** of 8 sequences selected" in text_of(page)
    assert "of 21 scored" in text_of(page)
    tiles = json.loads(component(page, "fmlab_gallery")[0].json)["tiles"]
    assert len(tiles) == 24
    assert tiles[0]["tone"] == "bad"  # what was answered wrongly comes first
    bars = json.loads(component(page, "fmlab_share_bars")[0].json)["bars"]
    assert {bar["name"]: (bar["count"], bar["total"]) for bar in bars} == {"A": (9, 27), "B": (6, 24), "C": (9, 18)}
    matrix = json.loads(component(page, "fmlab_confusion_matrix")[0].json)
    assert sum(matrix["cells"][2::3]) == 21


def test_what_was_done_on_the_map_is_in_the_address(open_page, home):
    project(home, make_study(home))
    page = open_page("embeddings", dataset="toy", backbone="pixels-24")
    select(page, range(5), picked=40)
    address = {name: page.query_params[name] for name in ("s", "hidden", "background", "image")}
    rows = open_dataset(home, "toy").manifest(["image_id"])
    expected = {"s": OUTLINE, "hidden": "C", "background": "points", "image": rows["image_id"].iloc[40]}
    assert address == expected
    page.button(key="close_picked").click().run()
    assert "image" not in page.query_params


def test_a_selection_becomes_a_queue(open_page, home):
    store = make_study(home)
    project(home, store)
    page = open_page("embeddings", dataset="toy", backbone="pixels-24")
    select(page, range(36, 40))
    page.button(key="review_selection").click().run()
    queue = queues_of(store, "toy")[0]
    images = open_dataset(home, "toy").manifest(["image_id"])["image_id"]
    assert sorted(item.item for item in queue.items) == sorted(images.iloc[36:40])
    assert page.title[0].value == "Review"
    assert page.query_params["queue"] == queue.key


def test_outlines_of_another_map_are_forgotten(open_page, home):
    store = make_study(home)
    project(home, store)
    write_map(home, pca_path(home, store))
    page = open_page("embeddings", dataset="toy", backbone="pixels-24", s=OUTLINE)
    assert view_of(page)["selection"] == OUTLINE
    page.button_group(key="method").set_value("PCA").run()
    assert view_of(page)["selection"] == ""


def test_a_link_with_a_spoilt_outline_is_one_message(open_page, home):
    project(home, make_study(home))
    page = open_page("embeddings", dataset="toy", backbone="pixels-24", s="a0_<img src=x>")
    assert not page.exception
    assert len(page.error) == 1
    assert "no outline on the map" in page.error[0].value


def test_a_map_of_another_preprocessing_is_not_taken_for_this_one(open_page, home):
    project(home, make_study(home), CONFIG | {"mask_sector": True})
    page = open_page("embeddings", dataset="toy", backbone="pixels-24")
    assert view_of(page) is None


def test_a_damaged_map_is_one_message(open_page, home):
    project(home, make_study(home)).write_bytes(b"not parquet")
    page = open_page("embeddings", dataset="toy", backbone="pixels-24")
    assert not page.exception
    assert "missing or damaged" in page.error[0].value


def test_a_broken_store_is_one_message(open_page, home):
    make_dataset(home)
    home.database.write_bytes(b"this is not a database" * 1000)
    page = open_page("embeddings")
    assert not page.exception
    assert len(page.error) == 1
