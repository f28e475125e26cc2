"""What can colour a map: the columns of its points as codes and numbers for the browser, and the whole as bytes.

In: a `MapTable`, its dataset, what reviewers decided. Out: the geometry blob of `fmlab.ui.embedding_map`, made once for the
same points, answers and decisions.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from fmlab.data.manifest import TRAIN, VALIDATION, Dataset, open_dataset
from fmlab.plots.palette import CATEGORY_COLOURS
from fmlab.plots.theme import INKS
from fmlab.review.decisions import decisions
from fmlab.runs.store import Store
from fmlab.studies.map_table import MapTable
from fmlab.ui.embedding_map import MapColumn, Panel, geometry_blob

TEST_SET = "test_set"
CORRECT, WRONG = "correct", "wrong"
NOT_SCORED = "not scored"
ALARM = ("#BD1F01", "#FF6B4A")  # light, dark
# What can be chosen as the colour, by the words of the page; the last ones only with a run.
COLOURS = {"Label": "label", "Split": "split", "Site": "site", "Sequence": "sequence", "Verdict": "verdict"}
ANSWER_COLOURS = {"Prediction": "prediction", "Correctness": "correct", "Confidence": "confidence"}
SEQUENCE_COLOURS = 30  # as many as the palette can tell apart
VERDICTS = {
    "label_right": "label right",
    "label_wrong": "label wrong",
    "ambiguous": "ambiguous",
    "poor_quality": "poor quality",
    "undecided": "undecided",
}


def map_blob(store: Store, dataset: Dataset, table: MapTable, titles: tuple[str, ...]) -> bytes:
    """The geometry of a map with everything that can colour it; `titles` are those of its panels."""
    newest = store.connection.execute(
        "SELECT coalesce(max(number), 0) FROM verdicts WHERE dataset = ?", (dataset.name,)
    ).fetchone()[0]
    return _blob(store, dataset.folder, dataset.card.content_hash, table, titles, newest)


@lru_cache(maxsize=6)
def _blob(
    store: Store, folder: Path, content_hash: str, table: MapTable, titles: tuple[str, ...], newest: int
) -> bytes:
    """As `map_blob`; the content hash and the newest verdict's number are there for the cache."""
    dataset = open_dataset(store.home, folder.name)
    rows = table.rows
    places = (("x", "y"), ("x2", "y2"))[: len(titles)]
    panels = [
        Panel(title, *(rows[name].to_numpy(np.float32) for name in pair))
        for title, pair in zip(titles, places, strict=True)
    ]
    return geometry_blob(panels, map_columns(dataset, rows, verdicts_on_images(store, dataset) if newest else {}))


def map_columns(dataset: Dataset, rows: pd.DataFrame, verdicts: Mapping[str, str]) -> list[MapColumn]:
    """Everything that can colour the points; `verdicts`: what was decided of an image, by its id."""
    classes, tests = dataset.card.classes, dataset.test_sets
    colours = tuple(zip(CATEGORY_COLOURS["light"], CATEGORY_COLOURS["dark"], strict=True))
    quiet = (INKS["light"].axis, INKS["dark"].axis)
    sites = sorted(rows["site"].dropna().unique())
    decided = rows["image_id"].map(verdicts).map(VERDICTS)
    turns = rows["sequence"].to_numpy() % SEQUENCE_COLOURS
    correct = rows["correct"].map({True: CORRECT, False: WRONG})
    return [
        _category("label", "Label", rows["label"], classes, missing="no label"),
        _category("split", "Split", rows["split"], [TRAIN, VALIDATION, *tests]),
        _category(TEST_SET, "Test set", rows["test_set"], tests, missing="training"),
        _category("site", "Site", rows["site"], sites),
        _category("sequence", "Sequence", pd.Series(turns + 1).astype(str), _numbered(SEQUENCE_COLOURS)),
        MapColumn(
            "verdict",
            "Verdict",
            "category",
            _codes(decided, list(VERDICTS.values())),
            tuple(VERDICTS.values()),
            (colours[0], ALARM, colours[1], colours[5], colours[4]),
            "no verdict",
            ("label wrong",),
        ),
        _category("prediction", "Prediction", rows["prediction"], classes, missing=NOT_SCORED),
        MapColumn(
            "correct",
            "Correctness",
            "category",
            _codes(correct, [CORRECT, WRONG]),
            (CORRECT, WRONG),
            (quiet, ALARM),
            NOT_SCORED,
            (WRONG,),
        ),
        MapColumn("confidence", "Confidence", "number", rows["confidence"].to_numpy(np.float32), missing=NOT_SCORED),
    ]


def verdicts_on_images(store: Store, dataset: Dataset) -> dict[str, str]:
    """What reviewers decided of each image; what was decided of a sequence holds for its images without one of their own."""
    table = decisions(store, dataset)
    of_images = table[table["level"] == "image"].set_index("item")["decision"]
    of_sequences = table[table["level"] == "sequence"].set_index("item")["decision"]
    if of_sequences.empty:
        return of_images.to_dict()
    images = dataset.manifest(["image_id", "sequence_id"])
    images = images[images["sequence_id"].isin(of_sequences.index)]
    decided = dict(zip(images["image_id"], images["sequence_id"].map(of_sequences), strict=True))
    return decided | of_images.to_dict()


def _category(
    name: str, title: str, values: pd.Series, categories: Sequence[str], missing: str = "unknown"
) -> MapColumn:
    names = tuple(str(category) for category in categories)
    return MapColumn(name, title, "category", _codes(values, names), names, missing=missing)


def _codes(values: pd.Series, categories: Sequence[str]) -> np.ndarray:
    """(N,) uint16: the place among the categories; what is none of them becomes 65535, the code of what is missing."""
    return pd.Categorical(values, categories=list(categories)).codes.astype(np.int32).astype(np.uint16)


def _numbered(count: int) -> list[str]:
    return [str(number + 1) for number in range(count)]
