"""The layout of open_clip: image towers around a trunk of timm's, and open_clip's own vision transformer.

In: the tensors of a file by open_clip's names. Out: those of the image tower by timm's names, its projection into the
space shared with text as `projection.weight`.

Source: open_clip (https://github.com/mlfoundations/open_clip), `TimmModel` and `VisionTransformer`.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from fmlab.backbones.cards import BackboneCard
from fmlab.errors import BadWeights

TRUNK = "visual.trunk."

OUTSIDE_BLOCKS = {
    "visual.head.proj.weight": "projection.weight",  # behind a trunk of timm's
    "visual.conv1.weight": "patch_embed.proj.weight",
    "visual.class_embedding": "cls_token",
    "visual.positional_embedding": "pos_embed",
    "visual.ln_pre.weight": "norm_pre.weight",
    "visual.ln_pre.bias": "norm_pre.bias",
    "visual.ln_post.weight": "norm.weight",
    "visual.ln_post.bias": "norm.bias",
    "visual.proj": "projection.weight",
}

BLOCK = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.(.+)(weight|bias)")

IN_BLOCKS = {
    "ln_1.": "norm1",
    "attn.in_proj_": "attn.qkv",
    "attn.out_proj.": "attn.proj",
    "ln_2.": "norm2",
    "mlp.c_fc.": "mlp.fc1",
    "mlp.c_proj.": "mlp.fc2",
}

# open_clip keeps these without timm's leading dimensions, and multiplies by its projection from the right.
RESHAPED: dict[str, Callable[[Tensor], Tensor]] = {
    "visual.class_embedding": lambda value: value[None, None],
    "visual.positional_embedding": lambda value: value[None],
    "visual.proj": lambda value: value.transpose(0, -1),
}


def open_clip_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by timm's names; a name that open_clip's image towers do not have stays as it is.

    Raises `BadWeights` where two tensors of the file would be the same one of timm's.
    """
    own: dict[str, Tensor] = {}
    for name, value in tensors.items():
        given = open_clip_name(name)
        if given in own:
            raise BadWeights(f"The weights of {card.key} hold timm's {given} twice, once as {name}; keep one of them.")
        own[given] = RESHAPED[name](value) if name in RESHAPED else value
    return own


def open_clip_name(name: str) -> str:
    """The name in timm's model of the tensor that open_clip calls `name`; the same name where there is none."""
    if name.startswith(TRUNK):
        return name.removeprefix(TRUNK)
    inside = BLOCK.fullmatch(name)
    if inside and inside[2] in IN_BLOCKS:
        return f"blocks.{inside[1]}.{IN_BLOCKS[inside[2]]}.{inside[3]}"
    return OUTSIDE_BLOCKS.get(name, name)
