"""The embedding map: a component on WebGL that draws, hides and lassoes up to 100,000 points in the browser.

In: coordinates and columns of the points (N,), sent once as typed arrays; what is to be shown of them.
Out: the positions (0 … N − 1) inside the outlines that a person drew, the outlines as text for the address, and the
point under the pointer. Names and labels are set as text in the browser, never as HTML, whatever they hold.

The browser has the whole geometry, so that only what a person did travels: a selection is one message, at mouse-up.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import streamlit as st

from fmlab.errors import BadInput
from fmlab.plots.palette import CATEGORY_COLOURS
from fmlab.plots.theme import INKS, Mode

MOST_POINTS = 100_000
MISSING = 65_535  # the code of a category that a point lacks
MAGIC = b"FMLABMAP"
MOST_VERTICES = 60
MOST_OUTLINES = 24  # a link longer than some 10,000 characters is cut by what it is pasted into

# Of viridis, without the ends that vanish on a white or a dark page.
NUMBER_COLOURS: dict[Mode, tuple[str, ...]] = {
    "light": ("#440154", "#3E4989", "#26828E", "#35B779", "#C8C400"),
    "dark": ("#7A5BB5", "#5480C0", "#2FA7A5", "#74D26D", "#FDE725"),
}


@dataclass(frozen=True)
class Panel:
    """A picture of all points: its title and where each point lies. A point with a NaN is not in this panel."""

    title: str
    x: np.ndarray  # (N,) float32, no unit
    y: np.ndarray  # (N,) float32, no unit, upwards


@dataclass(frozen=True)
class MapColumn:
    """What is known of each point: a category or a number.

    Attributes:
        name, title: what `MapView` calls it by, and what a person reads.
        values: (N,) uint16 codes into `categories`, 65535 where there is none; or float32 numbers, NaN where none.
        categories: their names, in the order of the legend.
        colours: a (light, dark) pair of hex colours per category; empty: `category_colours`.
        missing: what the points without a value are called.
        front: categories drawn above all others, as those answered wrongly.
    """

    name: str
    title: str
    kind: Literal["category", "number"]
    values: np.ndarray
    categories: tuple[str, ...] = ()
    colours: tuple[tuple[str, str], ...] = ()
    missing: str = "unknown"
    front: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hover:
    """What the tooltip of a point shows once the page has it: a picture (data URL) and lines of text."""

    position: int
    url: str | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class MapView:
    """What is shown of a geometry.

    Attributes:
        geometry: `geometry_digest` of the blob.
        panels: which panels, one or two, by their place in the blob.
        colour: name of the column that colours the points.
        shape: name of the category column whose categories are the test sets, each with a shape; points without one
            are the training images. None: there is nothing but points.
        hidden: names of categories, of either column, that are not drawn and cannot be selected.
        background: how points without a test set are drawn: as a soft density (then they cannot be selected), or each.
        selection: outlines as text, from the address; "" for none.
        hover: of the point that the last `MapState.hovered` named.
        marked: positions to ring, as the nearest neighbours of the picked one.
        picked: the position that is ringed twice, from the address.
        height: of the whole component, in CSS pixels.
    """

    geometry: str
    panels: tuple[int, ...] = (0,)
    colour: str = "label"
    shape: str | None = None
    hidden: tuple[str, ...] = ()
    background: Literal["density", "points"] = "density"
    selection: str = ""
    mode: Mode = "light"
    hover: Hover | None = None
    marked: tuple[int, ...] = ()
    picked: int | None = None
    height: int = 560


@dataclass(frozen=True)
class MapState:
    """What a person has done on the map. Give `polygons`, `hidden`, `background` and `picked` to the address."""

    selection: np.ndarray  # (S,) int64 positions, ascending
    polygons: str  # the outlines as text for the address; "" without any
    hidden: tuple[str, ...]
    background: Literal["density", "points"]
    hovered: int | None  # where the pointer last came to rest for 60 ms
    picked: int | None  # the point clicked last
    touched: bool = False  # whether the browser has said what is selected; before, outlines and hidden are the view's


def geometry_blob(panels: Sequence[Panel], columns: Sequence[MapColumn]) -> bytes:
    """Everything about the points that does not change while a person looks, as bytes for `map_geometry`.

    Layout: 8 bytes of magic, 32 of digest (hex), 4 of the header's length, the header (JSON), then, each beginning at a
    multiple of four, x and y of each panel (float32) and the values of each column (uint16 or float32), little-endian.

    Raises:
        BadInput: more than 100,000 points, arrays of different lengths, codes without a category, names twice.
    """
    _check(panels, columns)
    arrays = [np.asarray(values, "<f4") for panel in panels for values in (panel.x, panel.y)]
    arrays += [np.asarray(column.values, "<u2" if column.kind == "category" else "<f4") for column in columns]
    header = {
        "points": len(panels[0].x),
        "panels": [panel.title for panel in panels],
        "columns": [_column_header(column) for column in columns],
    }
    text = json.dumps(header).encode()
    body = b"".join(_padded(part) for part in [len(text).to_bytes(4, "little") + text, *(a.tobytes() for a in arrays)])
    return MAGIC + blake2b(body, digest_size=16).hexdigest().encode() + body


def geometry_digest(blob: bytes) -> str:
    """The digest that stands in a blob: what `MapView.geometry` calls it by."""
    return blob[len(MAGIC) : len(MAGIC) + 32].decode()


def category_colours(count: int) -> tuple[tuple[str, str], ...]:
    """(light, dark) hex colours of `count` categories: the palette's ten, then the same darker, then paler, then again."""
    colours = {mode: _many(CATEGORY_COLOURS[mode], INKS[mode].text, INKS[mode].surface) for mode in CATEGORY_COLOURS}
    return tuple((colours["light"][place % 30], colours["dark"][place % 30]) for place in range(count))


