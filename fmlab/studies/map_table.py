"""The points of a map and what is known of each: its image's label and origin, and what one run answered.

In: the maps of a dataset on disk, one or two, and a finished run or none. Out: a `MapTable`, one row per point, in a fixed
order.

Coordinates have no unit. A confidence is a probability where the adaptation gives probabilities, else a rank; see
`confidence_words`.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from fmlab.data.manifest import TRAIN, VALIDATION, Dataset, open_dataset, read_manifest
from fmlab.embeddings.projection import DRAWN_POINTS, drawn, read_projection
from fmlab.metrics.calibration import softmax
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.calibration import DECISION_VALUES, SHARES
from fmlab.studies.scoring import scored_runs, sets_of_run

FACTS = ["image_id", "label", "split", "site", "sequence_id", "scored"]
ANSWERS = ["prediction", "correct", "confidence"]


@dataclass(frozen=True, eq=False)
class MapTable:
    """The points of one or two maps. One object for the same maps and run, so that what is made of it is kept by it.

    Columns of `rows`: image_id; x, y and, with a second map, x2, y2 (float32; not a number where the image is not on that
    map); label, split, site (null: unknown); test_set (null: a training image); sequence (int64, a number for each);
    prediction and correct (null: not scored by the run), confidence (float64, 0–1).
    """

    rows: pd.DataFrame  # shared by all who ask for it: not to be changed
    images: int  # how many images of the dataset could stand on the map; the points are all of them or a sample


def map_table(
    home: Home, store: Store, dataset: Dataset, maps: tuple[Path, ...], run: str | None = None, most: int = DRAWN_POINTS
) -> MapTable:
    """Every image that stands on at least one of the maps, in the order of the first; above `most` a stratified sample.

    Raises:
        BadInput: a map is missing or damaged.
    """
    stamps = tuple((path, path.stat().st_mtime_ns if path.exists() else 0) for path in maps)
    return _table(home, store, dataset.folder, dataset.card.content_hash, stamps, run, most)


def confidence_words(adaptation: str) -> str:
    """What the confidence of an answer is, for an adaptation (its kind)."""
    if adaptation in DECISION_VALUES:
        return (
            "how far the answer is ahead of the next class, as a rank among all scored images (a linear SVM gives no "
            "probabilities): 1 is the furthest ahead"
        )
    return "the share of the votes for the answer" if adaptation in SHARES else "the probability given to the answer"


@lru_cache(maxsize=8)
def _table(
    home: Home,
    store: Store,
    folder: Path,
    content_hash: str,
    stamps: tuple[tuple[Path, int], ...],
    run: str | None,
    most: int,
) -> MapTable:
    """As `map_table`; `content_hash` and the times of the files name their state, for the cache."""
    table = _placed(tuple(path for path, _ in stamps))
    facts = read_manifest(folder, FACTS)
    images = int((facts["split"].notna() & facts["scored"]).sum())
    places = pd.Index(facts["image_id"]).get_indexer(table["image_id"])
    table, facts = table[places >= 0], facts.iloc[places[places >= 0]]
    table = table.assign(
        **{name: facts[name].to_numpy() for name in ("label", "split", "site")},
        sequence=pd.factorize(facts["sequence_id"])[0].astype(np.int64),
    )
    table["test_set"] = table["split"].where(~table["split"].isin((TRAIN, VALIDATION)), None)
    table = table.iloc[drawn(table, most)].reset_index(drop=True)
    if run is None:
        return MapTable(table.assign(prediction=None, correct=None, confidence=np.nan), images)
    answers = _answers(home, store, run)
    places = pd.Index(answers["image_id"]).get_indexer(table["image_id"])
    found = answers[ANSWERS].iloc[places].reset_index(drop=True)
    return MapTable(table.assign(**{name: found[name].where(places >= 0) for name in ANSWERS}), images)


def _placed(paths: tuple[Path, ...]) -> pd.DataFrame:
    """image_id and the coordinates of one or two maps."""
    table = read_projection(paths[0])
    if len(paths) == 1:
        return table
    second = read_projection(paths[1]).rename(columns={"x": "x2", "y": "y2"})
    if table["image_id"].equals(second["image_id"]):  # maps of the same images, which nearly all are
        return table.assign(x2=second["x2"], y2=second["y2"])
    more = second["image_id"][~second["image_id"].isin(table["image_id"])]
    table = pd.concat([table, more.to_frame()], ignore_index=True)
    return table.merge(second, on="image_id", how="left", validate="one_to_one")


@lru_cache(maxsize=8)
def _answers(home: Home, store: Store, run: str) -> pd.DataFrame:
    """image_id, prediction, correct, confidence of every image that a run was scored on."""
    found = store.run(run)
    kind = str(found.config["adaptation"]["kind"])
    parts = []
    for test in sets_of_run(open_dataset(home, found.config["dataset"]), found):
        scored = scored_runs(home, store, [found.key], test.name)
        answer = scored.predicted[0]
        part = {"image_id": test.rows["image_id"].to_numpy(object), "correct": answer == test.truth}
        part["prediction"] = np.asarray(scored.classes, object)[answer]
        parts.append(pd.DataFrame(part | {"confidence": _confidence(scored.scores[0], kind)}))
    table = pd.concat(parts, ignore_index=True).astype({"correct": object})
    if kind in DECISION_VALUES:
        table["confidence"] = table["confidence"].rank(pct=True)
    return table


def _confidence(scores: np.ndarray, kind: str) -> np.ndarray:
    """Of each row of (m, K) scores: the probability of the answer, or how far it is ahead. (m,) float64."""
    if kind in DECISION_VALUES:
        best = np.sort(scores.astype(np.float64), axis=1)
        return best[:, -1] - best[:, -2] if scores.shape[1] > 1 else best[:, -1]
    return (scores.astype(np.float64) if kind in SHARES else softmax(scores)).max(axis=1)
