"""The launcher's side of the store: the lease that lets one process execute, and the writes that this lease allows.

In: a store. Out: claimed groups of runs; their progress, results and ends, written only while the lease is held.

A lease carries a fencing token that grows with every new holder. Every write here checks it inside its transaction, so a
launcher that was suspended and lost its lease cannot overwrite what its successor wrote.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from fmlab.errors import FMLabError
from fmlab.runs.records import AWAITED_KINDS, LANE_KINDS, LANES, Actor, now
from fmlab.runs.store import Store

LEASE = "launcher"
LEASE_SECONDS = 15.0
ATTEMPTS = 3  # a group whose worker died this often without saying which run it was at is given up

LAUNCHER = Actor("launcher", "launcher")


class LeaseLost(FMLabError):
    """Another process executes runs now; this one may only watch."""


@dataclass(frozen=True)
class Claim:
    """A group whose queued runs were set to running for this launcher."""

    group: str
    kind: str
    title: str
    runs: tuple[tuple[str, dict[str, Any]], ...]  # (key, config), in the order of the queue


class Queue:
    """Claims and ends runs under a lease. `acquire` first; a write without the lease raises `LeaseLost`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.token: int | None = None

    def acquire(self) -> bool:
        """Take or renew the lease; False while another living process holds it."""
        with self.store.writing() as connection:
            row = connection.execute("SELECT holder, token, expires FROM leases WHERE name = ?", (LEASE,)).fetchone()
            mine = row is not None and row["token"] == self.token
            free = row is None or mine or row["expires"] < time.time() or not _alive(row["holder"])
            if not free:
                self.token = None
                return False
            if not mine:
                self.token = 1 + (row["token"] if row else 0)
            connection.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)",
                (LEASE, _identity(), self.token, time.time() + LEASE_SECONDS),
            )
        return True

    def release(self) -> None:
        """Give the lease up, so that the next launcher need not wait for it to run out."""
        with self.store.writing() as connection:
            connection.execute("UPDATE leases SET expires = 0 WHERE name = ? AND token = ?", (LEASE, self.token))
        self.token = None

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        with self.store.writing() as connection:
            row = connection.execute("SELECT token FROM leases WHERE name = ?", (LEASE,)).fetchone()
            if self.token is None or row is None or row["token"] != self.token:
                raise LeaseLost("Another FMLab process executes the runs of this home now; this one only watches.")
            yield connection

    def recover(self) -> int:
        """Put the runs that an earlier launcher left running back into the queue; returns how many."""
        with self._writing() as connection:
            left = [row["key"] for row in connection.execute("SELECT key FROM runs WHERE state = 'running'")]
            if left:
                self._requeue(connection, left, "the process that executed them ended")
        return len(left)

    def claim(self, device: str) -> Claim | None:
        """Take the oldest group with queued runs for a device, or for one of `LANES`, all of them at once.

        What somebody waits for on a page goes first.
        """
        kinds, among = (LANES[device], "kind IN") if device in LANES else (LANE_KINDS, "kind NOT IN")
        marks, awaited = (", ".join("?" for _ in each) for each in (kinds, AWAITED_KINDS))
        with self._writing() as connection:
            first = connection.execute(
                f"SELECT group_key, kind FROM runs WHERE state = 'queued' AND {among} ({marks}) AND group_key NOT IN"
                " (SELECT group_key FROM runs WHERE state = 'running') ORDER BY kind NOT IN"
                f" ({awaited}), position LIMIT 1",
                (*kinds, *AWAITED_KINDS),
            ).fetchone()
            if first is None:
                return None
            group = first["group_key"]
            rows = connection.execute(
                "SELECT key, config FROM runs WHERE group_key = ? AND state = 'queued' ORDER BY position", (group,)
            ).fetchall()
            connection.execute(
                "UPDATE runs SET state = 'running', device = ?, started = ?, attempts = attempts + 1, reason = NULL"
                " WHERE group_key = ? AND state = 'queued'",
                (device, now(), group),
            )
            connection.execute(
                "UPDATE groups SET device = ?, done = 0, total = 0, message = 'starting', rate = NULL,"
                " seconds_left = NULL, started = ?, updated = ? WHERE key = ?",
                (device, now(), now(), group),
            )
            title = connection.execute("SELECT title FROM groups WHERE key = ?", (group,)).fetchone()["title"]
        return Claim(group, first["kind"], title, tuple((row["key"], json.loads(row["config"])) for row in rows))

    def progress(
        self, group: str, done: int, total: int, message: str, rate: float | None, seconds_left: float | None
    ) -> None:
        """How far a group is."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE groups SET done = ?, total = ?, message = ?, rate = ?, seconds_left = ?, updated = ? WHERE key = ?",
                (done, total, message, rate, seconds_left, now(), group),
            )

    def asked_to_cancel(self, group: str) -> set[str]:
        """Running runs of the group that a person asked to cancel."""
        rows = self.store.connection.execute(
            "SELECT key FROM runs WHERE group_key = ? AND state = 'running' AND cancel_asked", (group,)
        )
        return {key for (key,) in rows}

    def finish(self, results: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
        """Mark runs done with their results; `seconds` is shared out among them."""
        share = seconds / max(1, len(results))
        with self._writing() as connection:
            connection.executemany(
                "UPDATE runs SET state = 'done', result = ?, finished = ?, seconds = ?, reason = NULL WHERE key = ?",
                [(json.dumps(dict(result)), now(), share, key) for key, result in results.items()],
            )

    def end(self, keys: Sequence[str], state: str, reason: str) -> None:
        """Mark runs failed or cancelled, with the reason."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE runs SET state = ?, reason = ?, finished = ? WHERE key = ? AND state = 'running'",
                [(state, reason, now(), key) for key in keys],
            )
            self.store.record(LAUNCHER, state, ", ".join(keys[:3]), f"{len(keys)} runs: {reason}")

    def worker_died(self, keys: Sequence[str], under_way: Sequence[str], reason: str) -> None:
        """The worker ended without a word. Runs that it was solving for the second time fail, as do those of a group
        that killed it `ATTEMPTS` times; the others go back into the queue."""
        with self._writing() as connection:
            attempts = dict(connection.execute("SELECT key, attempts FROM runs WHERE state = 'running'").fetchall())
            guilty = [key for key in keys if attempts.get(key, 0) >= (2 if key in under_way else ATTEMPTS)]
            connection.executemany(
                "UPDATE runs SET state = 'failed', reason = ?, finished = ? WHERE key = ?",
                [(reason, now(), key) for key in guilty],
            )
            if guilty:
                self.store.record(LAUNCHER, "failed", ", ".join(guilty[:3]), f"{len(guilty)} runs: {reason}")
            self._requeue(connection, [key for key in keys if key not in guilty], reason)

    def _requeue(self, connection: Any, keys: Sequence[str], reason: str) -> None:
        if keys:
            connection.executemany(
                "UPDATE runs SET state = 'queued', cancel_asked = 0 WHERE key = ? AND state = 'running'",
                [(key,) for key in keys],
            )
            self.store.record(LAUNCHER, "interrupted", ", ".join(keys[:3]), f"{len(keys)} runs queued again: {reason}")

    def requeue(self, keys: Sequence[str], reason: str) -> None:
        """Put running runs back into the queue."""
        with self._writing() as connection:
            self._requeue(connection, keys, reason)

    def idle(self) -> bool:
        """True when nothing is queued or running."""
        row = self.store.connection.execute(
            "SELECT 1 FROM runs WHERE state IN ('queued', 'running') LIMIT 1"
        ).fetchone()
        return row is None


def _identity() -> str:
    process = psutil.Process(os.getpid())
    return f"{process.pid} {process.create_time():.0f}"


def _alive(holder: str) -> bool:
    """Whether the process that took the lease still lives: its number may have been given to another since."""
    number, started = holder.split()
    try:
        process = psutil.Process(int(number))
        return process.is_running() and abs(process.create_time() - float(started)) < 2 and process.status() != "zombie"
    except psutil.NoSuchProcess:
        return False
