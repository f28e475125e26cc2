"""The confusion matrix on a page as a table of cells that open their images.

In: (K, K) counts, rows truth and columns answer, and the K class names; any number of classes.
Out: the truth and the answer of the cell that a person has just opened, by mouse or keyboard, else None.

Cells are sent as what is not zero and drawn as far as they are in view, so that 500 classes scroll as smoothly as five.
Class names are set as text in the browser, never as HTML.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from fmlab.errors import BadInput
from fmlab.plots.confusion import MOST_CLASSES_WITH_COUNTS, SHADES, TURN
from fmlab.plots.theme import INKS, Mode, remark_lines

_component = st.components.v2.component(
    "fmlab_confusion_matrix",
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


def confusion_table(
    key: str,
    matrix: np.ndarray,
    classes: Sequence[str],
    *,
    title: str = "",
    unit: str = "images",
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> tuple[str, str] | None:
    """Show the matrix; the (truth, answer) of a cell in the one run of the page after it was opened.

    Args:
        matrix: (K, K) counts; cells without any cannot be opened.
        unit: what was counted, `images` or `sequences`.
        remarks: what has to be said beside the numbers.
    """
    data = matrix_data(matrix, classes) | {
        "title": title,
        "unit": unit,
        "remarks": remark_lines(remarks),
        "shades": SHADES[mode],
        "turn": TURN[mode],
        "ink": {"text": INKS[mode].text, "inverse": INKS[mode].surface, "warning": INKS[mode].warning},
    }
    opened = _component(key=key, data=data, on_opened_change=_keep).get("opened")
    return None if opened is None else opened_cell(opened, classes)


def matrix_data(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, object]:
    """What the browser needs of a matrix: names, the sum of each row, and `cells`: row, column, count of those above zero."""
    counts = np.asarray(matrix, dtype=np.int64)
    if counts.shape != (len(classes), len(classes)):
        raise BadInput(
            f"A confusion matrix of shape {counts.shape} does not fit {len(classes)} classes; give one row and column each."
        )
    rows, columns = np.nonzero(counts)
    cells = np.stack([rows, columns, counts[rows, columns]], axis=1)
    return {
        "classes": list(classes),
        "support": counts.sum(axis=1).tolist(),
        "cells": cells.ravel().tolist(),
        "both": len(classes) <= MOST_CLASSES_WITH_COUNTS,
    }


def opened_cell(opened: object, classes: Sequence[str]) -> tuple[str, str] | None:
    """The classes of a row and a column that the browser named; None where it named no such cell."""
    numbers = opened if isinstance(opened, list | tuple) else ()
    places = [int(number) for number in numbers if isinstance(number, int | float)]
    if len(places) != 2 or not all(0 <= place < len(classes) for place in places):
        return None
    return classes[places[0]], classes[places[1]]


def _keep() -> None:
    """A named event is what makes the component's state reach the script."""
