"""Predictions: what every figure, map, review and report is computed from.

In: for each run of an executed group, a score per class for each test image. Out: one immutable parquet file.

Columns: `run` (its key), `image_id` (16 hex digits), `scores` (K float32, in the order of the dataset's classes; decision
values, log-probabilities or votes, whatever the adaptation gives: larger means more likely). The schema's metadata
holds the classes. The truth is not in here: it is joined to the scores under a label version.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fmlab.errors import BadInput
from fmlab.files import written_aside


@dataclass(frozen=True)
class Predictions:
    """Scores of some runs for the same images."""

    runs: tuple[str, ...]  # R
    image_ids: np.ndarray  # (M,) str
    scores: np.ndarray  # (R, M, K) float32
    classes: tuple[str, ...]  # K

    @property
    def predicted(self) -> np.ndarray:
        """The class with the highest score, the first in a tie, (R, M) int64."""
        return self.scores.argmax(axis=2)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a group's predictions at once."""
    runs, images, classes = predictions.scores.shape
    if (runs, images, classes) != (len(predictions.runs), len(predictions.image_ids), len(predictions.classes)):
        raise BadInput(
            f"Scores of shape {predictions.scores.shape} do not fit the runs, images and classes named with them."
        )
    if not np.isfinite(predictions.scores).all():
        raise BadInput("Some scores are not finite numbers; nothing was written. Look at the run's log.")
    flat = pa.array(predictions.scores.astype(np.float32, copy=False).ravel())
    run_index = pa.array(np.repeat(np.arange(runs, dtype=np.int32), images))
    image_index = pa.array(np.tile(np.arange(images, dtype=np.int32), runs))
    table = pa.table(
        {
            "run": pa.DictionaryArray.from_arrays(run_index, pa.array(list(predictions.runs), pa.string())),
            "image_id": pa.DictionaryArray.from_arrays(image_index, pa.array(list(predictions.image_ids), pa.string())),
            "scores": pa.FixedSizeListArray.from_arrays(flat, classes),
        }
    ).replace_schema_metadata({"classes": json.dumps(predictions.classes, ensure_ascii=False)})
    with written_aside(path) as aside:
        pq.write_table(table, aside, compression="zstd", use_dictionary=["run", "image_id"])


def read_predictions(path: Path, run: str | None = None) -> Predictions:
    """Read a group's predictions, or one run's of them."""
    try:
        table = pq.read_table(path, filters=None if run is None else pc.field("run") == run)
        classes = tuple(json.loads(table.schema.metadata[b"classes"]))
    except (FileNotFoundError, pa.ArrowInvalid, KeyError) as error:
        raise BadInput(
            f"The predictions {path.name} are missing or damaged ({error}). Retry the runs that made them."
        ) from error
    names = pc.unique(table["run"]).cast(pa.string()).to_pylist()
    per_run = len(table) // max(1, len(names))
    images = np.asarray(table["image_id"][:per_run].cast(pa.string()).to_pylist(), dtype=str)
    scores = table["scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Predictions(tuple(names), images, scores.reshape(len(names), per_run, len(classes)), classes)
