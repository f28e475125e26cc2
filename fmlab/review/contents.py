"""What a queue's config asks for: the items, with their labels, what was answered, and why they are in the queue.

In: a `QueueConfig` and the finished runs that it names. Out: `QueueItem`s, images or sequences, each once and in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fmlab.data.manifest import Dataset
from fmlab.errors import BadInput, NotFound
from fmlab.review.choosing import (
    ITEM_COLUMNS,
    Answers,
    Chosen,
    answers_of,
    disagreements,
    interleaved,
    near_ties,
    sample,
    suspects,
    wrong_ones,
)
from fmlab.review.queue import Level
from fmlab.runs.records import Run
from fmlab.runs.store import Store
from fmlab.runs.suspecting import read_suspects
from fmlab.settings import Home
from fmlab.studies.label_versions import LabelVersion, find_label_version, parted, under
from fmlab.studies.scoring import item_table, sets_of_run, test_sets

Kind = Literal["misclassified", "near_ties", "disagreement", "label_errors", "random", "adjudication", "selection"]
EVERYWHERE = ("label_errors", "selection")  # kinds whose items may be training images too


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class QueueConfig(BaseModel):
    """What decides a queue."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    kind: Kind
    dataset: str
    runs: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """Whole keys of finished runs; for label_errors the one run of kind `suspects`. The first one's answers are shown."""
    test_set: str = ""
    """`T1`; `T1@v2` under a label version; `` or `@v2`: all test sets, and the training images too where the kind is
    label_errors, selection or adjudication."""
    level: Level = "sequence"
    truth: str | None = None
    """Only items of this label."""
    answer: str | None = None
    """Only items that one of the runs (or, of label_errors, the models of other patients) took for this class."""
    site: str | None = None
    only: str | None = None
    """disagreement: the backbone that alone is right."""
    mixed: bool = False
    """As many rightly answered items mixed in, so that being in the queue tells nothing."""
    most: Annotated[int, Field(ge=1)] | None = None
    """At most so many, before others are mixed in; null: all, and of label_errors those that cleanlab names."""
    items: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """selection: the items themselves, in order."""
    seed: Annotated[int, Field(ge=0)] = 0
    parent: str | None = None
    """adjudication: the queue whose disagreements these are; null: those of the whole dataset."""


@dataclass(frozen=True)
class QueueItem:
    """An image or a sequence in a queue."""

    item: str  # image id, or sequence id
    image_id: str  # what is shown first: of a sequence the image that misled the first run most, or its middle one
    test_set: str  # with the label version, where there is one; train for training images
    label: str | None  # null: unlabelled
    answer: str | None  # the first run's; of label_errors what models of other patients say
    reason: str
    answers: tuple[tuple[str, str], ...] = ()  # run key, its answer
    votes: int | None = None  # of a sequence's images, how many gave the first run's answer
    images: int | None = None  # and how many voted
    suggested: str | None = None  # label_errors: the class that the label might be


def queue_config(content: Mapping[str, Any]) -> QueueConfig:
    """A config from plain data; the first thing wrong with it becomes one sentence."""
    try:
        return QueueConfig.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "queue"
        raise BadInput(f"The queue's {where!r} is {first['input']!r}: {first['msg']}.") from error


def queue_items(
    home: Home, store: Store, dataset: Dataset, runs: Sequence[Run], config: QueueConfig
) -> list[QueueItem]:
    """The items of a queue of any kind but adjudication, each once, in order. `runs` are those that the config names."""
    labels = find_label_version(store, dataset, parted(config.test_set)[1])
    answers, table, said = None, None, {}
    if config.kind == "label_errors":
        table = read_suspects(home, runs[0])
        rows = _suspected_rows(_rows(dataset, config, labels), table, config.level)
        table = table[table[ITEM_COLUMNS[config.level]].isin(rows["item"])]
        said = {item: (suggested,) for item, suggested in zip(rows["item"], rows["suggested"], strict=True)}
    else:
        if runs:
            answers = _answers(home, store, dataset, runs, config, labels)
            said = answers.by_item
        rows = answers.rows if answers and config.kind != "selection" else _rows(dataset, config, labels)
    rows = rows.drop_duplicates("item").set_index("item", drop=False)
    allowed = set(_allowed(rows, said, config))
    chosen = {each.item: each for each in reversed(_chosen(config, answers, table, rows["item"].tolist()))}
    ranked = [each for each in reversed(chosen.values()) if each.item in allowed][: config.most]
    if config.mixed:
        ranked = interleaved(ranked, _right(rows, said, ranked, config), config.seed)
    places = {item: place for place, item in enumerate(rows["item"])}
    plain = rows.astype(object).where(rows.notna(), None).to_dict("records")
    keys = answers.runs if answers else ()
    return [_item(each, plain[places[each.item]], keys, said.get(each.item, ())) for each in ranked]


def _answers(
    home: Home, store: Store, dataset: Dataset, runs: Sequence[Run], config: QueueConfig, labels: LabelVersion | None
) -> Answers:
    names = [test.name for test in sets_of_run(dataset, runs[0], labels)]
    if parted(config.test_set)[0]:
        if config.test_set not in names:
            raise _no_test_set(dataset, config.test_set, names)
        names = [config.test_set]
    tables = [pd.concat([item_table(home, store, run.key, name) for name in names]) for run in runs]
    return answers_of(tables, config.runs, [run.config["backbone"] for run in runs], config.level)


