"""Verdicts and label fixes as CSV: for the record, for a spreadsheet, and for the importer.

In: a table of verdicts; a dataset and one of its label versions. Out: CSV text, UTF-8, its first line the header.

A cell that a spreadsheet would compute (it begins with = + - @) gets an apostrophe in front, which the importer takes off.
"""

import json
from collections.abc import Iterable, Sequence

import pandas as pd

from fmlab.data.manifest import Card, Dataset
from fmlab.readers.fixes import COLUMNS as FIX_COLUMNS
from fmlab.readers.fixes import harmless
from fmlab.review.decisions import label_changes
from fmlab.review.verdicts import COLUMNS
from fmlab.runs.store import Store
from fmlab.studies.label_versions import LabelVersion


def verdicts_csv(table: pd.DataFrame) -> str:
    """Verdicts, every one of them, the oldest first; what was shown as JSON. `table` is that of `verdicts_of`."""
    shown = table["shown"].map(lambda facts: json.dumps(facts, ensure_ascii=False))
    return _csv(COLUMNS, table.assign(shown=shown)[list(COLUMNS)].itertuples(index=False))


def label_fixes_csv(store: Store, dataset: Dataset, version: LabelVersion | None) -> str:
    """The labels of a version that are not the imported ones; without a version, what a new one would change.

    Columns path, frame, image_id, label_was, label (empty: taken out) and attached: the test set that the image came
    with, if it was attached to the dataset. `fmlab data import --fixes` and `fmlab data attach --fixes` read it.
    """
    changes = label_changes(store, dataset) if version is None else version.changes
    images = [image for image in dataset.manifest(["image_id"])["image_id"] if image in changes] if changes else []
    rows = dataset.rows_of(images, ["path", "frame", "label", "split"]) if images else []
    attached = attached_sets(dataset.card)
    return _csv(
        FIX_COLUMNS,
        (
            (
                row["path"],
                row["frame"],
                row["image_id"],
                row["label"],
                changes[row["image_id"]],
                row["split"] if row["split"] in attached else None,
            )
            for row in rows
            if row["label"] != changes[row["image_id"]]
        ),
    )


def attached_sets(card: Card) -> tuple[str, ...]:
    """The test sets that were attached to a dataset after its import, in order."""
    added = card.split_origin.split("; ")[1:]
    return tuple(words.removesuffix(" attached") for words in added if words.endswith(" attached"))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "".join(",".join(map(_cell, row)) + "\n" for row in [columns, *rows])


def _cell(value: object) -> str:
    """A value as a cell. Python's writer leaves a carriage return unquoted, and readers take it for the end of a line."""
    text = "" if value is None else harmless(str(value))
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',;"\r\n') else text