def check_outlines(text: str) -> str:
    """The text of outlines, as it is; `BadInput` where it is none.

    An outline is `a` (add) or `s` (subtract), the place of its panel, then its vertices `x.y`, in ten-thousandths of the
    side of the panel's extent from its lower left corner, each after a `_`; outlines are parted by `~`.
    """
    outline = rf"[as][01](_-?\d{{1,6}}\.-?\d{{1,6}}){{3,{MOST_VERTICES}}}"
    if text and not (re.fullmatch(rf"{outline}(~{outline})*", text) and text.count("~") < MOST_OUTLINES):
        raise BadInput(
            f"The selection in the link is {text[:40]!r}…, which is no outline on the map. "
            "Take the selection out of the link, or copy the link anew."
        )
    return text


def map_geometry(key: str, blob: bytes) -> None:
    """Send a geometry to the browser; the same bytes are not sent again. Takes no room on the page."""
    _geometry_component(key=key, data=blob, height=1)


def embedding_map(key: str, view: MapView) -> MapState:
    """The map of a geometry that `map_geometry` has sent, on this page, before or after.

    What was done last is in `st.session_state[key]` before the call: so the picture of a hovered point needs no second run.

    Raises:
        BadInput: the outlines of the view cannot be read.
    """
    data = {
        "geometry": view.geometry,
        "panels": list(view.panels),
        "colour": view.colour,
        "shape": view.shape,
        "hidden": sorted(set(view.hidden)),
        "background": view.background,
        "selection": check_outlines(view.selection),
        "mode": view.mode,
        "hover": None
        if view.hover is None
        else {"position": view.hover.position, "url": view.hover.url, "lines": list(view.hover.lines)},
        "marked": [int(position) for position in view.marked],
        "picked": view.picked,
        "height": view.height,
        "ink": {"quiet": INKS[view.mode].quiet, "text": INKS[view.mode].text, "surface": INKS[view.mode].surface},
        "numberColours": NUMBER_COLOURS[view.mode],
    }
    state = _map_component(
        key=key, data=data, on_selected_change=_keep, on_hovered_change=_keep, on_picked_change=_keep
    )
    return _state(state, view)


