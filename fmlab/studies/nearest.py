"""Beside an image: the training images most like it to a backbone, and what the runs of other backbones answered.

In: a dataset whose images are embedded, a backbone and its preprocessing; an image. Out: small tables.

Distances are cosine distances in the full space of the features (`fmlab.embeddings.neighbours`), never in a picture of it.
The training images are the labelled ones that an image may be answered from: under cross-validation those of other folds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd

from fmlab.backbones.cards import BackboneCard
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.data.preprocessing import Preprocessing, Style
from fmlab.data.roles import CROSS_VALIDATED, Roles
from fmlab.embeddings.cache import EmbeddingCache, chunks_of, items_of, open_cache
from fmlab.embeddings.keys import EmbeddingsRequest, request_embeddings
from fmlab.embeddings.neighbours import BLOCK_ROWS, nearest_in_blocks
from fmlab.errors import BadInput
from fmlab.runs.learnt import learnt_items, training_pool
from fmlab.runs.records import Run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.label_versions import find_label_version, parted
from fmlab.studies.needed import DatasetState, roles_of, state_of
from fmlab.studies.scoring import Scored, scored_runs, sets_of_run

Precision = Literal["fp32", "bf16"]

MOST_NEIGHBOURS = 1_000  # images looked through for the nearest sequences
MOST_TESTED = 2_000  # images of a test set that its distribution is drawn from
# Of a large dataset fewer, so that a page waits seconds at most: so many multiplications take about one on a processor.
MOST_PRODUCTS = 30_000_000_000
FEWEST_TESTED = 100


@dataclass(frozen=True)
class Space:
    """Where images lie: the features of a backbone under a preprocessing, and who may be compared with whom."""

    home: Home
    dataset: Dataset
    card: BackboneCard
    style: Style
    mask_sector: bool
    folds: int | None = None  # of a cross-validation: an image is compared with those of other folds
    feature: str | None = None  # the kind of feature; the card's first by default
    precision: Precision = "fp32"

    @property
    def request(self) -> EmbeddingsRequest:
        """The embeddings that it takes."""
        preprocessing = Preprocessing(self.style, self.mask_sector)
        key = self.dataset.card.pixels_key
        return request_embeddings(self.home, key, self.card, preprocessing, self.feature, self.precision)


def nearest_training(space: Space, image_id: str, count: int = 8, learnt_by: Run | None = None) -> pd.DataFrame:
    """The training images nearest to an image: image_id, label, distance (0–2), same_class; nearest first.

    `same_class` is null for an image without a label. Of each sequence the nearest image alone counts, because its frames
    say the same eight times; a training image's own sequence does not count.

    Args:
        learnt_by: look only among the images that this run learnt from.

    Raises:
        BadInput: embeddings that are not on this disk; the sentence says what computes them.
    """
    request, dataset = space.request, space.dataset
    if learnt_by is None:
        pool = training_pool(roles_of(state_of(dataset, space.folds)), image_id)
    else:
        pool = learnt_items(dataset, learnt_by.config, image_id).drop_duplicates("image_id")
    own = pd.DataFrame(dataset.rows_of([image_id], ["label", "sequence_id", "content_hash"]))
    pool = pool[(pool["image_id"] != image_id) & (pool["sequence_id"] != own["sequence_id"].iloc[0])]
    if pool.empty:
        raise BadInput("There is no labelled training image of another sequence to compare this image with.")
    cache = open_cache(space.home, request)
    _require(cache, request, pd.concat([own, pool], ignore_index=True))
    longest = int(pool["sequence_id"].value_counts().max())
    looked_at = min(len(pool), MOST_NEIGHBOURS, count * longest)  # enough for `count` sequences
    places, distances = nearest_in_blocks(cache.read(items_of(own)), _blocks(cache, pool), looked_at)
    found = pool.iloc[places[0]].assign(distance=distances[0]).drop_duplicates("sequence_id").head(count)
    label = own["label"].iloc[0]
    same = None if pd.isna(label) else found["label"] == label
    return found.assign(same_class=same)[["image_id", "label", "distance", "same_class"]].reset_index(drop=True)


def lacking_embeddings(space: Space) -> int:
    """How many images that are learnt from or tested are not embedded: `nearest_training` of all needs there to be none."""
    request, state = space.request, state_of(space.dataset, space.folds)
    return _lacking(space.home, state, request, chunks_of(request.folder(space.home)))


@lru_cache(maxsize=64)
def _lacking(home: Home, state: DatasetState, request: EmbeddingsRequest, chunks: tuple[tuple[str, int], ...]) -> int:
    """As `lacking_embeddings`; `chunks` are those of the cache."""
    found = roles_of(state)
    items = items_of(pd.concat([found.train, found.test], ignore_index=True))
    return int((~open_cache(home, request).have(items)).sum())


def training_distances(space: Space) -> pd.DataFrame:
    """How far test images lie from training: image_id, test_set, distance to the nearest training image (0–2), images.

    `images` is how many scored images the test set has. Of more than `MOST_TESTED` (of a large dataset fewer) a fixed
    sample is measured: those with the lowest image ids, which are hashes. Under cross-validation the test set is `folds`.

    Raises:
        BadInput: embeddings that are not on this disk; the sentence says what computes them.
    """
    request, state = space.request, state_of(space.dataset, space.folds)
    return _training_distances(space.home, state, request, chunks_of(request.folder(space.home))).copy()


@lru_cache(maxsize=16)
def _training_distances(
    home: Home, state: DatasetState, request: EmbeddingsRequest, chunks: tuple[tuple[str, int], ...]
) -> pd.DataFrame:
    """As `training_distances`; `chunks` are those of the cache, so that a later state of it is looked at anew."""
    found = roles_of(state)
    tested = _sample(found, request.width)
    cache = open_cache(home, request)
    _require(cache, request, pd.concat([tested, found.train], ignore_index=True))
    distances = np.full(len(tested), np.nan, np.float32)
    for pool, chosen in _parts(found, tested):
        if len(pool) and len(chosen):
            queries = cache.read(items_of(tested.iloc[chosen]))
            distances[chosen] = nearest_in_blocks(queries, _blocks(cache, pool), 1)[1][:, 0]
    return tested.assign(distance=distances)[["image_id", "test_set", "distance", "images"]].reset_index(drop=True)


def _sample(found: Roles, width: int) -> pd.DataFrame:
    """The test images to measure, with their test set and how many images that has."""
    names = found.test["split"] if found.folds is None else CROSS_VALIDATED
    test = found.test.assign(test_set=names)
    test["images"] = test.groupby("test_set")["image_id"].transform("size")
    affordable = MOST_PRODUCTS // max(1, width * len(found.train) * test["test_set"].nunique())
    most = min(MOST_TESTED, max(FEWEST_TESTED, affordable))
    return test.sort_values("image_id").groupby("test_set").head(most)


def _parts(found: Roles, tested: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """What is learnt from, and the positions of the images that are tested then: one pair, or one for each fold."""
    if found.folds is None:
        yield found.train, np.arange(len(tested))
        return
    for fold in range(found.folds):
        yield found.train[found.train["fold"] != fold], np.flatnonzero(tested["fold"] == fold)


def _require(cache: EmbeddingCache, request: EmbeddingsRequest, rows: pd.DataFrame) -> None:
    rows = rows.assign(copy=rows["copy"].fillna(0).astype(np.uint8)) if "copy" in rows else rows
    lacking = int((~cache.have(items_of(rows))).sum())
    if lacking:
        raise BadInput(
            f"{lacking:,} of the {len(rows):,} images to compare are not embedded with {request.backbone} yet. Embed all "
            "images of the dataset: drawing its map on the Embeddings page does."
        )


def _blocks(cache: EmbeddingCache, rows: pd.DataFrame) -> Iterator[np.ndarray]:
    """The embeddings of many rows, a block at a time: (n, D) float32."""
    items = items_of(rows)
    for start in range(0, len(items), BLOCK_ROWS):
        yield cache.read(items[start : start + BLOCK_ROWS])


def answers_of_others(
    home: Home, store: Store, study: str, run: Run, image_id: str, test_set: str | None = None
) -> pd.DataFrame:
    """What the study's other backbones answered: backbone, adaptation (its kind), answer, right; one row each, by key.

    They are the finished runs of the same adaptation, size and seed. `right` is judged under the labels of `test_set`
    (`T1@NAME`), by default the original ones. An image that was not scored, or is taken out there, has no rows.
    """
    alike = ("adaptation", "subset", "folds")
    others = [
        other
        for other in store.study_runs(study, "done")
        if other.key != run.key and all(other.config.get(name) == run.config.get(name) for name in alike)
    ]
    found = _scored(home, store, others, image_id, test_set) if others else None
    if found is None:
        return pd.DataFrame(columns=["backbone", "adaptation", "answer", "right"])
    scored, place = found
    answers = scored.predicted[:, place]
    return pd.DataFrame(
        {
            "backbone": [other.config["backbone"] for other in others],
            "adaptation": [other.config["adaptation"]["kind"] for other in others],
            "answer": [scored.classes[answer] for answer in answers],
            "right": answers == scored.test.truth[place],
        }
    ).sort_values("backbone", ignore_index=True)


def class_scores(home: Home, store: Store, run: Run, image_id: str, test_set: str | None = None) -> pd.DataFrame:
    """What a run scored an image: class, score, answer (bool), truth (bool), highest score first; no rows if not scored.

    `test_set` says under which labels, as for `answers_of_others`.
    """
    found = _scored(home, store, [run], image_id, test_set)
    if found is None:
        return pd.DataFrame(columns=["class", "score", "answer", "truth"])
    scored, place = found
    classes = np.arange(len(scored.classes))
    table = pd.DataFrame(
        {
            "class": scored.classes,
            "score": scored.scores[0, place],
            "answer": classes == scored.predicted[0, place],
            "truth": classes == scored.test.truth[place],
        }
    )
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _scored(
    home: Home, store: Store, runs: Sequence[Run], image_id: str, test_set: str | None
) -> tuple[Scored, int] | None:
    """The scores of runs on the test set that holds an image, and the image's place there; None: in no test set."""
    dataset = open_dataset(home, runs[0].config["dataset"])
    labels = find_label_version(store, dataset, parted(test_set)[1]) if test_set else None
    for test in sets_of_run(dataset, runs[0], labels):
        places = np.flatnonzero(test.rows["image_id"] == image_id)
        if len(places):
            return scored_runs(home, store, [run.key for run in runs], test.name), int(places[0])
    return None
