"""Queues: what to look at, in an order, made once and kept in the store.

In: a `QueueConfig`. Out: a `Queue` of items, images or sequences, each with its label, what the runs answered, and why
it is in the queue. The same config on the same images is the same queue, so that a link leads every reviewer to it.

An adjudication queue holds what reviewers disagree about at the moment it is made, and belongs to that state of verdicts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.errors import BadInput, NotFound
from fmlab.files import digest_config
from fmlab.review.agreement import answered
from fmlab.review.contents import Kind, QueueConfig, QueueItem, queue_items
from fmlab.review.verdicts import standing, verdicts_on
from fmlab.runs.records import Actor, Run, now
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.label_versions import ORIGINAL, parted

FROM_ANSWERS = ("misclassified", "near_ties", "disagreement")  # kinds that need the answers of runs
MIXED = (*FROM_ANSWERS, "label_errors")  # kinds that rightly answered items can be mixed into
NOT_ADJUDICATION = (*MIXED, "random", "selection")
# Settings that only some kinds take.
TAKEN_BY: dict[str, tuple[str, ...]] = {
    "only": ("disagreement",),
    "mixed": MIXED,
    "items": ("selection",),
    "parent": ("adjudication",),
    **dict.fromkeys(("runs", "test_set", "truth", "answer", "site", "most"), NOT_ADJUDICATION),
}


@dataclass(frozen=True)
class Queue:
    """A queue as stored. Its title holds names of classes and datasets, which are data: escape them."""

    key: str
    title: str
    config: QueueConfig
    created: str  # ISO 8601, UTC
    by: str
    items: tuple[QueueItem, ...]


# ------------------------------------------------------------------------------------------------------------ the store


def open_queue(home: Home, store: Store, config: QueueConfig, by: Actor) -> Queue:
    """The queue of a config, made and stored when it is not there yet.

    Raises:
        NotFound: the dataset, a run, a test set, a class, an item or the parent is not there.
        BadInput: runs that are not finished, of another dataset or of another kind than the queue needs.
    """
    dataset = open_dataset(home, config.dataset)
    runs = _checked_runs(store, config)
    _check(config, dataset)
    disputed = _disputed(store, dataset, config) if config.kind == "adjudication" else None
    state = {"content_hash": dataset.card.content_hash, "disputed": sorted(disputed or {})}
    key = digest_config("queue", config.model_dump(mode="json") | state)
    if (stored := _stored(store, key)) is not None:
        return stored
    items = queue_items(home, store, dataset, runs, config) if disputed is None else _disputed_items(store, disputed)
    title = _title(home, runs, config)
    plain = json.dumps([asdict(item) for item in items], ensure_ascii=False)
    with store.writing() as connection:
        made = connection.execute(
            "INSERT INTO queues (key, dataset, title, config, items, created, by) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key) DO NOTHING",
            (key, dataset.name, title, config.model_dump_json(), plain, now(), by.name),
        ).rowcount
        if made:
            store.record(by, "made a queue", key, f"{title}, {len(items)} items")
    return find_queue(store, key)


def find_queue(store: Store, key: str) -> Queue:
    """The queue of that key; one that is not there raises `NotFound`."""
    stored = _stored(store, key)
    if stored is None:
        raise NotFound(f"There is no queue {key[:12]!r}. Choose anew what to review.")
    return stored


def queues_of(store: Store, dataset: str) -> list[Queue]:
    """The queues of a dataset, the newest first."""
    rows = store.connection.execute(
        "SELECT * FROM queues WHERE dataset = ? ORDER BY created DESC, rowid DESC", (dataset,)
    )
    return [_queue(row) for row in rows.fetchall()]


def _stored(store: Store, key: str) -> Queue | None:
    row = store.connection.execute("SELECT * FROM queues WHERE key = ?", (key,)).fetchone()
    return None if row is None else _queue(row)


def _queue(row: Mapping[str, Any]) -> Queue:
    items = tuple(
        QueueItem(**plain | {"answers": tuple((run, answer) for run, answer in plain["answers"])})
        for plain in json.loads(row["items"])
    )
    config = QueueConfig.model_validate_json(row["config"])
    return Queue(row["key"], row["title"], config, row["created"], row["by"], items)


# ------------------------------------------------------------------------------------------------------------- checking


def _checked_runs(store: Store, config: QueueConfig) -> list[Run]:
    runs = [store.run(key) for key in config.runs]
    for run in runs:
        if run.state != "done" or run.result is None:
            raise BadInput(f"Run {run.key[:12]} is {run.state}; choose one that is done.")
        if run.config.get("dataset") != config.dataset:
            raise BadInput(f"Run {run.key[:12]} is not one of dataset {config.dataset!r}. Choose runs of this dataset.")
    kinds = {run.kind for run in runs}
    if config.kind == "label_errors":
        if kinds != {"suspects"} or len(runs) != 1:
            raise BadInput("Suspected label errors come from one run that looked for them. Start it, and name it.")
    elif not kinds <= {"adapt", "train"}:
        raise BadInput("A queue shows the answers of probes and trainings; another kind of run was named.")
    if config.kind in FROM_ANSWERS and not runs:
        raise BadInput(f"A queue of kind {config.kind} needs at least one finished run. Choose one.")
    if len({run.config.get("folds") for run in runs}) > 1:
        raise BadInput("Some of the runs are cross-validated and some are not. Choose runs of one kind.")
    return runs


def _check(config: QueueConfig, dataset: Dataset) -> None:
    for label in (config.truth, config.answer):
        if label is not None and label not in dataset.card.classes:
            present = ", ".join(dataset.card.classes)
            raise NotFound(f"Dataset {dataset.name!r} has no class {label!r}; its classes are {present}.")
    for name, kinds in TAKEN_BY.items():
        if getattr(config, name) and config.kind not in kinds:
            raise BadInput(f"A queue of kind {config.kind} takes no {name!r}; leave it out.")
    if config.kind == "selection" and not config.items:
        raise BadInput("Nothing was selected. Select some images first.")


# --------------------------------------------------------------------------------------------- reviewers who disagree


def _disputed(store: Store, dataset: Dataset, config: QueueConfig) -> dict[str, tuple[str, str]]:
    """Items about which standing verdicts differ and nobody has adjudicated → what was said, and in which queue.

    Verdicts agree when they name the same class, whether as the right one or instead of the label; skips say nothing.
    """
    table = verdicts_on(store, dataset)
    table = table[table["level"] == config.level]
    if config.parent is not None:
        find_queue(store, config.parent)
        table = table[table["adjudication"] | (table["queue"] == config.parent)]
    settled = set(standing(table[table["adjudication"]]).query("kind != 'skip'")["item"])
    open_ones = answered(table, dataset.card.classes)
    open_ones = open_ones[~open_ones["item"].isin(settled)]
    disputed = {}
    for item, verdicts in open_ones.groupby("item", sort=True):
        if verdicts["category"].nunique() > 1:
            disputed[item] = (_said_words(verdicts["category"].tolist()), verdicts["queue"].iloc[-1])
    return disputed


def _said_words(words: Sequence[str]) -> str:
    return "reviewers say " + ", ".join(f"{name} ({words.count(name)})" for name in sorted(set(words)))


def _disputed_items(store: Store, disputed: Mapping[str, tuple[str, str]]) -> list[QueueItem]:
    """The disputed items as they stood in the queues where they were last answered."""
    queues = {key: {each.item: each for each in find_queue(store, key).items} for _, key in disputed.values()}
    return [replace(queues[key][item], reason=reason) for item, (reason, key) in disputed.items()]


# ---------------------------------------------------------------------------------------------------------------- title

TITLES: dict[Kind, str] = {
    "misclassified": "Misclassified {units}",
    "near_ties": "Near ties among {units}",
    "disagreement": "Disagreement of backbones on {units}",
    "label_errors": "Suspected label errors in {units}",
    "random": "Random {units}",
    "adjudication": "Disagreement of reviewers on {units}",
    "selection": "Selected {units}",
}


def _title(home: Home, runs: Sequence[Run], config: QueueConfig) -> str:
    name, version = parted(config.test_set)
    words = TITLES[config.kind].format(units=f"{config.level}s")
    if config.only is not None:
        words = f"{config.level.capitalize()}s that only {find_backbone(home, config.only).title} got right"
    parts = [words + (f" of {name}" if name else "")]
    parts += [] if version == ORIGINAL else [f"labels {version}"]
    parts += [config.truth] if config.truth else []
    parts += [f"taken for {config.answer}"] if config.answer else []
    parts += [f"site {config.site}"] if config.site else []
    backbones = list(dict.fromkeys(run.config["backbone"] for run in runs))
    if len(backbones) == 1:
        parts.append(find_backbone(home, backbones[0]).title + (f" ({len(runs)} runs)" if len(runs) > 1 else ""))
    elif backbones:
        parts.append(f"{len(backbones)} backbones")
    return ", ".join(parts) + (", with right ones mixed in" if config.mixed else "")
