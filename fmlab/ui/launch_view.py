"""A study put together on a page: a preset that decides everything, and behind it all that can be changed.

In: what the widgets hold. Out: a `StudyConfig`; the plan as numbers, sentences and a table; the study launched.

Choosing another preset fills the other widgets in; sizes left as the preset has them may be dropped where the data are
too few, sizes typed by hand are taken at their word.
"""

from collections.abc import Sequence
from typing import Any, cast, get_args

import pandas as pd
import streamlit as st

from fmlab.adapt.configs import ADAPTATIONS, short_name
from fmlab.backbones.catalogue import catalogue, on_disk
from fmlab.data.manifest import Dataset
from fmlab.data.preprocessing import Style
from fmlab.data.subsets import COPIES, Scheme
from fmlab.errors import BadInput
from fmlab.plots.wording import adaptation_name
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.audits import audit_of
from fmlab.studies.configs import LARGEST_FOLDS, LARGEST_SEEDS, Baseline, StudyConfig
from fmlab.studies.planner import FROZEN, Plan
from fmlab.studies.presets import (
    PRESETS,
    Mode,
    Preset,
    free_name,
    preset_config,
    study_name,
    usual_baselines,
    usual_folds,
)
from fmlab.studies.seen import seen_backbones
from fmlab.studies.spelling import read_baselines, read_sizes, spelt_baselines
from fmlab.ui import links, session
from fmlab.ui.adaptation_settings import choose_adaptation_settings
from fmlab.ui.format import count, duration, escaped, size
from fmlab.ui.messages import sentences

MODES: dict[Mode, str] = {
    "probe": "Linear probe",
    "finetune": "Finetuning",
    "all-data": "All data",
    "fetal-probe": "Fetal: probe",
    "fetal-finetune": "Fetal: finetuning",
    "fetal-few-shot": "Fetal: few-shot",
    "demo": "Demo",
}
SCHEMES: dict[Scheme, str] = {"sequences": "Sequences per class", "images": "Images at random"}
STYLES: dict[Style, str] = {
    "native": "As each backbone's authors meant",
    "paper": "Limited-data study: 256 → 224",
    "squash": "Fetal study: squashed to 224",
}


