"""The map and what is selected on it, side by side: pointing, outlining and picking redraw these alone.

In: the points and their geometry, made by the page around it. Out: the map, the selection, and why the picked image was
answered as it was. Outlines, colours, what is hidden and the picked image are in the address.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from fmlab.backbones.catalogue import find_backbone
from fmlab.errors import BadInput
from fmlab.studies.map_table import MapTable, confidence_words, map_table
from fmlab.studies.nearest import Space, nearest_training
from fmlab.ui import links, map_selection
from fmlab.ui.embedding_map import Hover, MapState, MapView, embedding_map, geometry_digest, map_geometry
from fmlab.ui.format import escaped
from fmlab.ui.map_columns import ANSWER_COLOURS, COLOURS, TEST_SET, map_blob
from fmlab.ui.map_view import ChosenMap, ChosenRun, Shown
from fmlab.ui.messages import shown_errors, synthetic_note
from fmlab.ui.review_pictures import ReviewPictures
from fmlab.ui.theme import mode
from fmlab.ui.why_view import show_why

MAP = "embedding_map"
HEIGHT = 440  # CSS pixels: with what stands above it, a small laptop's screen
GALLERY_HEIGHT = 390
CELL = ("truth", "answer")  # of the selection's confusion, in the address
WHY = "why"  # the anchor of the panel below
HOVER_SIDE = 192  # pixels
NEIGHBOURS = 8
SHAPES = {"Test set": TEST_SET, "None": None}
PICTURES_BEFORE = "map_pictures"
PICKED_ON = {MAP: "picked", map_selection.GALLERY: "chosen"}  # component → the part of its state


def show_maps(chosen: Sequence[ChosenMap], shown: Sequence[Shown], run: ChosenRun | None) -> None:
    """The maps of the same images, one or two, and everything that can be done on them."""
    first = chosen[0]
    key = None if run is None else run.run.key
    table = map_table(first.home, first.store, first.dataset, tuple(each.path for each in shown), key)
    _forget_outlines_of_others(shown)
    blob = map_blob(first.store, first.dataset, table, tuple(each.title for each in shown))
    map_geometry("map_geometry", blob)
    _explore(first, tuple(shown), table, geometry_digest(blob), run)


def _forget_outlines_of_others(shown: Sequence[Shown]) -> None:
    """Outlines belong to the pictures that they were drawn on: when one is replaced all go, when one is closed its own."""
    pictures = [str(each.path) for each in shown]
    before = st.session_state.get(PICTURES_BEFORE, pictures)
    outlines = st.query_params.get("s", "")
    if any(old != new for old, new in zip(before, pictures, strict=False)):
        outlines = ""
    elif len(pictures) < len(before):
        outlines = "~".join(outline for outline in outlines.split("~") if outline[1:2] == "0")
    _keep("s", outlines)
    st.session_state[PICTURES_BEFORE] = pictures


@st.fragment
def _explore(
    chosen: ChosenMap, shown: tuple[Shown, ...], table: MapTable, geometry: str, run: ChosenRun | None
) -> None:
    with shown_errors():
        rows = table.rows
        picked = _picked(rows, geometry)
        left, right = st.columns([2, 1], gap="medium") if len(shown) == 1 else (st.container(), st.container())
        with left:
            view = _view(chosen, shown, rows, geometry, run, picked)
            state = embedding_map(MAP, view)
            _remember(state)
            _captions(chosen, shown, table, run, view.colour)
        selected = map_selection.ordered(rows.iloc[state.selection[state.selection < len(rows)]])
        with right:
            if picked is not None:
                st.markdown(f"Picked: **{map_selection.described(rows, picked)}** · [why?](#{WHY})")
            _show_images(chosen, selected, run, GALLERY_HEIGHT if len(shown) == 1 else None)
        if picked is not None:
            _show_picked(chosen, rows, picked, run)
        if len(selected):
            _show_numbers(chosen, selected, rows["label"], run)


def _view(
    chosen: ChosenMap,
    shown: tuple[Shown, ...],
    rows: pd.DataFrame,
    geometry: str,
    run: ChosenRun | None,
    picked: str | None,
) -> MapView:
    colours = COLOURS | (ANSWER_COLOURS if run is not None else {})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        colour = colours[links.choose("Colour", list(colours), "colour", width=170) or "Label"]
        shape = SHAPES["None"]
        if rows[TEST_SET].notna().any():
            shape = SHAPES[links.choose("Shape", list(SHAPES), "shape", width=130) or "Test set"]
    marked, place = _marked(chosen, rows, picked)
    return MapView(
        geometry=geometry,
        panels=tuple(range(len(shown))),
        colour=colour,
        shape=shape,
        hidden=tuple(st.query_params.get_all("hidden")),
        background="points" if st.query_params.get("background") == "points" else "density",
        selection=st.query_params.get("s", ""),
        mode=mode(),
        hover=_hover(chosen, rows, geometry),
        marked=marked,
        picked=place,
        height=HEIGHT,
    )


def _reported(component: str, geometry: str) -> dict[str, Any]:
    """What the browser said of a component before this run, as far as it is about these points."""
    state = st.session_state.get(component) or {}
    if component != MAP:
        return dict(state)
    return {
        name: value["position"]
        for name, value in dict(state).items()
        if name in ("hovered", "picked") and isinstance(value, dict) and value.get("geometry") == geometry
    }


def _hover(chosen: ChosenMap, rows: pd.DataFrame, geometry: str) -> Hover | None:
    position = _reported(MAP, geometry).get("hovered")
    if position is None or not 0 <= position < len(rows):
        return None
    row = rows.iloc[position]
    urls = ReviewPictures(chosen.dataset).urls([row["image_id"]], HOVER_SIDE)
    return Hover(int(position), urls.get(row["image_id"]), map_selection.hover_lines(row))


def _picked(rows: pd.DataFrame, geometry: str) -> str | None:
    """The image that was clicked last, on the map or in the gallery; at first the one in the address."""
    for component, part in PICKED_ON.items():
        reported = _reported(component, geometry)
        if part not in reported:
            continue
        value, seen = reported[part], f"{component}_seen"
        if value == st.session_state.get(seen):
            continue
        st.session_state[seen] = value
        image = rows["image_id"].iloc[value] if component == MAP and value is not None else value
        _keep("image", image or "")
    image = st.query_params.get("image")
    return image if image is not None and (rows["image_id"] == image).any() else None


def _marked(chosen: ChosenMap, rows: pd.DataFrame, picked: str | None) -> tuple[tuple[int, ...], int | None]:
    """Where the nearest training images of the picked one stand, and itself; none where they are not embedded."""
    if picked is None:
        return (), None
    place = int(np.flatnonzero(rows["image_id"] == picked)[0])
    card = find_backbone(chosen.home, chosen.backbone)
    mask_sector = chosen.dataset.card.mask_sector
    try:
        near = nearest_training(Space(chosen.home, chosen.dataset, card, "native", mask_sector), picked, NEIGHBOURS)
    except BadInput:  # said where the picked image is shown
        return (), place
    found = pd.Index(rows["image_id"]).get_indexer(near["image_id"])
    return tuple(int(each) for each in found if each >= 0), place


def _remember(state: MapState) -> None:
    """Put what was done on the map into the address."""
    if state.touched:
        if state.polygons != st.query_params.get("s", ""):
            _close(*CELL)  # a cell is one of the selection before
        _keep("s", state.polygons)
        _keep("background", "" if state.background == "density" else state.background)
        if list(state.hidden) != st.query_params.get_all("hidden"):
            st.query_params["hidden"] = list(state.hidden)


def _keep(name: str, value: str) -> None:
    """Set a name of the address, or remove it where there is nothing to say; only if that changes something."""
    if value == st.query_params.get(name, ""):
        return
    if value:
        st.query_params[name] = value
    else:
        st.query_params.pop(name, None)


def _captions(chosen: ChosenMap, shown: tuple[Shown, ...], table: MapTable, run: ChosenRun | None, colour: str) -> None:
    words = ["Near means alike to the backbone; axes have no unit."]
    if len(table.rows) < table.images:
        so_far = any(each.picture == "early" for each in shown)
        words.append(
            f"{len(table.rows):,} of {table.images:,} images stand here, "
            + (
                "those that were embedded before."
                if so_far
                else "a fixed sample with the share of each label and split."
            )
        )
    if colour == "confidence" and run is not None:
        words.append(f"Confidence: {confidence_words(run.run.config['adaptation']['kind'])}.")
    if colour == "sequence":
        words.append("Images of one sequence have one colour, which other sequences share.")
    if colour in ANSWER_COLOURS.values() and run is not None:
        words.append(f"Answers of {escaped(run.words)} ({escaped(chosen.backbone)}).")
    st.caption(" ".join(words))
    synthetic_note(chosen.dataset.card.synthetic)


def _show_images(chosen: ChosenMap, rows: pd.DataFrame, run: ChosenRun | None, height: int | None) -> None:
    """The selected images; within `height` CSS pixels, where they stand beside the map."""
    if rows.empty:
        st.markdown("**Nothing selected**")
        st.caption(
            "Draw around points with the lasso (L) or a box (B): their images, classes and answers appear here. "
            "Shift adds, Alt takes away, Escape clears. Click a point to see what lies near it and why it was answered so."
        )
        return
    map_selection.sum_up(rows)
    rows = _of_cell(rows)
    map_selection.show_actions(chosen.dataset, rows, run)
    with st.container(height=height or "content", border=False):
        map_selection.show_gallery(chosen.dataset, rows)


def _of_cell(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of the selection in the cell of the confusion that was opened; all, where none is or none are left in it."""
    truth, answer = (st.query_params.get(name) for name in CELL)
    part = rows[(rows["label"] == truth) & (rows["prediction"] == answer)]
    if part.empty:
        return rows
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{escaped(truth)} answered {escaped(answer)}:** {len(part):,}", width="content")
        st.button("Show all", type="tertiary", icon=":material/close:", key="close_cell", on_click=_close, args=CELL)
    return part


