"""Layouts of transformers' files on the Hugging Face hub: ViT-MAE, DINOv2 and the image tower of CLIP.

In: the tensors of a file. Out: the same by timm's names: query, key and value one below the other as timm's `qkv`, and
CLIP's projection as `projection.weight`.

The names are those of the files; transformers 5 uses others in memory. Sources: `modeling_vit_mae.py`,
`modeling_dinov2.py` and `modeling_clip.py` of transformers, `vision_transformer.py` of timm.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fmlab.backbones.cards import BackboneCard
from fmlab.errors import BadWeights


@dataclass(frozen=True)
class Names:
    """How a file names a transformer's tensors; on the right of each table stands timm's name."""

    outside: Mapping[str, str]  # whole names
    blocks: str  # what comes before a block's number
    inside: Mapping[str, str]  # names within a block, without the last part
    attention: tuple[str, str, str]  # query, key and value within a block


# Within a block, the name of the three tensors of its attention once they are one.
JOINED = "query, key and value"

VIT_BLOCK = {
    "attention.output.dense": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    JOINED: "attn.qkv",
}
VIT_ATTENTION = ("attention.attention.query", "attention.attention.key", "attention.attention.value")

VIT_MAE = Names(
    outside={
        "vit.embeddings.cls_token": "cls_token",
        "vit.embeddings.position_embeddings": "pos_embed",
        "vit.embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
        "vit.embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
        "vit.layernorm.weight": "norm.weight",
        "vit.layernorm.bias": "norm.bias",
    },
    blocks="vit.encoder.layer.",
    inside=VIT_BLOCK,
    attention=VIT_ATTENTION,
)

DINOV2 = Names(
    outside={
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
        "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
        "layernorm.weight": "norm.weight",
        "layernorm.bias": "norm.bias",
    },
    blocks="encoder.layer.",
    inside={
        "norm1": "norm1",
        "norm2": "norm2",
        "attention.output.dense": "attn.proj",
        "layer_scale1": "ls1",
        "layer_scale2": "ls2",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
        JOINED: "attn.qkv",
    },
    attention=VIT_ATTENTION,
)

CLIP_IMAGE = Names(
    outside={
        "vision_model.embeddings.class_embedding": "cls_token",
        "vision_model.embeddings.position_embedding.weight": "pos_embed",
        "vision_model.embeddings.patch_embedding.weight": "patch_embed.proj.weight",
        "vision_model.pre_layrnorm.weight": "norm_pre.weight",  # spelt so in the files
        "vision_model.pre_layrnorm.bias": "norm_pre.bias",
        "vision_model.post_layernorm.weight": "norm.weight",
        "vision_model.post_layernorm.bias": "norm.bias",
        "visual_projection.weight": "projection.weight",
    },
    blocks="vision_model.encoder.layers.",
    inside={
        "self_attn.out_proj": "attn.proj",
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
        JOINED: "attn.qkv",
    },
    attention=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
)


def vit_mae_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ViT-MAE's encoder by timm's names."""
    return converted(card, VIT_MAE, tensors)


def dinov2_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2's encoder by timm's names; files that hold a classifier too write `dinov2.` before each of its names."""
    whole = any(name.startswith("dinov2.") for name in tensors)
    return converted(card, prefixed(DINOV2, "dinov2.") if whole else DINOV2, tensors)


def clip_image_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's image tower and its projection by timm's names; the two embeddings get timm's axes of length one."""
    own = converted(card, CLIP_IMAGE, tensors)
    if "cls_token" in own:
        own["cls_token"] = own["cls_token"][None, None]  # (D,) to (1, 1, D)
    if "pos_embed" in own:
        own["pos_embed"] = own["pos_embed"][None]  # (1 + patches, D) to (1, 1 + patches, D)
    return own


def prefixed(names: Names, prefix: str) -> Names:
    """The same with something before every name of the file."""
    outside = {f"{prefix}{name}": given for name, given in names.outside.items()}
    return replace(names, outside=outside, blocks=f"{prefix}{names.blocks}")


def converted(card: BackboneCard, names: Names, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by timm's names; those without one keep theirs.

    Raises `BadWeights` where two tensors of the file would be the same one of timm's.
    """
    own: dict[str, Tensor] = {}
    for name, value in joined(names, tensors).items():
        given = timms_name(names, name)
        if given in own:
            raise BadWeights(f"The weights of {card.key} hold timm's {given} twice, once as {name}; keep one of them.")
        own[given] = value
    return own


def joined(names: Names, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value of each block one below the other, where all three are there and of one shape."""
    own = dict(tensors)
    query = re.compile(rf"{re.escape(names.blocks)}(\d+)\.{re.escape(names.attention[0])}\.(weight|bias)")
    for found in filter(None, map(query.fullmatch, tensors)):
        block, last = found.groups()
        three = [f"{names.blocks}{block}.{part}.{last}" for part in names.attention]
        shapes = {tensors[name].shape if name in tensors else None for name in three}
        if len(shapes) == 1 and tensors[three[0]].ndim:
            own[f"{names.blocks}{block}.{JOINED}.{last}"] = torch.cat([own.pop(name) for name in three])
    return own


def timms_name(names: Names, name: str) -> str:
    """timm's name of a tensor; its own where timm has none."""
    block, _, rest = name.removeprefix(names.blocks).partition(".")
    part, _, last = rest.rpartition(".")
    if name.startswith(names.blocks) and block.isdecimal() and part in names.inside:
        return f"blocks.{block}.{names.inside[part]}.{'gamma' if last == 'lambda1' else last}"
    return names.outside.get(name, name)
