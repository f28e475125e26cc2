"""Backbones on a page: which of them to show, as a table or as cards, and what they cost here.

In: cards of the catalogue, finished runs of kind `latency`. Out: the page's list; the choices stand in the address.
"""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
import streamlit as st

from fmlab.backbones.cards import BackboneCard, Domain
from fmlab.backbones.catalogue import LicenceKind, licence_kind, printed_table
from fmlab.backbones.chart import fitting
from fmlab.runs.records import MeasuredLatency
from fmlab.ui import links
from fmlab.ui.format import NO_VALUE, count, escaped, million

CARDS_IN_A_ROW = 3
TABLE_HEIGHT = 420
ROWS_SEEN = 10  # what fits into it
DOMAINS: dict[Domain, str] = {
    "natural": "Natural images",
    "medical": "Medical images",
    "ultrasound": "Ultrasound",
    "none": "None or unknown",
}
TYPES = {"image": "Image", "image+text": "Image, text"}
VIEWS = ["Table", "Cards", "Table 1"]
LICENCES: dict[LicenceKind, str] = {
    "permissive": "For any use",
    "restricted": "With conditions",
    "unknown": "Unknown",
    "none needed": "None needed",
}


def usable_first(cards: Sequence[BackboneCard], usable: Collection[str]) -> list[BackboneCard]:
    """What can be used on this disk, then the floors, then what would have to be fetched; else as in the catalogue."""
    return sorted(cards, key=lambda card: (card.key not in usable, card.floor))


