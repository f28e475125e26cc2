"""Backbones: what there is to choose from, how fast it is here, and what it sees of your images."""

import streamlit as st

from fmlab.backbones.catalogue import catalogue, on_disk
from fmlab.data.manifest import dataset_names, open_dataset
from fmlab.ui import links, session
from fmlab.ui.backbone_form import backbone_form
from fmlab.ui.backbone_view import (
    catalogue_table,
    latencies,
    measure,
    seen_tiles,
    show_cards,
    show_failed_measurements,
    show_table,
)
from fmlab.ui.dataset_tables import image_facts
from fmlab.ui.heading import heading
from fmlab.ui.messages import empty_state, shown_errors
from fmlab.ui.pictures import Tile, data_url, gallery
from fmlab.ui.progress import live_groups

FRAMES_OFFERED = 6  # per class
STYLES = {"native": "As its authors meant", "paper": "The study's 256 → 224"}


def what_they_see(chosen: list[str]) -> None:
    """A frame of a dataset beside the input that each chosen backbone gets of it."""
    home = session.home()
    names = dataset_names(home)
    if not names:
        empty_state(
            "No image to look at yet",
            "Import a dataset to see what each backbone is fed.",
            [lambda: links.link(links.DATASETS, "Import images", ":material/photo_library:")],
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = links.choose("Dataset", names, "dataset", width=260)
        dataset = open_dataset(home, name or names[0])
        rows = dataset.first_rows(None, FRAMES_OFFERED)
        labels = [label for label in dataset.card.classes if label in set(rows["label"].dropna())]
        label = links.choose("Class", labels, "class", width=200) if labels else None
        rows = rows[rows["label"] == label] if label else rows
        number = st.number_input("Frame", 1, max(1, len(rows)), key="frame", bind="query-params", width=120)
        style = links.choose_segment("Preprocessing", list(STYLES), "style", format_func=STYLES.get)
        masked = links.switch("Black out what lies outside the sector", "mask", value=dataset.card.mask_sector)
    image_id = rows["image_id"].iloc[min(number, len(rows)) - 1]
    pixels, fact = image_facts(dataset, [image_id])[image_id]
    sector = fact["sector"] if masked else None
    if masked and sector is None:
        st.caption("No sector was found in this image; nothing is blacked out.")
    cards = catalogue(home)
    whole = Tile(
        "stored",
        data_url(pixels, fact["sector"]),
        "As stored",
        f"{pixels.shape[1]}×{pixels.shape[0]} px, {fact['path']}",
    )
    gallery([whole, *seen_tiles(pixels, sector, [cards[key] for key in chosen], style)], key="seen", tile_width=210)


def page() -> None:
    """The whole page."""
    home = session.home()
    cards = catalogue(home)
    measured = latencies(session.store())
    if links.choose_segment("Show as", ["Table", "Cards"], "view", label_visibility="collapsed") == "Cards":
        show_cards(home, list(cards.values()), measured)
    else:
        show_table(catalogue_table(home, list(cards.values()), measured))
    usable = [key for key, card in cards.items() if on_disk(card, home)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = links.choose_several(
            "Look closer at",
            list(cards),
            "backbones",
            default=[key for key in usable if not cards[key].floor][:2]
            + [key for key in usable if cards[key].floor][-1:],
        )
        ready = [key for key in chosen if key in usable]
        st.button(
            "Measure latency here",
            icon=":material/timer:",
            disabled=not ready,
            on_click=measure,
            args=(ready,),
            help="Times each chosen backbone on this machine, after what is already queued",
        )
    live_groups("backbones", kinds=("latency",))
    show_failed_measurements(session.store())
    st.subheader("What the model sees", anchor=False)
    with shown_errors():
        what_they_see(chosen)
    with st.expander("Add a checkpoint of your own", icon=":material/add:"), shown_errors():
        backbone_form(home)


heading("Backbones", "What there is to choose from, how fast it is here, and what it sees of your images.")
with shown_errors():
    page()
