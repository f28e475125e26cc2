"""What the loop asks of a method of pretraining, whichever it is. Worker only.

In: batches of crops. Out: losses to be summed and trained, and numbers that tell how it goes.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.pretrain.recipes import PretrainSetting


@dataclass(frozen=True)
class PretrainBatch:
    """Crops of one process's share of a batch, on the device."""

    globals: Tensor  # float32 (V, B, C, S, S), normalised
    locals: Tensor | None  # float32 (L, B, C, s, s)
    draws: dict[str, Tensor]  # what the method drew for itself, (B, …) each


@dataclass(frozen=True)
class Outcome:
    """One step's results."""

    losses: dict[str, Tensor]  # terms as weighted; their sum is trained
    signals: dict[str, Tensor] = field(default_factory=dict)  # detached numbers
    features: Tensor | None = None  # (B, D) of one view, detached: what a user of the backbone would get


class Method(nn.Module):
    """A method: the network that is trained and whatever it needs beside it. Everything it holds is its state."""

    setting: PretrainSetting
    feature = "cls"  # of a vision transformer: what a user of the backbone would take first, `cls` or `mean`

    @abstractmethod
    def forward(self, batch: PretrainBatch, step: int, watched: bool) -> Outcome:
        """The losses of a step (counted from 0); signals that cost something only where it is `watched`."""

    @abstractmethod
    def encoder(self) -> nn.Module:
        """The timm network that is the result."""

    def draws(self, images: int, draw: np.random.Generator) -> dict[str, Tensor]:
        """What is drawn for a batch of so many images beside their crops, (images, …) each; made ahead of the step."""
        return {}

    def rebuilt(self, images: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor] | None:
        """Of a method that rebuilds images: patches (B, T, P·P·C) as predicted, and bool (B, T) which were hidden."""
        return None

    def after_step(self, step: int) -> None:
        """What follows a step of the optimiser (counted from 0)."""

    def parts(self) -> dict[str, nn.Module]:
        """What is trained, by name; the gradients of each part are clipped by themselves."""
        return {name: part for name, part in self.named_children() if any(p.requires_grad for p in part.parameters())}

    def rate_factors(self) -> dict[str, float]:
        """By the name of a parameter, what its learning rate is multiplied with; 1 for those not named."""
        return {}

    def stands_still(self, step: int) -> set[str]:
        """Names of parameters whose learning rate is zero in a step."""
        return set()

    def constant_rate(self) -> set[str]:
        """Names of parameters whose learning rate does not follow the schedule."""
        return set()

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return {name: weights for name, weights in self.named_parameters() if weights.requires_grad}

    def kept(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that training changes, by name: all parameters and buffers, a teacher's too."""
        yield from self.named_parameters()
        yield from self.named_buffers()


def numbers(values: dict[str, Tensor]) -> dict[str, Any]:
    """Detached scalars as plain numbers."""
    together = torch.stack([value.detach().float().reshape(()) for value in values.values()]) if values else None
    return dict(zip(values, together.tolist(), strict=True)) if together is not None else {}
