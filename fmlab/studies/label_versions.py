"""Label versions: the labels of a dataset as imported, or as its reviewers corrected them.

In: which images get which label instead of the imported one. Out: a named version, kept in the store for good. A version
never changes; a further correction is a further version.

A test set under a version is a test set of its own, `T1@NAME`: the same images, other truth, without those that the
version takes out. So every number, interval and figure can be had under every version, and nothing is computed anew
but the comparison of answers with truth.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from fmlab.data.manifest import Dataset, check_name
from fmlab.errors import BadInput, NameTaken, NotFound
from fmlab.runs.records import Actor, now
from fmlab.runs.store import Store

ORIGINAL = "original"  # the labels as imported
SEPARATOR = "@"


@dataclass(frozen=True, eq=False)
class LabelVersion:
    """Corrected labels of a dataset."""

    dataset: str
    name: str
    created: str  # ISO 8601, UTC
    by: str
    note: str
    changes: Mapping[str, str | None]  # image id → its label; None: taken out, it is not scored

    def applied(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows (image_id, label, …) under these labels, without the images that are taken out; their order stays."""
        corrected = rows["image_id"].map(lambda image: image in self.changes).to_numpy(bool)
        labels = rows["label"].astype(object).to_numpy(copy=True)
        labels[corrected] = [self.changes[image] for image in rows.loc[corrected, "image_id"]]
        changed = rows.assign(label=pd.Series(labels, index=rows.index, dtype=object))
        return changed[changed["label"].notna()].reset_index(drop=True)


def label_versions(store: Store, dataset: Dataset) -> tuple[LabelVersion, ...]:
    """The published versions of a dataset's labels, the oldest first; not those of other images under the same name."""
    numbers = store.connection.execute(
        "SELECT number FROM label_versions WHERE dataset = ? AND pixels_key = ? ORDER BY number",
        (dataset.name, dataset.card.pixels_key),
    )
    return tuple(_version(store, number) for (number,) in numbers.fetchall())


@lru_cache(maxsize=64)
def _version(store: Store, number: int) -> LabelVersion:
    """A version as stored; one object for each, because what is computed under it is kept by it."""
    row = store.connection.execute("SELECT * FROM label_versions WHERE number = ?", (number,)).fetchone()
    facts = {name: row[name] for name in ("dataset", "name", "created", "by", "note")}
    return LabelVersion(changes=json.loads(row["changes"]), **facts)


def find_label_version(store: Store, dataset: Dataset, name: str) -> LabelVersion | None:
    """The version of that name, None for `original`; `NotFound` lists those there are."""
    if name == ORIGINAL:
        return None
    versions = {version.name: version for version in label_versions(store, dataset)}
    if name not in versions:
        present = ", ".join([ORIGINAL, *versions])
        raise NotFound(f"Dataset {dataset.name!r} has no label version {name!r}; it has: {present}.")
    return versions[name]


def publish(
    store: Store, dataset: Dataset, name: str, changes: Mapping[str, str | None], note: str, by: Actor
) -> LabelVersion:
    """Keep corrected labels under a name.

    Raises:
        BadInput: nothing is changed, or to a class that the dataset does not have, or `name` cannot be a name.
        NameTaken: the dataset has a version of that name.
    """
    check_name(name, "label version")
    if name == ORIGINAL:
        raise NameTaken(f"{ORIGINAL!r} are the labels as imported. Choose another name.")
    if not changes:
        raise BadInput("No label is changed, so there is nothing to publish. Review some images first.")
    unknown = sorted({label for label in changes.values() if label is not None} - set(dataset.card.classes))
    if unknown:
        raise BadInput(
            f"{unknown[0]!r} is no class of dataset {dataset.name!r}; its classes are {', '.join(dataset.card.classes)}."
        )
    with store.writing() as connection:
        taken = connection.execute(
            "SELECT 1 FROM label_versions WHERE dataset = ? AND name = ?", (dataset.name, name)
        ).fetchone()
        if taken:
            raise NameTaken(f"Dataset {dataset.name!r} has a label version {name!r} already. Choose another name.")
        connection.execute(
            "INSERT INTO label_versions (dataset, pixels_key, name, created, by, note, changes)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (dataset.name, dataset.card.pixels_key, name, now(), by.name, note, json.dumps(dict(changes))),
        )
        store.record(by, "published labels", f"{dataset.name} {name}", f"{len(changes)} images")
    return label_versions(store, dataset)[-1]


def under(test_set: str, version: LabelVersion | None) -> str:
    """The name of a test set under a version: `T1`, or `T1@NAME`."""
    return test_set if version is None else f"{test_set}{SEPARATOR}{version.name}"


def parted(test_set: str) -> tuple[str, str]:
    """A test set's own name and its version's: `("T1", "original")` of `T1`, `("T1", "v2")` of `T1@v2`."""
    name, separator, version = test_set.rpartition(SEPARATOR)
    return (name, version) if separator else (test_set, ORIGINAL)
