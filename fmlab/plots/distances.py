"""How far an image lies from what was learnt from, among the images of the test sets; and what each class was scored.

In: distances of test images to their nearest training image (0–2, no unit); scores of one image by class (no unit).
Out: two small Plotly figures that stand beside an image.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import BACKBONE_COLOURS, translucent
from fmlab.plots.theme import INKS, Mode, stamped, template
from fmlab.plots.wording import test_set_name

HEIGHT = 250  # pixels
REMARKED_MARGIN, PLAIN_MARGIN = 56, 16  # pixels above a figure that has remarks or a legend, and above one that has not
BINS = 30
ROW_PIXELS = 26
MOST_CLASSES = 8  # beyond them only the truth and the answer are drawn
LONGEST_NAME = 22  # characters beside half a page
TEST_SET_PLACES = (0, 1, 2, 3, 5, 6, 7)  # in the palette; its yellow is too like its orange for two outlines that cross
DASHES = ("solid", "dash", "dot", "dashdot")


def distance_histograms(
    table: pd.DataFrame,
    distance: float | None = None,
    *,
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """The share of each test set's images at each distance, as outlines; a line marks the one image.

    Args:
        table: test_set, distance.
        distance: of the image that is looked at; None: it has none.
    """
    highest = max(1e-6, distance or 0.0, float(np.nanmax(table["distance"], initial=0.0)))
    edges = np.linspace(0, highest, BINS + 1)
    colours = BACKBONE_COLOURS[mode]
    traces, highest_share = [], 0.0
    for place, (name, rows) in enumerate(table.groupby("test_set", sort=True)):
        counts = np.histogram(rows["distance"].dropna(), edges)[0]
        shares = 100 * counts / max(1, counts.sum())
        highest_share = max(highest_share, float(shares.max()))
        colour = colours[TEST_SET_PLACES[place % len(TEST_SET_PLACES)]]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"{test_set_name(str(name))} (n = {len(rows):,})",
                # A step begins at a bin's lower edge; the last one is drawn to its end.
                "x": edges.tolist(),
                "y": np.append(shares, shares[-1]).tolist(),
                "line": {"shape": "hv", "width": 2, "color": colour, "dash": DASHES[place % len(DASHES)]},
                "fill": "tozeroy",
                "fillcolor": translucent(colour, 0.15),
                "hovertemplate": f"<b>{test_set_name(str(name))}</b><br>%{{y:.1f}} % from %{{x:.3f}} on<extra></extra>",
            }
        )
    layout = {
        "template": template(mode),
        "height": HEIGHT,
        "margin": {"l": 56, "r": 16, "t": REMARKED_MARGIN, "b": 48},
        "hovermode": "closest",
        "xaxis": {"range": [0, highest * 1.04], "title": {"text": "distance to the nearest training image"}},
        # Above the outlines there is room for the words beside the line.
        "yaxis": {"range": [0, 1.25 * max(highest_share, 1)], "title": {"text": "% of images"}, "nticks": 4},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "showlegend": True,
    }
    if distance is not None:
        layout |= _marked(distance, highest, mode)
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def _marked(distance: float, highest: float, mode: Mode) -> dict[str, list[dict[str, object]]]:
    """The line of the one image, with its words on the side that has room."""
    ink = INKS[mode]
    right = distance > 0.6 * highest
    line = {"type": "line", "x0": distance, "x1": distance, "y0": 0, "y1": 1, "yref": "paper"}
    words = {
        "text": "<b>this image</b>",
        "x": distance,
        "y": 1,
        "yref": "paper",
        "xanchor": "right" if right else "left",
        "yanchor": "top",
        "xshift": -5 if right else 5,
        "showarrow": False,
        "bgcolor": ink.surface,
        "font": {"size": 13, "color": ink.text},
    }
    return {"shapes": [line | {"line": {"width": 2.5, "color": ink.text}}], "annotations": [words]}


def class_dots(
    table: pd.DataFrame, *, synthetic: bool = False, remarks: Sequence[str] = (), mode: Mode = "light"
) -> go.Figure:
    """The score of each class, highest first; the label and the answer are named, and always drawn.

    Dots, not bars: scores of most adaptations have no zero that a length could be measured from.

    Args:
        table: class, score, answer (bool), truth (bool), highest score first.
    """
    rows = table[(np.arange(len(table)) < MOST_CLASSES) | table["answer"] | table["truth"]]
    ink, colours = INKS[mode], BACKBONE_COLOURS[mode]
    truths, answers = rows["truth"].tolist(), rows["answer"].tolist()
    hues = [colours[0] if t else colours[1] if a else ink.axis for t, a in zip(truths, answers, strict=True)]
    marks = [" and ".join(["label"] * t + ["answer"] * a) for t, a in zip(truths, answers, strict=True)]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": rows["score"].astype(float).tolist(),
        "y": list(range(len(rows))),
        "marker": {
            "color": hues,
            "size": 12,
            "symbol": [
                "circle" if t else "diamond" if a else "circle-open" for t, a in zip(truths, answers, strict=True)
            ],
            "line": {"width": 2, "color": hues},
        },
        "cliponaxis": False,
        "customdata": [[_plain(name), mark] for name, mark in zip(rows["class"], marks, strict=True)],
        "hovertemplate": "<b>%{customdata[0]}</b> %{customdata[1]}<br>score %{x:.3f}<extra></extra>",
    }
    names = [_plain(_shortened(str(name))) for name in rows["class"]]
    ticks = [f"{name} · <b>{mark}</b>" if mark else name for name, mark in zip(names, marks, strict=True)]
    above = REMARKED_MARGIN if synthetic or remarks else PLAIN_MARGIN
    layout = {
        "template": template(mode),
        "height": above + 48 + ROW_PIXELS * len(rows),
        "margin": {"l": 8, "r": 16, "t": above, "b": 48},
        "xaxis": {"title": {"text": "score"}},
        "yaxis": {
            "tickvals": list(range(len(rows))),
            "ticktext": ticks,
            "range": [len(rows) - 0.5, -0.5],
            "ticks": "",
            "showgrid": True,
        },
        "showlegend": False,
    }
    return go.Figure(data=[trace], layout=stamped(layout, mode, synthetic, remarks))


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _plain(name: str) -> str:
    """A class's name whose angle brackets Plotly shows instead of reading them as markup."""
    return str(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
