"""The settings of the adaptations that are chosen on the page Launch, each with its default shown.

In: the kinds, the preset's own settings, the backbones' cards, the dataset's classes. Out: adaptations as plain data.

A field left empty keeps the default: of the adaptation, or for those that train of the recipe. A value that an
adaptation does not take is refused by its config, in a sentence.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import pandas as pd
import streamlit as st
from pydantic.fields import FieldInfo

from fmlab.adapt.configs import ADAPTATIONS, Trained, adaptation_from
from fmlab.adapt.recipes import (
    BATCH,
    FETAL_BATCH,
    FETAL_CUTMIX,
    FETAL_DECAY,
    FETAL_EPOCHS,
    FETAL_LAYER_DECAY,
    FETAL_MIXUP,
    FETAL_SMOOTHING,
    QUICK_SAMPLES,
    QUICK_SIZE,
    SAMPLES,
    SCRATCH_BATCH,
    SCRATCH_DECAY,
    usual_rate,
)
from fmlab.backbones.cards import BackboneCard
from fmlab.plots.wording import adaptation_name
from fmlab.studies.spelling import read_value

LABELS = {
    "C": "C",
    "k": "Neighbours",
    "samples": "Images seen",
    "blocks": "Last blocks",
    "augment": "Tilt and stretch anew each time",
    "flip": "Mirror half of them",
    "smoothing": "Label smoothing",
}
LEFT_OUT = ("kind", "gap", "max_iterations", "prompts")
EXPLAINED = {
    "samples": "At least, in all epochs together",
    "epochs": "max(1, images seen / images of the subset, rounded up), unless a number is given",
    "input_size": "Pixels",
    "layer_decay": "Share of the learning rate that a layer has of the next one's",
    "mixup": "Images blended with each other: parameter of the Beta distribution",
    "cutmix": "Boxes of one image put into another: parameter of the Beta distribution",
    "smoothing": "Share of a label that is spread over all classes",
}
RECIPE = "the recipe's"
# What an empty field stands for under the fetal study's recipe.
FETAL_HINTS = {
    "weight_decay": f"{FETAL_DECAY:g}",
    "batch": str(FETAL_BATCH),
    "samples": "by epochs",
    "epochs": str(FETAL_EPOCHS),
    "layer_decay": f"{FETAL_LAYER_DECAY:g}",
    "mixup": f"{FETAL_MIXUP:g}",
    "cutmix": f"{FETAL_CUTMIX:g}",
    "smoothing": f"{FETAL_SMOOTHING:g}",
}
FIELD_WIDTH = 140


def choose_adaptation_settings(
    kinds: Sequence[str],
    usual: Mapping[str, Mapping[str, Any]],
    cards: Sequence[BackboneCard],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """The widgets of every kind below each other. `usual`: what the preset sets, by kind."""
    chosen = []
    for kind in kinds:
        st.markdown(f"**{_sentence_case(adaptation_name(kind))}**")
        st.caption(f"{_sentence_case(ADAPTATIONS[kind].description)}.")
        settings = {"kind": kind} | _fields(kind, usual.get(kind, {}), cards)
        if kind == "zero_shot":
            settings |= _prompts(classes)
        chosen.append(adaptation_from(settings).model_dump(mode="json"))
    return chosen


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def _fields(kind: str, usual: Mapping[str, Any], cards: Sequence[BackboneCard]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, field in _in_order(kind).items():
            key, label = f"{kind}_{name}", LABELS.get(name, name.replace("_", " ").capitalize())
            default = usual.get(name, field.default)
            if isinstance(default, bool):
                value: Any = st.checkbox(label, default, key=key, bind="query-params")
            elif get_origin(field.annotation) is Literal:
                options = list(get_args(field.annotation))
                value = st.selectbox(
                    label, options, options.index(default), key=key, bind="query-params", width=FIELD_WIDTH
                )
            else:
                value = _typed(label, key, _hint(kind, name, default, cards, settings.get("recipe")), default)
            if value is None:
                value = usual.get(name)
            if value is not None:
                settings[name] = value
    return settings


def _in_order(kind: str) -> dict[str, FieldInfo]:
    """The recipe first, then what this adaptation has and others have not, switches last."""
    fields = {name: field for name, field in ADAPTATIONS[kind].model_fields.items() if name not in LEFT_OUT}

    def place(name: str) -> tuple[bool, bool, bool]:
        return isinstance(fields[name].default, bool), name != "recipe", name in Trained.model_fields

    return {name: fields[name] for name in sorted(fields, key=place)}


def _typed(label: str, key: str, hint: tuple[str, str | None], default: Any) -> Any:
    """What is typed into a field, as a value; None while it is empty."""
    placeholder, explained = hint
    wide = 4 * FIELD_WIDTH if isinstance(default, tuple | str) else FIELD_WIDTH
    text = st.text_input(label, key=key, bind="query-params", placeholder=placeholder, help=explained, width=wide)
    if not text.strip():
        return None
    if isinstance(default, tuple):
        return [read_value(part.strip()) for part in text.split(",") if part.strip()]
    return text if isinstance(default, str) else read_value(text.strip())


def _hint(
    kind: str, name: str, default: Any, cards: Sequence[BackboneCard], recipe: str | None
) -> tuple[str, str | None]:
    """What an empty field stands for, and where that comes from."""
    if default is not None:
        return (", ".join(map(str, default)) if isinstance(default, tuple) else str(default)), None
    scratch, quick = kind == "scratch", recipe == "quick"
    hints = {
        "weight_decay": f"{SCRATCH_DECAY if scratch else 0:g}",
        "batch": str(SCRATCH_BATCH if scratch else BATCH),
        "samples": f"{QUICK_SAMPLES if quick else SAMPLES:,}",
        "epochs": "as in Tables 5, 6" if recipe == "paper-epochs" else "by images seen",
        "input_size": str(QUICK_SIZE) if quick else "as preprocessed",
        "layer_decay": "1",
        **dict.fromkeys(("mixup", "cutmix", "smoothing"), "0"),
    }
    hints |= FETAL_HINTS if recipe == "fetal" else {}
    if name != "learning_rate":
        return hints.get(name, RECIPE), EXPLAINED.get(name)
    trained = adaptation_from({"kind": kind} | ({"recipe": recipe} if recipe else {}))
    rates = {card.key: usual_rate(trained, card) for card in cards} if isinstance(trained, Trained) else {}
    numbers = sorted({rate for rate, _ in rates.values()})
    shown = " to ".join(f"{number:g}" for number in dict.fromkeys((numbers[0], numbers[-1]))) if numbers else RECIPE
    return shown, "\n\n".join(f"`{key}`: {rate:g}, {source}" for key, (rate, source) in rates.items()) or None


def _prompts(classes: Sequence[str]) -> dict[str, Any]:
    """A table of the classes and their prompts; a class without any follows the template."""
    st.caption("Prompts of single classes, with `|` between several; a class without one follows the template.")
    table = pd.DataFrame({"Class": list(classes), "Prompts": [""] * len(classes)})
    edited = st.data_editor(
        table, key="zero_shot_prompts", hide_index=True, disabled=["Class"], num_rows="fixed", width="stretch"
    )
    given = {
        label: [part.strip() for part in str(text).split("|") if part.strip()]
        for label, text in zip(edited["Class"], edited["Prompts"].fillna(""), strict=True)
    }
    return {"prompts": {label: texts for label, texts in given.items() if texts}}
