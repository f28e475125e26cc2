"""Images mixed with each other and labels made soft: mixup, cutmix, label smoothing. Worker only.

In: a batch and its labels (B,) int64. Out: the share that every image keeps of itself, the box that comes from another,
and soft targets (B, K) float32, rows that sum to 1.

Every image is mixed with the one that stands as far from the end of the batch as it from the beginning, all by one draw,
which follows from (seed, step) alone: a training that was interrupted, or computed in parts, mixes alike.

Source: H. Zhang et al., mixup, ICLR 2018; S. Yun et al., CutMix, ICCV 2019; C. Szegedy et al., CVPR 2016, section 7
(smoothing). Mixed by batch as timm's `Mixup` does, which UltraDINO's classification uses: one of the two at every step,
each in half of them where both are asked for.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

STREAM = 1  # beside the random numbers inside the network, which follow from (seed, step)


@dataclass(frozen=True)
class Mixture:
    """How the images of a batch are mixed with each other."""

    share: float  # of an image and its label that stays, 0–1
    box: tuple[int, int, int, int] | None = None  # top, bottom, left, right of what is another's; None: all is blended

    def applied(self, images: Tensor, partners: Tensor) -> Tensor:
        """(B, 3, S, S) from the images and those that each is mixed with."""
        if self.box is None:
            return images * self.share + partners * (1 - self.share)
        top, bottom, left, right = self.box
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
        return mixed


def draw_mixture(mixup: float, cutmix: float, size: tuple[int, int], seed: int, step: int) -> Mixture | None:
    """The mixture of a step for images of `size` (height, width); None where neither is asked for.

    `mixup` and `cutmix` are the parameters of the Beta distributions that the share is drawn from, 0: not at all.
    """
    if not (mixup or cutmix):
        return None
    draw = np.random.default_rng((seed, step, STREAM))
    cut = bool(cutmix) and (not mixup or draw.random() < 0.5)
    alpha = cutmix if cut else mixup
    share = float(draw.beta(alpha, alpha))
    return _cut_out(share, size, draw.random(2)) if cut else Mixture(share)


def _cut_out(share: float, size: tuple[int, int], centre: np.ndarray) -> Mixture:
    """A box of 1 − share of the picture about a centre (2,) in fractions; the share is then what it leaves over."""
    edges: list[int] = []
    for length, place in zip(size, centre.tolist(), strict=True):
        cut, middle = int(length * (1 - share) ** 0.5), int(length * place)
        edges += [max(middle - cut // 2, 0), min(middle + (cut + 1) // 2, length)]
    top, bottom, left, right = edges
    return Mixture(1 - (bottom - top) * (right - left) / (size[0] * size[1]), (top, bottom, left, right))


def soft_targets(labels: Tensor, classes: int, share: float, smoothing: float) -> Tensor:
    """(B, K) float32: 1 − smoothing for the label and smoothing spread over all classes, then mixed as the images are."""
    smooth = one_hot(labels, classes).to(torch.float32) * (1 - smoothing) + smoothing / classes
    return smooth * share + smooth.flip(0) * (1 - share)
