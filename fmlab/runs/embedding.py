"""Embeddings that a run lacks, computed within it: of every image that it names and that is not embedded yet.

In: rows of a manifest, the cache they belong into, the run that waits for them. Out: a cache that holds them all.
"""

import pandas as pd

from fmlab.data.manifest import Dataset
from fmlab.embeddings.cache import EmbeddingCache, items_of
from fmlab.embeddings.keys import EmbeddingsRequest
from fmlab.runs.worker import Emitter
from fmlab.settings import Home


def embed_missing(
    home: Home,
    dataset: Dataset,
    request: EmbeddingsRequest,
    rows: pd.DataFrame,
    cache: EmbeddingCache,
    run: str,
    emitter: Emitter,
) -> None:
    """Compute what is missing of rows (image_id, content_hash, sector) and tell how far it is; `run` may cancel it."""
    if cache.have(items_of(rows)).all():
        return
    from fmlab.embeddings.extraction import extract, load_requested  # torch: seconds, and often not needed

    emitter.progress(0, len(rows), f"loading {request.backbone}")
    backbone = load_requested(home, request, emitter.device)

    def tell(done: int, total: int, rate: float) -> None:
        left = (total - done) / rate if rate else None
        emitter.progress(done, total, "embedding images", rate=rate or None, seconds_left=left)

    for _ in extract(dataset, backbone, request, rows, cache, tell, lambda: bool(emitter.cancelled([run]))):
        pass
