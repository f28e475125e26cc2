"""A study put together on a page: its settings, its price, the command that does the same.

In: what the widgets hold. Out: a `StudyConfig`; the plan as numbers, sentences and a table; the study launched.

Choosing a preset fills the other widgets in; sizes left as the preset has them may be dropped where the data are too
few, sizes typed by hand are taken at their word.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from fmlab.adapt.configs import ADAPTATIONS
from fmlab.backbones.catalogue import catalogue, on_disk
from fmlab.data.manifest import Dataset
from fmlab.data.preprocessing import Style
from fmlab.data.subsets import Scheme
from fmlab.errors import BadInput
from fmlab.plots.wording import adaptation_name
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.configs import LARGEST_SEEDS, StudyConfig
from fmlab.studies.planner import Plan
from fmlab.studies.presets import PRESETS, Preset, preset_config
from fmlab.ui import links, session
from fmlab.ui.format import count, duration, escaped, size
from fmlab.ui.messages import sentences

SCHEMES: dict[Scheme, str] = {"sequences": "Sequences per class", "images": "Images at random"}
STYLES: dict[Style, str] = {"native": "As each backbone's authors meant", "paper": "The study's 256 → 224"}
FIRST_PRESET = "probe-sequences"


def choose_preset() -> Preset:
    """The preset in the address; choosing another one fills in the widgets below."""
    key = links.choose(
        "Preset",
        list(PRESETS),
        "preset",
        format_func=lambda key: PRESETS[key].title,
        index=list(PRESETS).index(FIRST_PRESET),
        on_change=_fill_in,
        width=240,
    )
    return PRESETS[key or FIRST_PRESET]


def usable_keys(home: Home) -> list[str]:
    """The backbones whose weights are on this disk, the floors last."""
    cards = [card for card in catalogue(home).values() if on_disk(card, home)]
    return [card.key for card in sorted(cards, key=lambda card: card.floor)]


def _fill_in() -> None:
    preset = PRESETS[st.session_state["preset"]]
    usable = usable_keys(session.home())
    st.session_state["backbones"] = [key for key in preset.backbones if key in usable]
    st.session_state["adaptations"] = list(preset.adaptations)
    st.session_state["scheme"] = preset.scheme
    st.session_state["sizes"] = listed(preset.sizes)
    st.session_state["seeds"] = preset.seeds


def choose_settings(home: Home, store: Store, dataset: Dataset, preset: Preset) -> StudyConfig:
    """The study that the widgets describe; `BadInput` while they describe none."""
    changes: dict[str, Any] = {}
    keys = usable_keys(home)
    lacking = len(catalogue(home)) - len(keys)
    changes["backbones"] = links.choose_several(
        "Backbones",
        keys,
        "backbones",
        default=[key for key in preset.backbones if key in keys],
        help=f"{count(lacking, 'more backbone')} can be fetched on the page Backbones" if lacking else None,
    )
    changes["adaptations"] = links.choose_several(
        "Adaptations",
        list(ADAPTATIONS),
        "adaptations",
        default=list(preset.adaptations),
        format_func=adaptation_name,
        help="\n\n".join(f"{adaptation_name(kind)}: {config.description}." for kind, config in ADAPTATIONS.items()),
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scheme = links.choose_segment(
            "Label budget", list(SCHEMES), "scheme", default=preset.scheme, format_func=SCHEMES.__getitem__
        )
        typed = st.text_input("Sizes", listed(preset.sizes), key="sizes", bind="query-params", width=300)
        changes["seeds"] = st.number_input(
            "Seeds",
            1,
            LARGEST_SEEDS,
            preset.seeds,
            key="seeds",
            bind="query-params",
            width=130,
            help="Subsets drawn at each size; the band of a curve is over them",
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        changes["style"] = links.choose_segment("Preprocessing", list(STYLES), "style", format_func=STYLES.get)
        mask = links.switch(
            "Black out what lies outside the sector",
            f"mask_{dataset.name}",
            value=dataset.card.mask_sector,
            disabled=not dataset.card.sectors_found,
        )
    changes["mask_sector"] = None if mask == dataset.card.mask_sector else mask
    if dataset.card.leaking:
        changes["allow_leaking"] = (
            st.text_input(
                f"The split leaks. Type {dataset.name} to accept that its numbers will be too good",
                key=f"allow_leaking_{dataset.name}",
                width=480,
            )
            or None
        )
    wanted = free_name(store, f"{dataset.name}-{preset.key}")
    name = st.text_input("Name of the study", wanted, key=f"study_name_{wanted}", max_chars=64, width=360)
    sizes = parsed_sizes(typed)
    if sizes != preset.sizes or scheme != preset.scheme:
        changes |= {"sizes": sizes, "scheme": scheme}
    if not changes["backbones"] or not changes["adaptations"]:
        raise BadInput("A study needs at least one backbone and one adaptation. Choose them above.")
    return preset_config(preset.key, dataset, name, **changes)


def parsed_sizes(typed: str) -> tuple[int, ...]:
    """Sizes as a person writes them, `1, 2 4`, as numbers."""
    parts = re.split(r"[,;\s]+", typed.strip())
    if not all(part.isdecimal() for part in parts):
        raise BadInput(f"Sizes are whole numbers separated by commas, as 1, 2, 4; got {typed!r}.")
    return tuple(int(part) for part in parts)


def listed(sizes: Sequence[int]) -> str:
    """Sizes as a person writes them."""
    return ", ".join(str(each) for each in sizes)


def free_name(store: Store, wanted: str) -> str:
    """The wanted name, or with a number after it when a study has it already."""
    taken = {study.name for study in store.studies()}
    candidates = [wanted[:60], *(f"{wanted[:60]}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in candidates if name not in taken)


def show_plan(price: Plan) -> None:
    """Refusals, or the price: runs, time, disk, memory; then what was dropped, and what to beware of."""
    sentences(st.error, price.refusals, ":material/block:")
    if not price.cells:
        return
    guessed = any(not each.measured for each in price.backbones if each.images > each.images_cached)
    with st.container(horizontal=True, gap="large"):
        st.metric("Runs", f"{price.cells:,}", width="content")
        st.metric("Done already", f"{price.cached:,}", width="content")
        st.metric("To compute", f"{price.to_compute:,}", width="content")
    with st.container(horizontal=True, gap="large"):
        st.metric(
            "Time, guessed" if guessed else "Time",
            duration(price.seconds) if price.to_compute else "none",
            width="content",
            help="Guessed from the number of parameters, until this machine has measured it" if guessed else None,
        )
        st.metric("Disk", size(price.disk_bytes), width="content")
        st.metric("Memory", size(price.memory_bytes), width="content")
    sentences(st.warning, price.dropped, ":material/content_cut:")
    sentences(st.info, price.warnings, ":material/info:")


def plan_table(price: Plan) -> pd.DataFrame:
    """One row per backbone of a plan."""
    return pd.DataFrame(
        {
            "Backbone": [each.key for each in price.backbones],
            "Runs": [each.cells for each in price.backbones],
            "Done already": [each.cells_cached for each in price.backbones],
            "Images needed": [each.images for each in price.backbones],
            "Embedded already": [each.images_cached for each in price.backbones],
            "Images per second": [
                f"{each.images_per_second:,.0f}" + ("" if each.measured else " (guess)") for each in price.backbones
            ],
            "Time": [duration(each.seconds) for each in price.backbones],
        }
    )


def command(config: StudyConfig) -> str:
    """The command line that launches the same study."""
    adaptations = [adaptation.kind for adaptation in config.adaptations]
    words = ["fmlab", "study", "run"]
    if config.preset:
        words += ["--preset", config.preset]
    words += ["--name", config.name, "--dataset", config.dataset, "--backbones", ",".join(config.backbones)]
    words += ["--adaptations", ",".join(adaptations)]
    if not config.preset:
        words += ["--scheme", config.scheme, "--sizes", ",".join(map(str, config.sizes))]
    words += ["--seeds", str(config.seeds), "--style", config.style]
    if config.mask_sector is not None:
        words.append("--mask-sector" if config.mask_sector else "--no-mask-sector")
    if config.allow_leaking:
        words += ["--allow-leaking", config.allow_leaking]
    return shlex.join(words)


def summary_line(config: StudyConfig, dataset: Dataset) -> str:
    """The grid in one line of Markdown."""
    return (
        f"{count(len(config.backbones), 'backbone')} × {count(len(config.adaptations), 'adaptation')} × "
        f"{count(len(config.sizes), 'size')} × {count(config.seeds, 'seed')} on **{escaped(dataset.name)}**"
    )
