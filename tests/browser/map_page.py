"""A page with nothing but the embedding map, which the browser tests and the benchmark open.

In: the address: `points`, `panels` (1 or 2), `colour`, `s` (a selection), `mode`. Out: the map, what it says, thumbnails.
"""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import streamlit as st

from fmlab.ui.embedding_map import (
    Hover,
    MapColumn,
    MapView,
    Panel,
    embedding_map,
    geometry_blob,
    geometry_digest,
    map_geometry,
)
from fmlab.ui.pictures import Tile, data_url, gallery

CLASSES = ("<img src=x onerror='window.hacked=1'>", "A2C", "A4C", "PLAX", "SC", "A3C")
ALARM = (("#77828D", "#77828D"), ("#BD1F01", "#FF6B4A"))
THUMBNAILS = 24


@cache
def toy(points: int, panels: int) -> bytes:
    """Six clouds on a ring; T1 lies on them, T2 a little beside; half of the labels are answered rightly or so."""
    rng = np.random.default_rng(7)
    label = rng.integers(0, 6, points).astype(np.uint16)
    label[:6] = np.arange(6)
    test_set = rng.choice([65535, 0, 1], points, p=[0.7, 0.2, 0.1]).astype(np.uint16)
    pictures = []
    for turn in range(panels):
        angle = 2 * np.pi * ((label * (1 + 4 * turn)) % 6) / 6
        spread = 0.22 + 0.1 * rng.random(points)
        beside = (test_set == 1) * 0.5
        x = np.cos(angle) + spread * rng.normal(size=points) + beside
        y = np.sin(angle) + spread * rng.normal(size=points) + beside * 0.3
        pictures.append(Panel(("First backbone", "Second backbone")[turn], x.astype("f4"), y.astype("f4")))
    scored = test_set != 65535
    wrong = np.where(scored, rng.random(points) < np.where(test_set == 1, 0.4, 0.1), 65535).astype(np.uint16)
    confidence = np.where(scored, rng.beta(4, 1.5, points), np.nan).astype("f4")
    many = (np.arange(points) % 500).astype(np.uint16)
    columns = [
        MapColumn("label", "Label", "category", label, CLASSES),
        MapColumn("split", "Test set", "category", test_set, ("T1", "T2"), missing="training"),
        MapColumn("correct", "Answer", "category", wrong, ("right", "wrong"), ALARM, "not scored", ("wrong",)),
        MapColumn("confidence", "Confidence", "number", confidence),
        MapColumn("sequence", "Sequence", "category", many, tuple(f"sequence {k}" for k in range(500))),
    ]
    return geometry_blob(pictures, columns)


@cache
def picture(position: int) -> str:
    shade = np.random.default_rng(position).integers(0, 255, (16, 16), dtype=np.uint8)
    return data_url(np.kron(shade, np.ones((14, 14), np.uint8)), longest_side=224)


def page() -> None:
    st.set_page_config(layout="wide")
    asked = st.query_params
    panels = int(asked.get("panels", 1))
    blob = toy(int(asked.get("points", 2000)), panels)
    map_geometry("geometry", blob)
    with st.columns([2, 1])[0] if "narrow" in asked else st.container():
        drawn(geometry_digest(blob), panels)


@st.fragment
def drawn(digest: str, panels: int) -> None:
    asked = st.query_params
    view = MapView(
        digest,
        panels=tuple(range(panels)),
        colour=asked.get("colour", "label"),
        shape=None if "plain" in asked else "split",
        selection=asked.get("s", ""),
        mode="dark" if asked.get("mode") == "dark" else "light",
        marked=tuple(range(10, 15)) if "neighbours" in asked else (),
        picked=int(asked["picked"]) if "picked" in asked else None,
    )
    hovered = (st.session_state.get("map") or {}).get("hovered")
    if hovered is not None:
        hovered = hovered["position"]
        view = replace(view, hover=Hover(hovered, picture(hovered), (f"Image {hovered}", "A4C, answered PLAX")))
    state = embedding_map("map", view)
    if state.polygons:
        asked["s"] = state.polygons
    else:
        asked.pop("s", None)
    said = {
        "count": len(state.selection),
        "selection": state.selection.tolist() if len(state.selection) < 5000 else None,
        "polygons": state.polygons,
        "hidden": state.hidden,
        "background": state.background,
        "hovered": state.hovered,
        "picked": state.picked,
    }
    if len(state.selection):
        shown = state.selection[:THUMBNAILS]
        gallery([Tile(str(k), picture(int(k)), f"Image {k}") for k in shown], key="selected", tile_width=100)
    with st.container(key="said"):
        st.text(json.dumps(said))


page()
