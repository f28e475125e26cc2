"""Backbones: what there is to choose from, what is on this disk, what each costs here, and what it sees of your images."""

from collections.abc import Collection, Mapping, Sequence

import streamlit as st

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import catalogue, on_disk
from fmlab.runs.records import MeasuredLatency
from fmlab.studies.efficiency import newest_latencies
from fmlab.ui import links, session
from fmlab.ui.backbone_detail import request, show_backbone, show_failures
from fmlab.ui.backbone_form import addition_outcomes, backbone_form
from fmlab.ui.backbone_seen import what_they_see
from fmlab.ui.backbone_view import choose_shown, show_shown, usable_first
from fmlab.ui.format import count
from fmlab.ui.heading import heading
from fmlab.ui.messages import shown_errors
from fmlab.ui.progress import live_groups

KINDS = ("download", "verify", "latency", "add")


def what_to_do(cards: Sequence[BackboneCard], usable: Collection[str]) -> None:
    """How much of the catalogue can be used, and what to do while no weights are here."""
    trained = [card for card in cards if not card.floor]
    ready = sum(card.key in usable for card in trained)
    if any(card.key in usable and not card.shipped for card in trained):
        st.caption(
            f"{ready} of {count(len(trained), 'backbone')} can be used now. Choose another below to see how to get it."
        )
        return
    st.info(
        "No weights that learnt from real images are on this disk yet, only FMLab's own from simulated ones and the floors "
        "that every backbone has to beat. Choose a backbone below and download it; without a network its page says which "
        "file to put where. A checkpoint of your own can be added at the end of this page.",
        icon=":material/download:",
    )


def one_backbone(cards: Sequence[BackboneCard], measured: Mapping[str, MeasuredLatency]) -> None:
    """Everything of one backbone, and what can be done with it."""
    st.subheader("One backbone", anchor=False)
    by_key = {card.key: card for card in cards}
    first = next((number for number, card in enumerate(cards) if not card.floor), 0)
    key = links.choose("Backbone", list(by_key), "backbone", index=first, width=380, label_visibility="collapsed")
    live_groups("backbones", kinds=KINDS)
    with shown_errors():
        show_backbone(session.home(), session.store(), by_key[key or cards[first].key], measured.get(key))


def side_by_side(cards: Sequence[BackboneCard], usable: Collection[str]) -> None:
    """What several backbones see of the same image, and a button that measures all of them."""
    st.subheader("What the model sees", anchor=False)
    trained = [card.key for card in cards if not card.floor]
    default = [*trained[:3], *[card.key for card in cards if card.floor][-1:]]
    by_key = {card.key: card for card in cards}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = links.choose_several("Look closer at", list(by_key), "backbones", default=default)
        ready = [key for key in chosen if key in usable]
        st.button(
            f"Measure {count(len(ready), 'backbone')}",
            icon=":material/timer:",
            disabled=not ready,
            on_click=request,
            args=("latency", ready),
            help="Times each of them that is on this disk, after what is already queued",
        )
    show_failures(session.store(), ready)
    with shown_errors():
        what_they_see(session.home(), [by_key[key] for key in chosen])


def page() -> None:
    """The whole page."""
    home = session.home()
    addition_outcomes()
    everything = list(catalogue(home).values())
    usable = {card.key for card in everything if on_disk(card, home)}
    cards = usable_first(everything, usable)
    measured = newest_latencies(session.store())
    what_to_do(cards, usable)
    view, shown = choose_shown(cards, usable)
    show_shown(view, shown, usable, measured)
    one_backbone(cards, measured)
    side_by_side(cards, usable)
    with st.expander("Add a backbone of your own", icon=":material/add:"), shown_errors():
        backbone_form(cards)


heading("Backbones", "What there is to choose from, how fast it is here, and what it sees of your images.")
with shown_errors():
    page()
