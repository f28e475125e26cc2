"""The map: features in D dimensions laid out in two, by UMAP or by principal components.

In: (N, D) float32 features, and the stratum of each, which the fit keeps the shares of. Out: (N, 2) float32 coordinates,
the same for the same seed; and their table on disk, parquet with image_id, x, y. Reading that table imports no more
than pyarrow.

Sources: L. McInnes et al., UMAP, https://arxiv.org/abs/1802.03426, in the package umap-learn.
A seed makes umap-learn run on one core; that is the price of the same picture twice.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fmlab.data.manifest import TRAIN, VALIDATION
from fmlab.embeddings.keys import EmbeddingsRequest
from fmlab.errors import BadInput
from fmlab.files import written_aside
from fmlab.settings import Home

# Above this many points, umap-learn's own approximate neighbours are as fast as exact ones.
EXACT_POINTS = 10_000
# A map is fitted on at most this many points, and the others are placed into it.
FITTED_POINTS = 20_000

# And holds at most this many: what a browser draws smoothly.
DRAWN_POINTS = 100_000

NEIGHBOURS = 15  # umap-learn's default
EPOCHS = 200  # umap-learn's default for large sets; from a start by principal components enough for small ones
# Below this many points there are no neighbourhoods to speak of.
FEWEST_POINTS = 8
BLOCK_ROWS = 8192  # turned to float64 at a time

Picture = Literal["umap", "pca", "early"]  # early: the principal components of what was embedded at the beginning


def map_path(home: Home, request: EmbeddingsRequest, content_hash: str, picture: Picture) -> Path:
    """Where a map of a dataset (its content hash) lies, beside the embeddings that it is made of."""
    return request.folder(home) / f"{picture}-{content_hash[:16]}.parquet"


def project(
    features: np.ndarray, method: Literal["umap", "pca"] = "umap", seed: int = 0, strata: np.ndarray | None = None
) -> np.ndarray:
    """Two coordinates for each row, (N, 2) float32; `umap` of fewer than 8 rows is `pca`.

    Above 20,000 rows the fit sees 20,000, with the shares of `strata` ((N,) int; None: all rows are alike).
    """
    if features.ndim != 2 or len(features) == 0 or not np.isfinite(features).all():
        raise BadInput(f"A map takes finite features (N, D) of at least one image; got an array {features.shape}.")
    strata = np.zeros(len(features), np.int64) if strata is None else strata
    fitted = stratified(strata, FITTED_POINTS, seed)
    if method == "pca" or len(features) < FEWEST_POINTS:
        return principal_components(features[fitted], features)
    others = np.setdiff1d(np.arange(len(features)), fitted, assume_unique=True)
    start = principal_components(features[fitted], features[fitted])
    return umap_coordinates(features, fitted, others, start, seed)


def strata_of(rows: pd.DataFrame) -> np.ndarray:
    """A number for each combination of split and label, (N,) int64; without a label is a label of its own."""
    return rows.groupby(["split", "label"], dropna=False, sort=True).ngroup().to_numpy(np.int64)


def stratified(strata: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Positions of at most `most` rows in which every stratum ((N,) int) keeps its share, and has one at least; ascending."""
    if len(strata) <= most:
        return np.arange(len(strata))
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    order = shuffled[np.argsort(strata[shuffled], kind="stable")]
    _, first, sizes = np.unique(strata[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, sizes)  # within the stratum
    share = np.where(rank == 0, -1.0, (rank + 0.5) / np.repeat(sizes, sizes))
    return np.sort(order[np.argsort(share, kind="stable")[:most]])


def drawn(rows: pd.DataFrame, most: int = DRAWN_POINTS) -> np.ndarray:
    """Positions of the rows (`split`, `label`) that a map holds, ascending: all, or a fixed stratified sample of `most`.

    Test images come first: they are what answers are known of. They may take up half of the map, the others the rest.
    """
    if len(rows) <= most:
        return np.arange(len(rows))
    strata, training = strata_of(rows), rows["split"].isin((TRAIN, VALIDATION)).to_numpy()
    tested, learnt = np.flatnonzero(~training), np.flatnonzero(training)
    room = min(len(tested), max(most // 2, most - len(learnt)))
    parts = [tested[stratified(strata[tested], room)], learnt[stratified(strata[learnt], most - room)]]
    return np.sort(np.concatenate(parts))


def principal_components(fitted: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The two directions of largest variance of `fitted`, and where `features` lie along them. (N, 2) float32."""
    mean = fitted.mean(axis=0, dtype=np.float64)
    centred = fitted.astype(np.float64) - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    # A direction has no sign of its own; the largest entry is made positive, so that maps do not flip.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    blocks = (features[start : start + BLOCK_ROWS] for start in range(0, len(features), BLOCK_ROWS))
    coordinates = np.concatenate([(block.astype(np.float64) - mean) @ axes for block in blocks])
    missing = 2 - coordinates.shape[1]  # features of one number alone
    return np.pad(coordinates, ((0, 0), (0, missing))).astype(np.float32)


def umap_coordinates(
    features: np.ndarray, fitted: np.ndarray, others: np.ndarray, start: np.ndarray, seed: int
) -> np.ndarray:
    """UMAP of the fitted rows, the others placed into it. (N, 2) float32."""
    import umap  # seconds, and numba: only when a map is made

    neighbours = min(NEIGHBOURS, len(fitted) - 1)
    # umap-learn places further points only with an index of its own.
    exact = len(fitted) <= EXACT_POINTS and not len(others)
    known = (*exact_neighbours(features[fitted], neighbours), None) if exact else (None, None, None)
    mapper = umap.UMAP(
        n_neighbors=neighbours,
        n_epochs=EPOCHS,
        init=spread(start, seed),
        precomputed_knn=known,
        random_state=seed,
        n_jobs=1,
    )
    coordinates = np.empty((len(features), 2), np.float32)
    with warnings.catch_warnings():
        # Told that no further points can be placed, which is known and not wanted.
        warnings.filterwarnings("ignore", message="precomputed_knn", category=UserWarning)
        coordinates[fitted] = mapper.fit_transform(features[fitted])
    if len(others):
        coordinates[others] = mapper.transform(features[others])
    return coordinates


def warm() -> None:
    """Have umap-learn compile what a map of up to 10,000 points needs, which takes longer than most such maps.

    The search by descent of larger maps is left out: it takes four times as long to compile, and those maps take minutes.
    """
    points = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    umap_coordinates(points, np.arange(64), np.arange(0), points[:, :2], 0)


def exact_neighbours(features: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows of each row, itself first, and their Euclidean distances. (N, k) int and (N, k) float32."""
    from sklearn.neighbors import NearestNeighbors  # seconds: only when a map is made

    distances, indices = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(features).kneighbors(features)
    return indices, distances.astype(np.float32)


def spread(start: np.ndarray, seed: int) -> np.ndarray:
    """A start for UMAP: scaled to the side of 10 that it expects, equal points moved apart a little. (N, 2) float32."""
    extent = max(float(np.abs(start).max()), 1e-12)
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=start.shape)
    return (10 * start / extent + noise).astype(np.float32)


def write_projection(path: Path, image_ids: Sequence[str] | pd.Series, coordinates: np.ndarray) -> None:
    """Write the map of some images at once: parquet with image_id, x, y."""
    if coordinates.shape != (len(image_ids), 2):
        raise BadInput(f"A map of {len(image_ids)} images takes as many pairs of coordinates; got {coordinates.shape}.")
    columns = {
        "image_id": pa.array(list(image_ids), pa.string()),
        "x": pa.array(coordinates[:, 0], pa.float32()),
        "y": pa.array(coordinates[:, 1], pa.float32()),
    }
    with written_aside(path) as aside:
        pq.write_table(pa.table(columns), aside, compression="zstd")


def read_projection(path: Path) -> pd.DataFrame:
    """The map of some images: image_id, x, y, one row each."""
    try:
        return pq.read_table(path, columns=["image_id", "x", "y"]).to_pandas()
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"The map {path.name} is missing or damaged ({error}). Make it again.") from error
