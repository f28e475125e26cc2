"""Verdicts: what reviewers said of images and sequences, kept for good.

In: answers as the browser sends them, about items of a queue. Out: rows that are only ever added, and those that stand.

An answer carries an id that its browser made up, so one that is sent again (after a lost connection, a killed server) is
acknowledged and not a second verdict. A reviewer changes their mind by another answer, which then stands, or takes one
back by an answer of kind `undo`. The rows say who, when and what; `events` notes only when a reviewer begins a queue.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fmlab.data.manifest import Dataset, open_dataset
from fmlab.errors import BadInput
from fmlab.runs.records import Actor, now
from fmlab.runs.store import Store

ADJUDICATION = "adjudication"  # the kind of queue whose verdicts stand above those of other queues
UNUSABLE = ("ambiguous", "poor_quality")  # kinds that say: no label can be given
COLUMNS = (
    "number",
    "id",
    "time",
    "reviewer",
    "via",
    "dataset",
    "queue",
    "level",
    "item",
    "kind",
    "label",  # the class that the reviewer named or confirmed; None for the other kinds
    "note",
    "blinded",
    "undoes",
    "shown",  # a dict: what the reviewer saw
    "adjudication",  # whether it was given in an adjudication queue
)

MOST_NOTE = 2000  # characters
MOST_SHOWN = 32  # facts

Identity = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")]
ShownValue = bool | int | Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(max_length=200)] | None


class Answer(BaseModel):
    """One press of a key, as the browser sends it. Kind `class` says: it is `label`, whatever the dataset says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Identity  # a UUID
    item: Annotated[str, Field(min_length=1, max_length=1000)]  # an image or sequence id of the queue
    kind: Literal["label_right", "label_wrong", "class", "ambiguous", "poor_quality", "skip", "undo"]
    label: Annotated[str, Field(max_length=1000)] | None = None
    note: Annotated[str, Field(max_length=MOST_NOTE)] = ""
    undoes: Identity | None = None  # kind `undo`: the id of the verdict that is taken back
    shown: Annotated[dict[Annotated[str, Field(max_length=40)], ShownValue], Field(max_length=MOST_SHOWN)] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "Answer":
        if (self.kind == "undo") != (self.undoes is not None):
            raise ValueError("an answer of kind undo, and no other, names the verdict that it undoes")
        if self.kind in ("label_wrong", "class") and self.label is None:
            raise ValueError(f"an answer of kind {self.kind} names the right class")
        if self.kind in (*UNUSABLE, "skip", "undo") and self.label is not None:
            raise ValueError(f"an answer of kind {self.kind} names no class")
        return self


def parse_answer(given: object) -> Answer:
    """An answer from plain data of outside; anything else raises `BadInput` in one sentence."""
    try:
        return Answer.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "as a whole"
        reason = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"An answer cannot be kept, {where}: {reason}. Load the page again and repeat it.") from error


class ShownItem(Protocol):
    """What verdicts need to know of an item of a queue."""

    item: str
    test_set: str
    label: str | None
    answer: str | None


class QueueFacts(Protocol):
    """What verdicts need to know of a queue's config."""

    dataset: str
    level: str


class ReviewedQueue(Protocol):
    """What verdicts need to know of a queue. It is stored before anyone answers it."""

    key: str
    title: str
    config: QueueFacts
    items: Sequence[ShownItem]


# -------------------------------------------------------------------------------------------------------------- writing


def record_answers(
    store: Store, queue: ReviewedQueue, answers: Sequence[Answer], reviewer: str, blinded: bool, by: Actor
) -> list[str]:
    """Keep a reviewer's answers about items of a queue, all or none; returns the ids that now stand in the store.

    An id that is there already is acknowledged like a new one. Kind `class` is kept as `label_right` or `label_wrong`,
    by comparison with the item's label, which a blinded reviewer's browser does not have. Whoever has answered an item
    before was told its label then: what they say of it later is not kept as blinded.

    Raises:
        BadInput: one of the answers cannot be kept (`refused_answers` tells which and why), or the reviewer has no name.
    """
    dataset = open_dataset(store.home, queue.config.dataset)
    ledger = _Ledger(store, dataset, queue, answers, reviewer, blinded)
    if not ledger.refused and not ledger.rows:  # a retry: nothing changes, so no page needs to redraw
        return ledger.kept
    with store.writing() as connection:
        ledger = _Ledger(store, dataset, queue, answers, reviewer, blinded)  # another thread may have been first
        for reason in ledger.refused.values():
            raise BadInput(reason)
        begun = connection.execute(
            "SELECT 1 FROM verdicts WHERE queue = ? AND reviewer = ? LIMIT 1", (queue.key, ledger.reviewer)
        ).fetchone()
        connection.executemany(
            "INSERT INTO verdicts (id, time, reviewer, via, dataset, queue, level, item, kind, label, note, blinded,"
            " undoes, shown) VALUES (:id, :time, :reviewer, :via, :dataset, :queue, :level, :item, :kind, :label, :note,"
            " :blinded, :undoes, :shown) ON CONFLICT (id) DO NOTHING",
            [row | {"time": now(), "via": by.via} for row in ledger.rows],
        )
        if not begun:
            store.record(by, "began to review", queue.title, f"as {ledger.reviewer}")
    return ledger.kept


