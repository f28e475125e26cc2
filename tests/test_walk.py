"""The walk of the README, run as it is printed: from nothing to a figure and a list of mistakes.

Read this first. Run: `.venv/bin/python -m pytest tests/test_walk.py`
"""

import re
from pathlib import Path

import numpy as np
import pytest

from fmlab.data.store import ImageStore
from fmlab.predictions import read_predictions

README = Path(__file__).parent.parent / "README.md"


def python_block() -> str:
    return re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL).group(1)


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Everything the README's lines leave behind, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FMLAB_HOME", str(tmp_path_factory.mktemp("walk")))
        left_behind: dict = {}
        exec(compile(python_block(), "README.md", "exec"), left_behind)
        return left_behind


def test_files_became_a_manifest_of_images(walk):
    manifest, dataset = walk["manifest"], walk["dataset"]
    assert len(manifest) == dataset.card.images
    assert set(manifest["split"]) == {"train", "T1", "T2"}
    train, test = (set(manifest.loc[manifest["split"] == name, "patient_id"]) for name in ("train", "T1"))
    assert not train & test
    image = ImageStore(dataset.folder / "store").read_id(manifest["image_id"].iloc[0])
    assert (image.shape, image.dtype) == ((256, 256), np.uint8)


def test_every_cell_of_the_grid_ran(walk):
    assert walk["states"] == {"done": 2 * 2 * 3}  # backbones × sizes × seeds
    table = walk["table"]
    assert len(table) == 12 * 2  # on two test sets
    assert table["converged"].all()
    assert table["image_accuracy"].between(0, 1).all()


def test_predictions_are_a_file_that_anybody_can_read(walk):
    run = walk["store"].run(walk["table"]["run"].iloc[0])
    predictions = read_predictions(walk["home"].predictions / run.result["predictions"], run.key)
    assert predictions.classes == walk["dataset"].card.classes
    assert len(predictions.image_ids) == (walk["manifest"]["scored"] & (walk["manifest"]["split"] != "train")).sum()


def test_the_figure_shows_the_table(walk):
    means = walk["curve"](walk["table"])["mean"].to_numpy()
    drawn = [y for trace in walk["figure"].data for y in (trace.y if trace.y is not None else ()) if y is not None]
    assert all(np.isclose(100 * mean, drawn).any() for mean in means)  # in percent


def test_the_mistakes_are_the_images_whose_answer_differs_from_their_label(walk):
    mistakes = walk["mistakes"]
    assert (mistakes["label"] != mistakes["predicted"]).all()
    assert mistakes["margin"].is_monotonic_decreasing  # the most confident mistake first


def test_computing_it_again_computes_nothing(walk):
    store, before = walk["store"], walk["store"].runs()
    again = walk["study"] | {"name": "second-look"}
    walk["launch"](walk["home"], store, walk["study_config"](again), by=walk["Actor"]("x", "test"))
    assert store.counts("second-look") == {"done": 12}
    assert len(store.runs()) == len(before)
