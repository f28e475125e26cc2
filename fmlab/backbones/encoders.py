"""Encoders: one face for every architecture. Images in, features or spatial maps out.

In: (B, 3, S, S) float32, normalised as the backbone demands. Out: (B, D) features of a kind, or one (B, C, h, w) map
for each tap. Everything else of a backbone (device, precision, caching) is in `loaders`.
"""

from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn

from fmlab.backbones.cards import BackboneCard
from fmlab.errors import BadInput

# The share of red, green and blue in grey (ITU-R BT.601, as Pillow's "L").
LUMA = (0.299, 0.587, 0.114)

PIXELS_SIDE = 24


class TimmEncoder(nn.Module):
    """An architecture of timm without its classifier."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.network = timm.create_model(architecture, pretrained=False, num_classes=0)

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
        pooling = getattr(self.network, "global_pool", "token")
        class_token = ("cls",) if getattr(self.network, "cls_token", None) is not None else ()
        first = ("cls",) if pooling == "token" and class_token else ("pooled",)
        return tuple(dict.fromkeys((*first, *class_token, "mean")))

    def forward(self, images: Tensor, feature: str) -> Tensor:
        """(B, D) features of a kind."""
        if feature == "pooled":
            return self.network.forward_head(self.network.forward_features(images), pre_logits=True)
        tokens = self.network.forward_features(images)  # (B, prefix + patches, D), after the final norm
        return tokens[:, 0] if feature == "cls" else tokens[:, self.prefix_tokens :].mean(dim=1)

    def maps(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, C, h, w) for each tap: the output of that block (counted from 0), after the final norm where there is one."""
        return self.network.forward_intermediates(
            images, indices=list(taps), norm=True, output_fmt="NCHW", intermediates_only=True
        )


class PixelsEncoder(nn.Module):
    """The image itself: grey, 24×24, row by row."""

    convolutional = False

    def forward(self, images: Tensor, feature: str) -> Tensor:
        """(B, 576); an image that is not 24×24 yet is averaged over equal areas."""
        red, green, blue = images.unbind(dim=1)
        grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        if grey.shape[-1] != PIXELS_SIDE:
            grey = nn.functional.adaptive_avg_pool2d(grey[:, None], PIXELS_SIDE)
        return grey.flatten(start_dim=1)

    def maps(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """There are none."""
        raise BadInput("The image itself has no blocks and so no spatial maps; choose a network.")


Encoder = TimmEncoder | PixelsEncoder


def random_encoder(card: BackboneCard) -> TimmEncoder:
    """An untrained encoder: the architecture's own initialisation under the card's seed, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(card.seed or 0))
        return TimmEncoder(str(card.architecture))
