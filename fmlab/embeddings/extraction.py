"""Extraction: the embeddings of a dataset's images, computed where they are missing and stored chunk by chunk.

In: manifest rows in order of priority, a loaded backbone, the request and its cache.
Out: chunks in the cache; the generator yields after each, so that its caller can use what is there already.

A kill loses what was computed since the last chunk, a few seconds' worth. Taken up again, the same images get the
same numbers. Worker only: imports torch.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pandas as pd

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.loaders import Backbone, load_backbone
from fmlab.backbones.pixels import item_reader
from fmlab.data.manifest import Dataset
from fmlab.embeddings.cache import EmbeddingCache, items_of
from fmlab.embeddings.keys import EmbeddingsRequest
from fmlab.embeddings.pipeline import stream_features
from fmlab.errors import BadInput, Cancelled
from fmlab.settings import Home

CHUNK_SECONDS = 2.0  # of computation in a chunk: what a kill may lose
CHUNK_ROWS = 8192  # at most, so that a chunk of a fast GPU stays small

ROW_COLUMNS = ("image_id", "content_hash", "sector")

Progress = Callable[[int, int, float], None]


def load_requested(home: Home, request: EmbeddingsRequest, device: str = "cpu") -> Backbone:
    """The backbone that a request names, for inputs of its size, in its precision."""
    card = find_backbone(home, request.backbone)
    return load_backbone(card, home, device, request.precision, size=request.spec.size)


def extract(
    dataset: Dataset,
    backbone: Backbone,
    request: EmbeddingsRequest,
    rows: pd.DataFrame,
    cache: EmbeddingCache,
    on_progress: Progress = lambda done, total, images_per_second: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[int]:
    """Compute what the cache lacks of `rows` (columns `ROW_COLUMNS`, most wanted first); yield how many are there so far.

    A column `copy` (0 … 4) asks for augmented copies; without one, for the images as they are. Yields once at the start
    and after each stored chunk. Images with equal pixels are computed once. When all are there, `done.json` says so.
    `on_progress` gets images done, all images, images per second. Raises `Cancelled` when `cancelled()` becomes true,
    after storing what was computed.
    """
    check_match(backbone, request)
    items = items_of(rows)
    first = np.sort(np.unique(items, return_index=True)[1])  # images with equal pixels are computed once
    missing = first[~cache.have(items[first])]
    total, cached = len(first), len(first) - len(missing)
    on_progress(cached, total, 0.0)
    yield cached

    def report(computed: int, images_per_second: float) -> None:
        on_progress(cached + computed, total, images_per_second)

    read = item_reader(dataset.folder, rows.iloc[missing], request.mask_sector)
    stored = 0
    with closing(stream_features(read, len(missing), backbone, request.spec, request.feature)) as stream:
        for chunk in timed_chunks(stream, report, cancelled):
            cache.append(items[missing[stored : stored + len(chunk)]], chunk)
            stored += len(chunk)
            yield cached + stored
            if stored < len(missing) and cancelled():
                raise Cancelled("The extraction was stopped; what was computed is kept.")
    cache.finish(total)


def check_match(backbone: Backbone, request: EmbeddingsRequest) -> None:
    """Refuse a backbone that is not the one the request names."""
    if (backbone.digest, backbone.precision) != (request.weights, request.precision):
        raise BadInput(
            f"The request is for {request.backbone} in {request.precision} with weights {request.weights[:8]}; got "
            f"{backbone.card.key} in {backbone.precision} with weights {backbone.digest[:8]}. Load what the request names."
        )


def timed_chunks(
    stream: Iterator[np.ndarray], on_batch: Callable[[int, float], None], cancelled: Callable[[], bool]
) -> Iterator[np.ndarray]:
    """Join batches into chunks of a few seconds' work. `on_batch` gets images so far and images per second."""
    waiting: list[np.ndarray] = []
    count, rows, earlier = 0, 0, 0.0
    started = time.perf_counter()
    for batch in stream:
        waiting.append(batch)
        count, rows = count + len(batch), rows + len(batch)
        seconds = time.perf_counter() - started
        on_batch(count, count / max(earlier + seconds, 1e-9))
        if seconds >= CHUNK_SECONDS or rows >= CHUNK_ROWS or cancelled():
            yield np.concatenate(waiting)
            waiting, rows, earlier = [], 0, earlier + seconds
            started = time.perf_counter()  # what the caller did in between is not counted
    if waiting:
        yield np.concatenate(waiting)
