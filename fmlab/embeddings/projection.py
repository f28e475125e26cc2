"""The map: features in D dimensions laid out in two, by UMAP or by principal components.

In: (N, D) float32 features. Out: (N, 2) float32 coordinates, the same for the same seed; and their table on disk,
parquet with image_id, x, y. Reading that table imports no more than pyarrow.

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

from fmlab.errors import BadInput
from fmlab.files import written_aside

# Above this many points, umap-learn's own approximate neighbours are as fast as exact ones.
EXACT_POINTS = 10_000
# A map is fitted on at most this many points, and the others are placed into it.
FITTED_POINTS = 20_000

NEIGHBOURS = 15  # umap-learn's default
EPOCHS = 200  # umap-learn's default for large sets; from a start by principal components enough for small ones
# Below this many points there are no neighbourhoods to speak of.
FEWEST_POINTS = 8


def project(features: np.ndarray, method: Literal["umap", "pca"] = "umap", seed: int = 0) -> np.ndarray:
    """Two coordinates for each row, (N, 2) float32; `umap` of fewer than 8 rows is `pca`."""
    if features.ndim != 2 or len(features) == 0 or not np.isfinite(features).all():
        raise BadInput(f"A map takes finite features (N, D) of at least one image; got an array {features.shape}.")
    chosen = np.random.default_rng(seed).permutation(len(features))
    fitted, others = np.sort(chosen[:FITTED_POINTS]), np.sort(chosen[FITTED_POINTS:])
    if method == "pca" or len(features) < FEWEST_POINTS:
        return principal_components(features[fitted], features)
    start = principal_components(features[fitted], features[fitted])
    return umap_coordinates(features, fitted, others, start, seed)


def principal_components(fitted: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The two directions of largest variance of `fitted`, and where `features` lie along them. (N, 2) float32."""
    mean = fitted.mean(axis=0, dtype=np.float64)
    centred = fitted.astype(np.float64) - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    # A direction has no sign of its own; the largest entry is made positive, so that maps do not flip.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    coordinates = (features.astype(np.float64) - mean) @ axes
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