def _state(state: Mapping[str, Any], view: MapView) -> MapState:
    """What the browser says, where it says it of this very geometry; else what the view says."""

    def said(name: str) -> dict[str, Any] | None:
        value = state.get(name)
        return value if isinstance(value, dict) and value.get("geometry") == view.geometry else None

    selected, hovered, picked = said("selected"), said("hovered"), said("picked")
    at_pointer = None if hovered is None else hovered["position"]
    clicked = view.picked if picked is None else picked["position"]
    if selected is None:
        none = np.zeros(0, np.int64)
        return MapState(none, view.selection, view.hidden, view.background, at_pointer, clicked)
    bits = np.frombuffer(base64.b64decode(selected["bits"]), np.uint8)
    return MapState(
        selection=np.flatnonzero(np.unpackbits(bits, bitorder="little")),
        polygons=check_outlines(str(selected["outlines"])),
        hidden=tuple(str(name) for name in selected["hidden"]),
        background="points" if selected["background"] == "points" else "density",
        hovered=at_pointer,
        picked=clicked,
        touched=True,
    )


def _check(panels: Sequence[Panel], columns: Sequence[MapColumn]) -> None:
    if not panels:
        raise BadInput("A map needs at least one panel, and got none.")
    count = len(panels[0].x)
    if count > MOST_POINTS:
        raise BadInput(f"A map holds at most {MOST_POINTS:,} points, and got {count:,}. Draw a sample.")
    lengths = {len(values) for panel in panels for values in (panel.x, panel.y)}
    lengths |= {len(column.values) for column in columns}
    if lengths != {count}:
        raise BadInput(f"All arrays of a map need the length {count:,} of the first, and got {sorted(lengths)}.")
    names = [column.name for column in columns]
    if len(set(names)) != len(names):
        raise BadInput(f"Each column of a map needs a name of its own, and got {', '.join(names)}.")
    for column in columns:
        codes = np.asarray(column.values)
        if (
            column.kind == "category"
            and ((codes != MISSING) & ~((codes >= 0) & (codes < len(column.categories)))).any()
        ):
            raise BadInput(f"The column {column.name} has codes beyond its {len(column.categories)} categories.")
        if column.colours and len(column.colours) != len(column.categories):
            raise BadInput(
                f"The column {column.name} has {len(column.categories)} categories but {len(column.colours)} colours."
            )


def _column_header(column: MapColumn) -> dict[str, Any]:
    colours = column.colours or category_colours(len(column.categories))
    return {
        "name": column.name,
        "title": column.title,
        "kind": column.kind,
        "categories": list(column.categories),
        "colours": {"light": [light for light, _ in colours], "dark": [dark for _, dark in colours]},
        "missing": column.missing,
        "front": list(column.front),
    }


def _padded(part: bytes) -> bytes:
    return part + b"\0" * (-len(part) % 4)


def _many(ten: Sequence[str], ink: str, surface: str) -> list[str]:
    """The ten colours as they are, a third of the way to the ink, and 45 % of the way to the page."""
    return [*ten, *(_mixed(colour, ink, 0.35) for colour in ten), *(_mixed(colour, surface, 0.45) for colour in ten)]


def _mixed(colour: str, other: str, share: float) -> str:
    parts = ((int(colour[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(own + (its - own) * share):02X}" for own, its in parts)


def _keep() -> None:
    """A named event is what makes the component's state reach the script."""


# The component's script is one module; its parts are files of their own, each of which can be read alone.
_HERE = Path(__file__)
_PARTS = ("geometry", "outlines", "columns", "panel", "sketch", "legend", "gestures")
_FILES = [*(f"embedding_map_{part}.js" for part in _PARTS), "embedding_map.js"]
_SCRIPT = "\n".join(_HERE.with_name(name).read_text(encoding="utf-8") for name in _FILES)

_geometry_component = st.components.v2.component(
    "fmlab_map_geometry", js=_HERE.with_name("map_geometry.js").read_text(encoding="utf-8")
)
_map_component = st.components.v2.component(
    "fmlab_embedding_map", css=_HERE.with_suffix(".css").read_text(encoding="utf-8"), js=_SCRIPT
)
