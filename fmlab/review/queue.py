"""What to look at first: the misclassified images or sequences of a run, the most confidently wrong ones in front.

In: a run's item table (image_id, test_set, sequence_id, label, predicted, score, margin, correct, score_<class> …).
Out: the rows that are wrong, worst first, with a rank; for sequences one row each, with the image that misled most.

Scores are whatever the adaptation gives (decision values, log-probabilities, votes): they order, and have no unit.
"""

from typing import Literal

import numpy as np
import pandas as pd

from fmlab.errors import BadInput
from fmlab.metrics.accuracy import sequence_vote

Level = Literal["image", "sequence"]
SCORE_PREFIX = "score_"


def misclassified(items: pd.DataFrame, level: Level = "image") -> pd.DataFrame:
    """The wrong answers of one run, worst first: the largest margin by which the answer beat the truth.

    Equal ones stand in the order of their image ids. `rank` counts from 1. At level `sequence` there is one row per
    misclassified sequence with the columns of `sequence_answers`; the lead in votes counts first, then the margin.
    """
    if level not in ("image", "sequence"):
        raise BadInput(f"A queue is of 'image' or 'sequence', got {level!r}.")
    rows = items if level == "image" else sequence_answers(items)
    wrong = rows[~rows["correct"].astype(bool)]
    keys = ["margin", "image_id"] if level == "image" else ["lead", "margin", "image_id"]
    wrong = wrong.sort_values(keys, ascending=[key == "image_id" for key in keys], kind="stable", ignore_index=True)
    return wrong.assign(rank=np.arange(1, len(wrong) + 1))


def sequence_answers(items: pd.DataFrame) -> pd.DataFrame:
    """One answer per sequence of each test set: its images vote, and summed scores decide a tie.

    The columns are those of the items. `label` is the sequence's most frequent label, `score` and `margin` are means
    over its images, `image_id`, `frame` and the like are those of the image whose own answer was furthest from the
    truth. Added: `votes`, how many images voted for the answer; `lead`, how many more than for the truth; `images`, how
    many voted; `ahead` and `votes_ahead`, how far the answer is before the next best class in mean score and in votes. A
    margin below 0 is possible: an answer can win the vote with the smaller sum of scores.
    """
    columns = [name for name in items.columns if name.startswith(SCORE_PREFIX)]
    if not columns or items.empty:
        return items.assign(votes=0, lead=0, images=0, ahead=0.0, votes_ahead=0).iloc[:0]
    classes = np.array([name.removeprefix(SCORE_PREFIX) for name in columns])
    scores = items[columns].to_numpy(np.float64)  # (M, K)
    sequence = items.groupby(["test_set", "sequence_id"], sort=False).ngroup().to_numpy()
    count = int(sequence.max()) + 1
    codes = pd.Categorical(items["label"], categories=list(classes)).codes.astype(np.int64)

    votes, labels, sums = (np.zeros((count, len(classes))) for _ in range(3))
    np.add.at(votes, (sequence, scores.argmax(axis=1)), 1)
    np.add.at(labels, (sequence, codes), 1)
    np.add.at(sums, sequence, scores)
    answer = sequence_vote(scores[None], sequence, count)[0]
    truth = labels.argmax(axis=1)
    images = votes.sum(axis=1)

    # The image to show: the one whose scores lie furthest on the side of the answer.
    each = np.arange(len(items))
    lead = scores[each, answer[sequence]] - scores[each, truth[sequence]]
    first = pd.DataFrame({"sequence": sequence, "lead": -lead, "image_id": items["image_id"].to_numpy(), "at": each})
    shown = first.sort_values(["sequence", "lead", "image_id"]).drop_duplicates("sequence")["at"].to_numpy()

    place = np.arange(count)
    means = sums / images[:, None]
    rows = items.iloc[shown].reset_index(drop=True)
    return rows.assign(
        label=classes[truth],
        predicted=classes[answer],
        score=means[place, answer],
        margin=means[place, answer] - means[place, truth],
        correct=answer == truth,
        votes=votes[place, answer].astype(int),
        lead=(votes[place, answer] - votes[place, truth]).astype(int),
        images=images.astype(int),
        ahead=_ahead(means, answer),
        votes_ahead=_ahead(votes, answer).astype(int),
    )


def image_answers(items: pd.DataFrame) -> pd.DataFrame:
    """One answer per image: the items, with the columns that `sequence_answers` adds; an image has the only vote."""
    columns = [name for name in items.columns if name.startswith(SCORE_PREFIX)]
    scores = items[columns].to_numpy(np.float64)  # (M, K)
    return items.assign(votes=1, lead=0, images=1, ahead=_ahead(scores, scores.argmax(axis=1)), votes_ahead=0)


def _ahead(values: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """How far the answer's value (n, K) lies above the largest of the other classes, (n,)."""
    each = np.arange(len(values))
    others = values.astype(np.float64)
    others[each, answer] = -np.inf
    return values[each, answer] - others.max(axis=1)


def filtered(
    queue: pd.DataFrame, truth: str | None = None, predicted: str | None = None, site: str | None = None
) -> pd.DataFrame:
    """The rows of a queue with a true class, a predicted class, a site; None leaves that open. Ranks stay."""
    for column, wanted in (("label", truth), ("predicted", predicted), ("site", site)):
        if wanted is not None:
            queue = queue[queue[column] == wanted]
    return queue.reset_index(drop=True)


def page_of(queue: pd.DataFrame, page: int, per_page: int) -> pd.DataFrame:
    """Rows of one page, pages counting from 1; a page that does not exist is the nearest that does."""
    last = pages(queue, per_page)
    start = (min(max(page, 1), last) - 1) * per_page
    return queue.iloc[start : start + per_page]


def pages(queue: pd.DataFrame, per_page: int) -> int:
    """How many pages a queue fills, at least one."""
    return max(1, -(-len(queue) // per_page))
