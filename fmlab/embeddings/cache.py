"""The cache of embeddings: rows of numbers by item, in chunks that exist whole or not at all.

In: items and their features, (n, D) float32. Out: the features of any items, gathered through memory maps.

An item is (content code, copy): the first 64 bits of the image's content hash, and 0 for the image as it is. Images with
the same pixels are one item, whatever they are called, however they are labelled and in whichever split they stand.

Layout of a folder: `request.json` (the facts that its name is the digest of), `chunk-NNNNN.items.npy` ((n,) `ITEM`),
`chunk-NNNNN.npy` ((n, D) float32), `done.json` once a request was completed. A chunk's number is claimed by its items,
which appear first; it exists once its features do. So what a kill leaves is whole chunks, and at most a number without
features, which nobody reads. Many processes may read while others write.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmlab.data.manifest import content_codes
from fmlab.embeddings.keys import EmbeddingsRequest
from fmlab.errors import BadInput
from fmlab.files import read_json, storage_errors, write_json
from fmlab.settings import Home

ITEM = np.dtype([("content", "<u8"), ("copy", "u1")])

STRAY_SECONDS = 3600  # unfinished files older than this belong to a process that was killed


def make_items(content_codes: np.ndarray, copies: np.ndarray | int = 0) -> np.ndarray:
    """(N,) `ITEM` from (N,) uint64 content codes (`fmlab.data.manifest.content_codes`) and copies, 0: the original."""
    items = np.empty(len(content_codes), ITEM)
    items["content"] = content_codes
    items["copy"] = copies
    return items


def open_cache(home: Home, request: EmbeddingsRequest) -> "EmbeddingCache":
    """The cache of a request, empty or not."""
    return EmbeddingCache(request.folder(home), request.width, request.facts)


def items_of(rows: pd.DataFrame) -> np.ndarray:
    """(N,) `ITEM` of manifest rows: by `content_hash`, and by `copy` where there is such a column (else 0)."""
    if rows["content_hash"].isna().any():
        raise BadInput(
            f"{int(rows['content_hash'].isna().sum())} of these images are unreadable and have no embedding; leave them out."
        )
    copies = rows["copy"].to_numpy(np.uint8) if "copy" in rows else 0
    return make_items(content_codes(rows["content_hash"]), copies)


class EmbeddingCache:
    """One folder of embeddings. Opening it creates nothing; the first `append` does."""

    def __init__(self, folder: Path, width: int, facts: Mapping[str, Any]) -> None:
        """`facts` are those of the request; a folder that was made for others is refused with `BadInput`."""
        self.folder = folder
        self.width = width
        self._facts = dict(facts)
        self._chunks: list[tuple[Path, int, np.ndarray]] = []  # features, first row, items
        self._rows = 0
        self._index: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # copy → sorted content codes, their rows
        self._check("request.json")
        self._check("done.json")
        self.refresh()

    def _check(self, name: str) -> None:
        path = self.folder / name
        if not path.exists():
            return
        found = read_json(path)
        found = found.get("request", found) if isinstance(found, dict) else found
        if found != self._facts:
            other = [
                key for key, value in self._facts.items() if not isinstance(found, dict) or found.get(key) != value
            ]
            raise BadInput(
                f"The embeddings in {self.folder.name} were made for another request (they differ in "
                f"{', '.join(other) or 'further facts'}); remove that folder and they are computed again."
            )

    def refresh(self) -> None:
        """Take notice of the chunks that were written since."""
        known = {path for path, _, _ in self._chunks}
        present = sorted(path for path in self.folder.glob("chunk-*.items.npy") if not path.name.startswith("."))
        for path in present:
            features = features_of(path)
            if features not in known and features.exists():
                self._add(features, np.load(path))

    def _add(self, path: Path, items: np.ndarray) -> None:
        stored = np.load(path, mmap_mode="r")
        if items.dtype != ITEM or stored.shape != (len(items), self.width) or stored.dtype != np.float32:
            raise BadInput(
                f"{path.name} in {path.parent.name} holds {stored.dtype} {stored.shape} for {len(items)} items of "
                f"{self.width} numbers; remove that folder and they are computed again."
            )
        self._chunks.append((path, self._rows, items))
        self._rows += len(items)
        self._index.clear()

    def __len__(self) -> int:
        return self._rows

    def _places(self, items: np.ndarray) -> np.ndarray:
        """The row of each item, -1 where it is not stored. (N,) int64."""
        if not self._index and self._chunks:
            stored = np.concatenate([chunk for _, _, chunk in self._chunks])
            for copy in np.unique(stored["copy"]):
                rows = np.flatnonzero(stored["copy"] == copy)
                order = np.argsort(stored["content"][rows], kind="stable")
                self._index[int(copy)] = stored["content"][rows][order], rows[order]
        places = np.full(len(items), -1, dtype=np.int64)
        for copy, (codes, rows) in self._index.items():
            chosen = np.flatnonzero(items["copy"] == copy)
            wanted = items["content"][chosen]
            nearest = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
            places[chosen] = np.where(codes[nearest] == wanted, rows[nearest], -1)
        return places

    def have(self, items: np.ndarray) -> np.ndarray:
        """Which items are stored, (N,) bool."""
        self.refresh()
        return self._places(items) >= 0

    def append(self, items: np.ndarray, features: np.ndarray) -> None:
        """Store a chunk: (n,) `ITEM` and (n, D) finite float32. All of it is there afterwards, or after an error none."""
        if items.dtype != ITEM or features.shape != (len(items), self.width) or features.dtype != np.float32:
            raise BadInput(
                f"A chunk takes items and float32 features of width {self.width}; got {items.dtype} {items.shape} and "
                f"{features.dtype} {features.shape}."
            )
        if not np.isfinite(features).all():
            raise BadInput(f"The backbone gave features that are not finite numbers ({self._facts.get('backbone')}).")
        if not (self.folder / "request.json").exists():
            write_json(self.folder / "request.json", self._facts)
        number = 1 + max((chunk_number(path) for path in self.folder.glob("chunk-*.items.npy")), default=-1)
        while not publish(self.folder / f"chunk-{number:05d}.items.npy", items):
            number += 1  # another process was first
        path = self.folder / f"chunk-{number:05d}.npy"
        try:
            publish(path, features)
        except BaseException:
            (self.folder / f"chunk-{number:05d}.items.npy").unlink(missing_ok=True)
            raise
        self._add(path, items)

    def read(self, items: np.ndarray) -> np.ndarray:
        """The features of items, in their order: (N, D) float32, C-contiguous. One that is not stored raises `BadInput`."""
        places = self._places(items)
        if (places < 0).any():
            self.refresh()
            places = self._places(items)
        if (places < 0).any():
            raise BadInput(
                f"{int((places < 0).sum())} of {len(items)} embeddings are not computed yet; run the study again."
            )
        features = np.empty((len(items), self.width), np.float32)
        for path, first, chunk in self._chunks:
            inside = np.flatnonzero((places >= first) & (places < first + len(chunk)))
            if len(inside):
                features[inside] = np.load(path, mmap_mode="r")[places[inside] - first]
        return features

    def finish(self, count: int) -> None:
        """Write the proof that a request for `count` items was completed, and clear away what killed processes left."""
        write_json(self.folder / "done.json", {"request": self._facts, "count": count})
        for stray in self.folder.glob(".*"):
            if time.time() - stray.stat().st_mtime > STRAY_SECONDS:
                stray.unlink(missing_ok=True)

    @property
    def done(self) -> bool:
        """Whether some request was completed. (More items may have been asked for since: see `have`.)"""
        return (self.folder / "done.json").exists()


def chunks_of(folder: Path) -> tuple[tuple[str, int], ...]:
    """Names and times of change (ns) of the chunks that exist: the same as long as none came, went or was replaced."""
    features = (path for path in folder.glob("chunk-*.npy") if not path.name.endswith(".items.npy"))
    return tuple(sorted((path.name, path.stat().st_mtime_ns) for path in features))


def features_of(items_path: Path) -> Path:
    """Where the features of a chunk lie, beside its items."""
    return items_path.with_name(items_path.name.replace(".items.npy", ".npy"))


def chunk_number(items_path: Path) -> int:
    """The number in the name of a chunk's items."""
    return int(items_path.name.removeprefix("chunk-").removesuffix(".items.npy"))


def publish(path: Path, array: np.ndarray) -> bool:
    """Write an array under a name that nobody has used; False when somebody has. The file appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with storage_errors(f"a chunk of embeddings ({path.name})"), aside.open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)  # fails, rather than replaces, where the name is taken
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True
