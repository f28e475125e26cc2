"""Adding a backbone of one's own: a weights file of a known layout, or a name of timm's, becomes a row of the catalogue.

In: a `.safetensors` file or a state dict written by `torch.save`, and what the file does not tell: nothing where its
layout is recognised, else timm's architecture or the key of a backbone that it is like. Out: the tensors by timm's
names in `backbones/<key>/weights.safetensors` and, last, `card.json`.

The file has to hold every tensor of the encoder in its shape; beyond those only the architecture's own classifier and
what files of its layout are known to hold beside the encoder.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from torch import Tensor

from fmlab.backbones.cards import BackboneCard, Domain, Feature, Remote
from fmlab.backbones.catalogue import CARD_FILE, catalogue, find_backbone
from fmlab.backbones.encoders import TimmEncoder, timm_encoder
from fmlab.backbones.layouts import LAYOUTS, in_timms_names
from fmlab.backbones.loaders import encoder_tensors
from fmlab.backbones.recognition import NORM_EPS, POSITIONS, PREPROCESSING, layout_of, recognised, stand_in
from fmlab.backbones.weights import matched, read_tensors
from fmlab.data.manifest import check_name
from fmlab.data.preprocessing import RESAMPLING, InputSpec
from fmlab.errors import BadInput, NameTaken, NotFound
from fmlab.files import write_bytes, written_aside
from fmlab.settings import Home

WEIGHTS_FILE = "weights.safetensors"

DENSE_TAPS = 4  # maps that `dense` gives by default: of evenly spaced blocks, or of the last stages

USUAL_SIZE = 224  # at which models of DINOv2 are evaluated, whatever size they were trained for

# timm's spelling of licences that allow everything, and the usual one.
LICENCES = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause"}


class SpecOverrides(BaseModel):
    """What differs from the preprocessing that a file would get; null: nothing. Sizes in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int | None = None
    resize: Literal["crop", "squash", "pad"] | None = None
    resize_to: int | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


# ---------------------------------------------------------------------------------------------------------------------
# A file
# ---------------------------------------------------------------------------------------------------------------------


def add_backbone(
    home: Home,
    path: Path,
    key: str,
    architecture: str | None = None,
    like: str | None = None,
    overrides: SpecOverrides | None = None,
    *,
    title: str = "",
    licence: str | None = None,
    citation: str = "",
    domain: Domain = "none",
    pretraining: str = "",
    pretraining_images: int | None = None,
) -> BackboneCard:
    """Check a weights file against its architecture, keep a copy by timm's names, and return the new row's card.

    The architecture is `architecture`, by timm's name; or, with its layout, preprocessing and features, that of the
    backbone `like`; or, where neither is given, told from the file. What follows `overrides` is what only the person
    knows of their weights; it stands on the card as given.

    Raises `NameTaken` for a key in use, `NotFound` for an architecture that timm does not have or a backbone that does
    not exist, `BadWeights` for a file that does not fit, `BadInput` where its preprocessing cannot be known. Nothing is
    kept then.
    """
    check_free(home, key)
    if architecture and like:
        raise BadInput("Give timm's architecture or a backbone that the file is like, not both.")
    if architecture:
        check_architecture(architecture)
    row = like_row(home, like) if like else None
    tensors, given = read_tensors(path), overrides or SpecOverrides()
    if row is not None:
        pattern = pattern_like(row, given)
    elif architecture:
        pattern = pattern_of_architecture(tensors, architecture, given)
    else:
        pattern = pattern_of_file(tensors, given)
    card = BackboneCard(
        key=key,
        title=title or key,
        source=f"added from the file {path.name}",
        **{name: getattr(pattern, name) for name in PATTERN},
        layout="timm",
        files=(WEIGHTS_FILE,),
        licence_weights=licence,
        citation=citation,
        domain=domain,
        pretraining=pretraining,
        pretraining_images=pretraining_images,
    )
    keep(home, card, own_tensors(pattern, tensors))
    return card


# What a new row takes from the card that stands for its file.
PATTERN = (
    "architecture",
    "options",
    "norm_eps",
    "positions",
    "projection",
    "spec",
    "features",
    "widths",
    "taps",
    "parameters",
    "note",
)


def check_free(home: Home, key: str) -> None:
    """Raise unless a backbone can be called `key`."""
    check_name(key, "backbone")
    if key in catalogue(home):
        raise NameTaken(f"A backbone {key!r} exists already; choose another key.")