def choose_preset() -> Preset:
    """The preset in the address, by its mode, scheme and size; another one fills in the widgets below."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        mode = links.choose_segment("Study", list(MODES), "mode", format_func=MODES.get, on_change=_fill_in)
        family = _family(cast(Mode, mode))
        if len(family) > 1:
            links.choose_segment(
                "Label budget", list(SCHEMES), "scheme", format_func=SCHEMES.__getitem__, on_change=_fill_in
            )
            links.switch("Quick", "quick", help="Minutes instead of hours, to see that all works", on_change=_fill_in)
    return _chosen_preset()


def _family(mode: Mode) -> list[Preset]:
    return [preset for preset in PRESETS.values() if preset.mode == mode]


def _chosen_preset() -> Preset:
    """The preset that the three widgets name."""
    state = st.session_state
    family = _family(state["mode"])
    wanted = (state.get("scheme"), state.get("quick"))
    return next((preset for preset in family if (preset.scheme, preset.quick) == wanted), family[0])


def usable_keys(home: Home) -> list[str]:
    """The backbones whose weights are on this disk, the floors last."""
    cards = [card for card in catalogue(home).values() if on_disk(card, home)]
    return [card.key for card in sorted(cards, key=lambda card: card.floor)]


def _fill_in() -> None:
    """Set every widget below to what the preset says."""
    state, preset = st.session_state, _chosen_preset()
    settings = _usual(preset)
    state["backbones"] = _usual_backbones(session.home(), preset)
    state["adaptations"] = list(settings)
    state["sizes"] = listed(preset.sizes)
    state["seeds"], state["copies"], state["style"] = preset.seeds, preset.copies, preset.style
    state["baselines"] = _spelt(usual_baselines(preset))
    for kind, config in ADAPTATIONS.items():
        if "recipe" in config.model_fields:
            state[f"{kind}_recipe"] = settings.get(kind, {}).get("recipe", config.model_fields["recipe"].default)


def _usual(preset: Preset) -> dict[str, dict[str, Any]]:
    return {adaptation["kind"]: dict(adaptation) for adaptation in preset.adaptations}


def _usual_backbones(home: Home, preset: Preset) -> list[str]:
    usable = usable_keys(home)
    return next(
        (found for keys in (preset.backbones, preset.stand_ins) if (found := [k for k in keys if k in usable])), []
    )


def _spelt(baselines: Sequence[Any]) -> list[str]:
    return [spelt_baselines([Baseline.model_validate(each)]) for each in baselines]


def choose_settings(home: Home, store: Store, dataset: Dataset, preset: Preset) -> StudyConfig:
    """The study that the widgets describe; `BadInput` while they describe none."""
    changes: dict[str, Any] = {}
    with st.expander("Backbones", icon=":material/neurology:"):
        changes |= _choose_backbones(home, preset)
    with st.expander("Adaptations", icon=":material/tune:"):
        changes |= _choose_adaptations(home, dataset, preset, changes["backbones"])
    with st.expander("Label budget and seeds", icon=":material/stacks:"):
        typed, budget = _choose_budget(dataset, preset)
        changes |= budget
    with st.expander("Images", icon=":material/image:"):
        changes |= _choose_preprocessing(dataset, preset)
    leaks = audit_of(home, store, dataset).leaks
    seen = seen_backbones(home, dataset, changes["folds"], changes["backbones"])
    if leaks or seen:
        why = "The split leaks" if leaks else f"Pretrained on what is tested: {escaped(', '.join(seen))}"
        changes["allow_leaking"] = (
            st.text_input(
                f"{why}. Type {dataset.name} to accept that its numbers will be too good",
                key=f"allow_leaking_{dataset.name}",
                width=480,
            )
            or None
        )
    wanted = free_name(study_name(dataset.name, preset.key), [study.name for study in store.studies()])
    name = st.text_input("Name of the study", wanted, key=f"study_name_{wanted}", max_chars=64, width=420)
    sizes = tuple(read_sizes(typed))
    if sizes != preset.sizes:
        changes["sizes"] = sizes
    if not changes["backbones"] or not changes["adaptations"]:
        raise BadInput("A study needs at least one backbone and one adaptation. Choose them above.")
    return preset_config(home, preset.key, dataset, name, **changes)


def _choose_backbones(home: Home, preset: Preset) -> dict[str, Any]:
    keys = usable_keys(home)
    chosen = links.choose_several("Backbones", keys, "backbones", default=_usual_backbones(home, preset))
    absent = [key for key in preset.backbones if key not in keys]
    if absent:
        st.caption(f"Not on this disk: {escaped(', '.join(absent))}.")
        links.link(links.BACKBONES, "Get their weights", ":material/download:")
    scratch = [card.key for card in catalogue(home).values() if card.layout == "random"]
    plain = [
        {"backbone": key, "adaptation": {"kind": "scratch", "recipe": recipe}}
        for key in scratch
        for recipe in ("limited-data", "quick")
    ]
    baselines = links.choose_several(
        "Beside them, as a baseline",
        _spelt(plain),
        "baselines",
        default=_spelt(usual_baselines(preset)),
        format_func=_baseline_name,
        help="A network trained from random weights: what pretraining is worth is the difference to it. The recipe is ours.",
    )
    return {"backbones": chosen, "baselines": [each for text in baselines for each in read_baselines(text)]}


def _baseline_name(text: str) -> str:
    return _named(Baseline.model_validate(read_baselines(text)[0]))


def _named(baseline: Baseline) -> str:
    return f"{baseline.backbone} {adaptation_name(short_name(baseline.adaptation.model_dump(mode='json')))}"


def _choose_adaptations(home: Home, dataset: Dataset, preset: Preset, keys: Sequence[str]) -> dict[str, Any]:
    usual = _usual(preset)
    kinds = links.choose_several(
        "Adaptations",
        list(ADAPTATIONS),
        "adaptations",
        default=list(usual),
        format_func=adaptation_name,
        help="\n\n".join(f"{adaptation_name(kind)}: {config.description}." for kind, config in ADAPTATIONS.items()),
    )
    cards = [catalogue(home)[key] for key in keys]
    return {"adaptations": choose_adaptation_settings(kinds, usual, cards, dataset.card.classes)}


def _choose_budget(dataset: Dataset, preset: Preset) -> tuple[str, dict[str, Any]]:
    """The sizes as typed, and seeds, copies and folds."""
    typed = st.text_input("Sizes", listed(preset.sizes), key="sizes", bind="query-params", help="`all` is everything")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        seeds = st.number_input(
            "Seeds",
            1,
            LARGEST_SEEDS,
            preset.seeds,
            key="seeds",
            bind="query-params",
            width=100,
            help="Subsets drawn at each size; the band of a curve is over them",
        )
        copies = st.number_input(
            "Augmented copies",
            0,
            COPIES,
            preset.copies,
            key="copies",
            bind="query-params",
            width=150,
            help="Of every training image: two slight tilts, two other widths; items like it",
        )
        folds = st.number_input(
            "Cross-validation",
            2,
            LARGEST_FOLDS,
            cast(Any, usual_folds(dataset)),
            key=f"folds_{dataset.name}",
            bind="query-params",
            placeholder="none",
            width=160,
            help="Folds, by patient, over the training images; empty: tested on the test sets",
        )
    return typed, {"seeds": seeds, "copies": copies, "folds": folds}


def _choose_preprocessing(dataset: Dataset, preset: Preset) -> dict[str, Any]:
    style = links.choose_segment(
        "Preprocessing", list(get_args(Style)), "style", default=preset.style, format_func=STYLES.get
    )
    mask = links.switch(
        "Black out what lies outside the sector",
        f"mask_{dataset.name}",
        value=dataset.card.mask_sector,
        disabled=not dataset.card.sectors_found,
    )
    return {"style": style, "mask_sector": None if mask == dataset.card.mask_sector else mask}


def listed(sizes: Sequence[int | str]) -> str:
    """Sizes as a person writes them."""
    return ", ".join(str(each) for each in sizes)


def names_line(config: StudyConfig, preset: Preset) -> str:
    """What the study is made of by name, in Markdown; and that stand-ins are stand-ins."""
    kinds = ", ".join(adaptation_name(short_name(each)) for each in config.plain()["adaptations"])
    lines = f"{', '.join(config.backbones)}: {kinds}"
    if config.baselines:
        lines += f"; as a baseline {'; '.join(_named(each) for each in config.baselines)}"
    stand_ins = preset.stand_ins and not set(config.backbones) & set(preset.backbones)
    return escaped(f"{lines}. None of the study's own backbones is among them." if stand_ins else f"{lines}.")


def show_price(price: Plan) -> None:
    """Refusals, or the price: runs, time, disk, memory; then what was dropped."""
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
        st.metric("Disk", size(price.disk_bytes), width="content", help="At the most, checkpoints included")
        st.metric("Memory", size(price.memory_bytes), width="content")
        if price.gpu_bytes:
            st.metric("GPU memory", size(price.gpu_bytes), width="content")
    sentences(st.warning, price.dropped, ":material/content_cut:")


def show_remarks(price: Plan) -> None:
    """What to beware of; and folded away, what differs from the paper."""
    sentences(st.info, price.warnings, ":material/info:")
    if price.differences:
        with st.expander("What differs from the paper", icon=":material/compare_arrows:"):
            st.markdown("\n".join(f"- {escaped(sentence)}" for sentence in price.differences))


def plan_table(price: Plan) -> pd.DataFrame:
    """One row per backbone of a plan and way of using it."""
    return pd.DataFrame(
        {
            "Backbone": [each.key for each in price.backbones],
            "Weights": ["frozen" if each.work == FROZEN else adaptation_name(each.work) for each in price.backbones],
            "Runs": [each.cells for each in price.backbones],
            "Done already": [each.cells_cached for each in price.backbones],
            "Images": [each.images for each in price.backbones],
            "Embedded already": [each.images_cached for each in price.backbones],
            "Images/s": [
                f"{each.images_per_second:,.0f}" + ("" if each.measured else " (guess)") for each in price.backbones
            ],
            "Time": [duration(each.seconds) for each in price.backbones],
            "Memory": [size(each.cost.memory_bytes + each.cost.gpu_bytes) for each in price.backbones],
        }
    )


def summary_line(config: StudyConfig, dataset: Dataset) -> str:
    """The grid in one line of Markdown."""
    beside = f", and {count(len(config.baselines), 'baseline')}" if config.baselines else ""
    folds = f", cross-validated in {config.folds} folds" if config.folds else ""
    return (
        f"{count(len(config.backbones), 'backbone')} × {count(len(config.adaptations), 'adaptation')} × "
        f"{count(len(config.sizes), 'size')} × {count(config.seeds, 'seed')} on **{escaped(dataset.name)}**{beside}{folds}"
    )
