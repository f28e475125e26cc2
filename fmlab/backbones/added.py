"""Adding a backbone of one's own: a weights file for any architecture of timm becomes a row of the catalogue.

In: a `.safetensors` file or a state dict written by `torch.save`, the name of timm's architecture, and what is to
differ from timm's preprocessing for it. Out: `backbones/<key>/weights.safetensors` and, last, `card.json`.

The file has to hold every tensor of the encoder in its shape; beyond those only the architecture's own classifier.
"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file

from fmlab.backbones.cards import BackboneCard, Domain
from fmlab.backbones.catalogue import CARD_FILE, catalogue
from fmlab.backbones.encoders import TimmEncoder
from fmlab.backbones.weights import matched, read_tensors
from fmlab.data.manifest import check_name
from fmlab.data.preprocessing import RESAMPLING, InputSpec
from fmlab.errors import BadInput, NameTaken, NotFound
from fmlab.files import write_bytes, written_aside
from fmlab.settings import Home

WEIGHTS_FILE = "weights.safetensors"

DENSE_TAPS = 4  # maps that `dense` gives by default: of evenly spaced blocks, or of the last stages


class SpecOverrides(BaseModel):
    """What differs from timm's preprocessing for the architecture; null: nothing. Sizes in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int | None = None
    resize: Literal["crop", "squash"] | None = None
    resize_to: int | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


def add_backbone(
    home: Home,
    path: Path,
    key: str,
    architecture: str,
    overrides: SpecOverrides | None = None,
    *,
    title: str = "",
    licence: str | None = None,
    citation: str = "",
    domain: Domain = "none",
    pretraining: str = "",
    pretraining_images: int | None = None,
) -> BackboneCard:
    """Check a weights file against an architecture, keep a copy as safetensors, and return the new row's card.

    What follows `overrides` is what only the person knows of their weights; it stands on the card as given.
    Raises `NameTaken` for a key in use, `NotFound` for an architecture that timm does not have, `BadWeights` for a file
    that does not fit it. Nothing is kept then.
    """
    check_name(key, "backbone")
    if key in catalogue(home):
        raise NameTaken(f"A backbone {key!r} exists already; choose another key.")
    model = empty_encoder(architecture)
    spec, remarks = input_spec(model.network.pretrained_cfg, overrides or SpecOverrides())
    unused = tuple(f"{name}." for name in classifiers(model.network.pretrained_cfg))
    own = matched(read_tensors(path), model.network.state_dict(), unused, f"the architecture {architecture}")
    features = model.kinds()
    card = BackboneCard(
        key=key,
        title=title or key,
        source=f"added from the file {path.name}",
        architecture=architecture,
        layout="timm",
        files=(WEIGHTS_FILE,),
        licence_weights=licence,
        citation=citation,
        spec=spec,
        features=features,
        widths=tuple(
            model.network.head_hidden_size if kind == "pooled" else model.network.num_features for kind in features
        ),
        taps=default_taps(model),
        parameters=sum(weights.numel() for weights in model.network.parameters()),
        domain=domain,
        pretraining=pretraining,
        pretraining_images=pretraining_images,
        note=remarks,
    )
    folder = home.backbones / key
    try:
        with written_aside(folder / WEIGHTS_FILE) as aside:
            save_file({name: value.contiguous() for name, value in own.items()}, aside)
        write_bytes(folder / CARD_FILE, card.model_dump_json(indent=2).encode())
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return card


def empty_encoder(architecture: str) -> TimmEncoder:
    """The architecture without memory for its weights: names and shapes only."""
    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), n=3)
        advice = f"did you mean {' or '.join(near)}?" if near else "`timm.list_models()` lists all."
        raise NotFound(f"timm has no architecture {architecture!r}; {advice}")
    with torch.device("meta"):
        return TimmEncoder(architecture)


def classifiers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the architecture's classifier layers."""
    names = config.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def input_spec(config: Mapping[str, Any], overrides: SpecOverrides) -> tuple[InputSpec, str]:
    """timm's preprocessing for an architecture with a person's overrides, and a sentence on what is from where."""
    given = overrides.model_dump(exclude_none=True)
    size = overrides.size or config["input_size"][-1]
    squash = config.get("crop_mode") == "squash" and config["crop_pct"] == 1
    if not squash and config.get("crop_mode", "center") != "center" and not overrides.resize:
        raise BadInput(f"timm crops this architecture's images by {config['crop_mode']!r}; say resize: crop or squash.")
    if config["interpolation"] not in RESAMPLING and not overrides.interpolation:
        raise BadInput(f"timm scales this architecture's images by {config['interpolation']!r}; say an interpolation.")
    spec = InputSpec(
        size=size,
        resize="squash" if squash else "crop",
        resize_to=size if overrides.resize == "squash" else math.floor(size / config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    sentence = "Preprocessing: timm's for this architecture"
    return replace(spec, **given), f"{sentence}{', but ' + ', '.join(given) + ' as given' if given else ''}."


def default_taps(model: TimmEncoder) -> tuple[int, ...]:
    """Four evenly spaced blocks of a network with tokens, the last four stages of another; none where there are no maps."""
    if not hasattr(model.network, "forward_intermediates"):
        return ()
    blocks = len(model.network.feature_info)
    if model.prefix_tokens is None:
        return tuple(range(max(0, blocks - DENSE_TAPS), blocks))
    return tuple(sorted({round((part + 1) * blocks / DENSE_TAPS) - 1 for part in range(DENSE_TAPS)}))
