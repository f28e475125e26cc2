"""The worker process: `python -m fmlab.runs.worker --device cpu`. It does the work and never opens the store.

In: lines of JSON on standard input, `{"work": config, "log": path}` and `{"cancel": [run keys]}`.
Out: lines of JSON on standard output, one event each: `progress`, `under_way`, `finished`, `failed`, `cancelled`,
`measured`, and `done` at the end of a group. Everything printed by anybody goes to the group's log instead.

A kind of work is a function of (work, `Emitter`); the table `KINDS` names the module that holds it, imported when the
kind is first asked for. When standard input closes, the parent is gone and so is the worker.

After a study the worker makes use of its idle time, beside listening: it has compiled what a map needs before anybody
asks for one. See `WARMED_AFTER`.
"""

import argparse
import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fmlab.errors import Cancelled, FMLabError
from fmlab.runs.records import now

KINDS = {
    "adapt": "fmlab.runs.adapting",
    "train": "fmlab.runs.training",
    "project": "fmlab.runs.projecting",
    "explain": "fmlab.runs.explaining",
    "latency": "fmlab.runs.timing",
    "import": "fmlab.runs.importing",
    "phantom": "fmlab.runs.importing",
    "verify": "fmlab.runs.verifying",
    "download": "fmlab.runs.downloading",
    "add": "fmlab.runs.adding",
    "audit": "fmlab.runs.auditing",
    "suspects": "fmlab.runs.suspecting",
    "pretrain": "fmlab.runs.pretraining",
}
# What is likely to be asked for next, by the kind of work before: a module with a function `warm`.
WARMED_AFTER = {"adapt": "fmlab.embeddings.projection", "train": "fmlab.embeddings.projection"}
IDLE_SECONDS = 10.0  # without a command before that begins
PROGRESS_SECONDS = 0.25  # between two progress events: often enough to look alive, seldom enough to cost nothing


class Emitter:
    """What work uses to speak to the launcher: events out, cancellation in."""

    def __init__(self, device: str, events: int) -> None:
        self.device = device
        self._events = os.fdopen(events, "w", buffering=1, encoding="utf-8")
        self._writing = threading.Lock()
        self._cancelled: set[str] = set()
        self._last_progress = 0.0
        self._begun = time.monotonic()

    def begin(self) -> None:
        """Forget the last group."""
        self._cancelled = set()
        self._last_progress = 0.0
        self._begun = time.monotonic()

    def emit(self, event: str, **facts: Any) -> None:
        """Send one event."""
        with self._writing:
            self._events.write(json.dumps({"event": event} | facts) + "\n")

    def progress(
        self, done: int, total: int, message: str, rate: float | None = None, seconds_left: float | None = None
    ) -> None:
        """Say how far the work is; most calls are dropped, the last one of a message never is."""
        moment = time.monotonic()
        if done >= total or moment - self._last_progress >= PROGRESS_SECONDS:
            self._last_progress = moment
            self.emit("progress", done=done, total=total, message=message, rate=rate, seconds_left=seconds_left)

    def log(self, text: str) -> None:
        """Write a line to the group's log."""
        print(f"{now()}  {text}", file=sys.stderr, flush=True)

    def under_way(self, keys: Sequence[str]) -> None:
        """Name the runs being solved right now, so that a crash can be laid at their door."""
        self.emit("under_way", runs=list(keys))

    def finished(self, results: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
        """Report runs as done, each with its result."""
        self.emit("finished", results={key: dict(result) for key, result in results.items()}, seconds=seconds)

    def failed(self, keys: Sequence[str], reason: str) -> None:
        """Report runs that cannot be done, and why; the others go on."""
        self.log(f"failed: {len(keys)} runs: {reason}")
        self.emit("failed", runs=list(keys), reason=reason)

    def ask_to_cancel(self, keys: Iterable[str]) -> None:
        """Remember that a person wants these runs left out."""
        self._cancelled.update(keys)

    def cancelled(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that a person wants left out."""
        return self._cancelled.intersection(keys)


def serve(emitter: Emitter, commands: "queue.Queue[dict[str, Any]]") -> None:
    """Work on one group after the other, for as long as the parent lives."""
    warmed: set[str] = set()
    last = ""  # the kind of the group before
    while True:
        command = _next(commands, WARMED_AFTER.get(last), warmed)
        _log_to(Path(command["log"]))
        work = command["work"]
        keys = [run["key"] for run in work["runs"]]
        emitter.log(f"{work['kind']}: {work['title']}, {len(keys)} runs on {emitter.device}")
        try:
            importlib.import_module(KINDS[work["kind"]]).work(work, emitter)
        except Cancelled:
            emitter.emit("cancelled", runs=keys)
        except FMLabError as error:
            emitter.failed(keys, str(error))
        except MemoryError:
            emitter.failed(keys, "Memory ran out. Close other programs, or choose fewer sizes, seeds or images.")
        except Exception as error:  # one bad run must not end the worker; the log has the whole story
            traceback.print_exc()
            emitter.failed(keys, f"{type(error).__name__}: {error} (an error in FMLab; its log has the traceback).")
        emitter.emit("done")
        last = work["kind"]


def _next(commands: "queue.Queue[dict[str, Any]]", module: str | None, warmed: set[str]) -> dict[str, Any]:
    """The next command; while none comes, a module that is not `warmed` yet is, beside the waiting."""
    if module is None or module in warmed:
        return commands.get()
    try:
        return commands.get(timeout=IDLE_SECONDS)
    except queue.Empty:
        warmed.add(module)
        threading.Thread(target=_warm, args=(module,), daemon=True).start()
        return commands.get()


def _warm(module: str) -> None:
    importlib.import_module(module).warm()


def _listen(emitter: Emitter, commands: "queue.Queue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if "cancel" in command:
            emitter.ask_to_cancel(command["cancel"])
        else:
            emitter.begin()
            commands.put(command)
    os._exit(0)  # the parent is gone; nothing may outlive it


def _log_to(path: Path) -> None:
    """Send standard error, and with it everything printed, to a group's log, after what earlier attempts left."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 2)
    os.dup2(descriptor, 1)
    os.close(descriptor)


def main() -> None:
    """Keep standard output for events, listen for commands, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    emitter = Emitter(device, os.dup(1))
    os.dup2(2, 1)
    commands: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(emitter, commands), daemon=True).start()
    serve(emitter, commands)


if __name__ == "__main__":
    main()
