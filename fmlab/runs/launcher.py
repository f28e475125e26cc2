"""The launcher: background threads that take queued runs and drive worker processes through them.

In: a home. Out: runs done, failed or cancelled in the store. One launcher per process, and of all processes on one home
the one that holds the lease executes; the others enqueue and watch.

Threads: one that keeps the lease, one per device for model work, one for files, one for downloads. They touch the store
and the pipes of their worker, never a page.
"""

import os
import sys
import threading
import time
import traceback
import types
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fmlab.errors import FMLabError
from fmlab.runs.engine import Event, LocalEngine, WorkerDied
from fmlab.runs.queue import LEASE_SECONDS, Claim, LeaseLost, Queue
from fmlab.runs.records import LANES, UNFINISHED, RunState, now
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home

POLL_SECONDS = 0.2  # how soon a queued run starts and a wish to cancel is passed on
WAIT_SECONDS = 0.5  # between two looks of somebody who waits
CANCEL_SECONDS = 1.5  # how long a worker may take to heed a cancellation before it is killed

# Streamlit's hot reload makes new module objects, and with them new globals; an entry of sys.modules survives it.
REGISTRY = "_fmlab_launchers"


def launcher_for(home: Home) -> "Launcher":
    """This process's launcher for a home, started on first call."""
    with _registry().lock:
        launchers: dict[str, Launcher] = _registry().launchers
        if str(home.path) not in launchers:
            launcher = Launcher(home)
            launcher.start()
            launchers[str(home.path)] = launcher
        return launchers[str(home.path)]


def _registry() -> Any:
    registry = types.ModuleType(REGISTRY, "The launchers of this process, by home.")
    registry.launchers, registry.lock = {}, threading.Lock()
    return sys.modules.setdefault(REGISTRY, registry)


def execute(
    home: Home, study: str | None = None, on_wait: Callable[[Store, bool], None] | None = None
) -> dict[RunState, int]:
    """Wait until no run of a study (of anybody, without one) is unfinished, executing them unless another process does.

    `on_wait(store, holding)` is called every half second. Returns how many runs ended in which state.
    """
    return _until_ended(home, lambda store: store.counts(study), on_wait)


def execute_runs(
    home: Home, keys: Sequence[str], on_wait: Callable[[Store, bool], None] | None = None
) -> dict[RunState, int]:
    """As `execute`, until none of these runs is unfinished; what else is queued by then stays so."""
    return _until_ended(home, lambda store: Counter(store.run(key).state for key in keys), on_wait)


def _until_ended(
    home: Home, count: Callable[[Store], dict[RunState, int]], on_wait: Callable[[Store, bool], None] | None
) -> dict[RunState, int]:
    launcher = launcher_for(home)
    try:
        while True:
            counts = count(launcher.store)
            if not any(counts.get(state) for state in UNFINISHED):
                return counts
            if on_wait is not None:
                on_wait(launcher.store, launcher.holding)
            time.sleep(WAIT_SECONDS)
    finally:
        launcher.stop()


def devices() -> tuple[str, ...]:
    """The devices to run on: FMLAB_DEVICES if set (as `cuda:0,cuda:1`), else every NVIDIA GPU, else the CPU.

    Found without importing torch: the driver lists its GPUs below /proc/driver.
    """
    chosen = os.environ.get("FMLAB_DEVICES", "")
    if chosen:
        return tuple(name.strip() for name in chosen.split(",") if name.strip())
    gpus = "/proc/driver/nvidia/gpus"
    count = len(os.listdir(gpus)) if os.path.isdir(gpus) else 0
    return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)


