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

# Kinds that read files and need no model; they have a thread of their own, so that an import does not wait for a study.
FILE_KINDS = ("import", "phantom")


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


def now() -> str:
    """The present moment, ISO 8601 with milliseconds, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
