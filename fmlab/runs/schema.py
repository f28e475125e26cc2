"""The store's tables, as small named steps, each applied once.

In: an SQLite connection. Out: the same database, brought up to the newest step. Steps are only ever appended.
"""

import sqlite3

from fmlab.errors import BadInput

STEPS: tuple[tuple[str, str], ...] = (
    (
        "001_first_tables",
        """
        CREATE TABLE studies (
            name TEXT PRIMARY KEY, config TEXT NOT NULL, notes TEXT NOT NULL, created TEXT NOT NULL, made_by TEXT NOT NULL
        );
        CREATE TABLE groups (
            key TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, device TEXT,
            done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
            rate REAL, seconds_left REAL, started TEXT, updated TEXT
        );
        CREATE TABLE runs (
            key TEXT PRIMARY KEY, kind TEXT NOT NULL, config TEXT NOT NULL, group_key TEXT NOT NULL REFERENCES groups(key),
            state TEXT NOT NULL, device TEXT, created TEXT NOT NULL, started TEXT, finished TEXT, seconds REAL,
            reason TEXT, result TEXT, attempts INTEGER NOT NULL DEFAULT 0, cancel_asked INTEGER NOT NULL DEFAULT 0,
            position INTEGER NOT NULL,
            dataset TEXT, backbone TEXT, adaptation TEXT, scheme TEXT, size INTEGER, seed INTEGER
        );
        CREATE INDEX runs_by_state ON runs (state, position);
        CREATE INDEX runs_by_group ON runs (group_key, state);
        CREATE TABLE study_runs (study TEXT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (study, run)) WITHOUT ROWID;
        CREATE INDEX studies_by_run ON study_runs (run);
        CREATE TABLE events (
            id INTEGER PRIMARY KEY, time TEXT NOT NULL, actor TEXT NOT NULL, via TEXT NOT NULL,
            verb TEXT NOT NULL, subject TEXT NOT NULL, details TEXT NOT NULL
        );
        CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, token INTEGER NOT NULL, expires REAL NOT NULL);
        CREATE TABLE measurements (
            device TEXT NOT NULL, backbone TEXT NOT NULL, what TEXT NOT NULL, value REAL NOT NULL, time TEXT NOT NULL,
            PRIMARY KEY (device, backbone, what)
        );
        CREATE TABLE changes (only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL);
        INSERT INTO changes VALUES (1, 0);
        """,
    ),
    (
        "review",
        """
        CREATE TABLE queues (
            key TEXT PRIMARY KEY, dataset TEXT NOT NULL, title TEXT NOT NULL, config TEXT NOT NULL, items TEXT NOT NULL,
            created TEXT NOT NULL, by TEXT NOT NULL
        );
        CREATE TABLE verdicts (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, time TEXT NOT NULL, reviewer TEXT NOT NULL, via TEXT NOT NULL,
            dataset TEXT NOT NULL, queue TEXT NOT NULL REFERENCES queues(key), level TEXT NOT NULL, item TEXT NOT NULL,
            kind TEXT NOT NULL, label TEXT, note TEXT NOT NULL, blinded INTEGER NOT NULL, shown TEXT NOT NULL, undoes TEXT
        );
        CREATE INDEX verdicts_by_queue ON verdicts (queue, reviewer);
        CREATE INDEX verdicts_by_dataset ON verdicts (dataset, item);
        CREATE TABLE label_versions (
            number INTEGER PRIMARY KEY, dataset TEXT NOT NULL, pixels_key TEXT NOT NULL, name TEXT NOT NULL,
            created TEXT NOT NULL, by TEXT NOT NULL, note TEXT NOT NULL, changes TEXT NOT NULL, UNIQUE (dataset, name)
        );
        """,
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the steps that this database has not seen. One made by a newer FMLab is refused."""
    connection.execute("CREATE TABLE IF NOT EXISTS steps (name TEXT PRIMARY KEY)")
    applied = {name for (name,) in connection.execute("SELECT name FROM steps")}
    unknown = applied - {name for name, _ in STEPS}
    if unknown:
        raise BadInput(
            f"The store was written by a newer FMLab (step {max(unknown)}). Update this one, or use another home."
        )
    for name, statements in STEPS:
        if name not in applied:
            # executescript would commit half-way; one statement after the other stays inside the transaction.
            for statement in statements.split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute("INSERT INTO steps VALUES (?)", (name,))