class Launcher:
    """Executes the queued runs of a home for as long as it holds the lease. See `launcher_for`."""

    def __init__(self, home: Home) -> None:
        self.store: Store = open_store(home)
        self._queue = Queue(self.store)
        self._holding = threading.Event()
        self._stopping = threading.Event()
        self._engines = {name: LocalEngine(name) for name in (*devices(), *LANES)}
        self._threads: list[threading.Thread] = []

    @property
    def holding(self) -> bool:
        """True when this process executes; False when another one does and this one watches."""
        return self._holding.is_set()

    def start(self) -> None:
        """Start the threads."""
        self._try_lease()
        targets = [(self._keep_lease, ())] + [(self._work_through, (engine,)) for engine in self._engines.values()]
        self._threads = [threading.Thread(target=target, args=args, daemon=True) for target, args in targets]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the workers and threads; what was running goes back into the queue."""
        self._stopping.set()
        for engine in self._engines.values():
            engine.stop()
        for thread in self._threads:
            thread.join(timeout=5)
        if self.holding:
            self._queue.recover()
            self._queue.release()
            self._holding.clear()
        _registry().launchers.pop(str(self.store.home.path), None)

    def worker_pids(self) -> dict[str, int]:
        """The process number of each device's worker that is up."""
        return {name: engine.pid for name, engine in self._engines.items() if engine.pid is not None}

    # ------------------------------------------------------------------------------------------------------------ lease

    def _try_lease(self) -> None:
        if not self._queue.acquire():
            self._holding.clear()
        elif not self.holding:
            self._queue.recover()
            self._holding.set()

    def _keep_lease(self) -> None:
        while not self._stopping.wait(LEASE_SECONDS / 8):
            try:
                self._try_lease()
            except FMLabError:
                traceback.print_exc()  # a full disk, say: the lease runs out unless the next try succeeds

    # ------------------------------------------------------------------------------------------------------------- work

    def _work_through(self, engine: LocalEngine) -> None:
        while not self._stopping.is_set():
            claim = None
            try:
                if self.holding:
                    claim = self._queue.claim(engine.device)
                if claim is None:
                    self._stopping.wait(POLL_SECONDS)
                else:
                    _Execution(self._queue, engine, claim, self._stopping).run()
            except LeaseLost:
                self._holding.clear()
                engine.stop()
            except FMLabError:
                traceback.print_exc()
                self._stopping.wait(POLL_SECONDS)


class _Execution:
    """One claimed group, from the first event of its worker to the last."""

    def __init__(self, queue: Queue, engine: LocalEngine, claim: Claim, stopping: threading.Event) -> None:
        self._queue = queue
        self._engine = engine
        self._claim = claim
        self._stopping = stopping
        self._open = {key for key, _ in claim.runs}  # not ended yet
        self._under_way: list[str] = []
        self._asked: dict[str, float] = {}  # run → when its cancellation was passed on

    def run(self) -> None:
        home = self._queue.store.home
        runs = [{"key": key, "config": config} for key, config in self._claim.runs]
        folder = home.runs / self._claim.group
        work = {"kind": self._claim.kind, "title": self._claim.title, "home": str(home.path), "runs": runs}
        work["folder"] = str(folder)
        log = folder / "log.txt"
        try:
            self._engine.start(work, log)
            self._follow()
        except WorkerDied as death:
            if not self._stopping.is_set():
                with log.open("a", encoding="utf-8") as file:
                    file.write(f"{now()}  {death}\n")
                self._queue.worker_died(sorted(self._open), self._under_way, str(death))

    def _follow(self) -> None:
        """Relay events until the group is done; pass on cancellations meanwhile."""
        while True:
            event = self._engine.next_event(POLL_SECONDS)
            if event is not None and event["event"] == "done":
                self._end(sorted(self._open), "failed", "The worker finished without this run. Look at its log.")
                return
            if event is not None:
                self._handle(event)
            if self._heed_cancellations():
                return

    def _handle(self, event: Event) -> None:
        facts = {name: value for name, value in event.items() if name != "event"}
        match event["event"]:
            case "progress":
                self._queue.progress(self._claim.group, **facts)
            case "under_way":
                self._under_way = facts["runs"]
            case "finished":
                self._queue.finish(facts["results"], facts["seconds"])
                self._open -= set(facts["results"])
                self._under_way = []
            case "failed" | "cancelled" as state:
                self._end(facts["runs"], state, facts.get("reason", "Cancelled."))
            case "measured":
                self._queue.store.measure(self._engine.device, facts["backbone"], facts["what"], facts["value"])

    def _end(self, keys: list[str], state: str, reason: str) -> None:
        ended = [key for key in keys if key in self._open]
        if ended:
            self._queue.end(ended, state, reason)
            self._open -= set(ended)

    def _heed_cancellations(self) -> bool:
        """Pass on new wishes; kill a worker that does not heed them in time. True when the worker is gone."""
        wishes = self._queue.asked_to_cancel(self._claim.group) & self._open
        new = wishes - set(self._asked)
        if new:
            self._engine.cancel(new)
            self._asked |= dict.fromkeys(new, time.monotonic())
        overdue = {key for key in wishes if time.monotonic() - self._asked[key] > CANCEL_SECONDS}
        if not overdue:
            return False
        self._engine.stop()
        self._end(sorted(overdue), "cancelled", "Cancelled; the worker was ended because it did not stop by itself.")
        self._queue.requeue(sorted(self._open), "another run of the group was cancelled")
        return True
