"""The image store: decoded pixels at native size in memory-mapped shards, with an index.

In: uint8 arrays (H, W) or (H, W, 3), appended once. Out: the same arrays as views of a memory map, by image id.

Layout: `shard-NNNNN.bin` holds raw pixels one image after the other, row-major, no header;
`index.parquet` has a row per image: image_id, shard, offset (bytes), height, width, channels (1 or 3).
The index is written last, so bytes that it does not name do not exist.
"""

import os
from array import array
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fmlab.data.manifest import id_codes, rows_of_images, to_pandas
from fmlab.errors import BadInput, NotFound
from fmlab.files import storage_errors, written_aside

SHARD_BYTES = 256 << 20  # large enough to be read sequentially, small enough to be copied

INDEX_COLUMNS = {
    "image_id": pa.string(),
    "shard": pa.int32(),
    "offset": pa.int64(),
    "height": pa.int32(),
    "width": pa.int32(),
    "channels": pa.int32(),
}


class ImageStoreWriter:
    """Appends images to a store folder; `close` writes the index and with it makes them exist."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        index = folder / "index.parquet"
        self._earlier = pq.read_table(index) if index.exists() else pa.schema(INDEX_COLUMNS.items()).empty_table()
        self._ids: list[str] = []
        self._places = array("q")  # shard, offset, height, width, channels of each image: a million take 40 MB
        self._shard = 1 + max(self._earlier["shard"].to_pylist(), default=-1)
        self._file: IO[bytes] | None = None
        self._offset = 0

    def append(self, image_id: str, pixels: np.ndarray) -> None:
        """Append one image, uint8 (H, W) or (H, W, 3)."""
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
            raise BadInput(
                f"Image {image_id} is {pixels.dtype} {pixels.shape}; the store takes uint8 (H, W) or (H, W, 3)."
            )
        with storage_errors(f"image {image_id}"):
            if self._file is None or self._offset + pixels.nbytes > SHARD_BYTES:
                self._next_shard()
            self._file.write(np.ascontiguousarray(pixels).data)
        self._ids.append(image_id)
        self._places.extend((self._shard, self._offset, *pixels.shape[:2], 1 if pixels.ndim == 2 else 3))
        self._offset += pixels.nbytes

    def _next_shard(self) -> None:
        if self._file is not None:
            self._close_shard()
            self._shard += 1
        self._file = (self._folder / f"shard-{self._shard:05d}.bin").open("wb", buffering=1 << 20)
        self._offset = 0

    def _close_shard(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())  # the index must not outlive the pixels that it names
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Flush the last shard and write the index."""
        with storage_errors("the image store"):
            self._close_shard()
        places = np.frombuffer(self._places, np.int64).reshape(-1, 5)
        columns = {name: places[:, position] for position, name in enumerate(list(INDEX_COLUMNS)[1:])}
        arrays = [pa.array(self._ids, pa.string())]
        arrays += [pa.array(columns[name]).cast(kind) for name, kind in list(INDEX_COLUMNS.items())[1:]]
        table = pa.concat_tables([self._earlier, pa.table(arrays, schema=pa.schema(INDEX_COLUMNS.items()))])
        with written_aside(self._folder / "index.parquet") as aside:
            pq.write_table(table, aside)

    def abandon(self) -> None:
        """Let go of the open shard, whose content no longer matters."""
        if self._file is not None:
            with suppress(OSError):  # on a full disk its last bytes cannot be flushed
                self._file.close()
            self._file = None


class ImageStore:
    """Reads images from a store folder. Shards are mapped, not loaded: opening costs the index alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._maps: dict[int, np.memmap] = {}

    @cached_property
    def index(self) -> pd.DataFrame:
        """One row per stored image, in the order in which they were appended."""
        path = self.folder / "index.parquet"
        if not path.exists():
            raise NotFound(f"There is no image store in {self.folder.name!r}. Import the dataset again.")
        return to_pandas(pq.read_table(path))

    @cached_property
    def _places(self) -> list[tuple[int, int, tuple[int, ...]]]:
        index = self.index
        shapes = zip(index["height"], index["width"], index["channels"], strict=True)
        sizes = [(int(h), int(w)) if c == 1 else (int(h), int(w), 3) for h, w, c in shapes]
        return list(zip(index["shard"].tolist(), index["offset"].tolist(), sizes, strict=True))

    @cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        codes = id_codes(self.index["image_id"])
        order = np.argsort(codes, kind="stable")
        return codes[order], order

    def __len__(self) -> int:
        return len(self.index)

    def positions(self, image_ids: Sequence[str] | pd.Series) -> np.ndarray:
        """Where the images stand in the store, (N,) int64; an id that is not there raises `NotFound`."""
        codes, order = self._order
        wanted = id_codes(image_ids)
        if len(codes) == 0 and len(wanted):
            raise NotFound("The image store is empty. Import the dataset again.")
        found = np.minimum(np.searchsorted(codes, wanted), max(len(codes) - 1, 0))
        missing = codes[found] != wanted if len(wanted) else np.zeros(0, bool)
        if missing.any():
            example = list(image_ids)[int(np.argmax(missing))]
            raise NotFound(
                f"{int(missing.sum())} images are not in the store, {example} for one. Import the dataset again."
            )
        return order[found]

    def read(self, position: int) -> np.ndarray:
        """The image at a position as a read-only view: uint8 (H, W) or (H, W, 3)."""
        shard, offset, shape = self._places[position]
        if shard not in self._maps:
            self._maps[shard] = np.memmap(self.folder / f"shard-{shard:05d}.bin", dtype=np.uint8, mode="r")
        size = int(np.prod(shape))
        return np.asarray(self._maps[shard][offset : offset + size]).reshape(shape)

    def read_id(self, image_id: str) -> np.ndarray:
        """The image of that id, as `read`."""
        return self.read(int(self.positions([image_id])[0]))


def stored_images(folder: Path, image_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """A few images of a store folder by id, without reading its whole index: uint8 (H, W) or (H, W, 3)."""
    try:
        with pq.ParquetFile(folder / "index.parquet") as file:
            places = rows_of_images(file, image_ids, list(INDEX_COLUMNS)[1:], f"the store {folder.name!r}").to_pylist()
        return {place["image_id"]: _pixels(folder, place) for place in places}
    except (OSError, ValueError) as error:  # no index, a damaged one, or a shard that was cut short
        raise BadInput(f"The stored images are missing or damaged ({error}). Import the dataset again.") from error


def _pixels(folder: Path, place: dict[str, Any]) -> np.ndarray:
    shape = (place["height"], place["width"]) + ((3,) if place["channels"] == 3 else ())
    shard = folder / f"shard-{place['shard']:05d}.bin"
    return np.fromfile(shard, np.uint8, count=int(np.prod(shape)), offset=place["offset"]).reshape(shape)
