"""Loading a backbone: a card in, an encoder that gives features out. Imports torch, so only the worker imports this.

In: a card and a home. Out: a `Backbone`; its `features` are (B, D) float32, its `dense` maps (B, C, h, w) float32.

Weights are loaded strictly: every tensor of the encoder, nothing unexpected beyond the card's own `unused`.
A second load in the same process returns the first one's result. What is shared is never trained: finetuning starts
from `build_encoder`, which always makes a new one.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import require_weights, weights_digest
from fmlab.backbones.encoders import Encoder, PixelsEncoder, TimmEncoder, blank_encoder, random_encoder, resize_input
from fmlab.backbones.layouts import in_timms_names
from fmlab.backbones.weights import matched, read_tensors
from fmlab.errors import BadInput
from fmlab.settings import Home

Precision = Literal["fp32", "bf16"]

KEPT = 3  # loaded backbones; the largest of the field take 1.5 GB each

_loaded: OrderedDict[tuple[object, ...], "Backbone"] = OrderedDict()


@dataclass(frozen=True, eq=False)
class Backbone:
    """An encoder with its card, on a device, ready to be used and not to be trained."""

    card: BackboneCard
    digest: str  # of the weights, as in keys
    encoder: Encoder
    device: torch.device
    precision: Precision
    channels_last: bool

    def features(self, images: Tensor, feature: str | None = None) -> Tensor:
        """(B, D) float32 on the device, from (B, 3, S, S) float32 normalised; the card's first feature by default."""
        kind = feature or self.card.feature
        if kind not in self.card.available:
            raise BadInput(f"{self.card.key} gives no feature {kind!r}; choose {' or '.join(self.card.available)}.")
        with torch.inference_mode(), self.arithmetic():
            return self.encoder(self.placed(images), kind).float().contiguous()

    def dense(self, images: Tensor, taps: Sequence[int] | None = None) -> list[Tensor]:
        """(B, C, h, w) float32 for each tap (blocks counted from 0), the card's own taps by default."""
        if not self.card.taps:
            raise BadInput(f"{self.card.key} has no spatial maps; choose a backbone that has taps.")
        with torch.inference_mode(), self.arithmetic():
            return [each.float() for each in self.encoder.maps(self.placed(images), taps or self.card.taps)]

    def placed(self, images: Tensor) -> Tensor:
        """The images on the device, in the memory format that the encoder likes."""
        form = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.to(self.device, non_blocking=True, memory_format=form)

    def arithmetic(self) -> AbstractContextManager[object]:
        """bf16 where chosen; else full fp32, without the shortened mantissa that GPUs use for convolutions."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        if self.device.type == "cuda":
            return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        return nullcontext()


def load_backbone(
    card: BackboneCard,
    home: Home,
    device: str = "cpu",
    precision: Precision = "fp32",
    channels_last: bool | None = None,
    size: int | None = None,
) -> Backbone:
    """The backbone of a card on a device. `size` is the side of its input in pixels where that is not the card's own.

    `channels_last` by default for convolutional networks. Raises `BadWeights` when the weights are missing, damaged or
    another architecture's.
    """
    size = size or card.spec.size
    digest = weights_digest(card, home)
    key = (card.model_dump_json(), digest, device, precision, channels_last, size)
    if key in _loaded:
        _loaded.move_to_end(key)
        return _loaded[key]
    encoder = build_encoder(card, home, size).eval().requires_grad_(False)
    last = encoder.convolutional if channels_last is None else channels_last
    encoder = encoder.to(device, memory_format=torch.channels_last if last else torch.contiguous_format)
    _loaded[key] = Backbone(card, digest, encoder, torch.device(device), precision, last)
    while len(_loaded) > KEPT:
        _loaded.popitem(last=False)
    return _loaded[key]


def build_encoder(card: BackboneCard, home: Home, size: int | None = None) -> Encoder:
    """A new encoder with the card's weights, on the CPU in fp32, for inputs of `size` pixels; to be kept or trained."""
    if card.layout == "pixels":
        return PixelsEncoder()
    encoder = random_encoder(card) if card.layout == "random" else trained_encoder(card, home)
    resize_input(encoder, size or card.spec.size, card.positions)
    return encoder


def trained_encoder(card: BackboneCard, home: Home) -> TimmEncoder:
    """An encoder with the tensors of the card's weights file, for inputs of the size that the file is for."""
    encoder = blank_encoder(card)
    tensors = in_timms_names(card, read_tensors(require_weights(card, home)))
    what = f"{card.key}, the architecture {card.architecture}"
    load_tensors(encoder, matched(tensors, encoder_tensors(encoder), (), what))
    return encoder


def encoder_tensors(encoder: TimmEncoder) -> dict[str, Tensor]:
    """The tensors of an encoder by timm's names; that of its projection is `projection.weight`."""
    return {name.removeprefix("network."): value for name, value in encoder.state_dict().items()}


def load_tensors(encoder: TimmEncoder, own: Mapping[str, Tensor]) -> None:
    """Give an encoder its tensors, named as by `encoder_tensors`; the counts that evaluation never reads may be lacking.

    They are copies: what was read from a file may change with it.
    """
    state = encoder.state_dict()
    place = {name.removeprefix("network."): name for name in state}
    given = {place[name]: value.to(state[place[name]].dtype, copy=True).contiguous() for name, value in own.items()}
    encoder.load_state_dict(state | given, strict=True, assign=True)
