"""Work of kind `project`: every image of a dataset as a point in the plane.

In: one run that names a dataset, a backbone, a preprocessing and a method. Out: parquet files with image_id, x, y beside
the embeddings they were made from; the place of the map asked for within the home on the run's row.

Points are the images that count: all of train, and the scored frames of test sets, labelled or not; of more than 100,000
a stratified sample, though all are embedded, because neighbours are looked for among all. Whoever waits for UMAP has
something to look at before: the principal components of the images that were embedded already, and those of all as soon
as they are. Nothing of torch is loaded when no image is missing.
"""

import time
from pathlib import Path
from typing import Any

import pandas as pd

from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import open_dataset
from fmlab.data.preprocessing import Preprocessing
from fmlab.embeddings.cache import items_of, open_cache
from fmlab.embeddings.keys import request_embeddings
from fmlab.embeddings.projection import FEWEST_POINTS, Picture, drawn, map_path, project, strata_of, write_projection
from fmlab.errors import BadInput
from fmlab.runs.embedding import embed_missing
from fmlab.runs.requests import projection_request
from fmlab.runs.worker import Emitter
from fmlab.settings import Home

METHODS = {"umap": "UMAP", "pca": "PCA"}


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
    rows = dataset.manifest(["image_id", "split", "label", "scored", "content_hash", "sector"])
    rows = rows[rows["split"].notna() & rows["scored"]]
    points = rows.iloc[drawn(rows)]

    def draw(picture: Picture, shown: pd.DataFrame) -> Path:
        method = "umap" if picture == "umap" else "pca"
        emitter.progress(0, 1, f"laying out {len(shown):,} points with {METHODS[method]}")
        coordinates = project(cache.read(items_of(shown)), method, strata=strata_of(shown))
        path = map_path(home, request, dataset.card.content_hash, picture)
        write_projection(path, shown["image_id"], coordinates)
        return path

    if not cache.have(items_of(rows)).all():
        known = points[cache.have(items_of(points))]
        if len(known) >= FEWEST_POINTS:
            draw("early", known)
        embed_missing(home, dataset, request, rows, cache, run["key"], emitter)
    path = draw("pca", points)
    if config["method"] == "umap":
        path = draw("umap", points)
    result = {"projection": str(path.relative_to(home.path)), "points": len(points)}
    emitter.finished({run["key"]: result}, time.monotonic() - began)
