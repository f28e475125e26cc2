"""The images behind a number of Results: a cell of the confusion matrix, a dot of a class.

In: one point of the curve, a level, a true class and an answer. Out: the page Review, opened with these in its address: its
gallery of mistakes, or a queue of right answers.
"""

import numpy as np
import pandas as pd
import streamlit as st

from fmlab.plots.wording import test_set_name
from fmlab.review.queues import QueueConfig, open_queue
from fmlab.studies.scoring import Level, Scored, scored_runs
from fmlab.ui import links, session
from fmlab.ui.format import escaped
from fmlab.ui.study_choice import Cell, ChosenStudy


def open_answers(
    study: ChosenStudy,
    cell: Cell,
    test_set: str,
    rows: pd.DataFrame,
    level: Level,
    truth: str | None,
    answer: str | None,
) -> None:
    """Leave for Review with the items of a class that were given an answer, in the run of `rows` that has most of them.

    A truth alone: its mistakes; an answer alone: those that it was wrongly given to.
    """
    scored = scored_runs(study.home, study.store, rows["run"].tolist(), test_set)
    found = meant(scored, level, truth, answer)
    place = int(found.sum(axis=1).argmax())
    if not found[place].any():
        st.toast(f"No mistake of that kind on {escaped(test_set_name(test_set))}.", icon=":material/check_circle:")
        return
    address = study.address | cell.address | {"seed": str(rows["seed"].iloc[place]), "test_set": test_set}
    if truth is not None and truth == answer:
        items = scored.items(level)[found[place]]
        config = QueueConfig(
            kind="selection",
            dataset=study.dataset.name,
            runs=(scored.runs[place],),
            test_set=test_set,
            level=level,
            items=tuple(items),
        )
        queue = open_queue(study.home, study.store, config, session.actor())
        links.go(links.REVIEW, address | {"part": "Review", "queue": queue.key})
    unit = "sequences" if level == "sequence" else "images"
    chosen = {name: value for name, value in (("truth", truth), ("answer", answer)) if value is not None}
    links.go(links.REVIEW, address | {"part": "Gallery", "unit": unit, "level": unit} | chosen)


def meant(scored: Scored, level: Level, truth: str | None, answer: str | None) -> np.ndarray:
    """(R, n) bool: which items of each run have this truth and this answer; with one of them alone, the mistakes."""
    predicted, labels = scored.at(level)
    found = predicted != labels if truth is None or truth != answer else np.ones_like(predicted, dtype=bool)
    if truth is not None:
        found = found & (labels == scored.classes.index(truth))
    if answer is not None:
        found = found & (predicted == scored.classes.index(answer))
    return found
