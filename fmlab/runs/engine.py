"""The local engine: a warm worker process, spoken to in lines of JSON over its own pipes.

In: `start(work)`, the config of a group. Out: events, until `done`, or `WorkerDied`.

The worker is spawned, never forked (CUDA and threads do not survive a fork), at low priority, so that pages stay quick
while it computes. It ends by itself when this process does: its standard input closes then.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import psutil

from fmlab.errors import FMLabError

NICENESS = 10

# glibc gives large blocks back to the kernel on every free and takes them anew on every malloc; for the activations of a
# model these page faults cost as much as the arithmetic (EfficientNet-Lite0 on two cores: 2.7 → 1.0 CPU-seconds for
# 32 images). The worker keeps its memory instead.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_ARENA_MAX": "1",
}
Event = dict[str, Any]


class WorkerDied(FMLabError):
    """The worker process ended without finishing; the message says how."""


class LocalEngine:
    """One worker process for one device, started when first needed and kept warm between groups."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._process: subprocess.Popen[str] | None = None
        self._events: queue.Queue[Event | None] = queue.Queue()

    @property
    def alive(self) -> bool:
        """Whether the worker process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The worker's process number, if it is there."""
        return self._process.pid if self.alive else None

    def start(self, work: Mapping[str, Any], log: Path) -> None:
        """Hand a group to the worker; what it prints goes to the log."""
        if not self.alive:
            self._spawn()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._send({"work": dict(work), "log": str(log)})

    def next_event(self, seconds: float) -> Event | None:
        """The next event, or None when none came within `seconds`. A worker that is gone raises `WorkerDied`."""
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if event is None:
            raise WorkerDied(self._last_words())
        return event

    def cancel(self, keys: set[str]) -> None:
        """Ask the worker to leave these runs out."""
        if self.alive:
            self._send({"cancel": sorted(keys)})

    def stop(self) -> None:
        """End the worker process."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def _reap(self) -> int:
        """Wait for the process to be gone and close its pipes; returns its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):  # what was not read by the worker is of no interest any more
                pipe.close()
        return code

    def _spawn(self) -> None:
        environment = os.environ | ALLOCATOR | {"PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        self._events = queue.Queue()
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "fmlab.runs.worker", "--device", self.device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # an interrupt typed at the terminal is for us; we end the worker
        )
        with suppress(psutil.NoSuchProcess):  # another thread may stop it meanwhile
            psutil.Process(process.pid).nice(NICENESS)
        threading.Thread(target=_relay, args=(process.stdout, self._events), daemon=True).start()

    def _send(self, message: Mapping[str, Any]) -> None:
        process = self._process  # another thread may stop it meanwhile
        try:
            if process is None:
                raise BrokenPipeError
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except (OSError, ValueError):  # it died before it could read, or its pipe was closed on this side
            self._events.put(None)  # the next event says so

    def _last_words(self) -> str:
        code = self._reap()
        if code == -9:
            return "The worker process was killed (signal 9), by a person or because memory ran out."
        if code < 0:
            return f"The worker process crashed (signal {-code}). Look at the log; retry, or run on another device."
        return f"The worker process ended unexpectedly (status {code}). Look at the log."


def _relay(stream: TextIO, events: "queue.Queue[Event | None]") -> None:
    """Read events until the worker's end; None marks it."""
    with suppress(ValueError):  # the last line of a killed worker may be cut short, or the pipe closed on this side
        for line in stream:
            events.put(json.loads(line))
    events.put(None)
