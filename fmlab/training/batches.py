"""Training images as batches, prepared beside the steps of the network. Worker only.

In: items of a dataset (image, copy), the backbone's input, what may be drawn anew each time.
Out: uint8 batches (B, S, S) or (B, S, S, 3); the same seed, epoch and positions give the same bits.

What costs (reading, masking, copies, scaling) is done once for an item and kept in memory, as long as there is room;
items that found none are read again. Only what is drawn anew is done each time, on pictures of the network's size:
they are kept with a margin, so that a tilt turns in what stood beside the crop instead of black. (An input that is the
whole image squashed to a square is tilted after that, and has nothing beside it.)
"""

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from torch import Tensor

from fmlab.backbones.pixels import item_reader, stacked
from fmlab.data.augmentation import drawn, margin_for
from fmlab.data.fetal_augmentation import fetal_variant
from fmlab.data.manifest import content_codes
from fmlab.data.preprocessing import InputSpec, fit

KEPT_SHARE = 0.25  # of the memory that is free at the start, unless it is said how much
AHEAD = 2  # batches beside those that the threads work on


@dataclass(frozen=True)
class Variation:
    """What is drawn anew for an image each time it is seen; nothing by default."""

    augment: bool = False  # a slight tilt and another width
    flip: bool = False  # half of the images mirrored, left to right
    jitter: float = 0.0  # largest relative change of brightness and contrast, 0–1
    fetal: bool = False  # the fetal study's augmentation, after all else

    @property
    def some(self) -> bool:
        """Whether there is anything to draw."""
        return self != Variation()


class TrainingImages:
    """The items of a training set by their positions, 0 … len − 1. Its methods may be called from several threads."""

    def __init__(
        self,
        folder: Path,
        rows: pd.DataFrame,
        spec: InputSpec,
        mask_sector: bool,
        variation: Variation = Variation(),
        seed: int = 0,
        pinned: bool = False,
        memory_bytes: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            folder: the dataset's.
            rows: one per item: columns image_id, content_hash, sector; copy, else 0.
            spec: the input, with the size at which the network is trained.
            mask_sector: black outside the sector, before anything else.
            variation: what is drawn anew each time.
            seed: of what is drawn, together with the epoch, the image's content and the copy.
            pinned: batches in page-locked memory, from which a GPU fetches them while it computes.
            memory_bytes: for what is kept; None: a quarter of what is free now.
            threads: that prepare batches; None: one for each core beside a GPU, else one.
        """
        self.spec = spec
        self.variation = variation
        self._margin = margin_for(spec.size) if variation.augment and spec.resize == "crop" else 0
        self._kept_spec = replace(spec, size=spec.size + 2 * self._margin)
        self._read = item_reader(folder, rows, mask_sector)
        self._codes = content_codes(rows["content_hash"]).tolist()
        self._copies = rows["copy"].tolist() if "copy" in rows else [0] * len(rows)
        self._seed = seed
        self._pinned = pinned
        self._threads = threads or ((os.cpu_count() or 1) if pinned else 1)
        self._kept: list[np.ndarray | None] = [None] * len(rows)
        self._room = int(KEPT_SHARE * psutil.virtual_memory().available) if memory_bytes is None else memory_bytes
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def batch(self, positions: np.ndarray, epoch: int) -> Tensor:
        """The items at (B,) positions in an epoch: uint8 (B, S, S), or (B, S, S, 3) when any of them is in colour."""
        return stacked([self._image(position, epoch) for position in positions.tolist()], len(positions), self._pinned)

    def ahead(self, order: Sequence[np.ndarray], epoch: int) -> Iterator[Tensor]:
        """`batch(positions, epoch)` for each of `order` in turn, prepared by threads before it is asked for.

        At most `threads` + 2 batches wait to be taken. Closing the iterator stops the threads.
        """
        pool = ThreadPoolExecutor(self._threads, "training-images")
        waiting: deque[Future[Tensor]] = deque()
        try:
            for positions in order:
                waiting.append(pool.submit(self.batch, positions, epoch))
                if len(waiting) >= self._threads + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _image(self, position: int, epoch: int) -> np.ndarray:
        image = self._fitted(position)
        if not self.variation.some:
            return image
        draw = np.random.default_rng((self._seed, epoch, self._codes[position], self._copies[position]))
        options = self.variation
        variant = drawn(image, draw, options.flip, options.jitter, options.augment, self._margin)
        return fetal_variant(variant, draw) if options.fetal else variant

    def _fitted(self, position: int) -> np.ndarray:
        """The item scaled and cropped to the network's size and the margin around it."""
        kept = self._kept[position]
        if kept is not None:
            return kept
        image = fit(self._read(position), self._kept_spec)
        with self._lock:
            if image.nbytes <= self._room and self._kept[position] is None:
                self._room -= image.nbytes
                self._kept[position] = image
        return image
