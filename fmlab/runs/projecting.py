"""Work of kind `project`: every image of a dataset as a point in the plane.

In: one run that names a dataset, a backbone, a preprocessing and a method. Out: a parquet file with image_id, x, y beside
the embeddings it was made from; its place within the home on the run's row.

Points are the images that count: all of train, and the scored frames of test sets, labelled or not.
"""

import time
from pathlib import Path
from typing import Any

from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import open_dataset
from fmlab.data.preprocessing import Preprocessing
from fmlab.embeddings.cache import items_of, open_cache
from fmlab.embeddings.extraction import extract, load_requested
from fmlab.embeddings.keys import request_embeddings
from fmlab.embeddings.projection import project, write_projection
from fmlab.errors import BadInput
from fmlab.runs.requests import projection_request
from fmlab.runs.worker import Emitter
from fmlab.settings import Home


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Draw the map of the group's only run."""
    home = Home(Path(facts["home"]))
    run = facts["runs"][0]
    config = run["config"]
    began = time.monotonic()
    if projection_request(home, config).key != run["key"]:
        raise BadInput(
            f"The images of dataset {config['dataset']!r} or the weights of backbone {config['backbone']!r} have changed "
            "since this map was asked for. Ask for it again."
        )
    dataset = open_dataset(home, config["dataset"])
    card = find_backbone(home, config["backbone"])
    preprocessing = Preprocessing(config["style"], config["mask_sector"])
    request = request_embeddings(home, dataset.card.pixels_key, card, preprocessing)
    cache = open_cache(home, request)
    rows = dataset.manifest(["image_id", "split", "scored", "content_hash", "sector"])
    rows = rows[rows["split"].notna() & rows["scored"]]
    if not cache.have(items_of(rows)).all():
        emitter.progress(0, len(rows), f"loading {card.title}")
        backbone = load_requested(home, request, emitter.device)

        def tell(done: int, total: int, rate: float) -> None:
            left = (total - done) / rate if rate else None
            emitter.progress(done, total, "embedding images", rate=rate or None, seconds_left=left)

        for _ in extract(dataset, backbone, request, rows, cache, tell, lambda: bool(emitter.cancelled([run["key"]]))):
            pass
    emitter.progress(0, 1, f"laying out {len(rows):,} points with {config['method']}")
    coordinates = project(cache.read(items_of(rows)), config["method"])
    path = request.folder(home) / f"{config['method']}-{dataset.card.content_hash[:16]}.parquet"
    write_projection(path, rows["image_id"], coordinates)
    result = {"projection": str(path.relative_to(home.path)), "points": len(rows)}
    emitter.finished({run["key"]: result}, time.monotonic() - began)