def _show_numbers(chosen: ChosenMap, rows: pd.DataFrame, labels: pd.Series, run: ChosenRun | None) -> None:
    """The classes of the selection among those of all points, and what they were taken for."""
    left, right = st.columns([1, 2], gap="large")
    with left:
        map_selection.show_classes(chosen.dataset, rows, labels, mode())
    with right:
        if run is None:
            return
        opened = map_selection.show_confusion(chosen.dataset, rows, run, mode())
    if opened is not None:
        for name, value in zip(CELL, opened, strict=True):
            _keep(name, value)
        st.rerun()


def _show_picked(chosen: ChosenMap, rows: pd.DataFrame, picked: str, run: ChosenRun | None) -> None:
    row = rows[rows["image_id"] == picked].iloc[0]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader("Why", anchor=WHY, width="content")
            st.markdown(map_selection.described(rows, picked), width="stretch")
            st.button(
                "Close", icon=":material/close:", type="tertiary", key="close_picked", on_click=_close, args=("image",)
            )
        show_why(
            chosen.home,
            chosen.store,
            chosen.dataset,
            None if run is None else run.run,
            picked,
            row[TEST_SET] if isinstance(row[TEST_SET], str) else None,
            None if run is None else run.study,
            backbone=chosen.backbone,
        )


def _close(*names: str) -> None:
    for name in names:
        st.query_params.pop(name, None)