def refused_answers(
    store: Store, queue: ReviewedQueue, answers: Sequence[Answer], reviewer: str, blinded: bool
) -> dict[str, str]:
    """Those of the answers that cannot be kept, by id, each with the reason in one sentence. Writes nothing."""
    dataset = open_dataset(store.home, queue.config.dataset)
    return _Ledger(store, dataset, queue, answers, reviewer, blinded).refused


class _Ledger:
    """Answers held against a queue and the store: rows to add, ids that stand then, and what is refused and why."""

    rows: list[dict[str, Any]]
    kept: list[str]
    refused: dict[str, str]

    def __init__(
        self,
        store: Store,
        dataset: Dataset,
        queue: ReviewedQueue,
        answers: Sequence[Answer],
        reviewer: str,
        blinded: bool,
    ) -> None:
        self.reviewer, self.rows, self.kept, self.refused = reviewer_name(reviewer), [], [], {}
        self._classes, self._pixels = dataset.card.classes, dataset.card.pixels_key
        self._queue, self._blinded = queue, blinded
        self._items = {item.item: item for item in queue.items}
        self._told = _judged(store, queue, self.reviewer)
        self._known = _verdicts(store, [*(a.id for a in answers), *(a.undoes for a in answers if a.undoes)])
        for answer in answers:
            try:
                self._take(answer)
            except BadInput as refusal:
                self.refused[answer.id] = str(refusal)

    def _take(self, answer: Answer) -> None:
        known = self._known.get(answer.id)
        if known is None:
            row = self._row(answer)
            self.rows.append(row)
            self._known[answer.id] = row
        elif (known["reviewer"], known["queue"], known["item"]) != (self.reviewer, self._queue.key, answer.item):
            raise BadInput(f"The id {answer.id} is that of another verdict. Load the page again and repeat the answer.")
        self.kept.append(answer.id)

    def _row(self, answer: Answer) -> dict[str, Any]:
        item = self._items.get(answer.item)
        if item is None:
            raise BadInput(f"{answer.item!r} is not in the queue {self._queue.title!r}. Load the page again.")
        if answer.undoes is not None:
            self._check_undo(answer)
        kind, label = self._verdict(answer, item.label)
        asked = {"label": item.label, "answer": item.answer, "test_set": item.test_set, "pixels_key": self._pixels}
        return {
            "id": answer.id,
            "reviewer": self.reviewer,
            "dataset": self._queue.config.dataset,
            "queue": self._queue.key,
            "level": self._queue.config.level,
            "item": answer.item,
            "kind": kind,
            "label": label,
            "note": answer.note,
            "blinded": int(self._blinded and answer.item not in self._told),
            "undoes": answer.undoes,
            "shown": json.dumps(answer.shown | asked, ensure_ascii=False),
        }

    def _verdict(self, answer: Answer, label: str | None) -> tuple[str, str | None]:
        """The kind and class to keep; `label` is the item's."""
        if answer.label is not None and answer.label not in self._classes:
            classes = ", ".join(self._classes[:10]) + (" …" if len(self._classes) > 10 else "")
            raise BadInput(f"{answer.label!r} is no class of the dataset; its classes are {classes}.")
        if answer.kind == "class":
            return ("label_right" if answer.label == label else "label_wrong"), answer.label
        if answer.kind == "label_right":
            if self._blinded:
                raise BadInput("A blinded reviewer does not see the label to confirm it. Name the class.")
            if label is None:
                raise BadInput(f"{answer.item!r} has no label that could be right. Name its class.")
            if answer.label not in (None, label):
                raise BadInput(
                    f"{answer.item!r} has the label {label!r}, and not {answer.label!r}. Load the page again."
                )
            return answer.kind, label
        if answer.kind == "label_wrong" and answer.label == label:
            raise BadInput(f"{answer.item!r} has the label {label!r}, so it cannot be wrong and {label!r} be right.")
        return answer.kind, answer.label

    def _check_undo(self, answer: Answer) -> None:
        undone = self._known.get(answer.undoes or "")
        if undone is None:
            raise BadInput(f"There is no verdict {answer.undoes} to take back. Load the page again.")
        if undone["reviewer"] != self.reviewer:
            raise BadInput("A verdict of another reviewer cannot be taken back. Give your own instead.")
        place = (self._queue.config.dataset, self._queue.config.level, answer.item)
        if (undone["dataset"], undone["level"], undone["item"]) != place or undone["kind"] == "undo":
            raise BadInput(f"The verdict {answer.undoes} is not one on {answer.item!r}. Load the page again.")


