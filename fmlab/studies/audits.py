"""The audit of a dataset as far as it is known: its tables now, its pictures as they were last looked at.

In: a dataset and the store. Out: an `Audit`; the request to look at the pictures.

What the tables say is worked out when asked for and kept for as long as the dataset stays the same. What the pictures say
comes from the last finished run of kind `audit` on exactly this content.
"""

from functools import lru_cache
from pathlib import Path

from fmlab.audit.report import Audit, Check, audit_from, made
from fmlab.audit.tables import audit_tables
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.runs.records import UNFINISHED, Actor, Run
from fmlab.runs.requests import request_run
from fmlab.runs.store import Store
from fmlab.settings import Home

KIND = "audit"
DATASETS_KEPT = 8
PIXELS = "pixels"  # the check that stands for all of those that were not made yet


def audit_of(home: Home, store: Store, dataset: Dataset) -> Audit:
    """Everything known to be wrong with a dataset, from its tables and from the last look at its pictures."""
    card = dataset.card
    tables = _tables(home.path, dataset.name, card.content_hash, card.created)
    run = _last_look(store, dataset)
    if run is None:
        return Audit((*tables.checks, _not_looked_at()))
    return Audit((*tables.checks, *audit_from((run.result or {})["audit"]).checks))


@lru_cache(maxsize=DATASETS_KEPT)
def _tables(home: Path, name: str, content_hash: str, created: str) -> Audit:
    """`content_hash` and `created` are part of the key and not otherwise used: a dataset made anew is another."""
    return audit_tables(open_dataset(Home(home), name))


def _not_looked_at() -> Check:
    return made(
        PIXELS,
        "skipped",
        "What the pictures give away",
        "The pictures have not been looked at: near-duplicates, copies, doubtful labels and shortcuts are unknown.",
    )


def pictures_known(audit: Audit) -> bool:
    """Whether an audit has the part that needs pixels."""
    return all(check.key != PIXELS for check in audit.checks)


def request_audit(store: Store, dataset: Dataset, by: Actor) -> Run:
    """Queue a look at the pictures of a dataset; one that is under way is found again."""
    for key in _keys(store, dataset.name, UNFINISHED):
        return store.run(key)
    return request_run(store, KIND, {"dataset": dataset.name}, f"Audit of {dataset.name}", by)


def audit_under_way(store: Store, dataset: Dataset) -> bool:
    """Whether its pictures are being looked at, or are about to be."""
    return bool(_keys(store, dataset.name, UNFINISHED))


def _last_look(store: Store, dataset: Dataset) -> Run | None:
    """The newest finished audit of exactly this content."""
    for key in _keys(store, dataset.name, ("done",)):
        run = store.run(key)
        if (run.result or {}).get("content_hash") == dataset.card.content_hash:
            return run
    return None


def _keys(store: Store, dataset: str, states: tuple[str, ...]) -> list[str]:
    """Audits of a dataset in some states, the newest first."""
    marks = ", ".join("?" for _ in states)
    rows = store.connection.execute(
        f"SELECT key FROM runs WHERE kind = ? AND dataset = ? AND state IN ({marks}) ORDER BY position DESC",
        (KIND, dataset, *states),
    )
    return [key for (key,) in rows]
