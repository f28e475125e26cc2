"""The reference preprocessing: sizes, crops, padding and normalisation as the backbones' authors do them."""

import numpy as np
import pytest
from PIL import Image

from fmlab.data.preprocessing import InputSpec, fit, mask_outside, normalise, prepare, seen_by_model, styled

SPEC = InputSpec(8, "crop", 10, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def ramp(height, width):
    return (np.arange(height * width) % 251).astype(np.uint8).reshape(height, width)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (10, 10), (7, 9), (20, 30, 3)])
@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_every_shape_becomes_the_square(shape, resize):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    spec = InputSpec(8, resize, 10, "bicubic", SPEC.mean, SPEC.std)
    assert fit(image, spec).shape == (8, 8, *shape[2:])
    assert prepare(image, spec).shape == (3, 8, 8)
    assert prepare(image, spec).dtype == np.float32
    assert seen_by_model(image, spec).shape == (8, 8, 3)


def test_crop_takes_the_centre_of_the_scaled_image():
    image = ramp(20, 40)
    scaled = Image.fromarray(image).resize((20, 10), Image.Resampling.BILINEAR)
    assert (fit(image, SPEC) == np.asarray(scaled)[1:9, 6:14]).all()


def test_padding_makes_a_square_of_black_around_the_whole_image():
    spec = InputSpec(8, "pad", 8, "bilinear", SPEC.mean, SPEC.std)
    fitted = fit(np.full((5, 8), 200, np.uint8), spec)
    assert (fitted[1:6] == 200).all()
    assert fitted[0].sum() == fitted[6:].sum() == 0
    enlarged = fit(np.full((4, 2, 3), 200, np.uint8), spec)
    assert (enlarged[:, 3:5] == 200).all()
    assert enlarged[:, 0].sum() == enlarged[:, -1].sum() == 0


def test_an_image_of_the_right_size_is_untouched():
    spec = InputSpec(8, "crop", 8, "bilinear", SPEC.mean, SPEC.std)
    assert (fit(ramp(8, 8), spec) == ramp(8, 8)).all()


def test_a_crop_larger_than_the_picture_is_padded_with_black():
    spec = InputSpec(12, "crop", 10, "bilinear", SPEC.mean, SPEC.std)
    fitted = fit(np.full((10, 10), 200, np.uint8), spec)
    assert (fitted[1:11, 1:11] == 200).all()
    assert fitted[0].sum() == fitted[:, -1].sum() == 0


def test_normalisation_by_hand():
    values = normalise(np.full((8, 8), 51, np.uint8), SPEC)  # 51 / 255 = 0.2
    assert values[:, 0, 0] == pytest.approx([(0.2 - 0.5) / 0.2, (0.2 - 0.4) / 0.25, (0.2 - 0.3) / 0.5], abs=1e-6)
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 1] = 255
    assert normalise(colour, SPEC)[:, 3, 3] == pytest.approx([-2.5, 2.4, -0.6], abs=1e-6)


def test_paper_style():
    paper = styled(SPEC, "paper")
    assert (paper.size, paper.resize_to, paper.resize, paper.mean) == (224, 256, "crop", SPEC.mean)
    assert styled(SPEC, "native") is SPEC


@pytest.mark.parametrize("shape", [(20, 40), (20, 40, 3)])
def test_outside_the_sector_is_black(shape):
    image = np.full(shape, 9, np.uint8)
    left_half = np.array([0, 0, 0.5, 0, 0.5, 1, 0, 1], np.float32)
    masked = mask_outside(image, left_half)
    assert (masked[:, :20] == 9).all()
    assert masked[:, 21:].sum() == 0
    assert (image == 9).all()
    assert mask_outside(image, None) is image
