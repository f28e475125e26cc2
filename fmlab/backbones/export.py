"""Export: the weights of a backbone as one file that other people's code reads, in timm's key layout or in DINOv2's.

In: a backbone of the catalogue whose weights are on this disk. Out: a `.safetensors` file of float32 tensors, or float16
at half the size; what names and shapes do not tell (architecture, preprocessing, licence) stands in its header. Imports
torch.

DINOv2's layout (facebookresearch/dinov2, `models/vision_transformer.py`) has positions for the class token and the
patches, a mask token, and in every block two scales; registers are inserted after the positions were added. What a
network of timm does otherwise is rewritten so that the features stay what they are: a class token without a position
gets one of zeros, registers with positions take them in, and a block without scales gets scales of one.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors.torch import save
from timm.layers import Mlp
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.encoders import TimmEncoder, random_encoder
from fmlab.backbones.loaders import encoder_tensors, trained_encoder
from fmlab.backbones.recognition import HEAD_WIDTH
from fmlab.errors import BadInput, NameTaken
from fmlab.files import write_bytes
from fmlab.settings import Home

ExportLayout = Literal["timm", "dinov2"]

DINOV2_EPS = 1e-6  # of its norms
DINOV2_MLP_RATIO = 4


def export_backbone(home: Home, key: str, layout: ExportLayout, out: Path, half: bool = False) -> BackboneCard:
    """Write the weights of a backbone to the new file `out`; returns the card of what was written.

    `half`: as float16. Features then differ in the third digit or so.

    Raises `NotFound` for a key that there is not, `BadWeights` where its weights are not on this disk, `NameTaken` where
    `out` exists, `BadInput` for a network that the layout has no words for.
    """
    if layout not in get_args(ExportLayout):
        raise BadInput(f"There is no layout {layout!r} to export; choose {' or '.join(get_args(ExportLayout))}.")
    if out.exists():
        raise NameTaken(f"{out} exists already; choose another file.")
    card = find_backbone(home, key)
    tensors = exported_tensors(_encoder(card, home), layout, card)
    written = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    if half:
        written = {name: value.half() if value.is_floating_point() else value for name, value in written.items()}
        lost = [name for name, value in written.items() if not torch.isfinite(value.float()).all()]
        if lost:
            raise BadInput(f"{lost[0]} of {key} has numbers that float16 cannot hold; export it as it is.")
    content = save(written, _header(card, layout))
    try:
        write_bytes(out, content)
    except OSError as error:
        raise BadInput(f"{out} cannot be written ({error.strerror}); choose another file.") from error
    return card


def _encoder(card: BackboneCard, home: Home) -> TimmEncoder:
    """The encoder at the size that its own weights are for: positions are exported as they were trained."""
    if card.architecture is None:
        raise BadInput(f"{card.key} is no network, so it has no weights to export.")
    if card.projection is not None:
        raise BadInput(
            f"{card.key} ends in a projection into a space shared with text, for which neither layout has a name; "
            f"export an encoder of images alone."
        )
    return random_encoder(card) if card.layout == "random" else trained_encoder(card, home)


def exported_tensors(encoder: TimmEncoder, layout: ExportLayout, card: BackboneCard) -> dict[str, Tensor]:
    """The tensors of an encoder by their names in a layout; `BadInput` where the layout has no such network."""
    return encoder_tensors(encoder) if layout == "timm" else dinov2_layout(encoder.network, card.key)


def dinov2_layout(network: nn.Module, key: str) -> dict[str, Tensor]:
    """The tensors of a timm vision transformer as DINOv2's own files name them."""
    lacking = unlike_dinov2(network)
    if lacking:
        raise BadInput(f"DINOv2's layout has no such network as {key}: {', '.join(lacking)}. Export timm's layout.")
    tensors = dict(network.state_dict())
    width, prefix = network.embed_dim, 0 if network.no_embed_class else network.num_prefix_tokens
    positions = tensors["pos_embed"]
    class_position = positions[:, :1] if prefix else torch.zeros(1, 1, width)
    if network.num_reg_tokens:
        registers = tensors.pop("reg_token")
        tensors["register_tokens"] = registers + positions[:, 1:prefix] if prefix else registers
    tensors["pos_embed"] = torch.cat([class_position, positions[:, prefix:]], dim=1)
    tensors["mask_token"] = torch.zeros(1, width)
    for block in range(len(network.blocks)):
        for scale in ("ls1", "ls2"):
            tensors.setdefault(f"blocks.{block}.{scale}.gamma", torch.ones(width))
    return tensors


def unlike_dinov2(network: nn.Module) -> list[str]:
    """What of a network DINOv2's vision transformer does not have, in words; empty: it is one."""
    if type(network) is not VisionTransformer:
        return [f"it is a {type(network).__name__}"]
    if network.cls_token is None or getattr(network, "pos_embed", None) is None:
        return ["it lacks a class token or a table of positions"]
    if any(type(block) is not Block or not isinstance(block.mlp, Mlp) for block in network.blocks):
        return ["its blocks are built otherwise"]
    block, plain = network.blocks[0], nn.Identity
    between = (network.norm_pre, network.fc_norm, network.patch_embed.norm, block.attn.q_norm, block.mlp.norm)
    return [
        words
        for words, differs in {
            "it has norms in other places": not all(isinstance(norm, plain) for norm in between),
            f"its norms have an eps of {network.norm.eps:g}": network.norm.eps != DINOV2_EPS,
            "it has another activation than GELU": not _exact_gelu(block.mlp.act),
            "its attention or patches have no bias": block.attn.qkv.bias is None
            or network.patch_embed.proj.bias is None,
            "it pools by attention": network.attn_pool is not None,
            f"its heads have {block.attn.head_dim} numbers each": block.attn.head_dim != HEAD_WIDTH,
            "its MLPs are of another width": block.mlp.fc1.out_features != DINOV2_MLP_RATIO * network.embed_dim,
        }.items()
        if differs
    ]


def _exact_gelu(activation: nn.Module) -> bool:
    return isinstance(activation, nn.GELU) and activation.approximate == "none"


def _header(card: BackboneCard, layout: ExportLayout) -> dict[str, str]:
    """What a reader of the file has to know beside the tensors; `format` is what transformers asks for."""
    return {
        "format": "pt",
        "layout": layout,
        "backbone": card.key,
        "architecture": str(card.architecture),
        "options": json.dumps(dict(card.options)),
        "norm_eps": json.dumps(card.norm_eps),
        "feature": card.feature,
        "preprocessing": json.dumps(asdict(card.spec)),
        "licence": card.licence_weights or "unknown",
    }
