"""Recognition: the layout of a weights file, its architecture and its variant, told by the names and shapes of its tensors.

In: tensors by their names in the file, wrappers and prefixes off. Out: `Recognised`, and the preprocessing that the
authors of the layout use, where all of them use one.

What shapes cannot tell is said in `remark`: how many heads share a width (taken as 64 numbers each, as in ViT-T to
ViT-L), and the activation of CLIP's towers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

from torch import Tensor

from fmlab.backbones.cards import BackboneCard, Layout
from fmlab.backbones.input_specs import CLIP_MEAN, CLIP_STD, HALF, IMAGENET_MEAN, IMAGENET_STD, crop
from fmlab.backbones.layouts import in_timms_names
from fmlab.backbones.rows import BUILT_IN
from fmlab.errors import BadWeights

# A file is of the first layout of which one of its names begins like this.
SIGNS: tuple[tuple[Layout, tuple[str, ...]], ...] = (
    ("medimageinsight", ("image_encoder.convs.", "visual.convs.")),
    ("open-clip", ("visual.trunk.", "visual.conv1.", "visual.class_embedding")),
    ("hf-vit-mae", ("vit.embeddings.",)),
    ("hf-dinov2", ("dinov2.embeddings.", "embeddings.mask_token", "encoder.layer.0.layer_scale1.")),
    ("hf-clip", ("vision_model.",)),
    ("mae", ("decoder_pos_embed", "decoder_embed.", "decoder_blocks.")),
    ("beit", ("rel_pos_bias.", "blocks.0.attn.relative_position_bias_table", "blocks.0.attn.q_bias")),
    ("ibot", ("masked_embed", "head.last_layer", "head.mlp.")),
    ("dinov2", ("register_tokens", "mask_token", "dino_head.", "ibot_head.", "blocks.0.0.")),
    ("torchvision", ("features.0.0.", "layer1.0.conv1.")),
    ("timm", ("patch_embed.", "blocks.", "stem.", "stem_", "stages.", "stages_", "layers.", "conv_stem.")),
)

# Beside the encoder in files of layouts that no built-in row has.
UNUSED: dict[str, tuple[str, ...]] = {
    "mae": ("mask_token", "decoder_"),
    "torchvision": ("fc.", "classifier.2."),
}

# timm's eps of norms is 1e-6 for these architectures; transformers builds ViT-MAE with another.
NORM_EPS = {"hf-vit-mae": 1e-12}

POSITIONS = {"dinov2": "offset", "hf-dinov2": "plain"}

HEAD_WIDTH = 64
RGB = 3  # channels that timm builds a network with unless told otherwise

IMAGENET_CROP = {"crop_pct": 0.875, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
CLIP_CROP = {"crop_pct": 1.0, "interpolation": "bicubic", "mean": CLIP_MEAN, "std": CLIP_STD}

# What those who write a layout feed their models when they evaluate them, as in timm's configurations.
PREPROCESSING: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("dinov2", "hf-dinov2", "ibot", "mae"), IMAGENET_CROP | {"interpolation": "bicubic"}),
    **dict.fromkeys(("hf-vit-mae", "torchvision"), IMAGENET_CROP | {"interpolation": "bilinear"}),
    **dict.fromkeys(("hf-clip", "open-clip"), CLIP_CROP),
    "medimageinsight": IMAGENET_CROP | {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "squash"},
}

RESNETS = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}

CONVNEXTS = {
    ((3, 3, 9, 3), 96): "convnext_tiny",
    ((3, 3, 27, 3), 96): "convnext_small",
    ((3, 3, 27, 3), 128): "convnext_base",
    ((3, 3, 27, 3), 192): "convnext_large",
}


@dataclass(frozen=True)
class Recognised:
    """What the tensors of a file tell of their encoder."""

    layout: Layout
    architecture: str  # timm's name
    options: dict[str, int | float | bool | str] = field(default_factory=dict)
    size: int = 224  # side in pixels of the input that the file is for
    remark: str = ""  # what was taken and could be otherwise


def layout_of(tensors: Mapping[str, Tensor]) -> Layout | None:
    """The layout whose signs the names bear; None for none."""
    return next((layout for layout, signs in SIGNS if any(name.startswith(signs) for name in tensors)), None)


def recognised(tensors: Mapping[str, Tensor]) -> Recognised:
    """The layout, timm's architecture and its options; `BadWeights` says what could not be told."""
    layout = layout_of(tensors)
    if layout is None:
        raise BadWeights(
            f"The names of these tensors belong to no known layout ({', '.join(sorted(tensors)[:8])}, …); known are "
            f"{', '.join(known for known, _ in SIGNS)}. Name an architecture of timm if they are its own names."
        )
    own = in_timms_names(stand_in(layout), tensors)
    if "patch_embed.proj.weight" in own and any(name.startswith("blocks.0.") for name in own):
        return transformer(layout, own)
    if layout == "medimageinsight":
        return Recognised(layout, "davit_huge_fl", size=480)
    family = RESNETS.get(resnet_facts(own)) or CONVNEXTS.get(convnext_facts(own))
    if family is None:
        raise BadWeights(
            f"The tensors are named as in the layout {layout}, but of which architecture they are cannot be told from "
            f"their shapes; name timm's architecture, or a backbone that they are like."
        )
    channels = own["conv1.weight" if family in RESNETS.values() else "stem.0.weight"].shape[1]
    return Recognised(layout, family, {"in_chans": channels} if channels != RGB else {})


def stand_in(layout: Layout) -> BackboneCard:
    """A card for converting names before anything but the layout is known."""
    return BackboneCard(
        key="the file",
        title="",
        source="",
        architecture=None,
        layout=layout,
        unused=unused_of(layout),
        spec=crop(224, 224, HALF, HALF),
        features=("pooled",),
        widths=(0,),
        parameters=0,
    )