def check_architecture(architecture: str) -> None:
    """`NotFound`, with the names there are, for an architecture, or weights after a point, that timm does not have."""
    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), n=3)
        advice = f"did you mean {' or '.join(near)}?" if near else "`timm.list_models()` lists all."
        raise NotFound(f"timm has no architecture {architecture!r}; {advice}")
    name, _, tag = architecture.partition(".")
    known = timm.list_pretrained(f"{name}.*")
    if tag and architecture not in known:
        raise NotFound(
            f"timm has no weights {architecture!r}; it has: {', '.join(known) or 'none of this architecture'}."
        )


def like_row(home: Home, key: str) -> BackboneCard:
    """The card of that key; `BadInput` where it has no weights file that another could be like."""
    row = find_backbone(home, key)
    if row.layout not in LAYOUTS:
        raise BadInput(f"{key} has no weights file, so no file is like it; name timm's architecture instead.")
    return row


def pattern_like(row: BackboneCard, given: SpecOverrides) -> BackboneCard:
    """A row with a person's overrides of its preprocessing."""
    changes = given.model_dump(exclude_none=True)
    differing = f", but {', '.join(changes)} as given" if changes else ""
    note = f"Layout, architecture and preprocessing: those of {row.key}{differing}."
    return row.model_copy(update={"spec": replace(row.spec, **changes), "note": note})


def pattern_of_architecture(tensors: Mapping[str, Tensor], architecture: str, given: SpecOverrides) -> BackboneCard:
    """A card for a file of an architecture that a person names, in whichever layout it is."""
    card = stand_in(layout_of(tensors) or "timm").model_copy(update={"architecture": architecture})
    return completed(card, tensors, None, "timm's for this architecture", given, "")


def pattern_of_file(tensors: Mapping[str, Tensor], given: SpecOverrides) -> BackboneCard:
    """A card for a file that tells its layout and architecture; `BadInput` where its preprocessing cannot be known."""
    found = recognised(tensors)
    wanted = ("resize", "interpolation", "mean", "std")
    lacking = [name for name in wanted if getattr(given, name) is None]
    if found.layout not in PREPROCESSING and lacking:
        raise BadInput(
            f"The layout {found.layout} does not tell how images were prepared; give {', '.join(lacking)}, or timm's "
            f"architecture, or a backbone that the file is like."
        )
    patch = int(found.options.get("patch_size", 1))
    large = found.layout in POSITIONS and found.size > USUAL_SIZE and USUAL_SIZE % patch == 0
    size = USUAL_SIZE if large else found.size
    usual = (
        {"crop_pct": 1.0} | given.model_dump() | PREPROCESSING.get(found.layout, {}) | {"input_size": (3, size, size)}
    )
    card = stand_in(found.layout).model_copy(update={"architecture": found.architecture, "options": found.options})
    remark = f" The layout is {found.layout}{', ' if found.remark else ''}{found.remark}."
    return completed(
        card, tensors, usual, f"what models in the layout {found.layout} are evaluated with", given, remark
    )


def completed(
    card: BackboneCard,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any] | None,
    whose: str,
    given: SpecOverrides,
    remark: str,
) -> BackboneCard:
    """The card with everything that follows from its layout, its architecture and the tensors.

    `config` is the preprocessing as timm writes it, timm's own for the architecture where None; `whose`, in words.
    """
    shared = in_timms_names(card, tensors).get("projection.weight")
    changes = {
        "norm_eps": NORM_EPS.get(card.layout),
        "positions": "antialiased" if "reg_tokens" in card.options else POSITIONS.get(card.layout, "antialiased"),
        "projection": len(shared) if shared is not None and shared.ndim == 2 else None,
    }
    card = card.model_copy(update=changes)
    encoder = empty_encoder(card)
    spec, note = input_spec(config or encoder.network.pretrained_cfg, given, whose)
    return card.model_copy(update=facts_of(encoder, card.projection) | {"spec": spec, "note": note + remark})


def empty_encoder(card: BackboneCard) -> TimmEncoder:
    """The encoder of a card without memory for its weights: names and shapes only."""
    with torch.device("meta"):
        return timm_encoder(card)


def facts_of(encoder: TimmEncoder, projection: int | None) -> dict[str, Any]:
    """What a card says of an encoder itself: its features with their widths, its taps, its parameters."""
    widths: dict[Feature, int] = {} if projection is None else {"projected": projection}
    for kind in encoder.kinds():
        widths[kind] = encoder.network.head_hidden_size if kind == "pooled" else encoder.network.num_features
    return {
        "features": tuple(widths),
        "widths": tuple(widths.values()),
        "taps": default_taps(encoder),
        "parameters": sum(weights.numel() for weights in encoder.parameters()),
    }


