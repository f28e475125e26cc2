"""What to pretrain, on a page: images, method, network and length; behind them all else that can be changed.

In: what the widgets hold. Out: a checked `Pretraining`; `BadInput` while they describe none.

A field left empty follows the recipe, whose value stands in it in grey.
"""

from collections.abc import Sequence
from typing import Any, get_args

import streamlit as st

from fmlab.backbones.catalogue import catalogue, on_disk
from fmlab.data.manifest import TRAIN, VALIDATION, Dataset, check_name, open_dataset
from fmlab.errors import BadInput, NameTaken
from fmlab.plots.pretraining_wording import method_name
from fmlab.pretrain.configs import (
    METHOD_TITLES,
    PATCHES,
    Fit,
    Flips,
    Method,
    Network,
    PolicyName,
    Pretraining,
    RecipeName,
    pretraining,
)
from fmlab.pretrain.recipes import RECIPES
from fmlab.runs.pretraining_frames import NO_SPLIT, USUAL_SPLITS
from fmlab.settings import Home
from fmlab.studies.presets import free_name
from fmlab.ui import links
from fmlab.ui.format import escaped

RECIPE_WORDS: dict[RecipeName, tuple[str, str]] = {
    "small": ("Small", "For one processor or a modest GPU, and some thousand frames."),
    "fetal": ("Fetal study", "As the fetal study pretrained on two million frames. It needs GPUs."),
    "reference": ("Its authors'", "As the method's authors published it. It needs many GPUs and a million images."),
}
FIT_WORDS: dict[Fit, str] = {"squash": "Squash", "pad": "Pad", "crop": "Crop"}
FIRST_METHOD = "simclr"  # of the four the one that learns soonest from few images (README)
AS_RECIPE = "recipe"
LENGTHS: dict[str, str] = {AS_RECIPE: "As the recipe", "minutes": "Minutes", "epochs": "Epochs", "steps": "Steps"}
FIELD = 150  # pixels, width of a small field

# Widgets that are away while another section of the page is open; see `hold_form`.
HELD = (
    "datasets", "labelled", "method", "recipe", "network", "size", "length", "minutes", "epochs", "steps", "thin",
    "patch", "channels", "registers", "init", "local_size", "local_crops", "policy", "flips", "fit", "mask", "batch",
    "rate", "precision", "start_seed", "prototypes", "centring", "koleo", "licence", "allow_test_patients",
)  # fmt: skip
HELD_BEGINNINGS = ("splits_", "stride_", "share_", "pretraining_key_")


def hold_form() -> None:
    """Keep what the form holds while it is not drawn: Streamlit forgets the choices of absent widgets."""
    for name in [str(name) for name in st.session_state]:
        if name in HELD or name.startswith(HELD_BEGINNINGS):
            st.session_state[name] = st.session_state[name]


def choose_pretraining(home: Home, names: Sequence[str], taken: Sequence[str]) -> Pretraining:
    """The pretraining that the widgets describe. `taken`: keys that the new backbone cannot have."""
    chosen = links.choose_several(
        "Images to learn from", names, "datasets", default=list(names[:1]), help="Labels are not looked at"
    )
    datasets = [open_dataset(home, name) for name in chosen]
    config: dict[str, Any] = {"labelled": _choose_labelled(home, names, datasets)}
    config |= _choose_method()
    recipe = RECIPES[config["recipe"], config["method"]]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        config |= _choose_size(config["method"], recipe)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        config |= _choose_length()
    with st.expander("Which of their frames", icon=":material/filter_frames:"):
        sources, thin = _choose_frames(datasets)
    with st.expander("Network and start", icon=":material/neurology:"):
        config |= _choose_network(home, recipe, config["network"] or recipe.network)
    with st.expander("Crops and their variation", icon=":material/crop:"):
        config |= _choose_crops(config["method"], recipe, datasets)
    with st.expander("Training", icon=":material/tune:"):
        config |= _choose_training(config["method"], recipe)
    wanted = free_name(f"{config['method']}-{chosen[0]}" if chosen else config["method"], taken)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = st.text_input(
            "Name of the new backbone", wanted, key=f"pretraining_key_{wanted}", max_chars=64, width=250
        )
        licence = st.text_input(
            "Licence of its weights", key="licence", bind="query-params", placeholder="yours to choose", width=220
        )
    if not sources:
        raise BadInput("Choose images to learn from: at least one dataset.")
    if check_name(key.strip(), "backbone") in taken:
        raise NameTaken(f"A backbone {key.strip()!r} exists already, or is being pretrained. Choose another name.")
    given = {name: value for name, value in config.items() if value is not None}
    allowed = bool(st.session_state.get("allow_test_patients"))
    return pretraining(
        given
        | {"key": key.strip(), "sources": sources, "allow_test_patients": allowed}
        | ({"thin": thin} if thin is not None else {})
        | ({"licence": licence.strip()} if licence.strip() else {})
    )


