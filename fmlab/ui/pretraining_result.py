"""What a finished pretraining left: whether it learnt anything, what it cost, and where to use it.

In: `backbones/<key>/pretraining.json` as its worker wrote it. Out: a verdict in words, its facts, links, the command.
"""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from fmlab.backbones.catalogue import CARD_FILE
from fmlab.errors import BadInput
from fmlab.files import read_json
from fmlab.plots.pretraining_wording import method_name
from fmlab.runs.records import Run
from fmlab.settings import Home
from fmlab.ui import links
from fmlab.ui.format import count, duration, escaped, percent
from fmlab.ui.messages import sentences
from fmlab.ui.pretraining_form import RECIPE_WORDS, split_words

FACTS_FILE = "pretraining.json"
PROBE_NAMES = {"knn": "kNN", "linear": "Linear probe"}


def facts_of(home: Home, key: str) -> dict[str, Any] | None:
    """What is known of how a backbone was pretrained here; None when it is not, or is gone. A damaged file: `BadInput`."""
    path = home.backbones / key / FACTS_FILE
    return read_json(path) if path.is_file() else None


def show_result(home: Home, run: Run) -> dict[str, Any] | None:
    """What came out, the way on, and what it took; returns the facts, None where the backbone is gone."""
    key = str(run.config["asked"]["key"])
    facts = facts_of(home, key)
    if facts is None or facts["run"] != run.key:
        st.info(
            f"The backbone {escaped(key)} is no longer in this home; its curves are kept below.",
            icon=":material/inventory_2:",
        )
        return None
    if not (home.backbones / key / CARD_FILE).is_file():
        raise BadInput(f"The card of backbone {key!r} is missing. Remove its folder and pretrain it again.")
    with st.container(border=True):
        left, right = st.columns([5, 4], gap="large")
        with left:
            st.markdown(f"**{escaped(key)}** is in the catalogue now: every page can use it.")
            show_accuracies(facts)
            _show_links(key, facts)
        with right:
            first, *rest = (f"| {name} | {value} |" for name, value in result_facts(facts).items())
            st.markdown("\n".join([first, "|---|---|", *rest]))
    sentences(st.info, facts["data"]["notes"], ":material/info:")
    st.caption("The same backbone from the command line")
    st.code(facts["command"], language="bash", wrap_lines=True)
    return facts


def pixel_floor(facts: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Balanced accuracies of both probes on raw pixels; None where they are not known."""
    return ((facts or {}).get("floors") or {}).get("pixels")


def show_accuracies(facts: Mapping[str, Any]) -> None:
    """Balanced accuracy of raw pixels, of the start and of the end."""
    probes = facts["probes"]
    if not probes:
        st.caption("It was tried on no labels: what it is good for, a study will tell.")
        return
    first, last = probes[0], probes[-1]
    pixels = pixel_floor(facts) or {}
    lines = ["| Balanced accuracy | Raw pixels | At the start | At the end |", "|---|---|---|---|"]
    for name, words in PROBE_NAMES.items():
        lines.append(f"| {words} | {percent(pixels.get(name))} | {_interval(first, name)} | {_interval(last, name)} |")
    st.markdown("\n".join(lines))
    st.caption(
        f"Tried on {escaped(facts['labelled'])}, on patients that the probes were not fitted to; in brackets the 95 % "
        "interval over patients."
    )
    if pixels and all(last[name] <= pixels[name] for name in PROBE_NAMES):
        st.warning(
            "Raw pixels, 24×24 grey values, do at least as well on these labels. Compare both in a study before you rely on it.",
            icon=":material/grid_on:",
        )


def _interval(line: Mapping[str, Any], name: str) -> str:
    low, high = (line.get(end if name == "knn" else f"{name}_{end}") for end in ("low", "high"))
    shown = percent(line[name])
    return shown if low is None or high is None else f"{shown} ({100 * low:.0f}–{100 * high:.0f})"


def _show_links(key: str, facts: Mapping[str, Any]) -> None:
    selection = {"backbones": key} | ({"dataset": str(facts["labelled"])} if facts["labelled"] else {})
    with st.container(horizontal=True):
        links.link(links.LAUNCH, "Use it in a study", ":material/rocket_launch:", selection)
        links.link(links.BACKBONES, "Its card", ":material/account_tree:", {"backbone": key})


def result_facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """What it was made of and what it cost, row by row in Markdown."""
    setting, cost = facts["setting"], facts["cost"]
    sources = "; ".join(
        f"{escaped(each['dataset'])}: {escaped(', '.join(map(split_words, each['splits'])))}, {count(each['images'], 'image')}"
        for each in facts["data"]["sources"]
    )
    network = escaped(str(setting["network"]))
    network += "" if network.startswith("resnet") else f", patches of {setting['patch']}"
    devices = f"{cost['devices']} × {cost['device']}" if cost["devices"] > 1 else cost["device"]
    begin = escaped(str(setting["start"]["key"])) if setting.get("start") else "random weights"
    return {
        "Method": f"{method_name(facts['method'])}, recipe {RECIPE_WORDS[facts['recipe']][0].lower()}",
        "Network": f"{network}, {'grey' if setting['channels'] == 1 else 'colour'}, crops of {setting['size']} pixels",
        "Began with": begin,
        "Learnt from": sources,
        "Saw": f"{count(cost['images_seen'], 'image')} in {count(cost['steps'], 'step')} of {setting['batch']}",
        "Took": f"{duration(cost['seconds'])} on {escaped(devices)}, {cost['device_hours']:.2g} device-hours",
        "Speed": f"{cost['images_per_second']:,.0f} images a second, {percent(cost['data_wait_share'], 0)} of the time "
        "waiting for them",
    }
