"""The draws: what is varied in each crop of each image, from a hash that counts.

In: a policy, the images' codes (B,) uint64, a seed, an epoch, the streams of the crops. Out: `Draws`, numbers (B, V).

What is drawn follows from (seed, epoch, code, stream) alone, so the same image gets the same crops in any batch, order
and process. The hash is splitmix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014).

Draws are those of torchvision's RandomResizedCrop, without rounding to whole pixels, of its ColorJitter, and of DINO's
blur; gamma, noise and tilt are ours.
"""

from dataclasses import dataclass

import numpy as np

from fmlab.pretrain.policies import Policy, Range

TRIES = 10  # for a crop that lies inside the image, as torchvision
NOISE_PLACES = 256  # each way, from which a window of the noise is taken
LOCAL_STREAM = 1 << 16  # local crop l draws from stream 65,536 + l, however many global ones there are

# The numbers drawn for a crop, in order. What is added later goes to the end, so that the others stay as they are.
NUMBERS = (
    *(f"{what} {number}" for number in range(TRIES) for what in ("area", "aspect")),
    "across", "down", "mirrored", "upside down", "tilt", "jitter", "brightness", "contrast", "gamma", "saturation",
    "hue", "noise", "noise across", "noise down", "grey", "blur", "sigma", "solarise",
)  # fmt: skip

STEP = np.uint64(0x9E3779B97F4A7C15)
FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Group:
    """Crops of one size: the stream of draws of each, and the share of each that is blurred or solarised."""

    size: int  # pixels
    scale: Range
    streams: np.ndarray  # (V,) uint64
    blur: np.ndarray  # (V,) 0–1
    solarise: np.ndarray  # (V,) 0–1


@dataclass(frozen=True)
class Draws:
    """What was drawn for the crops of a group, each (B, V); lengths are shares of the image's side."""

    left: np.ndarray
    top: np.ndarray
    width: np.ndarray
    height: np.ndarray
    mirrored: np.ndarray  # bool
    upside_down: np.ndarray  # bool
    tilt: np.ndarray  # radians; above 0 the picture turns to the left
    brightness: np.ndarray  # factor, as are contrast and saturation
    contrast: np.ndarray
    saturation: np.ndarray
    hue: np.ndarray  # turns of the colour circle
    gamma: np.ndarray  # exponent
    noise: np.ndarray  # standard deviation; below 0 the field is turned over
    noise_across: np.ndarray  # int64, 0 … NOISE_PLACES − 1, as is noise_down
    noise_down: np.ndarray
    grey: np.ndarray  # bool
    blurred: np.ndarray  # bool
    sigma: np.ndarray  # pixels of the crop
    solarised: np.ndarray  # bool

    def of(self, images: slice) -> "Draws":
        """The draws of some images, an image's crops one after the other: each (n,)."""
        return Draws(**{name: values[images].reshape(-1) for name, values in vars(self).items()})


def global_group(policy: Policy, size: int, views: int) -> Group:
    """So many global crops; the first is blurred by a share of its own, the second alone may be solarised."""
    first_blurred, others_blurred, _ = policy.blur_shares
    number = np.arange(views)
    return Group(
        size,
        policy.global_scale,
        number.astype(np.uint64),
        np.where(number == 0, first_blurred, others_blurred),
        np.where(number == 1, policy.solarise_share, 0.0),
    )


def local_group(policy: Policy, size: int, count: int) -> Group:
    """So many local crops."""
    streams = np.arange(LOCAL_STREAM, LOCAL_STREAM + count, dtype=np.uint64)
    return Group(size, policy.local_scale, streams, np.full(count, policy.blur_shares[2]), np.zeros(count))


def draw(policy: Policy, group: Group, codes: np.ndarray, seed: int, epoch: int) -> Draws:
    """The draws of a group of crops of images with those codes, (B,) uint64."""
    numbers = uniforms(seed, epoch, codes, group.streams, len(NUMBERS))
    drawn = {name: numbers[..., position] for position, name in enumerate(NUMBERS)}
    width, height = crop_sides(numbers[..., : 2 * TRIES], group.scale, policy.aspect)
    jittered = drawn["jitter"] < policy.jitter_share
    least_sigma, largest_sigma = policy.blur_sigma

    def either_way(name: str, largest: float) -> np.ndarray:
        return jittered * largest * (2 * drawn[name] - 1)

    return Draws(
        left=drawn["across"] * (1 - width),
        top=drawn["down"] * (1 - height),
        width=width,
        height=height,
        mirrored=(drawn["mirrored"] < 0.5) & (policy.flips in ("horizontal", "both")),
        upside_down=(drawn["upside down"] < 0.5) & (policy.flips in ("vertical", "both")),
        tilt=np.radians(policy.tilt) * (2 * drawn["tilt"] - 1),
        brightness=1 + either_way("brightness", policy.brightness),
        contrast=1 + either_way("contrast", policy.contrast),
        saturation=1 + either_way("saturation", policy.saturation),
        hue=either_way("hue", policy.hue),
        gamma=np.exp(either_way("gamma", policy.gamma)),
        noise=either_way("noise", policy.noise),
        noise_across=(drawn["noise across"] * NOISE_PLACES).astype(np.int64),
        noise_down=(drawn["noise down"] * NOISE_PLACES).astype(np.int64),
        grey=drawn["grey"] < policy.grey_share,
        blurred=drawn["blur"] < group.blur,
        sigma=least_sigma + drawn["sigma"] * (largest_sigma - least_sigma),
        solarised=drawn["solarise"] < group.solarise,
    )


def uniforms(seed: int, epoch: int, codes: np.ndarray, streams: np.ndarray, count: int) -> np.ndarray:
    """(B, V, count) float64 in [0, 1): number i of stream v of each code, whatever stands beside it."""
    seed_word = np.array([seed & WORD], np.uint64)
    epoch_word = np.array([epoch & WORD], np.uint64)
    key = mixed(mixed(seed_word + STEP) ^ epoch_word)
    state = mixed(mixed(codes ^ key)[:, None] + streams * STEP)
    numbers = mixed(state[..., None] + np.arange(1, count + 1, dtype=np.uint64) * STEP)
    return (numbers >> np.uint64(11)) * 2.0**-53


def mixed(words: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 on arrays of uint64, which wrap around."""
    words = (words ^ (words >> np.uint64(30))) * FACTORS[0]
    words = (words ^ (words >> np.uint64(27))) * FACTORS[1]
    return words ^ (words >> np.uint64(31))


def crop_sides(numbers: np.ndarray, scale: Range, aspect: Range) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of crops, each (B, V) as shares of a square image's side, from numbers (B, V, 2 · TRIES).

    Area and aspect of the first try that lies inside the image; where none does, as much of it as the aspect allows.
    """
    area = scale[0] + numbers[..., ::2] * (scale[1] - scale[0])
    ratio = np.exp(np.log(aspect[0]) + numbers[..., 1::2] * (np.log(aspect[1]) - np.log(aspect[0])))
    nearest = np.full((*area.shape[:-1], 1), np.clip(1.0, *aspect))
    width = np.concatenate([np.sqrt(area * ratio), np.minimum(1, nearest)], axis=-1)
    height = np.concatenate([np.sqrt(area / ratio), np.minimum(1, 1 / nearest)], axis=-1)
    chosen = np.argmax((width <= 1) & (height <= 1), axis=-1)[..., None]
    return np.take_along_axis(width, chosen, -1)[..., 0], np.take_along_axis(height, chosen, -1)[..., 0]
