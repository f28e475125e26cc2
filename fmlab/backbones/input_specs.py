"""Inputs that several backbones demand: statistics of the colour channels, and ways to resize.

In: sizes in pixels. Out: `InputSpec`s.

Sources: the ImageNet statistics as torchvision prints them; those of CLIP from its repository (openai/CLIP, `clip.py`).
"""

from fmlab.data.preprocessing import InputSpec

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def crop(size: int, resize_to: int, mean: tuple[float, float, float], std: tuple[float, float, float]) -> InputSpec:
    """Shorter side to `resize_to` by bicubic interpolation, then the central square of `size` pixels."""
    return InputSpec(size, "crop", resize_to, "bicubic", mean, std)


def squash(size: int, mean: tuple[float, float, float], std: tuple[float, float, float]) -> InputSpec:
    """Both sides to `size` pixels by bicubic interpolation, whatever the aspect ratio."""
    return InputSpec(size, "squash", size, "bicubic", mean, std)


def pad(size: int, mean: tuple[float, float, float], std: tuple[float, float, float]) -> InputSpec:
    """Black added to make a square, then that to `size` pixels by bicubic interpolation."""
    return InputSpec(size, "pad", size, "bicubic", mean, std)