# --------------------------------------------------------------------------------------------------------- in the open


def _choose_labelled(home: Home, names: Sequence[str], sources: Sequence[Dataset]) -> str | None:
    """The dataset on whose labels the features are tried: of the sources at first, else any."""
    chosen = [dataset.name for dataset in sources]
    labelled = [name for name in (*chosen, *(name for name in names if name not in chosen)) if _is_labelled(home, name)]
    if not labelled:
        st.caption(
            "No dataset here has labelled training images of two classes. Health is then told by the method's own numbers "
            "alone; what the features are good for stays open."
        )
        return None
    return links.choose(
        "Tried on the labels of",
        labelled,
        "labelled",
        width=360,
        help="At every checkpoint nearest neighbours and a linear probe are fitted to this dataset's labels and scored on "
        "other patients. The pretraining itself never sees a label.",
    )


def _is_labelled(home: Home, name: str) -> bool:
    classes = open_dataset(home, name).card.split_classes.get(TRAIN, {})
    return sum(images > 0 for images in classes.values()) > 1


def _choose_method() -> dict[str, Any]:
    method = links.choose_segment("Method", list(get_args(Method)), "method", FIRST_METHOD, format_func=method_name)
    st.caption(METHOD_TITLES[method].partition(": ")[2].capitalize() + ".")
    recipe = links.choose_segment(
        "Recipe", list(RECIPE_WORDS), "recipe", format_func=lambda name: RECIPE_WORDS[name][0]
    )
    st.caption(RECIPE_WORDS[recipe][1])
    return {"method": method, "recipe": recipe}


def _choose_size(method: Method, recipe: Any) -> dict[str, Any]:
    networks = [name for name in get_args(Network) if name.startswith("vit") or method not in ("dinov2", "mae")]
    return {
        "network": _pick("Network", networks, "network", recipe.network, 190),
        "size": _number("Side of a crop, pixels", "size", recipe.size, 16, 1024, 170),
    }


def _choose_length() -> dict[str, Any]:
    unit = links.choose_segment("How long", list(LENGTHS), "length", format_func=LENGTHS.get)
    if unit == "minutes":
        minutes = st.number_input(
            "Minutes", 0.1, None, 30.0, key="minutes", bind="query-params", format="%g", width=FIELD
        )
        return {"max_minutes": float(minutes)}
    if unit in ("epochs", "steps"):
        usual = 40 if unit == "epochs" else 1000
        return {unit: st.number_input(LENGTHS[unit], 1, None, usual, key=unit, bind="query-params", width=FIELD)}
    return {}


# ------------------------------------------------------------------------------------------------------------- folded


def _choose_frames(datasets: Sequence[Dataset]) -> tuple[list[dict[str, Any]], int | None]:
    """Splits, stride and share of each dataset, as `Source` takes them; and how alike frames of a clip may be."""
    sources = [_choose_source(dataset) for dataset in datasets]
    thin = _number(
        "Thin clips, bits",
        "thin",
        "off",
        0,
        64,
        help="A frame is left out when its perceptual hash differs from the last kept one of its clip by at most so many "
        "of 256 bits. Neighbouring frames of a clip differ by about 14, unrelated ones by 128.",
    )
    return sources, thin


def _choose_source(dataset: Dataset) -> dict[str, Any]:
    splits = splits_of(dataset)
    usual = [name for name in splits if name in USUAL_SPLITS]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        taken = st.pills(
            escaped(dataset.name),
            list(splits),
            selection_mode="multi",
            default=usual,
            format_func=lambda name: f"{split_words(name)} {splits[name]:,}",
            key=f"splits_{dataset.name}",
            help="Test images and other images of test patients are refused, so that the test stays one",
        )
        stride = 1
        if dataset.card.sequences < dataset.card.images:
            stride = st.number_input(
                "Every … frame", 1, None, 1, key=f"stride_{dataset.name}", bind="query-params", width=110
            )
        share = st.number_input(
            "% of patients", 1, 100, 100, key=f"share_{dataset.name}", bind="query-params", width=110
        )
    if not taken:
        raise BadInput(f"Choose a split of {dataset.name} to learn from, or take the dataset out of the choice.")
    source: dict[str, Any] = {"dataset": dataset.name, "stride": int(stride), "share": share / 100}
    return source if set(taken) == set(usual) else source | {"splits": list(taken)}


