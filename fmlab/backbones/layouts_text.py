"""Layouts of text towers: how their tensors are named in a weights file, and which name each has in the tower built here.

In: the tensors of a file, those of the image encoder among them. Out: those of the text tower by open_clip's names, with
the logit scale; a name of neither stays as it is, and loading then refuses it.

Sources: open_clip (https://github.com/mlfoundations/open_clip), `CLIP` and `CustomTextCLIP`; transformers, `CLIPModel`.
"""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fmlab.errors import BadWeights

# Tables that older versions of the libraries saved and that are not weights: the causal mask, 0, 1, 2, …
CONSTANTS = ("attn_mask", "transformer.embeddings.position_ids", "text_model.embeddings.position_ids")

HF_OUTSIDE_BLOCKS = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}

HF_BLOCK = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")

# Within a block, the name of the three tensors of its attention once they are one.
JOINED = "queries, keys and values"

HF_IN_BLOCKS = {
    "layer_norm1": "ln_1.",
    f"self_attn.{JOINED}": "attn.in_proj_",
    "self_attn.out_proj": "attn.out_proj.",
    "layer_norm2": "ln_2.",
    "mlp.fc1": "mlp.c_fc.",
    "mlp.fc2": "mlp.c_proj.",
}


def open_clip_text(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text tower in a file of open_clip, whose newer files write `text.` before each of its names."""
    beside = {name: value for name, value in tensors.items() if not name.startswith("visual.")}
    return with_scale(renamed(beside, lambda name: name.removeprefix("text.")))


def hf_clip_text(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text tower in a file of transformers' CLIP."""
    image = ("vision_model.", "visual_projection.")
    own = renamed(joined({name: tensors[name] for name in tensors if not name.startswith(image)}), hf_clip_name)
    if "text_projection" in own:
        own["text_projection"] = own["text_projection"].transpose(0, -1)  # open_clip multiplies from the right
    return with_scale(own)


def joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values of each block one below the other, where all three are there and of one shape."""
    own = dict(tensors)
    for name in [name for name in own if HF_BLOCK.fullmatch(name) and ".self_attn.q_proj." in name]:
        three = [name.replace(".q_proj.", f".{letter}_proj.") for letter in "qkv"]
        shapes = {own[part].shape if part in own else None for part in three}
        if len(shapes) == 1 and own[name].ndim:
            own[name.replace("q_proj", JOINED)] = torch.cat([own.pop(part) for part in three])
    return own


def hf_clip_name(name: str) -> str:
    """The name in open_clip's text tower of the tensor that transformers calls `name`; the same where there is none."""
    inside = HF_BLOCK.fullmatch(name)
    if inside and inside[2] in HF_IN_BLOCKS:
        return f"transformer.resblocks.{inside[1]}.{HF_IN_BLOCKS[inside[2]]}{inside[3]}"
    return HF_OUTSIDE_BLOCKS.get(name, name)


def renamed(tensors: Mapping[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    """The tensors by other names; `BadWeights` where two of them would have the same."""
    own: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if rename(name) in own:
            raise BadWeights(f"These weights hold the text tower's {rename(name)} twice, once as {name}; keep one.")
        own[rename(name)] = value
    return own


def with_scale(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with the logit scale as a row of numbers, and without tables that are not weights."""
    return {
        name: value.reshape(-1) if name == "logit_scale" else value
        for name, value in tensors.items()
        if name not in CONSTANTS
    }


TEXT_LAYOUTS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "open-clip": open_clip_text,
    "hf-clip": hf_clip_text,
}
