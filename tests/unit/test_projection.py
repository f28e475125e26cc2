"""Maps: the same picture twice, groups stay together, samples keep shares, the table comes back, the worker's order.

Run: pytest tests/unit/test_projection.py
"""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fmlab.backbones.catalogue import find_backbone
from fmlab.data.preprocessing import Preprocessing
from fmlab.embeddings.cache import items_of, open_cache
from fmlab.embeddings.keys import request_embeddings
from fmlab.embeddings.projection import drawn, map_path, project, read_projection, stratified, write_projection
from fmlab.errors import BadInput
from fmlab.runs import projecting
from fmlab.runs.requests import projection_request
from fmlab.runs.worker import Emitter
from tests.toys import halves


def groups(count=20, width=12):
    """Three groups far apart, one after the other."""
    rng = np.random.default_rng(2)
    centres = 10 * np.eye(3, width)
    return np.concatenate([centre + rng.normal(size=(count, width)) for centre in centres]).astype(np.float32)


def separation(coordinates, count=20):
    """The smallest distance between centres of groups over the largest spread within one."""
    parts = coordinates.reshape(3, count, 2)
    centres = parts.mean(axis=1)
    apart = min(np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    return apart / parts.std(axis=1).max()


def test_principal_components_of_a_known_cloud():
    """Points on a tilted line in three dimensions: the first axis is the line, the second is nothing."""
    along = np.array([-3.0, -1.0, 1.0, 3.0], np.float32)
    line = along[:, None] * np.array([0.6, 0.8, 0.0], np.float32) + 5
    coordinates = project(line, "pca")
    assert coordinates.dtype == np.float32
    assert np.allclose(coordinates[:, 0], along, atol=1e-5)
    assert np.allclose(coordinates[:, 1], 0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_images_still_have_a_map(count):
    assert project(groups()[:count]).shape == (count, 2)
    assert project(groups()[:count, :1]).shape == (count, 2)


@pytest.mark.slow
def test_umap_is_the_same_twice_and_keeps_groups_apart(monkeypatch):
    features = groups()
    once = project(features, seed=3)
    assert np.array_equal(once, project(features, seed=3))
    assert separation(once) > 3
    # More points than are fitted: the others are placed into the map of the fitted ones.
    monkeypatch.setattr("fmlab.embeddings.projection.FITTED_POINTS", 40)
    placed = project(features, seed=3)
    assert np.array_equal(placed, project(features, seed=3))
    assert separation(placed) > 2


@pytest.mark.slow
def test_umap_of_equal_images_does_not_fail():
    assert np.isfinite(project(np.ones((30, 4), np.float32))).all()


def test_bad_features_are_refused():
    for features in (np.zeros((0, 3)), np.zeros(3), np.full((3, 3), np.nan)):
        with pytest.raises(BadInput, match="A map takes finite features"):
            project(features)


def test_the_table_comes_back(tmp_path):
    path = tmp_path / "map.parquet"
    write_projection(path, ["a" * 16, "b" * 16], np.array([[1, 2], [3, 4]], np.float32))
    table = read_projection(path)
    assert table.to_dict("list") == {"image_id": ["a" * 16, "b" * 16], "x": [1.0, 3.0], "y": [2.0, 4.0]}
    with pytest.raises(BadInput, match="2 images takes as many pairs"):
        write_projection(path, ["a", "b"], np.zeros((3, 2)))
    path.write_bytes(b"no table")
    with pytest.raises(BadInput, match="missing or damaged"):
        read_projection(path)


def test_reading_a_map_and_making_one_of_embedded_images_need_no_torch_and_no_umap():
    program = (
        "import sys, fmlab.embeddings.projection, fmlab.runs.projecting\n"
        "assert not {'umap', 'sklearn', 'numba', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_sample_keeps_the_share_of_each_stratum_and_one_of_the_rarest():
    strata = np.repeat([0, 1, 2], [900, 99, 1])
    chosen = stratified(strata, 100)
    assert len(set(chosen)) == 100
    assert (np.diff(chosen) > 0).all()
    counts = np.bincount(strata[chosen])
    assert counts[2] == 1
    assert counts[0] == pytest.approx(90, abs=1)
    assert np.array_equal(chosen, stratified(strata, 100))
    assert not np.array_equal(chosen, stratified(strata, 100, seed=1))
    assert np.array_equal(stratified(strata, 1000), np.arange(1000))


def test_test_images_may_take_up_half_of_a_map():
    def rows(train, tested):
        splits = ["train"] * train + ["T1"] * tested
        return pd.DataFrame({"split": splits, "label": [("A", None)[i % 2] for i in range(train + tested)]})

    def counts(train, tested):
        chosen = rows(train, tested).iloc[drawn(rows(train, tested), 100)]
        return chosen["split"].value_counts().to_dict()

    assert counts(1000, 30) == {"train": 70, "T1": 30}  # all of them
    assert counts(1000, 300) == {"train": 50, "T1": 50}
    assert counts(20, 300) == {"train": 20, "T1": 80}
    assert counts(60, 30) == {"train": 60, "T1": 30}


def test_principal_components_come_before_the_map_and_of_what_is_there_before_all(home, tmp_path):
    """Eight of nine images are embedded already; fewer than eight would have no picture of their own."""
    dataset = halves(home, patients=3, frames=3)
    card = find_backbone(home, "pixels-24")
    request = request_embeddings(home, dataset.card.pixels_key, card, Preprocessing("native", False))
    rows = dataset.manifest(["image_id", "content_hash"])
    features = np.random.default_rng(0).normal(size=(8, request.width)).astype(np.float32)
    open_cache(home, request).append(items_of(rows.iloc[:8]), features)
    config = {"dataset": "halves", "backbone": "pixels-24", "method": "pca", "style": "native", "mask_sector": False}
    run = {"key": projection_request(home, config).key, "config": config}
    events = tmp_path / "events"
    projecting.work({"home": str(home.path), "runs": [run]}, Emitter("cpu", os.open(events, os.O_CREAT | os.O_WRONLY)))

    def picture(name):
        return map_path(home, request, dataset.card.content_hash, name)

    assert read_projection(picture("early"))["image_id"].tolist() == rows["image_id"].tolist()[:8]
    assert read_projection(picture("pca"))["image_id"].tolist() == rows["image_id"].tolist()
    assert picture("early").stat().st_mtime_ns < picture("pca").stat().st_mtime_ns
    last = json.loads(events.read_text().splitlines()[-1])
    found = last["results"][run["key"]]
    assert home.path / found["projection"] == picture("pca")
    assert found["points"] == 9
