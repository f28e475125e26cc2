"""The policies: how an unlabelled image is varied for each view, in plain numbers.

In: a policy's name and, where a person chose otherwise, which flips. Out: a frozen `Policy`; `fmlab.pretrain.crops`
carries it out.

Sources, read in their code:
- `natural`: DINOv2, `dinov2/data/augmentations.py` (DataAugmentationDINO), crop scales from its default config. The
  blur shares are those it is called with, which are also DINO's; as its blur hands 1 − p to torchvision, the code blurs
  with 0, 0.9 and 0.5 instead.
- `fetal`: UltraDINO, the same file (DataAugmentationDINUS): flips upside down, no hue, never turned to grey.
- `simsiam`: SimSiam, `main_simsiam.py`. `crops`: MAE, `main_pretrain.py`: crop and horizontal flip alone.
- `ultrasound` is ours. What a gain, a compression curve or another day changes is varied: brightness, contrast, gamma,
  noise, the tilt of the probe, mild blur. What would make another picture of it is not: grey levels are never inverted,
  and left and right are kept apart unless a person chooses flips. `ultrasound-whole` is the same with crops that keep
  nearly all of the picture, for images whose framing tells what they show, as standard views.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from fmlab.errors import BadInput

Flips = Literal["none", "horizontal", "vertical", "both"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Policy:
    """The ranges from which each view of an image is drawn; grey levels are 0–1. Nothing but crops by default."""

    name: str
    global_scale: Range = (0.32, 1.0)  # share of the image's area in a global crop; DINOv2's
    local_scale: Range = (0.05, 0.32)  # and in a local one
    aspect: Range = (3 / 4, 4 / 3)  # width over height of a crop; its logarithm is drawn evenly
    flips: Flips = "none"  # each with a share of one half; vertical: upside down
    brightness: float = 0.0  # grey levels times 1 ± this
    contrast: float = 0.0  # distance from the crop's mean times 1 ± this
    gamma: float = 0.0  # grey levels to the power exp(± this)
    saturation: float = 0.0  # distance from grey times 1 ± this
    hue: float = 0.0  # ± this part of the colour circle, at most 0.5
    noise: float = 0.0  # largest standard deviation of additive Gaussian noise
    jitter_share: float = 0.0  # of crops in which the six above are drawn
    grey_share: float = 0.0  # of crops turned to grey
    blur_shares: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of first global, further global and local crops
    blur_sigma: Range = (0.1, 2.0)  # in pixels of the crop
    solarise_share: float = 0.0  # of second global crops in which levels from 128 of 255 up are inverted
    tilt: float = 0.0  # degrees, ± this; black where nothing is known

    @property
    def plain(self) -> dict[str, Any]:
        """The policy as JSON knows it: what stands in a run's key."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


_ULTRASOUND = Policy(
    "ultrasound",
    brightness=0.3,
    contrast=0.3,
    gamma=0.3,  # 0.74 … 1.35: a little more than the 0.8 … 1.2 of UltraDINO's classification
    noise=0.03,
    jitter_share=0.8,
    blur_shares=(0.5, 0.1, 0.3),
    blur_sigma=(0.1, 1.0),
    tilt=10.0,  # as far as `fmlab.data.augmentation` tilts a training image
)

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        _ULTRASOUND,
        replace(_ULTRASOUND, name="ultrasound-whole", global_scale=(0.8, 1.0), local_scale=(0.25, 0.6)),
        Policy(
            "fetal",
            flips="vertical",
            brightness=0.4,
            contrast=0.4,
            saturation=0.2,
            jitter_share=0.8,
            blur_shares=(1.0, 0.1, 0.5),
            solarise_share=0.2,
        ),
        Policy(
            "natural",
            flips="horizontal",
            brightness=0.4,
            contrast=0.4,
            saturation=0.2,
            hue=0.1,
            jitter_share=0.8,
            grey_share=0.2,
            blur_shares=(1.0, 0.1, 0.5),
            solarise_share=0.2,
        ),
        Policy("crops", global_scale=(0.2, 1.0), flips="horizontal"),
        Policy(
            "simsiam",
            global_scale=(0.2, 1.0),
            flips="horizontal",
            brightness=0.4,
            contrast=0.4,
            saturation=0.4,
            hue=0.1,
            jitter_share=0.8,
            grey_share=0.2,
            blur_shares=(0.5, 0.5, 0.5),
        ),
    )
}


def policy(name: str, flips: Flips | None = None) -> Policy:
    """The policy of that name, with other flips where they are given; another word raises `BadInput`."""
    if name not in POLICIES:
        raise BadInput(f"There is no augmentation policy {name!r}; choose one of {', '.join(POLICIES)}.")
    if flips is None:
        return POLICIES[name]
    if flips not in get_args(Flips):
        raise BadInput(f"Flips cannot be {flips!r}; choose one of {', '.join(get_args(Flips))}.")
    return replace(POLICIES[name], flips=flips)
