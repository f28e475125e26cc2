"""One dataset on a page: its card, its balance, what its images look like.

In: a dataset. Out: the page's sections, each drawn from the card or from a few rows.
"""

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from fmlab.data.manifest import Card, Dataset, open_dataset
from fmlab.plots.palette import category_looks
from fmlab.plots.theme import template
from fmlab.settings import Home
from fmlab.ui.dataset_tables import (
    class_table,
    sample_tiles,
    split_order,
)
from fmlab.ui.format import count, escaped
from fmlab.ui.links import choose_segment, switch
from fmlab.ui.messages import synthetic_note
from fmlab.ui.pictures import Tile, gallery
from fmlab.ui.theme import Mode, mode, show_figure


def show_card(card: Card) -> None:
    """Title, where it comes from and under which terms, and its counts."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(escaped(card.title or card.name), anchor=False, width="content")
        st.badge(escaped(card.source), color="gray")
        if card.synthetic:
            st.badge("Synthetic", color="violet", icon=":material/science:")
        st.badge(escaped(card.licence or "No licence stated"), color="blue" if card.licence else "orange")
    if card.description:
        st.markdown(escaped(card.description))
    with st.container(horizontal=True, gap="large"):
        st.metric("Images", f"{card.images:,}", width="content")
        st.metric("Classes", len(card.classes), width="content")
        st.metric("Sequences", f"{card.sequences:,}", width="content")
        st.metric("Patients", "unknown" if card.patients is None else f"{card.patients:,}", width="content")
        st.metric("Unlabelled", f"{card.unlabelled:,}", width="content")
        st.metric("Unreadable", f"{card.unreadable:,}", width="content")
        st.metric("Sector found", f"{card.sectors_found:,}", width="content")
    lines = [f"Split: {escaped(card.split_origin)}."]
    if card.mask_sector:
        lines.append("What lies outside the sector is blacked out by default.")
    if card.citation:
        lines.append(f"Citation: {escaped(card.citation)}")
    st.caption("  \n".join(lines + [escaped(note) for note in card.notes]))
    synthetic_note(card.synthetic)


def show_balance(card: Card) -> None:
    """Class × split as a table beside the same as a figure; sites below."""
    if not card.classes:
        st.info("No image has a label. Import labels to launch a study.", icon=":material/label_off:")
        return
    left, right = st.columns([6, 5], gap="medium")
    with left:
        st.markdown("**Images of each class in each split**")
        st.dataframe(
            class_table(card),
            hide_index=True,
            key="balance",
            column_config={split: st.column_config.NumberColumn(width=64) for split in [*split_order(card), "All"]}
            | {
                "Share": st.column_config.ProgressColumn(
                    "Share", help="Of all labelled images", format="%.1f %%", max_value=100, width=125
                )
            },
        )
        show_sites(card)
    with right:
        show_figure(balance_figure(card, mode()), key="balance_figure")


def show_sites(card: Card) -> None:
    """How many images come from each site."""
    if card.sites:
        with st.expander(f"{count(len(card.sites), 'site')}", icon=":material/local_hospital:"):
            table = pd.DataFrame({"Site": list(card.sites), "Images": list(card.sites.values())})
            st.dataframe(table, hide_index=True, key="sites")


def balance_figure(card: Card, page: Mode) -> go.Figure:
    """The share of each class within each split, in percent of that split's labelled images."""
    splits = split_order(card)
    looks = category_looks(splits, page)
    figure = go.Figure()
    for split in splits:
        counts = [card.split_classes.get(split, {}).get(name, 0) for name in card.classes]
        whole = max(1, sum(counts))
        figure.add_bar(
            y=list(card.classes),
            x=[100 * number / whole for number in counts],
            customdata=counts,
            name=split,
            orientation="h",
            marker_color=looks[split][0],
            hovertemplate="%{y}<br>%{customdata:,} images, %{x:.1f} % of " + split + "<extra></extra>",
        )
    figure.update_layout(
        template=template(page),
        barmode="group",
        height=max(300, 110 + 38 * len(card.classes)),
        margin={"l": 10, "r": 10, "t": 36, "b": 40},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        xaxis={"title": "share of the split's labelled images, %", "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "type": "category"},
    )
    return figure


def show_frames(home: Home, dataset: Dataset) -> None:
    """Frames of each class from different sequences, from all splits or one."""
    card = dataset.card
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = choose_segment("Split", ["all", *split_order(card)], "frames_of")
        if card.sectors_found:
            outline = switch("Outline the sector", "outline")
            masked = switch("Black out the rest", "masked", help="As a study sees it when sector masking is on")
        else:
            outline = masked = False
    per_class = 12 if len(card.classes) < 2 else 6 if len(card.classes) <= 4 else 3
    chosen = None if split in (None, "all") else split
    tiles = _tiles(str(home.path), card.name, card.content_hash, chosen, per_class, outline, masked)
    if tiles:
        gallery(tiles, key="frames", tile_width=128)
    else:
        st.caption("No image here.")


@st.cache_data(max_entries=24, show_spinner=False)
def _tiles(
    home: str, name: str, content_hash: str, split: str | None, per_class: int, outline: bool, masked: bool
) -> list[Tile]:
    """Encoded once per dataset content and choice; `content_hash` is part of the key and not otherwise used."""
    return sample_tiles(open_dataset(Home(Path(home)), name), split, per_class, outline, masked)
