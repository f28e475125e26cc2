"""The confusion matrix: how often each true class was answered with each class, as counts and as shares of the row.

In: a (K, K) matrix of counts, rows truth and columns prediction, and the K class names in order.
Out: a Plotly heat map coloured by the share of the row (percent); its customdata is (truth, prediction, count, share).
Two layers, pale and strong cells, because a heat map has one colour of text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fmlab.errors import BadInput
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.plots.wording import percent

MOST_CLASSES_WITH_COUNTS = 12  # above it a cell is too small for two numbers
ROW_PIXELS = 42
SHADES: dict[Mode, list[list[float | str]]] = {
    "light": [[0.0, "#F7FAFC"], [0.5, "#7FB2D9"], [1.0, "#0B4F87"]],
    "dark": [[0.0, "#1A222B"], [0.5, "#2D6FA8"], [1.0, "#BFE0FA"]],
}
# From this share of the row on, a cell's text takes the page's colour instead of the ink's, to stay readable.
TURN: dict[Mode, float] = {"light": 0.7, "dark": 0.62}


def confusion_matrix(
    matrix: np.ndarray,
    classes: Sequence[str],
    *,
    unit: str = "images",
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """The heat map. A row without any case stays empty and says so in its label.

    Args:
        matrix: (K, K) counts, rows truth, columns prediction.
        unit: what was counted, `images` or `sequences`; summed over runs if the matrix was.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    if counts.shape != (len(classes), len(classes)):
        raise BadInput(
            f"A confusion matrix of shape {counts.shape} does not fit {len(classes)} classes; give one row and column each."
        )
    share, texts = row_shares(counts), cell_texts(counts)
    support = counts.sum(axis=1)
    truths = [
        f"{name}  (n = {total:,})" if total else f"{name}  (none)" for name, total in zip(classes, support, strict=True)
    ]
    details = [
        [
            [truth, answer, int(counts[row, column]), percent(share[row, column])]
            for column, answer in enumerate(classes)
        ]
        for row, truth in enumerate(classes)
    ]
    ink = INKS[mode]
    with np.errstate(invalid="ignore"):
        strong = share >= TURN[mode]
    heats = [
        _heat(np.where(strong, np.nan, share), texts, details, unit, ink.text, mode, colour_bar=True),
        _heat(np.where(strong, share, np.nan), texts, details, unit, ink.surface, mode, colour_bar=False),
    ]
    crowded = len(classes) > 6 or max(map(len, classes), default=0) > 9
    layout = {
        "template": template(mode),
        "height": 170 + ROW_PIXELS * max(4, len(classes)),
        "title": {"text": title},
        "margin": {"l": 64, "r": 24, "t": 70, "b": 60},
        "xaxis": _class_axis(f"answer ({unit})", classes) | {"tickangle": -35 if crowded else 0},
        "yaxis": _class_axis(f"truth ({unit})", truths) | {"autorange": "reversed"},
        "shapes": _diagonal(len(classes), ink.quiet),
    }
    return go.Figure(data=heats, layout=stamped(layout, mode, synthetic, remarks))


def _class_axis(title: str, names: Sequence[str]) -> dict[str, Any]:
    return {
        "title": {"text": title},
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "showgrid": False,
        "showline": False,
        "ticks": "",
    }


def _diagonal(classes: int, colour: str) -> list[dict[str, Any]]:
    """A frame around each right answer: it says what the shade says, without colour."""
    rim, line = 0.49, {"color": colour, "width": 1.5}
    return [
        {"type": "rect", "x0": at - rim, "x1": at + rim, "y0": at - rim, "y1": at + rim, "line": line}
        for at in range(classes)
    ]


def _heat(
    share: np.ndarray,
    texts: list[list[str]],
    details: list[list[list[str | int]]],
    unit: str,
    text_colour: str,
    mode: Mode,
    colour_bar: bool,
) -> dict[str, Any]:
    """One layer of cells with text of one colour; cells that are not a number are left out."""
    shown = ~np.isnan(share)
    bar = {"title": {"text": "% of the row", "side": "right"}, "thickness": 12, "outlinewidth": 0, "dtick": 25}
    return {
        "type": "heatmap",
        "z": [
            [100 * value if there else None for value, there in zip(*row, strict=True)]
            for row in zip(share, shown, strict=True)
        ],
        "text": [
            [text if there else "" for text, there in zip(*row, strict=True)] for row in zip(texts, shown, strict=True)
        ],
        "texttemplate": "%{text}",
        "textfont": {"size": 13 if len(share) <= 6 else 11, "color": text_colour},
        "customdata": details,
        "hovertemplate": "truth <b>%{customdata[0]}</b><br>answered <b>%{customdata[1]}</b><br>"
        f"%{{customdata[2]:,}} {unit}, %{{customdata[3]}} of the row<extra></extra>",
        "hoverongaps": False,
        "colorscale": SHADES[mode],
        "showscale": colour_bar,
        "colorbar": bar,
        "zmin": 0,
        "zmax": 100,
        "xgap": 2,
        "ygap": 2,
    }


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Each count as a share of its row, (K, K) fractions; rows without a case are not a number."""
    support = counts.sum(axis=1, keepdims=True)
    return np.where(support > 0, counts / np.maximum(support, 1), np.nan)


def cell_texts(counts: np.ndarray) -> list[list[str]]:
    """What stands in each cell: the share of its row and, while cells are large enough, the count; nothing for none."""
    share = row_shares(counts)
    both = len(counts) <= MOST_CLASSES_WITH_COUNTS
    return [
        [
            "" if count == 0 else f"{count:,}<br>{100 * part:.1f} %" if both else f"{100 * part:.0f}"
            for count, part in zip(counts[row].tolist(), share[row].tolist(), strict=True)
        ]
        for row in range(len(counts))
    ]