def _rows(dataset: Dataset, config: QueueConfig, labels: LabelVersion | None) -> pd.DataFrame:
    """Images or sequences, answered or not: item, image_id, test_set, label, site."""
    columns = ["image_id", "label", "sequence_id", "site", "frame"]
    if config.kind in EVERYWHERE:
        table = dataset.manifest([*columns, "split"])
        table = table[table["split"].notna()]
        table = table if labels is None else labels.applied(table)
        table = table.assign(test_set=[under(split, labels) for split in table["split"]])
    else:
        sets = test_sets(dataset.folder, dataset.card.content_hash, None, labels)
        table = pd.concat(
            [pd.DataFrame(columns=[*columns, "test_set"]), *(t.rows.assign(test_set=t.name) for t in sets)]
        )
    if parted(config.test_set)[0]:
        names = sorted(table["test_set"].unique())
        if config.test_set not in names:
            raise _no_test_set(dataset, config.test_set, names)
        table = table[table["test_set"] == config.test_set]
    if config.level == "image":
        return table.assign(item=table["image_id"]).reset_index(drop=True)
    return _sequences(table, list(dataset.card.classes))


def _sequences(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """One row per sequence: its middle image, and its most frequent label, the first of the classes in a tie."""
    table = table.sort_values(["sequence_id", "frame"], kind="stable")
    codes = pd.Series(pd.Categorical(table["label"], categories=classes).codes, index=table.index)
    counts = pd.DataFrame({"sequence_id": table["sequence_id"], "code": codes})[codes >= 0].value_counts().reset_index()
    counts = counts.sort_values(["count", "code"], ascending=[False, True]).drop_duplicates("sequence_id")
    label = counts.set_index("sequence_id")["code"].map(lambda code: classes[code])
    within = table.groupby("sequence_id").cumcount()
    middle = table[within == table.groupby("sequence_id")["image_id"].transform("size") // 2]
    named = middle["sequence_id"].map(label).astype(object)
    return middle.assign(item=middle["sequence_id"], label=named).reset_index(drop=True)


def _suspected_rows(rows: pd.DataFrame, table: pd.DataFrame, level: Level) -> pd.DataFrame:
    """Rows with what models of other patients say, without those whose label was corrected since: that was looked at."""
    column = ITEM_COLUMNS[level]
    worst = table.sort_values(["quality", "image_id"], kind="stable").drop_duplicates(column)
    prefix = "sequence_" if level == "sequence" else ""
    facts = worst[[column, "image_id", f"{prefix}label", f"{prefix}suggested"]]
    facts.columns = ["item", "worst", "was", "suggested"]
    rows = rows.merge(facts, on="item", how="inner", validate="many_to_one")
    return rows[rows["label"] == rows["was"]].assign(image_id=lambda kept: kept["worst"]).reset_index(drop=True)


def _allowed(rows: pd.DataFrame, said: Mapping[str, tuple[str, ...]], config: QueueConfig) -> list[str]:
    rows = rows if config.truth is None else rows[rows["label"] == config.truth]
    rows = rows if config.site is None else rows[rows["site"] == config.site]
    if config.answer is None:
        return rows["item"].tolist()
    if config.kind == "misclassified":  # taken for it wrongly: another run may have been right
        rows = rows[rows["label"] != config.answer]
    return [item for item in rows["item"] if config.answer in said.get(item, ())]


def _chosen(config: QueueConfig, answers: Answers | None, table: pd.DataFrame | None, items: list[str]) -> list[Chosen]:
    if table is not None:
        return suspects(table, config.level, listed=config.most is None)
    if config.kind == "selection":
        absent = sorted(set(config.items) - set(items))
        if absent:
            raise NotFound(
                f"{len(absent)} of the selected items are not in dataset {config.dataset!r}, {absent[0]!r} for one. "
                "Select them again."
            )
        return [Chosen(item, "selected") for item in config.items]
    if answers is None or config.kind == "random":
        return sample(items, config.seed, "random sample")
    if config.kind == "misclassified":
        return wrong_ones(answers)
    return near_ties(answers) if config.kind == "near_ties" else disagreements(answers, config.only)


def _right(
    rows: pd.DataFrame, said: Mapping[str, tuple[str, ...]], ranked: Sequence[Chosen], config: QueueConfig
) -> list[Chosen]:
    """As many items as are in the queue that everybody got right, of the classes that the queue is about."""
    taken = {each.item for each in ranked}
    about = {config.truth, config.answer} - {None}
    rows = rows if config.site is None else rows[rows["site"] == config.site]
    right = [
        item
        for item, label in zip(rows["item"], rows["label"], strict=True)
        if item not in taken and set(said.get(item, ())) == {label} and (not about or label in about)
    ]
    return sample(right, config.seed, "answered right")[: len(ranked)]


def _item(chosen: Chosen, row: Mapping[str, Any], runs: Sequence[str], said: Sequence[str]) -> QueueItem:
    return QueueItem(
        item=chosen.item,
        image_id=row["image_id"],
        test_set=row["test_set"],
        label=row["label"],
        answer=said[0] if said else None,
        reason=chosen.reason,
        answers=tuple(zip(runs, said, strict=True)) if runs and said else (),
        votes=None if row.get("votes") is None else int(row["votes"]),
        images=None if row.get("images") is None else int(row["images"]),
        suggested=chosen.suggested,
    )


def _no_test_set(dataset: Dataset, name: str, names: Sequence[str]) -> NotFound:
    return NotFound(f"Dataset {dataset.name!r} has no test set {name!r}; it has {', '.join(names) or 'none'}.")
