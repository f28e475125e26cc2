"""What the store tells: runs, groups of runs, studies, as plain frozen records.

In: rows of the store. Out: values that pages, the command line and the launcher pass around. Times are ISO 8601, UTC.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from fmlab.files import digest_config

RunState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
UNFINISHED: tuple[RunState, ...] = ("queued", "running")
RETRIABLE: tuple[RunState, ...] = ("failed", "cancelled", "interrupted")

QUIET_SHARE = 0.9  # a measuring thread that had a processor less of the time shared it with something else

# Cells of a study: probes of frozen backbones, solved together; and trainings, each on its own.
CELL_KINDS = ("adapt", "train")

# Kinds that somebody on a page waits for: they go before the cells that have not begun.
AWAITED_KINDS = ("project", "suspects", "explain")

# Kinds that need no device have threads of their own, so that an import waits neither for a study nor for a download.
LANES = {"files": ("import", "phantom", "add"), "downloads": ("download",)}
LANE_KINDS = tuple(kind for kinds in LANES.values() for kind in kinds)


@dataclass(frozen=True)
class Actor:
    """Who writes, and through what: `Actor("anna", "app")`, `Actor("anna", "command line")`, `Actor("launcher", "…")`."""

    name: str
    via: str


@dataclass(frozen=True)
class RunRequest:
    """A run before it exists: its kind and config, what of the config decides its result, and the group it belongs to.

    `address` leaves out mere names, so that the same images under another name are not computed again.
    """

    kind: str
    config: dict[str, Any]
    address: dict[str, Any]
    group: str
    title: str

    @property
    def key(self) -> str:
        """The run's content address: equal addresses are one run, in whatever study they stand."""
        return digest_config(f"run {self.kind}", self.address)


@dataclass(frozen=True)
class Run:
    """One run as stored. For kind `adapt` it is one cell of a study."""

    key: str
    kind: str
    config: dict[str, Any]
    group: str
    state: RunState
    device: str | None
    created: str
    started: str | None
    finished: str | None
    seconds: float | None
    reason: str | None  # why it failed, was cancelled or interrupted
    result: dict[str, Any] | None
    attempts: int


@dataclass(frozen=True)
class MeasuredLatency:
    """What a finished run of kind `latency` found. Fields that runs of earlier versions lack are None."""

    milliseconds: float  # one image, median
    spread: float | None  # milliseconds, half the distance between the quartiles
    images_per_second: float  # at the best batch
    batch: int | None
    device: str
    processor_share: float | None  # 0–1; None: measured on a GPU, or not recorded
    precision: str | None
    parameters: int | None  # counted in the network as it ran
    flops: int | None  # for one image
    batch1_memory_mib: float | None  # of a pass of one image, beyond weights and images
    memory_mib: float | None  # of a pass at the best batch, likewise

    @property
    def disturbed(self) -> bool:
        """Whether the machine was busy with something else, so that the numbers are too slow."""
        return self.processor_share is not None and self.processor_share < QUIET_SHARE


def measured_latency(run: Run) -> MeasuredLatency:
    """The result of a finished run of kind `latency`."""
    result = run.result or {}
    return MeasuredLatency(
        milliseconds=float(result["batch1_ms"]),
        spread=result.get("batch1_spread_ms"),
        images_per_second=float(result["images_per_second"]),
        batch=result.get("batch"),
        device=str(result.get("device") or run.device),
        processor_share=result.get("processor_share"),
        precision=result.get("precision"),
        parameters=result.get("parameters"),
        flops=result.get("flops"),
        batch1_memory_mib=result.get("batch1_memory_mib"),
        memory_mib=result.get("batch_memory_mib"),
    )


@dataclass(frozen=True)
class Group:
    """Runs that one call of a worker executes together, and how far that call is."""

    key: str
    kind: str
    title: str
    state: RunState
    device: str | None
    done: int
    total: int
    message: str
    rate: float | None  # images per second, while embedding
    seconds_left: float | None
    started: str | None
    updated: str | None
    log: Path


@dataclass(frozen=True)
class StudyRecord:
    """A study as launched: its config, and what was decided about it then (dropped sizes and the like)."""

    name: str
    config: dict[str, Any]
    created: str
    by: str
    notes: tuple[str, ...]


def throughput_name(kind: str, input_size: int) -> str:
    """Under which name the store keeps the speed of a kind of training on inputs of so many pixels, in images per second."""
    return f"train_images_per_second:{kind}:{input_size}"


def pretraining_name(method: str, network: str, size: int) -> str:
    """The same of pretraining by a method on large crops of so many pixels."""
    return f"pretrain_images_per_second:{method}:{network}:{size}"


def now() -> str:
    """The present moment, ISO 8601 with milliseconds, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
