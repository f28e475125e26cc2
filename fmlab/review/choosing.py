"""Which items of finished runs to look at first: a function for each kind of queue that runs decide.

In: the answers of one or more runs to the same items, single images or sequences by majority vote. Out: the items chosen,
the one to look at first in front, each with its reason in a few words.

Runs of different adaptations score on scales of their own. So a lead is counted in the run's usual leads: the mean, over
all items, of how far its best class is ahead of its second. The order under a single run is that of its own scores.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from fmlab.data.splits import hash_order
from fmlab.errors import BadInput
from fmlab.review.queue import Level, image_answers, sequence_answers

ITEM_COLUMNS = {"image": "image_id", "sequence": "sequence_id"}


@dataclass(frozen=True)
class Chosen:
    """An item of a queue to be, and why it is in it."""

    item: str
    reason: str
    suggested: str | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """What R runs answered to the same m items."""

    rows: pd.DataFrame  # m rows: item, image_id, test_set, label, site, votes, images; the last two of the first run
    runs: tuple[str, ...]  # R keys
    backbones: tuple[str, ...]  # of each run
    predicted: np.ndarray  # (R, m) object
    ahead: np.ndarray  # (R, m) how far the answer is before the next best class, in the run's usual leads
    margin: np.ndarray  # (R, m) and before the truth, likewise
    votes_ahead: np.ndarray  # (R, m) before the next best class in votes; 0 for single images
    votes_lead: np.ndarray  # (R, m) and before the truth, likewise

    @property
    def wrong(self) -> np.ndarray:
        """(R, m) bool."""
        return self.predicted != self.rows["label"].to_numpy(object)

    @cached_property
    def items(self) -> list[str]:
        """Their ids."""
        return self.rows["item"].tolist()

    @property
    def by_item(self) -> dict[str, tuple[str, ...]]:
        """The answers to each item, in the order of the runs; of an item in two test sets, those in the first."""
        answers: dict[str, tuple[str, ...]] = {}
        for item, given in zip(self.items, self.predicted.T.tolist(), strict=True):
            answers.setdefault(item, tuple(given))
        return answers


def answers_of(tables: Sequence[pd.DataFrame], runs: Sequence[str], backbones: Sequence[str], level: Level) -> Answers:
    """The answers of runs from their item tables (`fmlab.studies.scoring.item_table`), one for each run."""
    found = [sequence_answers(table) if level == "sequence" else image_answers(table) for table in tables]
    first = found[0].assign(item=found[0][ITEM_COLUMNS[level]].astype(str))
    for other in found[1:]:
        if not np.array_equal(other[["test_set", ITEM_COLUMNS[level]]], first[["test_set", ITEM_COLUMNS[level]]]):
            raise BadInput(
                "The runs were tested on different images. Choose runs of one dataset and one kind of split."
            )
    usual = np.array([max(float(table["ahead"].abs().mean()), 1e-12) if len(table) else 1.0 for table in found])

    def stacked(column: str) -> np.ndarray:
        return np.stack([table[column].to_numpy() for table in found])

    return Answers(
        rows=first[["item", "image_id", "test_set", "label", "site", "votes", "images"]].reset_index(drop=True),
        runs=tuple(runs),
        backbones=tuple(backbones),
        predicted=stacked("predicted").astype(object),
        ahead=stacked("ahead") / usual[:, None],
        margin=stacked("margin") / usual[:, None],
        votes_ahead=stacked("votes_ahead"),
        votes_lead=stacked("lead"),
    )


def wrong_ones(answers: Answers) -> list[Chosen]:
    """Items that any of the runs got wrong, the most confidently wrong first: by mean lead in votes, then mean margin."""
    wrong = answers.wrong.sum(axis=0)
    margin, votes = answers.margin.mean(axis=0), answers.votes_lead.mean(axis=0)
    runs, voted, images = len(answers.runs), answers.rows["votes"].tolist(), answers.rows["images"].tolist()

    def reason(place: int) -> str:
        words = f"by {margin[place]:.1f} times the usual lead"
        if runs > 1:
            return f"wrong in {wrong[place]} of {runs} runs, on average {words}"
        return (
            f"wrong {words}"
            if images[place] == 1
            else f"{voted[place]} of {images[place]} images say so, wrong {words}"
        )

    order = _sorted(answers, wrong > 0, -votes, -margin)
    return [Chosen(answers.items[place], reason(place)) for place in order.tolist()]


def near_ties(answers: Answers) -> list[Chosen]:
    """All items, those first whose best two classes were closest: by mean lead in votes, then by mean lead in scores."""
    ahead, votes = np.abs(answers.ahead).mean(axis=0), answers.votes_ahead.mean(axis=0)
    return [
        Chosen(answers.items[place], f"two classes apart by {ahead[place]:.2f} of the usual lead")
        for place in _sorted(answers, np.ones(len(ahead), bool), votes, ahead)
    ]


def disagreements(answers: Answers, only: str | None = None) -> list[Chosen]:
    """Items to which backbones gave different answers: the smallest majority first, then the surest answers.

    A backbone with several runs answers with most of them, in a tie as the first of the tied. With `only`: the items
    that every run of this backbone got right and every run of the others wrong, its own surest answers first.
    """
    names = list(dict.fromkeys(answers.backbones))
    if len(names) < 2:
        raise BadInput(f"Backbones can disagree where there are two; these runs are of {', '.join(names) or 'none'}.")
    owner = np.array([names.index(name) for name in answers.backbones])
    sure = answers.ahead.mean(axis=0)
    if only is not None:
        if only not in names:
            raise BadInput(f"None of these runs is of backbone {only!r}; they are of {', '.join(names)}.")
        own, wrong = owner == names.index(only), answers.wrong
        alone = ~wrong[own].any(axis=0) & wrong[~own].all(axis=0)
        order = _sorted(answers, alone, -answers.ahead[own].mean(axis=0))
        return [Chosen(answers.items[place], f"only {only} got it right") for place in order]
    said = [answers.predicted[owner == number].T.tolist() for number in range(len(names))]
    voices = [[_most_frequent(runs) for runs in each] for each in zip(*said, strict=True)]
    largest = np.array([max(map(each.count, each)) for each in voices], float)
    order = _sorted(answers, largest < len(names), largest, -sure)
    return [Chosen(answers.items[place], _voices_words(voices[place])) for place in order]


def _voices_words(voices: Sequence[str]) -> str:
    counts = Counter(voices).most_common()
    told = [f"{count} of {len(voices)} backbones say {label}" for label, count in counts[:1]]
    return ", ".join(told + [f"{count} {label}" for label, count in counts[1:]])


def _most_frequent(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else Counter(labels).most_common(1)[0][0]  # of equal ones the first met


def _sorted(answers: Answers, chosen: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Positions of the chosen, the smallest of the first key in front, then of the next; equal ones by their image id."""
    order = np.lexsort((answers.rows["image_id"].to_numpy(str), *reversed(keys)))
    return order[chosen[order]]