def choose_shown(cards: Sequence[BackboneCard], usable: Collection[str]) -> tuple[str | None, list[BackboneCard]]:
    """The view, and those of the backbones that the filters let through; all of it is in the address."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        domains = _pills("Trained on", list(DOMAINS), "domain", DOMAINS)
        licences = _pills("Licence of the weights", list(LICENCES), "licence", LICENCES)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        view = links.choose_segment("Show as", VIEWS, "view", label_visibility="collapsed")
        here = links.switch("Only what is on this disk", "here")
    return view, [
        card
        for card in cards
        if (not domains or card.domain in domains)
        and (not licences or licence_kind(card) in licences)
        and (not here or card.key in usable)
    ]


def _pills(label: str, options: Sequence[str], name: str, words: Mapping[str, str]) -> list[str]:
    return st.pills(
        label, options, selection_mode="multi", key=name, format_func=words.__getitem__, bind="query-params"
    )


def show_shown(
    view: str | None, cards: Sequence[BackboneCard], usable: Collection[str], measured: Mapping[str, MeasuredLatency]
) -> None:
    """The chosen view of the backbones that the filters let through, or what to do when they let none through."""
    if not cards:
        st.caption("No backbone passes these filters. Clear one of them.")
    elif view == "Cards":
        show_cards(cards, usable, measured)
    elif view == "Table 1":
        show_printed(cards)
    else:
        show_table(catalogue_table(cards, usable, measured))


# ----------------------------------------------------------------------------------------------------------- tables


def catalogue_table(
    cards: Sequence[BackboneCard], usable: Collection[str], measured: Mapping[str, MeasuredLatency]
) -> pd.DataFrame:
    """One row per backbone, the numbers as numbers so that a click on a column sorts."""
    return pd.DataFrame([_row(card, card.key in usable, measured.get(card.key)) for card in cards])


def _row(card: BackboneCard, usable: bool, latency: MeasuredLatency | None) -> dict[str, object]:
    printed = card.printed
    return {
        "Backbone": card.title,
        "On this disk": usable,
        "Trained on": DOMAINS[card.domain],
        "Type": TYPES[card.type],
        "Parameters, M": card.parameters / 1e6,
        "printed, M": printed.parameters if printed else None,
        "Features": card.width,
        "printed": printed.width if printed else None,
        "Input, px": card.spec.size,
        "One image, ms": latency.milliseconds if latency else None,
        "Images per second": round(latency.images_per_second) if latency else None,
        "Memory, MB": latency.memory_mib * 1.048576 if latency and latency.memory_mib is not None else None,
        "GFLOP": latency.flops / 1e9 if latency and latency.flops is not None else None,
        "Measured": _measured_when(latency),
        "Licence of weights": licence_words(card),
        "Licence of code": card.licence_code,
        "On request": card.gated,
        "Pretraining": card.pretraining or None,
        "Images, M": card.pretraining_images / 1e6 if card.pretraining_images else None,
        "Key": card.key,
    }


def _measured_when(latency: MeasuredLatency | None) -> str | None:
    if latency is None or latency.processor_share is None:
        return None
    return "while busy, measure again" if latency.disturbed else "undisturbed"


def show_table(table: pd.DataFrame) -> None:
    """The catalogue as a table; columns of measurements only once there are some."""
    column = st.column_config
    st.dataframe(
        table.dropna(axis="columns", how="all"),
        hide_index=True,
        key="catalogue",
        height=TABLE_HEIGHT if len(table) > ROWS_SEEN else "auto",
        placeholder="",
        column_config={
            "Backbone": column.TextColumn(width="medium", pinned=True),
            "Parameters, M": column.NumberColumn(
                format="%.1f", help="Of the image encoder, in millions, counted from the architecture"
            ),
            "printed, M": column.NumberColumn(format="%.1f", help="Parameters as the limited-data study prints them"),
            "Features": column.NumberColumn(help="Numbers per image that a probe learns from"),
            "printed": column.NumberColumn(help="Features as the limited-data study prints them"),
            "On this disk": column.CheckboxColumn(width="small", help="Usable without fetching anything"),
            "On request": column.CheckboxColumn(help="Its source hands the weights out on request only"),
            "One image, ms": column.NumberColumn(format="%.3g", help="Median, batch of one"),
            "Images per second": column.NumberColumn(format="localized", help="At the best batch size"),
            "Memory, MB": column.NumberColumn(
                format="%.0f", help="At most, of a pass at the best batch, beyond weights and images"
            ),
            "GFLOP": column.NumberColumn(
                format="%.3g", help="Thousand millions of floating-point operations for one image"
            ),
            "Measured": column.TextColumn(help="Whether the machine had something else to do meanwhile"),
            "Images, M": column.NumberColumn(format="%.3g", help="Images it was pretrained on, in millions"),
        },
    )


def show_printed(cards: Sequence[BackboneCard]) -> None:
    """Table 1 of the limited-data study, what it prints beside what was counted."""
    rows = printed_table(cards)
    if not rows:
        st.caption("None of these backbones is in Table 1 of the limited-data study. Clear a filter.")
        return
    number = st.column_config.NumberColumn(format="%.1f")
    st.dataframe(
        pd.DataFrame(
            {
                "Model": [row["model"] for row in rows],
                "Type": [TYPES[row["type"]] for row in rows],
                "Domain": [DOMAINS[row["domain"]] for row in rows],
                "Images, printed": [row["images_printed"] or None for row in rows],
                "Parameters printed, M": [row["parameters_printed"] for row in rows],
                "counted, M": [row["parameters"] for row in rows],
                "Features printed": [row["width_printed"] for row in rows],
                "given": [row["width"] for row in rows],
            }
        ),
        hide_index=True,
        key="table1",
        placeholder="",
        column_config={"Parameters printed, M": number, "counted, M": number},
    )
    for row in rows:
        if row["remark"]:
            st.caption(f"**{escaped(row['model'])}** {escaped(row['remark'])}")


# ------------------------------------------------------------------------------------------------------------ cards


def show_cards(cards: Sequence[BackboneCard], usable: Collection[str], measured: Mapping[str, MeasuredLatency]) -> None:
    """The catalogue as cards, three in a row."""
    for start in range(0, len(cards), CARDS_IN_A_ROW):
        row = cards[start : start + CARDS_IN_A_ROW]
        for column, card in zip(st.columns(CARDS_IN_A_ROW), row, strict=False):
            with column.container(border=True, height="stretch"):
                st.markdown(f"**{escaped(card.title)}**")
                badges(card, card.key in usable)
                facts = card_facts(card, measured.get(card.key))
                st.markdown("  \n".join(f"{name}: {value}" for name, value in facts.items()))
                small_print(card)


def badges(card: BackboneCard, usable: bool) -> None:
    """What decides at a glance: where the weights are, what they were trained on, who may use them."""
    with st.container(horizontal=True, gap="xsmall"):
        if usable:
            st.badge("On this disk", color="green", icon=":material/check:")
        else:
            st.badge("Not on this disk", color="gray", icon=":material/cloud_download:")
        if card.floor:
            st.badge("Floor", color="gray", help="What any backbone has to beat")
        else:
            st.badge(DOMAINS[card.domain], color="blue")
        if card.type == "image+text":
            st.badge("Reads text", color="violet")
        if licence_kind(card) == "restricted":
            st.badge("Conditions", color="orange", icon=":material/gavel:", help=escaped(licence_words(card)))
        if card.gated:
            st.badge("On request", color="orange", icon=":material/lock:")


def card_facts(card: BackboneCard, latency: MeasuredLatency | None) -> dict[str, str]:
    """What a card says, by name; the values are safe Markdown."""
    printed = card.printed
    beside = ""
    if printed and printed.parameters is not None:
        beside = f" ({printed.parameters:g} M printed in the study's Table 1)"
    images = f", {count(card.pretraining_images, 'image')}" if card.pretraining_images else ""
    kinds = " or ".join(f"{width:,} ({kind})" for kind, width in zip(card.features, card.widths, strict=True))
    return {
        "Key": f"`{card.key}`",
        "Parameters": million(card.parameters) + beside,
        "Features": kinds,
        "Input": fitting(card.spec),
        "Pretraining": (escaped(card.pretraining) + images) if card.pretraining else "none" if card.floor else NO_VALUE,
        "Licence of weights": escaped(licence_words(card)),
        "Licence of code": escaped(card.licence_code or "unknown"),
        "Cost": latency_text(latency),
    }


def small_print(card: BackboneCard) -> None:
    """What else is known, and what is not."""
    if card.caution:
        st.caption(f":material/warning: {escaped(card.caution[0].upper() + card.caution[1:])}.")
    if card.note:
        st.caption(escaped(card.note))
    if card.printed and card.printed.remark:
        st.caption(f"Table 1: {escaped(card.printed.remark)}")
    if card.unverified:
        st.caption(f":material/help: Not seen at the source: {escaped('; '.join(card.unverified))}.")
    if card.citation:
        st.caption(escaped(card.citation))


def licence_words(card: BackboneCard) -> str:
    """The licence of the weights, or why there is none."""
    return card.licence_weights or ("none needed" if not card.files else "unknown")


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
