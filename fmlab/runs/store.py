"""The store: one SQLite file that is the truth about studies, runs and events.

In: requests to run something, by somebody. Out: records and tables. Any thread of any process may use it: a connection
per thread, WAL mode, short write transactions. Every write leaves who, when and what in `events`, and counts up
`version`, so that a page redraws only when something changed.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd

from fmlab.errors import BadInput, NameTaken, NotFound, StorageFull
from fmlab.runs.records import RETRIABLE, UNFINISHED, Actor, Group, Run, RunRequest, RunState, StudyRecord, now
from fmlab.runs.schema import migrate
from fmlab.settings import Home

BUSY_SECONDS = 10.0  # how long a writer waits for another one
CELL_COLUMNS = ("dataset", "backbone", "adaptation", "scheme", "size", "seed")


def open_store(home: Home) -> "Store":
    """The store of a home, created or brought up to date when needed."""
    home.path.mkdir(parents=True, exist_ok=True)
    store = Store(home)
    with store.writing():
        migrate(store.connection)
    return store


class Store:
    """Reads and writes the truth about runs. See `open_store`."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._local = threading.local()
        self._run_tables: dict[str | None, tuple[int, pd.DataFrame]] = {}  # study → version and table

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self._local, "connection"):
            self._local.connection = _connect(self.home)
        return self._local.connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of it or nothing; counts up the version."""
        connection = self.connection
        with _full_disk_named():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                if _has_changes(connection):
                    connection.execute("UPDATE changes SET version = version + 1")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite ends it by itself when the disk is full
                    connection.execute("ROLLBACK")
                raise

    def record(self, by: Actor, verb: str, subject: str, details: str = "") -> None:
        """Leave an event. Call it inside `writing`."""
        self.connection.execute(
            "INSERT INTO events (time, actor, via, verb, subject, details) VALUES (?, ?, ?, ?, ?, ?)",
            (now(), by.name, by.via, verb, subject, details),
        )

    def version(self) -> int:
        """A number that grows with every write by any process."""
        return self.connection.execute("SELECT version FROM changes").fetchone()[0]

    # ---------------------------------------------------------------------------------------------------------- studies

    def add_study(
        self, name: str, config: dict[str, Any], requests: Sequence[RunRequest], notes: Sequence[str], by: Actor
    ) -> StudyRecord:
        """Add a study and queue those of its runs that are not done or under way; failed ones get another chance."""
        with self.writing() as connection:
            if connection.execute("SELECT 1 FROM studies WHERE name = ?", (name,)).fetchone():
                raise NameTaken(f"A study {name!r} exists already. Choose another name.")
            connection.execute(
                "INSERT INTO studies VALUES (?, ?, ?, ?, ?)",
                (name, json.dumps(config), json.dumps(list(notes)), now(), by.name),
            )
            self._enqueue(requests)
            connection.executemany(
                "INSERT INTO study_runs VALUES (?, ?)", [(name, request.key) for request in requests]
            )
            self.record(by, "launched", name, f"{len(requests)} runs")
        return self.study(name)

    def studies(self) -> list[StudyRecord]:
        """All studies, the newest first."""
        rows = self.connection.execute("SELECT * FROM studies ORDER BY created DESC, rowid DESC")
        return [_study(row) for row in rows]

    def study(self, name: str) -> StudyRecord:
        """The study of that name; `NotFound` lists those there are."""
        row = self.connection.execute("SELECT * FROM studies WHERE name = ?", (name,)).fetchone()
        if row is None:
            present = ", ".join(study.name for study in self.studies()) or "none yet"
            raise NotFound(f"There is no study {name!r}; there are: {present}. Launch it with `fmlab study run`.")
        return _study(row)

    # ------------------------------------------------------------------------------------------------------------- runs

    def request(self, request: RunRequest, by: Actor) -> Run:
        """Queue a single run, unless it is done or under way already."""
        with self.writing():
            self._enqueue([request])
            self.record(by, "requested", request.key, request.title)
        return self.run(request.key)

    def _enqueue(self, requests: Sequence[RunRequest]) -> None:
        connection = self.connection
        groups = {request.group: (request.group, request.kind, request.title) for request in requests}
        connection.executemany(
            "INSERT INTO groups (key, kind, title) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING", groups.values()
        )
        first = connection.execute("SELECT coalesce(max(position), 0) + 1 FROM runs").fetchone()[0]
        rows = [
            (r.key, r.kind, json.dumps(r.config), r.group, now(), first + i, *_cell(r.config))
            for i, r in enumerate(requests)
        ]
        connection.executemany(
            "INSERT INTO runs (key, kind, config, group_key, state, created, position, dataset, backbone, adaptation,"
            " scheme, size, seed) VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET state = 'queued', reason = NULL, cancel_asked = 0, attempts = 0,"
            " position = excluded.position WHERE state IN ('failed', 'cancelled', 'interrupted')",
            rows,
        )

    def run(self, key: str) -> Run:
        """The run of that key, or of a beginning of it (6 characters or more) that no other run shares."""
        rows = self.connection.execute(
            "SELECT * FROM runs WHERE key >= ? AND key < ? LIMIT 2", (key, key + "g")
        ).fetchall()
        if len(key) < 6 or len(rows) != 1:
            what = "more than one run" if len(rows) > 1 else "no run"
            raise NotFound(f"There is {what} with a key beginning {key!r}. List them with `fmlab runs list`.")
        return _run(rows[0])

    def runs(self, study: str | None = None) -> pd.DataFrame:
        """A table with one row per run, in the order of the queue, of one study or of all.

        Kept until something is written: pages ask for it at every click, and thousands of rows take tens of milliseconds.
        """
        version = self.version()
        known = self._run_tables.get(study)
        if known is None or known[0] != version:
            known = self._run_tables[study] = (version, self._read_runs(study))
        return known[1].copy(deep=False)

    def _read_runs(self, study: str | None) -> pd.DataFrame:
        where = "" if study is None else " WHERE key IN (SELECT run FROM study_runs WHERE study = ?)"
        columns = (
            "key",
            "kind",
            "state",
            "group_key",
            *CELL_COLUMNS,
            "seconds",
            "reason",
            "created",
            "finished",
            "attempts",
        )
        cursor = self.connection.execute(
            f"SELECT {', '.join(columns)} FROM runs{where} ORDER BY position", () if study is None else (study,)
        )
        table = pd.DataFrame(cursor.fetchall(), columns=list(columns)).rename(columns={"group_key": "group"})
        return table.astype({"size": "Int64", "seed": "Int64"})

    def study_runs(self, study: str, state: RunState | None = None) -> list[Run]:
        """The runs of a study, whole, in the order of the queue."""
        rows = self.connection.execute(
            "SELECT runs.* FROM runs JOIN study_runs ON run = key WHERE study = ? AND (? IS NULL OR state = ?)"
            " ORDER BY position",
            (study, state, state),
        )
        return [_run(row) for row in rows]

    def finished_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys whose runs are done."""
        wanted = set(keys)
        rows = self.connection.execute("SELECT key FROM runs WHERE state = 'done'")
        return {key for (key,) in rows if key in wanted}

    def counts(self, study: str | None = None) -> dict[RunState, int]:
        """How many runs are in each state, of one study or of all."""
        where = "" if study is None else " WHERE key IN (SELECT run FROM study_runs WHERE study = ?)"
        cursor = self.connection.execute(
            f"SELECT state, count(*) FROM runs{where} GROUP BY state", () if study is None else (study,)
        )
        return dict(cursor.fetchall())

    def groups(self, active_only: bool = False, study: str | None = None) -> list[Group]:
        """Groups of runs with their progress; those at work first, then the queue, then the newest."""
        cursor = self.connection.execute(
            "SELECT groups.*, sum(state = 'running') AS running, sum(state = 'queued') AS queued,"
            " sum(state = 'failed') AS failed, sum(state = 'cancelled') AS cancelled, sum(state = 'interrupted') AS cut,"
            " max(position) AS newest FROM groups JOIN runs ON group_key = groups.key"
            " WHERE ? IS NULL OR runs.key IN (SELECT run FROM study_runs WHERE study = ?) GROUP BY groups.key"
            " ORDER BY running = 0, queued = 0, updated DESC, newest",
            (study, study),
        )
        groups = [_group(row, self.home) for row in cursor]
        return [group for group in groups if group.state in UNFINISHED] if active_only else groups

    def events(self, limit: int = 100) -> pd.DataFrame:
        """The newest events first: time, actor, verb, subject, details."""
        cursor = self.connection.execute(
            "SELECT time, actor, via, verb, subject, details FROM events ORDER BY id DESC LIMIT ?", (limit,)
        )
        return pd.DataFrame(cursor.fetchall(), columns=["time", "actor", "via", "verb", "subject", "details"])

    def mean_seconds(self, adaptation: str) -> float | None:
        """How long runs of an adaptation took on average on this home, embedding not counted; None before the first."""
        return self.connection.execute(
            "SELECT avg(seconds) FROM runs WHERE state = 'done' AND adaptation = ?", (adaptation,)
        ).fetchone()[0]

    # ------------------------------------------------------------------------------------------------ asked by a person

    def cancel(self, keys: Sequence[str], by: Actor) -> int:
        """Cancel queued runs at once and ask for running ones to stop; returns how many were queued or running."""
        with self.writing() as connection:
            marks = [(key,) for key in keys]
            asked = connection.executemany(
                "UPDATE runs SET cancel_asked = 1 WHERE key = ? AND state IN ('queued', 'running')", marks
            ).rowcount
            connection.executemany(
                "UPDATE runs SET state = 'cancelled', reason = 'Cancelled before it started.', finished = ?"
                " WHERE key = ? AND state = 'queued'",
                [(now(), key) for key in keys],
            )
            self.record(by, "cancelled", ", ".join(keys[:3]), f"{asked} runs")
        return asked

    def retry(self, keys: Sequence[str], by: Actor) -> int:
        """Queue failed, cancelled and interrupted runs again; returns how many."""
        with self.writing() as connection:
            states = ", ".join(f"'{state}'" for state in RETRIABLE)
            queued = connection.executemany(
                "UPDATE runs SET state = 'queued', reason = NULL, cancel_asked = 0, attempts = 0, finished = NULL"
                f" WHERE key = ? AND state IN ({states})",
                [(key,) for key in keys],
            ).rowcount
            self.record(by, "retried", ", ".join(keys[:3]), f"{queued} runs")
        return queued

    # ----------------------------------------------------------------------------------------------------- measurements

    def measure(self, device: str, backbone: str, what: str, value: float) -> None:
        """Keep what was measured of a backbone on a device; the newest value stands."""
        with self.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?)", (device, backbone, what, value, now())
            )

    def measurement(self, device: str, backbone: str, what: str) -> float | None:
        """The newest value measured of a backbone on a device, if any."""
        row = self.connection.execute(
            "SELECT value FROM measurements WHERE device = ? AND backbone = ? AND what = ?", (device, backbone, what)
        ).fetchone()
        return None if row is None else row[0]


