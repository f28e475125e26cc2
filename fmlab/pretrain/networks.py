"""The networks that are pretrained: timm's, from scratch or from a backbone of the catalogue. Worker only.

In: a setting. Out: a timm network without a classifier, and its tokens for crops of any size, some of them masked.

Names, shapes and registers are those of DINOv2's own networks as timm has them: with registers the table of positions
holds patches alone (`no_embed_class`), without them it begins with the class token.
"""

from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.encoders import TimmEncoder
from fmlab.errors import BadInput
from fmlab.pretrain.recipes import PretrainSetting, Start

ARCHITECTURES = {
    "vit-tiny": "vit_tiny_patch16_224",
    "vit-small": "vit_small_patch16_224",
    "vit-base": "vit_base_patch16_224",
    "vit-large": "vit_large_patch16_224",
    "resnet18": "resnet18",
    "resnet50": "resnet50",
}

STRIDE_16 = 3  # of the maps that timm's ResNets tell, the stem's being the first


def architecture_of(setting: PretrainSetting) -> tuple[str, dict[str, Any]]:
    """timm's name of a setting's network, and the options it is made with."""
    if setting.start is not None:
        return setting.start.architecture, dict(setting.start.options)
    name = ARCHITECTURES[setting.network]
    if setting.convolutional:
        return name, {"in_chans": setting.channels}
    options: dict[str, Any] = {"img_size": setting.size, "patch_size": setting.patch, "in_chans": setting.channels}
    if setting.registers:
        options |= {"reg_tokens": setting.registers, "no_embed_class": True}
    if setting.layer_scale is not None:
        options["init_values"] = setting.layer_scale
    return name, options


def build_network(setting: PretrainSetting, weights: dict[str, Tensor] | None = None) -> nn.Module:
    """The network of a setting, initialised under its seed, or holding `weights`, those of its start."""
    name, options = architecture_of(setting)
    norm_eps = setting.start.norm_eps if setting.start else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        sizes = {} if setting.convolutional else {"dynamic_img_size": True}
        network: nn.Module = TimmEncoder(name, options | sizes, norm_eps).network
    if weights is not None:
        network.load_state_dict(weights)
    return network


def tokens(
    network: nn.Module,
    images: Tensor,
    masked: Tensor | None = None,
    mask_token: Tensor | None = None,
    drop_path: float = 0.0,
) -> Tensor:
    """Tokens after the final norm, (B, prefix + patches, D), of crops (B, C, s, s) of any size.

    `masked` (B, h, w) bool: patches that `mask_token` (D,) takes the place of, before their positions are added.
    `drop_path`: see `through_blocks`.
    """
    embedded = network.patch_embed(images)
    if masked is not None:
        embedded = torch.where(masked[..., None], mask_token.to(embedded.dtype), embedded)
    placed = network.norm_pre(network.patch_drop(network._pos_embed(embedded)))
    return network.norm(through_blocks(network, placed, drop_path))


def through_blocks(network: nn.Module, placed: Tensor, drop_path: float) -> Tensor:
    """(B, N, D) through all blocks. Each branch of each block is skipped by a share `drop_path` of the images.

    As DINOv2's `drop_add_residual_stochastic_depth`: which images is drawn anew for each branch, for them it is not
    computed at all, and what the others add is scaled up, so that the mean stays.
    """
    if not drop_path:
        return network.blocks(placed)
    for block in network.blocks:
        placed = _added(placed, lambda part, block=block: block.ls1(block.attn(block.norm1(part))), drop_path)
        placed = _added(placed, lambda part, block=block: block.ls2(block.mlp(block.norm2(part))), drop_path)
    return placed


def _added(placed: Tensor, branch: Callable[[Tensor], Tensor], drop_path: float) -> Tensor:
    count = len(placed)
    kept = max(1, int(count * (1 - drop_path)))
    chosen = torch.randperm(count, device=placed.device)[:kept]
    change = branch(placed.index_select(0, chosen)).to(placed.dtype)
    return placed.index_add(0, chosen, change, alpha=count / kept)


def features(network: nn.Module, images: Tensor, kind: str, drop_path: float = 0.0) -> Tensor:
    """(B, D) of a vision transformer: the class token (`cls`) or the `mean` of the patches; else the pooled map."""
    if not hasattr(network, "patch_embed"):
        return network(images)
    found = tokens(network, images, drop_path=drop_path)
    return found[:, 0] if kind == "cls" else found[:, network.num_prefix_tokens :].mean(1)


def patch_features(network: nn.Module, images: Tensor) -> Tensor:
    """(B, h, w, D) of images (B, C, s, s): a vision transformer's patch tokens, or a ResNet's map of 16 × 16 pixels."""
    if hasattr(network, "patch_embed"):
        found = tokens(network, images)[:, network.num_prefix_tokens :]
        rows = images.shape[-2] // network.patch_embed.patch_size[0]
        return found.unflatten(1, (rows, -1))
    (found,) = network.forward_intermediates(images, indices=[STRIDE_16], intermediates_only=True)
    return found.movedim(1, -1)


def start_of(card: BackboneCard, digest: str) -> Start:
    """What a backbone decides that is the start; `BadInput` where no method can go on from it."""
    with torch.device("meta"):
        encoder = TimmEncoder(card.architecture, card.options, card.norm_eps) if card.architecture else None
    network = encoder.network if encoder is not None else None
    positions = getattr(network, "pos_embed", None)
    if encoder is None or not isinstance(network, timm.models.VisionTransformer) or positions is None:
        raise BadInput(f"Pretraining goes on from vision transformers with a table of positions; {card.key} is none.")
    plain = isinstance(network.fc_norm, nn.Identity) and all(type(block) is Block for block in network.blocks)
    if network.cls_token is None or not plain:
        raise BadInput(
            f"Pretraining goes on from vision transformers with a class token and plain blocks; {card.key} is none."
        )
    scale = getattr(network.blocks[0].ls1, "init_values", None)
    return Start(
        key=card.key,
        digest=digest,
        architecture=card.architecture,
        options=dict(card.options),
        norm_eps=card.norm_eps,
        patch=network.patch_embed.patch_size[0],
        channels=encoder.channels,
        registers=network.num_reg_tokens,
        layer_scale=scale,
        mean=card.spec.mean[: encoder.channels],
        std=card.spec.std[: encoder.channels],
    )
