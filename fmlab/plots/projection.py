"""The map of a dataset: every image a point where a projection of its features puts it, coloured by one column.

In: a table with image_id, x, y (no unit: only nearness means something) and the column to colour by.
Out: a Plotly figure with one WebGL trace per category; every point carries its image_id as customdata.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from fmlab.plots.palette import category_looks
from fmlab.plots.theme import INKS, Mode, stamped, template

HEIGHT = 560
MISSING = "unknown"
CORRECT, WRONG = "correct", "wrong"
MOST_CATEGORIES = 40  # a legend longer than this hides the map; the rarest are drawn together
OTHERS = "all others"


def projection_map(
    table: pd.DataFrame,
    colour: str,
    *,
    order: Sequence[str] = (),
    missing: str = MISSING,
    title: str = "",
    synthetic: bool = False,
    remarks: Sequence[str] = (),
    mode: Mode = "light",
) -> go.Figure:
    """The map coloured by `colour`; categories stand in `order` first, then by name, each with its number of images.

    Args:
        table: image_id, x, y and `colour`.
        missing: what a missing value is called; such points are drawn pale.
        order: the categories whose order, and with it whose colours, are fixed, as the classes of the dataset.
    """
    values = categories(table[colour], missing)
    present = set(values.unique())
    names = [name for name in order if name in present]
    names += sorted(present - set(names) - {missing, OTHERS}) + [name for name in (OTHERS, missing) if name in present]
    looks = _looks(names, order, missing, mode)
    size = 7 if len(table) <= 2_000 else 5 if len(table) <= 8_000 else 3.5
    traces = []
    for name in names:
        rows = table[values == name]
        hue, symbol = looks[name]
        traces.append(
            {
                "type": "scattergl",
                "mode": "markers",
                "name": f"{name} ({len(rows):,})",
                "x": rows["x"].to_numpy(dtype="float32"),
                "y": rows["y"].to_numpy(dtype="float32"),
                "customdata": rows[["image_id"]].to_numpy(dtype=object),
                "marker": {
                    "color": hue,
                    "symbol": symbol,
                    "size": size * (1.5 if name == WRONG else 1.0),
                    "opacity": 0.45 if name in (CORRECT, missing, OTHERS) else 0.85,
                    "line": {"width": 1 if symbol.endswith("open") else 0, "color": hue},
                },
                "hovertemplate": f"<b>{name}</b><extra></extra>",
            }
        )
    axis = {"showgrid": False, "showticklabels": False, "ticks": "", "title": {"text": ""}, "showline": False}
    layout = {
        "template": template(mode),
        "height": HEIGHT,
        "title": {"text": title},
        "margin": {"l": 8, "r": 8, "t": 60, "b": 8},
        "dragmode": "lasso",
        "hovermode": "closest",
        "xaxis": axis,
        "yaxis": axis,
        "legend": {"itemsizing": "constant", "title": {"text": colour}, "y": 1},
    }
    return go.Figure(data=traces, layout=stamped(layout, mode, synthetic, remarks))


def categories(column: pd.Series, missing: str = MISSING) -> pd.Series:
    """The column as category names: missing ones named, booleans as they are meant, the rarest beyond 40 together."""
    if column.dtype == bool:
        return column.map({True: CORRECT, False: WRONG})
    names = column.astype("object").where(column.notna(), missing).astype(str)
    counts = names.value_counts()
    if len(counts) <= MOST_CATEGORIES:
        return names
    return names.where(names.isin(counts.index[: MOST_CATEGORIES - 1]), OTHERS)


def _looks(names: Sequence[str], order: Sequence[str], missing: str, mode: Mode) -> dict[str, tuple[str, str]]:
    """Colour and symbol of each category; those in `order` keep theirs whether or not all are present."""
    ink = INKS[mode]
    fixed = list(order) + [name for name in names if name not in order]
    looks = category_looks(fixed, mode)
    alarm = {"light": "#BD1F01", "dark": "#FF6B4A"}[mode]
    special = {CORRECT: (ink.axis, "circle"), WRONG: (alarm, "x"), missing: (ink.axis, "circle-open")}
    return {name: looks[name] if name in order else special.get(name, looks[name]) for name in names}
