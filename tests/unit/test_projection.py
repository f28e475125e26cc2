"""Maps: the same picture twice, groups stay together, the table comes back.

Run: pytest tests/unit/test_projection.py
"""

import subprocess
import sys

import numpy as np
import pytest

from fmlab.embeddings.projection import project, read_projection, write_projection
from fmlab.errors import BadInput


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


def test_reading_a_map_needs_no_umap():
    program = (
        "import sys, fmlab.embeddings.projection\nassert not {'umap', 'sklearn', 'numba', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
