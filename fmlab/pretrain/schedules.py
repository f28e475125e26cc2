"""Values that change with the step, and factors of the learning rate that change with the layer. No torch is needed.

In: start, end and numbers of steps; or a timm vision transformer. Out: a function of the step (counted from 0), or a
factor for each parameter's name.

Source: facebookresearch/dinov2, `CosineScheduler` in `utils/utils.py`, `utils/param_groups.py`.
"""

import math
import re
from collections.abc import Callable
from typing import Any

Schedule = Callable[[int], float]

_STEM = ("pos_embed", "patch_embed", "mask_token", "cls_token", "reg_token", "norm_pre")


def cosine(
    start: float, end: float, steps: int, warmup: int = 0, warmup_start: float = 0.0, frozen: int = 0
) -> Schedule:
    """0 for `frozen` steps, a straight line from `warmup_start` to `start` for `warmup` steps, then half a cosine to `end`.

    The line's last step has `start`, and so has the cosine's first; `end` is reached at `steps`, after the last step.
    """
    falling = steps - warmup - frozen

    def value(step: int) -> float:
        if step >= steps:
            return end
        if step < frozen:
            return 0.0
        if step < frozen + warmup:
            return linear(warmup_start, start, warmup)(step - frozen)
        return end + (start - end) * (1 + math.cos(math.pi * (step - frozen - warmup) / falling)) / 2

    return value


def linear(start: float, end: float, steps: int) -> Schedule:
    """A straight line over `steps` steps, the first of which has `start` and the last `end`, as have all after it."""

    def value(step: int) -> float:
        if step >= steps - 1:
            # A single step has nowhere to go: as numpy's linspace, it stays at the start.
            return start if steps == 1 and step == 0 else end
        return start + (end - start) * step / (steps - 1)

    return value


def layer_factors(network: Any, decay: float, patch_embed: float = 1.0) -> dict[str, float]:
    """Factors of the learning rate by the names of a timm vision transformer's parameters.

    With L blocks: tokens, positions and patch embedding get decay^(L+1), block i (from 0) decay^(L−i), what comes after
    them 1. The patch embedding's is multiplied by `patch_embed` besides.
    """
    depth = len(network.blocks)

    def factor(name: str) -> float:
        block = re.match(r"blocks\.(\d+)\.", name)
        if block:
            return decay ** (depth - int(block[1]))
        stem = decay ** (depth + 1) if name.startswith(_STEM) else 1.0
        return stem * (patch_embed if name.startswith("patch_embed") else 1.0)

    return {name: factor(name) for name, _ in network.named_parameters()}