def suspects(table: pd.DataFrame, level: Level, listed: bool) -> list[Chosen]:
    """The items whose labels are least likely right in front: all of them, or with `listed` those that cleanlab names.

    `table` is that of `fmlab.runs.suspecting`. Equal ones stand in the order of their ids.
    """
    column, prefix = ITEM_COLUMNS[level], "sequence_" if level == "sequence" else ""
    rows = table.drop_duplicates(column).sort_values([f"{prefix}quality", column], kind="stable")
    rows = rows[rows[f"{prefix}is_issue"]] if listed else rows
    facts = rows[[column, f"{prefix}suggested", f"{prefix}suggested_probability"]].itertuples(index=False)
    words = "seen as {} by models of other patients, {:.2f}"
    return [Chosen(item, words.format(label, share), label) for item, label, share in facts]


def sample(items: Sequence[str], seed: int, reason: str) -> list[Chosen]:
    """The items in an order at random that only their own names and the seed decide."""
    order = np.argsort(hash_order(np.array(items, dtype=object), seed), kind="stable")
    return [Chosen(items[place], reason) for place in order]


def interleaved(first: Sequence[Chosen], others: Sequence[Chosen], seed: int) -> list[Chosen]:
    """Both lists spread over one, each in its order, so that a place tells nothing of where an item came from."""
    placed = [*_spread(first, seed), *_spread(others, seed)]
    return [chosen for _, _, chosen in sorted(placed, key=lambda each: each[:2])]


def _spread(chosen: Sequence[Chosen], seed: int) -> list[tuple[float, str, Chosen]]:
    shifts = hash_order(np.array([each.item for each in chosen], dtype=object), seed) / 2.0**64
    return [((place + shifts[place]) / len(chosen), each.item, each) for place, each in enumerate(chosen)]