def own_tensors(pattern: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the encoder, all of them, by timm's names; `BadWeights` for a file that does not fit."""
    encoder = empty_encoder(pattern)
    unused = classifiers(encoder.network.pretrained_cfg)
    converted = in_timms_names(pattern, tensors)
    return matched(converted, encoder_tensors(encoder), unused, f"the architecture {pattern.architecture}")


def keep(home: Home, card: BackboneCard, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors and, last, the card; after a failure neither is there."""
    weights = home.backbones / card.key / WEIGHTS_FILE
    try:
        with written_aside(weights) as aside:
            save_file({name: value.contiguous() for name, value in tensors.items()}, aside)
        write_bytes(weights.parent / CARD_FILE, card.model_dump_json(indent=2).encode())
    except BaseException:
        weights.unlink(missing_ok=True)
        if weights.parent.is_dir() and not any(weights.parent.iterdir()):
            weights.parent.rmdir()
        raise


def classifiers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What the names of the architecture's classifier layers begin with."""
    names = config.get("classifier") or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))


def input_spec(config: Mapping[str, Any], overrides: SpecOverrides, whose: str) -> tuple[InputSpec, str]:
    """A preprocessing as timm writes it with a person's overrides, and a sentence on what is from where."""
    given = overrides.model_dump(exclude_none=True)
    size = overrides.size or config["input_size"][-1]
    squash = config.get("crop_mode") == "squash" and config["crop_pct"] == 1
    if not squash and config.get("crop_mode", "center") != "center" and not overrides.resize:
        raise BadInput(
            f"timm crops this architecture's images by {config['crop_mode']!r}; say resize: crop, squash or pad."
        )
    if config["interpolation"] not in RESAMPLING and not overrides.interpolation:
        raise BadInput(f"timm scales this architecture's images by {config['interpolation']!r}; say an interpolation.")
    spec = InputSpec(
        size=size,
        resize="squash" if squash else "crop",
        resize_to=size if overrides.resize in ("squash", "pad") else math.floor(size / config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    return replace(
        spec, **given
    ), f"Preprocessing: {whose}{', but ' + ', '.join(given) + ' as given' if given else ''}."


def default_taps(model: TimmEncoder) -> tuple[int, ...]:
    """Four evenly spaced blocks of a network with tokens, the last four stages of another; none where there are no maps."""
    if not hasattr(model.network, "forward_intermediates"):
        return ()
    blocks = len(model.network.feature_info)
    if model.prefix_tokens is None:
        return tuple(range(max(0, blocks - DENSE_TAPS), blocks))
    return tuple(sorted({round((part + 1) * blocks / DENSE_TAPS) - 1 for part in range(DENSE_TAPS)}))


# ---------------------------------------------------------------------------------------------------------------------
# A name of timm's
# ---------------------------------------------------------------------------------------------------------------------


def add_timm(home: Home, name: str, key: str | None = None) -> BackboneCard:
    """A row for any of timm's pretrained models, such as `vit_small_patch16_224.augreg_in21k`; its weights are not fetched.

    Without what follows the point, timm's default weights are meant. The key is the full name unless given. Raises
    `NotFound` for a name that timm does not have, `BadInput` for one whose weights timm's repositories do not hold.
    """
    check_architecture(name)
    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or "").startswith("timm/") or config.hf_hub_filename:
        raise BadInput(f"timm's repositories hold no weights of {name}; fetch them elsewhere and add the file.")
    full = f"{config.architecture}.{config.tag}"
    check_free(home, key or full)
    with torch.device("meta"):
        encoder = TimmEncoder(full)
    spec, note = input_spec(encoder.network.pretrained_cfg, SpecOverrides(), "timm's for these weights")
    card = BackboneCard(
        key=key or full,
        title=f"{full} (timm)",
        source="timm's repository on the Hugging Face hub",
        architecture=full,
        layout="timm",
        remote=Remote(repository=config.hf_hub_id, page=f"https://huggingface.co/{config.hf_hub_id}"),
        files=("model.safetensors",),
        unused=classifiers(encoder.network.pretrained_cfg),
        licence_code="Apache-2.0",
        licence_weights=LICENCES.get(config.license or "", config.license),
        spec=spec,
        **facts_of(encoder, None),
        domain="natural",
        pretraining=config.tag,
        note=note,
    )
    write_bytes(home.backbones / card.key / CARD_FILE, card.model_dump_json(indent=2).encode())
    return card
