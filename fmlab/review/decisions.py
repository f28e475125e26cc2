"""Decisions: what the reviewers' verdicts on each item come to, and which labels they change.

In: the verdicts on a dataset. Out: one decision per image or sequence; the images whose label is another, or that are
taken out, as a new label version holds them.

The newest adjudication of an item stands above all. Else its reviewers decide: all of them, or more than half. Half and
half, or three of three minds, is undecided and changes nothing. One reviewer alone decides what nobody else answered.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import pandas as pd

from fmlab.data.manifest import Dataset
from fmlab.review.verdicts import UNUSABLE, standing, verdicts_on
from fmlab.runs.store import Store

Include = Literal["all", "wrong", "wrong and excluded"]
UNDECIDED = "undecided"
CLASS = "class"  # that a class was named, whichever
COLUMNS = (
    "level",
    "item",
    "decision",  # label_right, label_wrong, ambiguous, poor_quality or undecided
    "label",  # the right one; None where the decision names none
    "by",  # whose answer it is, separated by commas
    "adjudicated",
    "reviewers",  # how many answered, adjudications not counted
)


def decisions(store: Store, dataset: Dataset, include: Include = "all") -> pd.DataFrame:
    """One row per item with a verdict, in the order of their first ones; the columns are `COLUMNS`.

    A label is right or wrong in comparison with the imported one; that of a sequence is the most frequent one of its
    scored images, the first in the order of classes in a tie. `include` "wrong" leaves only wrong labels, "wrong and
    excluded" adds those that are ambiguous or of poor quality.
    """
    table = standing(verdicts_on(store, dataset))
    table = table[table["kind"] != "skip"]
    imported = _imported(dataset, set(table["item"])) if len(table) else {}
    items: dict[tuple[str, str], list[_Voice]] = {}  # plain lists: a table for each item would take milliseconds each
    for verdict in table.itertuples():
        kind = str(verdict.kind) if verdict.kind in UNUSABLE else CLASS
        voice = _Voice(str(verdict.reviewer), kind, verdict.label, bool(verdict.adjudication))
        items.setdefault((str(verdict.level), str(verdict.item)), []).append(voice)
    rows = [(*place, *_decision(voices, imported[place])) for place, voices in items.items()]
    found = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object).astype({"adjudicated": bool, "reviewers": "int64"})
    kept = {"wrong": ("label_wrong",), "wrong and excluded": ("label_wrong", *UNUSABLE)}.get(include)
    return found if kept is None else found[found["decision"].isin(kept)].reset_index(drop=True)


class _Voice(NamedTuple):
    """A verdict that stands: what was named, `class` and its name or a kind of `UNUSABLE` and None, and by whom."""

    reviewer: str
    kind: str
    label: str | None
    adjudication: bool


def _decision(voices: Sequence[_Voice], imported: str | None) -> tuple[object, ...]:
    """One row of `decisions` without level and item; the voices on it, the newest last, and its imported label."""
    own = [voice for voice in voices if not voice.adjudication]
    above = [voice for voice in voices if voice.adjudication]
    counted = above[-1:] or own
    kind, label = _majority(counted)
    by = ", ".join(voice.reviewer for voice in counted if (voice.kind, voice.label) == (kind, label))
    if kind == CLASS:
        kind = "label_right" if label == imported else "label_wrong"
    return kind, label, by, len(above) > 0, len(own)


def _majority(voices: Sequence[_Voice]) -> tuple[str, str | None]:
    """What more than half of the voices name, kind and label; (undecided, None) if there is no such thing."""
    most, count = Counter((voice.kind, voice.label) for voice in voices).most_common(1)[0]
    return most if 2 * count > len(voices) else (UNDECIDED, None)


def _imported(dataset: Dataset, items: Collection[str]) -> dict[tuple[str, str], str | None]:
    """The imported label of images and sequences of these ids, by level and id; None: unlabelled."""
    rows = dataset.manifest(["image_id", "sequence_id", "label", "scored"])
    images, rows = rows[rows["image_id"].isin(items)], rows[rows["sequence_id"].isin(items)]
    labels = {("image", row.image_id): _plain(row.label) for row in images.itertuples()}
    labels |= {("sequence", str(sequence)): None for sequence in rows["sequence_id"].unique()}
    scored = rows[rows["label"].notna() & rows["scored"]]
    counts = scored.groupby(["sequence_id", "label"]).size().reset_index(name="images")
    counts["order"] = counts["label"].map({name: place for place, name in enumerate(dataset.card.classes)})
    first = counts.sort_values(["images", "order"], ascending=[False, True]).drop_duplicates("sequence_id")
    return labels | {("sequence", row.sequence_id): row.label for row in first.itertuples()}


def _plain(label: object) -> str | None:
    return label if isinstance(label, str) else None


def label_changes(store: Store, dataset: Dataset, exclude_unusable: bool = False) -> dict[str, str | None]:
    """Image id → its decided label where that is not the imported one, in the order of the manifest; None: taken out.

    A wrong label of a sequence changes all its images, one of an image that image alone; on one image what was decided of
    it stands above what was decided of its sequence. With `exclude_unusable`, what is ambiguous or of poor quality is
    taken out; without, it keeps its label.
    """
    found = decisions(store, dataset)
    effective = found[found["decision"].isin(("label_right", "label_wrong", *(UNUSABLE if exclude_unusable else ())))]
    by_level = {level: _by_item(effective[effective["level"] == level]) for level in ("image", "sequence")}
    if effective.empty:
        return {}
    rows = dataset.manifest(["image_id", "sequence_id", "label"])
    touched = rows["image_id"].isin(by_level["image"].keys()) | rows["sequence_id"].isin(by_level["sequence"].keys())
    changes: dict[str, str | None] = {}
    for row in rows[touched].itertuples():
        decision, label = by_level["image"].get(row.image_id) or by_level["sequence"][row.sequence_id]
        if decision != "label_right" and label != _plain(row.label):
            changes[row.image_id] = label
    return changes


def _by_item(found: pd.DataFrame) -> dict[str, tuple[str, str | None]]:
    return {item: (decision, label) for item, decision, label in found[["item", "decision", "label"]].to_numpy()}


def next_version_name(store: Store, dataset: Dataset) -> str:
    """`v2` for the first version of a dataset's labels, then `v3` …: the first that no version has had."""
    rows = store.connection.execute("SELECT name FROM label_versions WHERE dataset = ?", (dataset.name,))
    taken: Sequence[str] = [name for (name,) in rows]
    number = 2
    while f"v{number}" in taken:
        number += 1
    return f"v{number}"