def _connect(home: Home) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(home.database, timeout=BUSY_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.DatabaseError as error:
        raise BadInput(
            f"The store fmlab.db cannot be opened ({error}). Restore it from a backup, or move it away."
        ) from error
    return connection


@contextmanager
def _full_disk_named() -> Iterator[None]:
    """SQLite's word for a full disk as `StorageFull`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise StorageFull(
                "The disk is full: the store could not be written. Free some space and repeat."
            ) from error
        raise


def _has_changes(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'changes'").fetchone() is not None


def _cell(config: dict[str, Any]) -> tuple[Any, ...]:
    adaptation = config.get("adaptation")
    subset = config.get("subset", {})
    return (
        config.get("dataset"),
        config.get("backbone"),
        adaptation["kind"] if adaptation else None,
        subset.get("scheme"),
        subset.get("size"),
        subset.get("seed"),
    )


def _run(row: sqlite3.Row) -> Run:
    facts = {name: row[name] for name in Run.__dataclass_fields__ if name not in ("config", "result", "group")}
    result = None if row["result"] is None else json.loads(row["result"])
    return Run(config=json.loads(row["config"]), result=result, group=row["group_key"], **facts)


def _group(row: sqlite3.Row, home: Home) -> Group:
    counted = ("running", "queued", "failed", "cancelled")
    state: RunState = next((name for name in counted if row[name]), "interrupted" if row["cut"] else "done")
    facts = {name: row[name] for name in Group.__dataclass_fields__ if name not in ("state", "log")}
    return Group(state=state, log=home.runs / row["key"] / "log.txt", **facts)


def _study(row: sqlite3.Row) -> StudyRecord:
    return StudyRecord(
        row["name"], json.loads(row["config"]), row["created"], row["made_by"], tuple(json.loads(row["notes"]))
    )
