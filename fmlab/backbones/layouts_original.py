"""Layouts of the authors' own training code: DINOv2, iBOT, MAE, BEiT as USFM writes it, MedImageInsight, torchvision.

In: the tensors of a file by their names there (wrappers and prefixes are off already, see `weights`). Out: the same by
timm's names, and `projection.weight` (shared width, own width) where the file has a projection.

Sources: facebookresearch/dinov2 `models/vision_transformer.py`; bytedance/ibot and facebookresearch/mae
`models_vit.py`; openmedlab/USFM `usdsgen/utils/modelutils.py`; lion-ai/MedImageInsights `ImageEncoder/davit_v1.py` and
`UniCLModel.py`; torchvision `models/convnext.py` and `models/resnet.py`.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from fmlab.backbones.cards import BackboneCard
from fmlab.errors import BadWeights

# With block chunks, a block is called by its chunk and by its number among all blocks.
CHUNKED = re.compile(r"^blocks\.\d+\.(\d+)\.")

SHARED_TABLE = "rel_pos_bias.relative_position_bias_table"
BLOCK_TABLE = "blocks.{}.attn.relative_position_bias_table"

# Applied in this order to what follows `image_encoder.`.
DAVIT_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^convs\.0\.proj\.", "stem.conv."),
        (r"^convs\.0\.norm\.", "stem.norm."),
        (r"^convs\.(\d+)\.proj\.", r"stages.\1.downsample.conv."),
        (r"^convs\.(\d+)\.norm\.", r"stages.\1.downsample.norm."),
        (r"^blocks\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"\.conv([12])\.fn\.dw\.", r".cpe\1.proj."),
        (r"\.(?:window|channel)_attn\.norm\.", ".norm1."),
        (r"\.(?:window|channel)_attn\.fn\.", ".attn."),
        (r"\.ffn\.norm\.", ".norm2."),
        (r"\.ffn\.fn\.net\.", ".mlp."),
        (r"^norms\.", "head.norm."),
    )
)

# `features` alternates: the stem and each downsampling at even places, the stages at odd ones.
CONVNEXT_BLOCK = re.compile(r"^features\.(\d+)\.(\d+)\.(?:block\.(\d)\.(weight|bias)|(layer_scale))$")
CONVNEXT_BETWEEN = re.compile(r"^features\.(\d+)\.([01])\.(weight|bias)$")
CONVNEXT_PARTS = {"0": "conv_dw", "2": "norm", "3": "mlp.fc1", "5": "mlp.fc2"}


def vit_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """iBOT and MAE call the tensors of their encoder as timm does."""
    return dict(tensors)


def dinov2_teacher_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Block chunks taken apart, and register tokens put where timm has them.

    DINOv2 adds positions to the class token and the patches and inserts registers after that; timm, with registers, has
    positions for the patches alone. So the class token takes its position with it.
    """
    named = {CHUNKED.sub(r"blocks.\1.", name): value for name, value in tensors.items()}
    if len(named) != len(tensors):
        raise BadWeights(f"The weights of {card.key} name a block of the same number twice; save them again.")
    if {"register_tokens", "cls_token", "pos_embed"} <= named.keys():
        positions = named["pos_embed"]
        named["reg_token"] = named.pop("register_tokens")
        named["cls_token"] = named["cls_token"] + positions[:, :1]
        named["pos_embed"] = positions[:, 1:].contiguous()
    return named


def beit_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One table of relative positions for all blocks is given to each; the index into it is timm's to compute.

    A file with a shared table and tables of blocks is refused later: the shared one stays under its own name.
    """
    named = {name: value for name, value in tensors.items() if not name.endswith(".relative_position_index")}
    if any(name.endswith(".attn.relative_position_bias_table") for name in named) or SHARED_TABLE not in named:
        return named
    shared = named.pop(SHARED_TABLE)
    blocks = {name.split(".")[1] for name in named if name.startswith("blocks.")}
    # Each block gets a table of its own, which finetuning may change.
    return named | {BLOCK_TABLE.format(block): shared.clone() for block in blocks}


def medimageinsight_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower (`image_encoder.`, once `visual.`) and its projection (`image_projection`, once
    `vision_projection`), which is stored as (own width, shared width)."""
    named = {}
    for name, value in tensors.items():
        if name in ("image_projection", "vision_projection"):
            name, value = "projection.weight", value.T.contiguous()
        elif name.startswith(("image_encoder.", "visual.")):
            name = davit_name(name.partition(".")[2])
        if name in named:
            raise BadWeights(f"The weights of {card.key} hold {name} twice, under an old and a new name.")
        named[name] = value
    return named


def davit_name(name: str) -> str:
    """timm's name for a tensor of the original DaViT."""
    for pattern, replacement in DAVIT_NAMES:
        name = pattern.sub(replacement, name)
    return name


def torchvision_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ConvNeXt in timm's names; ResNets have the same names in both libraries."""
    return {convnext_name(name): convnext_value(name, value) for name, value in tensors.items()}


def convnext_name(name: str) -> str:
    """timm's name for a tensor of torchvision's ConvNeXt; another name stays."""
    between, block = CONVNEXT_BETWEEN.match(name), CONVNEXT_BLOCK.match(name)
    if between and int(between[1]) % 2 == 0:
        stage = int(between[1]) // 2
        place = f"stages.{stage}.downsample" if stage else "stem"
        return f"{place}.{between[2]}.{between[3]}"
    if block and int(block[1]) % 2 == 1 and (block[5] or block[3] in CONVNEXT_PARTS):
        part = "gamma" if block[5] else f"{CONVNEXT_PARTS[block[3]]}.{block[4]}"
        return f"stages.{int(block[1]) // 2}.blocks.{block[2]}.{part}"
    return re.sub(r"^classifier\.0\.", "head.norm.", name)


def convnext_value(name: str, value: Tensor) -> Tensor:
    """torchvision keeps the scale of a block as (C, 1, 1), timm as (C,)."""
    return value.flatten() if name.endswith(".layer_scale") and value.shape[1:] == (1, 1) else value
