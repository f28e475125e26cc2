"""Encoders: one face for every architecture. Images in, features or spatial maps out.

In: (B, 3, S, S) float32, normalised as the backbone demands. Out: (B, D) features of a kind, or one (B, C, h, w) map
for each tap. Everything else of a backbone (device, precision, caching) is in `loaders`.

Every network is timm's: the names of other libraries' tensors are put into timm's by `layouts`, and the contract tests
show that the features are then those of the library that wrote the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import timm
import torch
from timm.layers import LayerNorm
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from fmlab.backbones.cards import BLOCKS, LAST_BLOCKS, BackboneCard
from fmlab.errors import BadInput

# The share of red, green and blue in grey (ITU-R BT.601, as Pillow's "L").
LUMA = (0.299, 0.587, 0.114)

PIXELS_SIDE = 24

# What DINOv2's own code adds to a number of patches before it computes the scale of a table of positions.
POSITIONS_OFFSET = 0.1


class TimmEncoder(nn.Module):
    """An architecture of timm without its classifier, with the projection into a space shared with text if it has one."""

    def __init__(
        self,
        architecture: str,
        options: Mapping[str, Any] | None = None,
        norm_eps: float | None = None,
        projection: int | None = None,
    ) -> None:
        super().__init__()
        self.channels = (options or {}).get("in_chans", 3)
        norm = {} if norm_eps is None else {"norm_layer": partial(LayerNorm, eps=norm_eps)}
        self.network = timm.create_model(architecture, pretrained=False, num_classes=0, **(options or {}), **norm)
        if projection is not None:
            self.projection = nn.Linear(self.network.head_hidden_size, projection, bias=False)

    @property
    def prefix_tokens(self) -> int | None:
        """How many tokens stand before the patch tokens; None for networks without tokens."""
        return getattr(self.network, "num_prefix_tokens", None)

    @property
    def convolutional(self) -> bool:
        """Whether the network has maps all the way through, so that channels-last memory makes it faster."""
        return self.prefix_tokens is None and any(isinstance(part, nn.Conv2d) for part in self.network.modules())

    def kinds(self) -> tuple[str, ...]:
        """The kinds of features that this architecture gives, the one that its own classifier would get first."""
        if self.prefix_tokens is None:
            return ("pooled",)
        if isinstance(getattr(self.network, "norm", None), nn.Identity):
            return ("pooled",)  # the norm comes after the pooling, so that tokens have none
        pooling = getattr(self.network, "global_pool", "token")
        class_token = ("cls",) if getattr(self.network, "cls_token", None) is not None else ()
        first = ("cls",) if pooling == "token" and class_token else ("pooled",)
        return tuple(dict.fromkeys((*first, *class_token, "mean")))

    def forward(self, images: Tensor, feature: str) -> Tensor:
        """(B, D) features of a kind."""
        if feature == BLOCKS:
            return self._last_blocks(images)
        found = self.network.forward_features(self._channels(images))
        if feature in ("pooled", "projected"):
            pooled = self.network.forward_head(found, pre_logits=True)
            return pooled if feature == "pooled" else self.projection(pooled)
        # (B, prefix + patches, D), after the final norm
        return found[:, 0] if feature == "cls" else found[:, self.prefix_tokens :].mean(dim=1)

    def maps(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, C, h, w) for each tap: the output of that block (counted from 0), after the final norm where there is one."""
        return self.network.forward_intermediates(
            self._channels(images), indices=list(taps), norm=True, output_fmt="NCHW", intermediates_only=True
        )

    def _last_blocks(self, images: Tensor) -> Tensor:
        """(B, 5·D): a token of each of the last 4 blocks after the final norm, and the mean of the last patch tokens.

        As DINOv2's `get_intermediate_layers` with its class tokens (facebookresearch/dinov2, `eval/linear.py`).
        """
        depth = len(self.network.blocks)
        if depth < LAST_BLOCKS:
            raise BadInput(
                f"Linear heads read the last {LAST_BLOCKS} blocks, and this network has {depth}; use a probe."
            )
        found = self.network.forward_intermediates(
            self._channels(images),
            indices=LAST_BLOCKS,
            return_prefix_tokens=bool(self.prefix_tokens),
            norm=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        patches, prefixes = zip(*found, strict=True) if self.prefix_tokens else (found, ())
        means = [each.mean(dim=1) for each in patches]
        class_token = getattr(self.network, "cls_token", None) is not None
        tokens = [each[:, 0] for each in prefixes] if class_token else means
        return torch.cat([*tokens, means[-1]], dim=1)

    def _channels(self, images: Tensor) -> Tensor:
        """The images in as many channels as the network takes: three, or their grey."""
        return grey(images)[:, None] if self.channels == 1 else images


class PixelsEncoder(nn.Module):
    """The image itself: grey, 24×24, row by row."""

    convolutional = False

    def forward(self, images: Tensor, feature: str) -> Tensor:
        """(B, 576); an image that is not 24×24 yet is averaged over equal areas."""
        whole = grey(images)
        if whole.shape[-1] != PIXELS_SIDE:
            whole = nn.functional.adaptive_avg_pool2d(whole[:, None], PIXELS_SIDE)
        return whole.flatten(start_dim=1)

    def maps(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """There are none."""
        raise BadInput("The image itself has no blocks and so no spatial maps; choose a network.")


Encoder = TimmEncoder | PixelsEncoder


def grey(images: Tensor) -> Tensor:
    """(B, S, S) from (B, 3, S, S); of an image whose channels are the same, exactly one of them."""
    red, green, blue = images.unbind(dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def timm_encoder(card: BackboneCard) -> TimmEncoder:
    """The architecture of a card as timm initialises it, for inputs of the size that its weights file is for."""
    return TimmEncoder(str(card.architecture), card.options, card.norm_eps, card.projection)


def blank_encoder(card: BackboneCard) -> TimmEncoder:
    """As `timm_encoder`, but without values in its parameters, all of which are to come from a file.

    Drawing them takes seconds for a large network. Buffers are computed as ever, since some of them are in no file
    (rotary tables, indices of relative positions); a network that computes them where its parameters lie is drawn.
    """
    with without_values():
        encoder = timm_encoder(card)
    return timm_encoder(card) if any(buffer.is_meta for buffer in encoder.buffers()) else encoder


@contextmanager
def without_values() -> Iterator[None]:
    """Parameters of modules made meanwhile have a name and a shape alone: they lie on the meta device."""
    hook = register_module_parameter_registration_hook(_shape_alone)
    try:
        yield
    finally:
        hook.remove()


def _shape_alone(module: nn.Module, name: str, weights: nn.Parameter | None) -> nn.Parameter | None:
    return None if weights is None else nn.Parameter(weights.to("meta"), requires_grad=weights.requires_grad)


def resize_input(encoder: TimmEncoder, size: int, positions: str) -> None:
    """Make an encoder take inputs of `size` pixels, resampling its table of positions where it has one.

    `positions`: "antialiased" is timm's way; "plain", bicubic without antialiasing, that of transformers' DINOv2;
    "offset" that of DINOv2's own code, whose scale is a tenth of a patch larger than the sizes say
    (facebookresearch/dinov2, `interpolate_pos_encoding`; its models with registers are "antialiased").
    """
    network = encoder.network
    if not hasattr(network, "set_input_size") or network.patch_embed.img_size == (size, size):
        return
    table = getattr(network, "pos_embed", None)
    if positions != "antialiased" and table is not None:
        prefix = 0 if network.no_embed_class else network.num_prefix_tokens
        grid = network.patch_embed.grid_size
        side = size // network.patch_embed.patch_size[0]
        maps = table[:, prefix:].reshape(1, *grid, -1).permute(0, 3, 1, 2)
        if positions == "offset":
            factors = tuple((side + POSITIONS_OFFSET) / before for before in grid)
            maps = nn.functional.interpolate(maps, scale_factor=factors, mode="bicubic", align_corners=False)
        else:
            maps = nn.functional.interpolate(maps, size=(side, side), mode="bicubic", align_corners=False)
        resized = torch.cat([table[:, :prefix], maps.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
        network.set_input_size(img_size=size)
        network.pos_embed = nn.Parameter(resized.detach(), requires_grad=table.requires_grad)
    else:
        network.set_input_size(img_size=size)


def random_encoder(card: BackboneCard) -> TimmEncoder:
    """An untrained encoder: the architecture's own initialisation under the card's seed, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(card.seed or 0))
        return timm_encoder(card)