def split_words(name: str) -> str:
    """A split as a reader is told of it."""
    return "no split" if name == NO_SPLIT else name


def splits_of(dataset: Dataset) -> dict[str, int]:
    """Split → readable images, those for learning first; `none` for what is in no split."""
    card = dataset.card
    splits = {name: card.splits[name] for name in (TRAIN, VALIDATION) if card.splits.get(name)}
    rest = card.images - sum(card.splits.values())
    splits |= {NO_SPLIT: rest} if rest > 0 else {}
    return splits | {name: card.splits[name] for name in dataset.test_sets}


def _choose_network(home: Home, recipe: Any, network: str) -> dict[str, Any]:
    keys = [
        card.key
        for card in catalogue(home).values()
        if (card.architecture or "").startswith("vit_") and "cls" in card.features and on_disk(card, home)
    ]
    transformer = network.startswith("vit")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        patch = _pick("Patch, pixels", [str(side) for side in PATCHES], "patch", 16) if transformer else None
        channels = _pick("Channels", ["1", "3"], "channels", recipe.channels)
        registers = _number("Registers", "registers", recipe.registers, 0, 16) if transformer else None
        init = _pick("Go on from", keys, "init", "random weights", 240)
    if init:
        st.caption("It decides the network, the patch, the channels and the registers.")
        return {"init": init, "network": None}
    return {
        "patch": int(patch) if patch else None,
        "channels": int(channels) if channels else None,
        "registers": registers,
    }


def _choose_crops(method: Method, recipe: Any, datasets: Sequence[Dataset]) -> dict[str, Any]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        policy = _pick("Variation", get_args(PolicyName), "policy", recipe.policy)
        flips = _pick("Flips", get_args(Flips), "flips", "the policy's")
        fit = links.choose("Frame to square", list(FIT_WORDS), "fit", FIT_WORDS.__getitem__, width=FIELD)
    small: dict[str, Any] = {}
    if method == "dinov2":
        with st.container(horizontal=True, vertical_alignment="bottom"):
            small = {
                "local_crops": _number("Small crops", "local_crops", recipe.local_crops, 0, 16),
                "local_size": _number("Their side, pixels", "local_size", recipe.local_size, 16, 512),
            }
    mask = links.switch(
        "Black out what lies outside the sector",
        "mask",
        disabled=not any(dataset.card.sectors_found for dataset in datasets),
    )
    return {"policy": policy, "flips": flips, "fit": fit, "mask_sector": mask, **small}


def _choose_training(method: Method, recipe: Any) -> dict[str, Any]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        batch = _number("Batch", "batch", recipe.batch, 2)
        rate = st.number_input(
            "Learning rate", 0.0, None, None, key="rate", bind="query-params", placeholder="by the batch", format="%g",
            width=FIELD,
        )  # fmt: skip
        precision = _pick("Precision", ["fp32", "bf16"], "precision", "as fits")
        seed = st.number_input("Seed", 0, None, 0, key="start_seed", bind="query-params", width=100)
    config = {"batch": batch, "learning_rate": rate or None, "precision": precision, "seed": seed}
    if method != "dinov2":
        return config
    usual = recipe.numbers["distillation"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        return config | {
            "prototypes": _number("Prototypes", "prototypes", usual.prototypes, 2),
            "centring": _pick("Centring", ["ema", "sinkhorn", "none"], "centring", usual.centring),
            "koleo": st.number_input(
                "KoLeo weight", 0.0, None, None, key="koleo", bind="query-params", placeholder=f"{usual.koleo:g}",
                format="%g", width=FIELD,
            ),
        }  # fmt: skip


def _pick(label: str, options: Sequence[str], name: str, usual: object, width: int = FIELD) -> str | None:
    """One of the options, None while the field is empty; `usual` says in grey what that means."""
    return links.choose(label, list(options), name, index=None, placeholder=str(usual), width=width)


def _number(
    label: str, name: str, usual: object, least: int, most: int | None = None, width: int = FIELD, **settings: Any
) -> int | None:
    """A whole number, None while the field is empty."""
    shown = f"{usual:,}" if isinstance(usual, int) else str(usual)
    return st.number_input(
        label, least, most, None, key=name, bind="query-params", placeholder=shown, width=width, **settings
    )