def reviewer_name(given: str) -> str:
    """A reviewer's name without blanks around it; none, or one of several lines, raises `BadInput`."""
    name = given.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise BadInput("A reviewer needs a name of 1 to 100 characters on one line. Say who reviews.")
    return name


def _judged(store: Store, queue: ReviewedQueue, reviewer: str) -> set[str]:
    """The items of a queue's dataset and level that a reviewer gave a verdict on, whatever became of it."""
    rows = store.connection.execute(
        "SELECT DISTINCT item FROM verdicts WHERE dataset = ? AND level = ? AND reviewer = ? AND kind NOT IN ('skip', 'undo')",
        (queue.config.dataset, queue.config.level, reviewer),
    )
    return {item for (item,) in rows}


def _verdicts(store: Store, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The stored verdicts of those ids, by id."""
    rows = store.connection.execute(
        "SELECT id, reviewer, dataset, queue, level, item, kind FROM verdicts"
        " WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ids)),),
    )
    return {row["id"]: dict(row) for row in rows}


# -------------------------------------------------------------------------------------------------------------- reading


def verdicts_of(
    store: Store, dataset: str | None = None, queue: str | None = None, reviewer: str | None = None
) -> pd.DataFrame:
    """Every verdict ever given, the oldest first, in the columns `COLUMNS`; of a dataset, a queue (its key), a reviewer."""
    fields = [name for name in COLUMNS if name != "adjudication"]
    cursor = store.connection.execute(
        f"SELECT {', '.join('verdicts.' + name for name in fields)}, queues.config FROM verdicts"
        " JOIN queues ON queues.key = verdicts.queue WHERE (:dataset IS NULL OR verdicts.dataset = :dataset)"
        " AND (:queue IS NULL OR queue = :queue) AND (:reviewer IS NULL OR reviewer = :reviewer) ORDER BY number",
        {"dataset": dataset, "queue": queue, "reviewer": reviewer},
    )
    table = pd.DataFrame(map(tuple, cursor), columns=[*fields, "adjudication"], dtype=object)
    kinds = {config: json.loads(config)["kind"] == ADJUDICATION for config in table["adjudication"].unique()}
    table["adjudication"] = table["adjudication"].map(kinds).astype(bool)
    table["shown"] = table["shown"].map(json.loads)
    return table.astype({"number": "int64", "blinded": bool})


def verdicts_on(store: Store, dataset: Dataset) -> pd.DataFrame:
    """As `verdicts_of` a dataset, but only on images and of classes that it has: another may have had its name before."""
    table = verdicts_of(store, dataset.name)
    if table.empty:
        return table
    images = dataset.manifest(["image_id", "sequence_id"])
    present = (
        table["item"]
        .isin(images["image_id"])
        .where(table["level"] == "image", table["item"].isin(images["sequence_id"]))
    )
    named = table["label"].isna() | table["label"].isin(list(dataset.card.classes))
    pixels = table["shown"].map(lambda shown: shown["pixels_key"])
    return table[present & named & (pixels == dataset.card.pixels_key)].reset_index(drop=True)


def standing(table: pd.DataFrame) -> pd.DataFrame:
    """Of verdicts those that stand: each reviewer's newest on each item, without what was taken back; the oldest first.

    What somebody said as a reviewer stands beside what they said when adjudicating.
    """
    undone = set(table["undoes"].dropna())
    kept = table[(table["kind"] != "undo") & ~table["id"].isin(undone)]
    place = ["dataset", "reviewer", "level", "item", "adjudication"]
    return kept.sort_values("number").drop_duplicates(place, keep="last").reset_index(drop=True)