def unused_of(layout: Layout) -> tuple[str, ...]:
    """What may stand beside the encoder in files of a layout: what the built-in rows of the layout leave unused."""
    ours = tuple(name for card in BUILT_IN if card.layout == layout for name in card.unused)
    return tuple(dict.fromkeys((*ours, *UNUSED.get(layout, ()))))


def transformer(layout: Layout, own: Mapping[str, Tensor]) -> Recognised:
    """A vision transformer, by its tensors in timm's names."""
    width, channels, patch, _ = embedding(own)
    hidden = own["blocks.0.mlp.fc1.weight"].shape[0] if "blocks.0.mlp.fc1.weight" in own else 4 * width
    tables = [value for name, value in own.items() if name.endswith(".relative_position_bias_table")]
    if not tables and width % HEAD_WIDTH:
        raise BadWeights(
            f"A width of {width} is no multiple of {HEAD_WIDTH}, so its heads cannot be told; name timm's architecture."
        )
    heads = tables[0].shape[1] if tables else width // HEAD_WIDTH
    options: dict[str, int | float | bool | str] = {
        "embed_dim": width,
        "depth": 1 + max(int(name.split(".")[1]) for name in own if re.match(r"blocks\.\d+\.", name)),
        "num_heads": heads,
        "patch_size": patch,
        "in_chans": channels,
    }
    if hidden != 4 * width:
        options["mlp_ratio"] = hidden / width
    if layout == "beit":
        grid, facts = beit_facts(own, tables)
    else:
        grid, facts = vit_facts(own)
    clip = "norm_pre.weight" in own
    architecture = "beit_base_patch16_224" if layout == "beit" else "vit_base_patch16_224"
    if clip:
        architecture = f"vit_base_patch16_clip_{'quickgelu_' if layout == 'hf-clip' else ''}224"
    remarks = [] if tables else [f"{heads} heads of {HEAD_WIDTH} numbers each, which a file does not tell"]
    if clip:
        remarks.append(
            f"{'QuickGELU' if layout == 'hf-clip' else 'GELU'} as its activation, which a file does not tell"
        )
    size = grid * patch
    return Recognised(layout, architecture, options | facts | {"img_size": size}, size, "; ".join(remarks))


def embedding(own: Mapping[str, Tensor]) -> tuple[int, int, int, int]:
    """(width, channels, patch, patch) of the layer that makes patches into tokens."""
    shape = tuple(own["patch_embed.proj.weight"].shape)
    if len(shape) != 4 or shape[2] != shape[3]:
        raise BadWeights(f"Patches are embedded by a tensor {shape} instead of (width, channels, side, side).")
    return shape


def vit_facts(own: Mapping[str, Tensor]) -> tuple[int, dict[str, int | float | bool | str]]:
    """(side of the grid of positions, options) of a ViT with a learned or fixed table of positions."""
    options: dict[str, int | float | bool | str] = {}
    registers = own["reg_token"].shape[1] if "reg_token" in own else 0
    if registers:
        options["reg_tokens"] = registers
    if "cls_token" not in own:
        options |= {"class_token": False, "global_pool": "avg", "fc_norm": "fc_norm.weight" in own}
    elif "fc_norm.weight" in own:
        options["global_pool"] = "avg"
    if "blocks.0.ls1.gamma" in own:
        options["init_values"] = 1e-5
    if "blocks.0.attn.qkv.bias" not in own:
        options["qkv_bias"] = False
    positions = own["pos_embed"].shape[1] if "pos_embed" in own and own["pos_embed"].ndim == 3 else 0
    prefix = registers + ("cls_token" in own)
    for before in (prefix, 0):
        side = isqrt(max(0, positions - before))
        if side and side**2 == positions - before:
            return side, options | ({"no_embed_class": True} if prefix and not before else {})
    raise BadWeights(
        f"A table of {positions} positions is that of no square image with {prefix} further tokens; "
        f"name timm's architecture, or a backbone that the file is like."
    )


def beit_facts(own: Mapping[str, Tensor], tables: list[Tensor]) -> tuple[int, dict[str, int | float | bool | str]]:
    """(side of the grid, options) of a BEiT, whose tables have a row for each offset of two patches and three more."""
    rows = tables[0].shape[0] if tables else 0
    side = (isqrt(max(0, rows - 3)) + 1) // 2
    if not tables or (2 * side - 1) ** 2 + 3 != rows:
        raise BadWeights(f"A table of {rows} relative positions is that of no square image; name timm's architecture.")
    options: dict[str, int | float | bool | str] = {"use_fc_norm": "fc_norm.weight" in own}
    if "blocks.0.gamma_1" not in own:
        options["init_values"] = 0.0
    if "blocks.0.attn.q_bias" not in own:
        options["qkv_bias"] = False
    return side, options


def resnet_facts(own: Mapping[str, Tensor]) -> tuple[tuple[int, ...], bool]:
    """(blocks in each stage, whether blocks have a bottleneck)."""
    return counted(own, r"layer(\d+)\.(\d+)\."), "layer1.0.conv3.weight" in own


def convnext_facts(own: Mapping[str, Tensor]) -> tuple[tuple[int, ...], int]:
    """(blocks in each stage, width of the first)."""
    width = own["stem.0.weight"].shape[0] if "stem.0.weight" in own else 0
    return counted(own, r"stages\.(\d+)\.blocks\.(\d+)\.conv_dw\."), width


def counted(own: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    """How many blocks each stage has, in the order of the stages."""
    found = {(int(match[1]), int(match[2])) for match in (re.match(pattern, name) for name in own) if match}
    return tuple(sum(stage == each for each, _ in found) for stage in sorted({stage for stage, _ in found}))
