"""What a training says of itself: losses as they become known, metrics.jsonl, speed, time spent waiting for images.

In: each step's loss and gradient norm, on the device. Out: the same as numbers, in order, without holding up the device;
lines `{"step", "epoch", "loss", "learning_rate", "images_per_second", "time"}` in metrics.jsonl, one a second at most.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

METRICS = "metrics.jsonl"
LINE_SECONDS = 1.0
LAG = 2  # steps that a GPU may be ahead of the losses that are known
WARM_UP = 2  # steps left out of the speed: memory is found, kernels are chosen

Facts = TypeVar("Facts")
Result = TypeVar("Result")


class Ledger:
    """Numbers on their way from the device. On a GPU they arrive up to `LAG` steps later, so that it never waits."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._waiting: deque[tuple[Any, Tensor, Any]] = deque()

    def add(self, facts: Facts, numbers: Tensor) -> None:
        """Note (n,) numbers of a step."""
        arrived = None
        if self._on_gpu:
            numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True).copy_(numbers, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._waiting.append((facts, numbers, arrived))

    def known(self, everything: bool) -> Iterator[tuple[Any, list[float]]]:
        """What has arrived, in order; with `everything`, also what has to be waited for."""
        while len(self._waiting) > (LAG if self._on_gpu and not everything else 0):
            facts, numbers, arrived = self._waiting.popleft()
            if arrived is not None:
                arrived.synchronize()
            yield facts, numbers.tolist()


class Clock:
    """Speed of this process's part of a training, and how much of it went by waiting for images."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._waited = 0.0
        self._steps, self._images = 0, 0
        self._warm: tuple[float, int] | None = None  # when it was warm, and the images by then

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._began

    @property
    def wait_share(self) -> float:
        """Of the time so far, 0–1."""
        return self._waited / max(self.seconds, 1e-9)

    @property
    def images_per_second(self) -> float:
        """Since it is warm; before, since the beginning."""
        since, before = self._warm if self._warm and self._images > self._warm[1] else (0.0, 0)
        return (self._images - before) / max(self.seconds - since, 1e-9)

    def waiting(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, whose time counts as waiting."""
        before = time.perf_counter()
        try:
            return work()
        finally:
            self._waited += time.perf_counter() - before

    def stepped(self, images: int) -> None:
        """A step over so many images is done."""
        self._steps += 1
        self._images += images
        if self._steps == WARM_UP:
            self._warm = self.seconds, self._images


class Metrics:
    """The file metrics.jsonl of a training; `keep` bytes of an earlier part of it belong to the steps that are done."""

    def __init__(self, folder: Path, keep: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(keep)
        self._file.seek(0, 2)
        self._last_line = time.monotonic()
        self._losses: list[float] = []

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.tell()

    def add(self, step: int, epoch: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        """Note a step; a line holds the mean loss since the line before. The first step has a line of its own."""
        self._losses.append(loss)
        self._line = {
            "step": step,
            "epoch": epoch,
            "learning_rate": learning_rate,
            "images_per_second": round(images_per_second, 3),
        }
        if step == 1 or time.monotonic() - self._last_line >= LINE_SECONDS:
            self.write_line()

    def write_line(self) -> None:
        """Write what has gathered since the last line, if anything."""
        if self._losses:
            mean = sum(self._losses) / len(self._losses)
            line = self._line | {"loss": mean, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            self._losses = []
            self._last_line = time.monotonic()

    def close(self) -> None:
        """Write the last line and let go of the file."""
        self.write_line()
        self._file.close()
