"""Adding a backbone from the page: a checkpoint of one's own, or any model of timm by its name.

In: what a person typed. Out: a queued run of kind `add`; later, what became of it. A worker does the work, so that torch
never enters the server.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from fmlab.backbones.cards import BackboneCard
from fmlab.data.manifest import check_name
from fmlab.errors import BadInput, NameTaken
from fmlab.runs.records import UNFINISHED
from fmlab.runs.requests import request_run
from fmlab.ui import session
from fmlab.ui.backbone_view import DOMAINS
from fmlab.ui.format import count, escaped

FILE, TIMM = "A file on this machine", "Any model of timm"


def backbone_form(cards: Sequence[BackboneCard]) -> None:
    """Inputs and a button that queues the run; nothing is read on the page."""
    if st.segmented_control("Where is it?", [FILE, TIMM], default=FILE, key="add_from", required=True) == TIMM:
        _timm_form(cards)
    else:
        _file_form(cards)


def _timm_form(cards: Sequence[BackboneCard]) -> None:
    st.caption("The name as timm writes it. Its weights are then downloaded like those of any other backbone.")
    with st.container(horizontal=True):
        name = st.text_input("Name", key="timm_name", placeholder="vit_base_patch16_224.augreg_in21k", width=420)
        key = st.text_input("Key, if another", key="timm_key", max_chars=64, width=260)
    if st.button("Add it", key="add_timm", icon=":material/add:", disabled=not name):
        _ask(cards, key.strip(), {"backbone": key.strip(), "timm": name.strip()}, name.strip())


def _file_form(cards: Sequence[BackboneCard]) -> None:
    st.caption(
        "A .safetensors file, or a state dict saved by torch. Its layout is recognised by the names of its tensors: timm, "
        "DINOv2, MAE, iBOT, open_clip, BEiT, torchvision. Every tensor has to fit; no code inside a file is ever run."
    )
    left, right = st.columns([3, 2])
    path = left.text_input("Path of the weights", key="weights_path", placeholder="/models/vit_echo.safetensors")
    key = right.text_input("Key", key="weights_key", placeholder="vit-echo", max_chars=64)
    with st.container(horizontal=True):
        like = st.selectbox(
            "Another training of",
            [card.key for card in cards if card.files],
            index=None,
            key="weights_like",
            placeholder="nothing in the catalogue",
            help="Takes everything from that backbone but its weights",
            width=260,
        )
        architecture = st.text_input(
            "Architecture, as timm calls it",
            key="weights_architecture",
            placeholder="recognised, if left empty",
            width=260,
        )
        title = st.text_input("Title", key="weights_title", placeholder="the key", width=220)
        licence = st.text_input("Licence of the weights", key="weights_licence", placeholder="unknown", width=220)
        domain = st.selectbox(
            "Trained on", list(DOMAINS), index=3, key="weights_domain", format_func=DOMAINS.get, width=200
        )
    with st.expander("Preprocessing, where it is another than the architecture's own"):
        overrides = _overrides()
    if st.button("Add the backbone", icon=":material/add:", disabled=not (path and key)):
        facts = {"title": title.strip(), "licence": licence.strip() or None, "domain": domain}
        config = {"backbone": key, "path": str(_weights(path)), "overrides": _numbers(overrides), "facts": facts}
        _ask(cards, key, config | {"architecture": architecture.strip() or None, "like": like}, key)


def _overrides() -> dict[str, Any]:
    """Inputs for what differs; what was left empty is not among them."""
    with st.container(horizontal=True):
        values: dict[str, Any] = {
            "size": st.number_input("Input, px", 16, 2048, None, key="override_size", width=130),
            "resize": st.selectbox("Resize", ["crop", "squash", "pad"], index=None, key="override_resize", width=130),
            "resize_to": st.number_input("Shorter side, px", 16, 4096, None, key="override_resize_to", width=150),
            "interpolation": st.selectbox(
                "Interpolation",
                ["nearest", "bilinear", "bicubic"],
                index=None,
                key="override_interpolation",
                width=150,
            ),
            "mean": st.text_input("Mean", key="override_mean", placeholder="0.485, 0.456, 0.406", width=200),
            "std": st.text_input("Std", key="override_std", placeholder="0.229, 0.224, 0.225", width=200),
        }
    return {name: value for name, value in values.items() if value}


def _numbers(overrides: dict[str, Any]) -> dict[str, Any]:
    return overrides | {name: _three(name, overrides[name]) for name in ("mean", "std") if name in overrides}


def _three(name: str, typed: str) -> list[float]:
    try:
        values = [float(part) for part in re.split(r"[,;\s]+", typed.strip())]
    except ValueError:
        values = []
    if len(values) != 3:
        raise BadInput(f"The {name} is three numbers, as 0.485, 0.456, 0.406; got {typed!r}.")
    return values


def _weights(typed: str) -> Path:
    path = Path(typed.strip()).expanduser()
    if not path.is_absolute() or not path.is_file():
        raise BadInput(f"There is no weights file at {str(path)!r}. Give the full path of a file on this machine.")
    return path


def _ask(cards: Sequence[BackboneCard], key: str, config: dict[str, Any], called: str) -> None:
    if key:
        check_name(key, "backbone")
    if key in {card.key for card in cards}:
        raise NameTaken(f"A backbone {key!r} exists already; choose another key.")
    run = request_run(session.store(), "add", config, f"Add {called}", by=session.actor())
    st.session_state.setdefault("additions", []).append(run.key)
    st.rerun()


def addition_outcomes() -> None:
    """What became of the backbones added in this browser: shown once when done, until dismissed when not.

    Call it before the choice of a backbone, which a finished addition sets.
    """
    store = session.store()
    waiting = []
    for key in st.session_state.get("additions", []):
        run = store.run(key)
        called = escaped(str(run.config.get("timm") or run.config["backbone"]))
        if run.state in UNFINISHED:
            waiting.append(key)
        elif run.state == "done":
            result = run.result or {}
            st.toast(
                f"{called} was added: {count(result['parameters'], 'parameter')}, {count(result['width'], 'feature')}.",
                icon=":material/check:",
            )
            st.session_state.update(
                {"backbone": result["backbone"], "weights_path": "", "weights_key": "", "timm_name": ""}
            )
        else:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.error(f"{called} was not added: {escaped(run.reason or run.state)}", icon=":material/error:")
                st.button("Dismiss", key=f"dismiss_{key}", type="tertiary", on_click=_dismiss, args=(key,))
                waiting.append(key)
    st.session_state["additions"] = waiting


def _dismiss(key: str) -> None:
    st.session_state["additions"].remove(key)
