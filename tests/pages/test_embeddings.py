"""The Embeddings page without a dataset, before, while and after a projection is made, and on a broken home."""

import numpy as np
import pandas as pd
import pytest

from fmlab.data.manifest import open_dataset
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.ui.map_view import sampled
from tests.pages.conftest import text_of
from tests.pages.made_study import make_dataset, make_study

CONFIG = {"dataset": "toy", "backbone": "pixels-24", "method": "umap", "style": "native", "mask_sector": False}


def project(home, store, config=None):
    """A finished projection: images in a row, as one would be left by the worker."""
    run = request_run(store, "project", config or CONFIG, "map", Actor("tester", "test"))
    images = open_dataset(home, "toy").manifest(["image_id"])["image_id"]
    place = home.embeddings / run.key / "umap.parquet"
    place.parent.mkdir(parents=True)
    pd.DataFrame({"image_id": images, "x": np.arange(len(images)), "y": 0.0}).to_parquet(place)
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    queue.finish({run.key: {"projection": str(place.relative_to(home.path))}}, 1.0)
    queue.release()
    return place


def test_an_empty_home_says_what_to_do_next(open_page):
    page = open_page("embeddings")
    assert not page.exception
    assert "No dataset yet" in text_of(page)


def test_without_a_projection_there_is_a_button_that_asks_for_one(open_page, home):
    store = make_study(home)
    page = open_page("embeddings", dataset="toy", backbone="pixels-24")
    assert not page.exception
    button = next(button for button in page.button if button.label == "Draw the map")
    button.click().run()
    assert not page.exception
    runs = store.runs()
    asked = store.run(runs.loc[runs["kind"] == "project", "key"].iloc[0])
    assert {name: asked.config[name] for name in CONFIG} == CONFIG
    assert "appears here as soon as it is drawn" in text_of(page)


@pytest.mark.parametrize("colour", ["Label", "Split", "Site", "Prediction", "Correctness"])
def test_the_map_is_coloured_as_asked(open_page, home, colour):
    project(home, make_study(home))
    page = open_page("embeddings", dataset="toy", backbone="pixels-24", colour=colour)
    assert not page.exception
    assert not page.error
    assert len(page.get("plotly_chart")) == 1
    assert "axes have no unit" in text_of(page)


def test_a_projection_of_another_preprocessing_is_not_taken_for_this_one(open_page, home):
    project(home, make_study(home), CONFIG | {"mask_sector": True})
    page = open_page("embeddings", dataset="toy", backbone="pixels-24")
    assert len(page.get("plotly_chart")) == 0


def test_a_damaged_projection_is_one_message(open_page, home):
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


def test_above_the_most_points_a_fixed_sample_is_drawn():
    table = pd.DataFrame({"image_id": ["c", "a", "b"], "x": [3.0, 1.0, 2.0]})
    assert sampled(table, 2)["image_id"].tolist() == ["a", "b"]
    assert sampled(table.iloc[::-1], 2)["image_id"].tolist() == ["a", "b"]
    assert len(sampled(table, 3)) == 3
