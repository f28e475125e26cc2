"""Backbones on a page: the catalogue as a table and as cards, their measured latency, and what each of them sees.

In: cards of the catalogue, finished runs of kind `latency`, a frame of a dataset. Out: the page's sections.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import on_disk
from fmlab.data.preprocessing import Style, seen_by_model, styled
from fmlab.runs.records import MeasuredLatency, measured_latency
from fmlab.runs.requests import request_run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.ui import session
from fmlab.ui.format import NO_VALUE, count, escaped, million
from fmlab.ui.messages import shown_errors
from fmlab.ui.pictures import Tile, data_url

CARDS_IN_A_ROW = 3
DOMAINS = {
    "natural": "Natural images",
    "medical": "Medical images",
    "ultrasound": "Ultrasound",
    "none": "Domain unknown",
}


def latencies(store: Store) -> dict[str, MeasuredLatency]:
    """Backbone → its newest finished measurement."""
    runs = store.runs()
    done = runs[(runs["kind"] == "latency") & (runs["state"] == "done")].sort_values("finished")
    newest = done.drop_duplicates("backbone", keep="last")
    keys = zip(newest["backbone"], newest["key"], strict=True)
    return {backbone: measured_latency(store.run(key)) for backbone, key in keys}


def show_failed_measurements(store: Store) -> None:
    """Why the newest measurement of a backbone failed, if it did."""
    runs = store.runs()
    newest = runs[runs["kind"] == "latency"].sort_values("created").drop_duplicates("backbone", keep="last")
    for run in newest[newest["state"] == "failed"].itertuples():
        st.error(
            f"The latency of {escaped(run.backbone)} could not be measured: {escaped(run.reason)}",
            icon=":material/error:",
        )


def catalogue_table(home: Home, cards: Sequence[BackboneCard], measured: Mapping[str, MeasuredLatency]) -> pd.DataFrame:
    """One row per backbone, the numbers as numbers so that a click on a column sorts."""
    rows = []
    for card in cards:
        latency = measured.get(card.key)
        rows.append(
            {
                "Backbone": card.title,
                "Key": card.key,
                "Parameters, M": card.parameters / 1e6,
                "Features": card.width,
                "Input, px": card.spec.size,
                "One image, ms": latency.milliseconds if latency else None,
                "Images per second": round(latency.images_per_second) if latency else None,
                "Measured": _measured_when(latency),
                "On this disk": on_disk(card, home),
                "Licence of weights": card.licence_weights or ("none needed" if not card.files else "unknown"),
                "Trained on": _domain(card),
            }
        )
    return pd.DataFrame(rows)


def _measured_when(latency: MeasuredLatency | None) -> str | None:
    if latency is None or latency.processor_share is None:
        return None
    return "while busy, measure again" if latency.disturbed else "undisturbed"


def show_table(table: pd.DataFrame) -> None:
    """The catalogue as a table."""
    column = st.column_config
    st.dataframe(
        table,
        hide_index=True,
        key="catalogue",
        placeholder="",
        column_config={
            "Backbone": column.TextColumn(width="medium"),
            "Parameters, M": column.NumberColumn(format="%.1f", help="Of the image encoder, in millions"),
            "Features": column.NumberColumn(help="Numbers per image that a probe learns from"),
            "On this disk": column.CheckboxColumn(help="Usable without fetching anything"),
            "One image, ms": column.NumberColumn(format="%.3g", help="Median, batch of one"),
            "Images per second": column.NumberColumn(format="localized", help="At the best batch size"),
            "Measured": column.TextColumn(help="Whether the machine had something else to do meanwhile"),
        },
    )


def show_cards(home: Home, cards: Sequence[BackboneCard], measured: Mapping[str, MeasuredLatency]) -> None:
    """The catalogue as cards, three in a row."""
    for start in range(0, len(cards), CARDS_IN_A_ROW):
        row = cards[start : start + CARDS_IN_A_ROW]
        for column, card in zip(st.columns(CARDS_IN_A_ROW), row, strict=False):
            with column.container(border=True, height="stretch"):
                _show_card(home, card, measured.get(card.key))


def _show_card(home: Home, card: BackboneCard, latency: MeasuredLatency | None) -> None:
    st.markdown(f"**{escaped(card.title)}**")
    with st.container(horizontal=True, gap="xsmall"):
        if card.floor:
            st.badge("Floor", color="gray", help="What any backbone has to beat")
        else:
            st.badge(DOMAINS[card.domain], color="blue")
        if not on_disk(card, home):
            st.badge("Not on this disk", color="orange", icon=":material/cloud_off:")
        if card.gated:
            st.badge("On request only", color="orange", icon=":material/lock:")
    spec = card.spec
    lines = [
        f"`{card.key}`",
        f"{million(card.parameters)} parameters, {count(card.width, 'feature')} ({card.feature})",
        f"Input {spec.size}×{spec.size} px, {spec.resize}, {spec.interpolation}",
        f"Trained on: {escaped(_domain(card))}",
        f"Licence: {escaped(card.licence_weights or ('no weights' if not card.files else 'unknown'))}",
        f"Latency: {latency_text(latency)}",
    ]
    st.markdown("  \n".join(lines))
    if card.note:
        st.caption(escaped(card.note))
    if card.citation:
        st.caption(escaped(card.citation))


def latency_text(latency: MeasuredLatency | None) -> str:
    """`12.3 ± 0.4 ms for one image, 210 images per second (cpu)`, and a warning if the machine was busy."""
    if latency is None:
        return "not measured"
    spread = f" ± {latency.spread:.2g}" if latency.spread is not None else ""
    return (
        f"{latency.milliseconds:.3g}{spread} ms for one image, {latency.images_per_second:,.0f} images per second "
        f"({escaped(latency.device)})"
        + (", measured while the machine was busy: measure again" if latency.disturbed else "")
    )


def measure(keys: Sequence[str]) -> None:
    """Queue a measurement of each backbone."""
    with shown_errors():
        store, by = session.store(), session.actor()
        for key in keys:
            request_run(store, "latency", {"backbone": key}, f"Latency of {key}", by)
        st.toast(f"{count(len(keys), 'measurement')} queued.", icon=":material/timer:")


def seen_tiles(
    pixels: np.ndarray, sector: Sequence[float] | None, cards: Sequence[BackboneCard], style: Style
) -> list[Tile]:
    """The exact input of each backbone before normalisation, for one image; `sector`: black out what lies outside."""
    outline = None if sector is None else np.asarray(sector)
    tiles = []
    for card in cards:
        spec = styled(card.spec, style)
        seen = seen_by_model(pixels, spec, outline)
        detail = f"{spec.size}×{spec.size} px, {_fitting(spec.resize, spec.resize_to, spec.size)}, {spec.interpolation}"
        tiles.append(Tile(card.key, data_url(seen, longest_side=max(256, spec.size), quality=92), card.title, detail))
    return tiles


def _fitting(resize: str, resize_to: int, size: int) -> str:
    if resize == "squash":
        return "whole image squashed"
    return "centre crop" if resize_to == size else f"shorter side {resize_to}, centre crop"


def _domain(card: BackboneCard) -> str:
    if card.pretraining:
        return card.pretraining
    return "nothing" if card.floor else NO_VALUE
