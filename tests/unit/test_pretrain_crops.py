"""The crops: the same bits in any company, each operation against another's implementation, the shares of what is drawn.

Run: pytest tests/unit/test_pretrain_crops.py
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms import RandomResizedCrop

from fmlab.errors import BadInput
from fmlab.pretrain.crops import Crops, halvings
from fmlab.pretrain.draws import STEP, crop_sides, draw, global_group, local_group, mixed, uniforms
from fmlab.pretrain.policies import POLICIES, Policy, policy

SIDE, SIZE, LOCAL = 40, 32, 16
WHOLE = Policy("whole", global_scale=(1.0, 1.0), local_scale=(1.0, 1.0), aspect=(1.0, 1.0), jitter_share=1.0)
ALL = replace(policy("natural", "both"), name="all", gamma=0.3, noise=0.05, tilt=10.0)


def speckle(count, side=SIDE, colour=False, grain=4):
    """Noise with a grain of a few pixels, of all grey levels, uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, side // grain, side // grain, 3), dtype=np.uint8)
    pictures = [Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC) for each in coarse]
    images = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(np.ascontiguousarray(images if colour else images[..., 0]))


def codes_of(count, seed=1):
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def crops_of(chosen, channels=1, size=SIZE, local_size=LOCAL, locals_=3, views=2, mean=0.0, std=1.0):
    return Crops(chosen, size, local_size, locals_, channels, (mean,) * channels, (std,) * channels, views)


def whole(images, channels=1, **numbers):
    """One view of whole images under a single operation, (B, C, K, K), and what was drawn for it, each (B,)."""
    chosen = replace(WHOLE, **numbers)
    side, codes = images.shape[1], codes_of(len(images))
    views = crops_of(chosen, channels, side, None, 0, 1)(images, codes, 3, 4)
    drawn = draw(chosen, global_group(chosen, side, 1), codes, 3, 4).of(slice(None))
    return views.globals[0], drawn


def as_floats(images):
    """(B, 1 or 3, K, K) at 0–1, by torchvision."""
    return torch.stack([reference.to_tensor(image.numpy()) for image in images])


# ---- draws


def test_the_hash_gives_the_published_numbers():
    """The first five of splitmix64 from 1234567, as listed by Rosetta Code."""
    states = np.uint64(1234567) + np.arange(1, 6, dtype=np.uint64) * STEP
    assert mixed(states).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8), st.data(), st.integers(-(2**70), 2**70))
@settings(max_examples=30, deadline=None)
def test_numbers_do_not_depend_on_what_stands_beside_them(codes, data, seed):
    array, streams = np.array(codes, np.uint64), np.array([0, 5, 65536], np.uint64)
    numbers = uniforms(seed, 2, array, streams, 7)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    order = data.draw(st.permutations(range(len(codes))))[: data.draw(st.integers(1, len(codes)))]
    np.testing.assert_array_equal(uniforms(seed, 2, array[order], streams[1:2], 4), numbers[order, 1:2, :4])


def test_numbers_are_even_and_unlike_for_other_seeds_epochs_streams():
    streams = np.arange(4, dtype=np.uint64)
    numbers = uniforms(0, 0, np.arange(2000, dtype=np.uint64), streams, 5)  # neighbouring codes, the hardest
    share, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert np.abs(share / numbers.size - 0.05).max() < 4 * np.sqrt(0.05 * 0.95 / numbers.size)
    columns = numbers.reshape(2000, -1)
    others = [uniforms(*pair, np.arange(2000, dtype=np.uint64), streams, 5) for pair in ((0, 1), (1, 0), (1, 1))]
    table = np.column_stack([columns, *(other.reshape(2000, -1) for other in others)])
    assert np.abs(np.corrcoef(table, rowvar=False) - np.eye(80)).max() < 5 / np.sqrt(2000)


def test_crop_sizes_are_spread_as_torchvision_spreads_them():
    torch.manual_seed(0)
    picture, scale, aspect = torch.zeros(1, 1000, 1000), (0.32, 1.0), (3 / 4, 4 / 3)
    boxes = np.array([RandomResizedCrop.get_params(picture, scale, aspect) for _ in range(3000)]) / 1000
    theirs = np.column_stack([boxes[:, 2] * boxes[:, 3], boxes[:, 3] / boxes[:, 2]])
    width, height = crop_sides(uniforms(0, 0, codes_of(3000), np.zeros(1, np.uint64), 20), scale, aspect)
    ours = np.column_stack([(width * height)[:, 0], (width / height)[:, 0]])
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        np.testing.assert_allclose(*(np.quantile(each, share, axis=0) for each in (ours, theirs)), atol=0.035)


def test_a_crop_that_never_fits_is_as_much_as_the_aspect_allows():
    width, height = crop_sides(np.full((1, 1, 20), 0.5), (1.0, 1.0), (2.0, 2.0))
    assert (width.item(), height.item()) == (1.0, 0.5)


def test_shares_of_what_is_drawn():
    chosen, codes = policy("natural", "both"), codes_of(4000)
    drawn = draw(chosen, global_group(chosen, SIZE, 3), codes, 0, 0)
    local = draw(chosen, local_group(chosen, LOCAL, 2), codes, 0, 0)

    def near(found, share):
        assert abs(found - share) <= 4 * np.sqrt(share * (1 - share) / 4000), (found, share)

    for view, (blurred, solarised) in enumerate([(1.0, 0.0), (0.1, 0.2), (0.1, 0.0)]):
        near(drawn.mirrored[:, view].mean(), 0.5)
        near(drawn.upside_down[:, view].mean(), 0.5)
        near((drawn.brightness[:, view] != 1).mean(), 0.8)
        near(drawn.grey[:, view].mean(), 0.2)
        near(drawn.blurred[:, view].mean(), blurred)
        near(drawn.solarised[:, view].mean(), solarised)
    near(local.blurred[:, 0].mean(), 0.5)
    assert not local.solarised.any()
    for name, largest in (("brightness", 0.4), ("contrast", 0.4), ("saturation", 0.2)):
        assert 0.98 * largest < np.abs(getattr(drawn, name) - 1).max() <= largest
    assert ((drawn.brightness == 1) == (drawn.hue == 0)).all(), "one draw for the whole jitter, as the sources have it"
    assert 0.1 <= drawn.sigma.min() < 0.11 < 1.99 < drawn.sigma.max() <= 2


@pytest.mark.parametrize(("flips", "each"), [("none", (0, 0)), ("horizontal", (1, 0)), ("vertical", (0, 1))])
def test_flips_are_those_that_were_chosen(flips, each):
    chosen = policy("ultrasound", flips)
    drawn = draw(chosen, global_group(chosen, SIZE, 2), codes_of(50), 0, 0)
    assert (int(drawn.mirrored.any()), int(drawn.upside_down.any())) == each


# ---- the same bits


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize("chosen", [*POLICIES.values(), ALL], ids=lambda chosen: chosen.name)
def test_an_image_has_the_same_views_in_any_company(chosen, colour, channels):
    images, codes = speckle(7, colour=colour), codes_of(7)
    make = crops_of(chosen, channels, mean=0.4, std=0.2)
    together = make(images, codes, 5, 6)
    assert together.globals.shape == (2, 7, channels, SIZE, SIZE)
    assert together.locals.shape == (3, 7, channels, LOCAL, LOCAL)
    assert together.globals.dtype == torch.float32
    assert torch.isfinite(together.globals).all()
    for order in ([0, 1, 2], [6, 5, 4, 3], [3], list(range(6, -1, -1))):
        apart = make(images[order], codes[order], 5, 6)
        assert torch.equal(apart.globals, together.globals[:, order])
        assert torch.equal(apart.locals, together.locals[:, order])


def test_parts_of_a_batch_do_not_show(monkeypatch):
    images, codes = speckle(9), codes_of(9)
    together = crops_of(ALL)(images, codes, 0, 0)
    monkeypatch.setattr("fmlab.pretrain.crops.VALUES_AT_ONCE", {"cpu": 2 * 2 * SIZE**2})
    apart = crops_of(ALL)(images, codes, 0, 0)
    assert torch.equal(together.globals, apart.globals)
    assert torch.equal(together.locals, apart.locals)


def test_the_number_of_threads_does_not_show():
    images, codes, before = speckle(2, 128), codes_of(2), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = crops_of(ALL, size=224, locals_=0, views=1)(images, codes, 0, 0).globals
        torch.set_num_threads(2)
        two = crops_of(ALL, size=224, locals_=0, views=1)(images, codes, 0, 0).globals
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, two)


def test_another_seed_epoch_view_or_code_is_another_crop_and_other_views_leave_one_alone():
    images, codes = speckle(1).expand(2, SIDE, SIDE), np.array([7, 8], np.uint64)
    first = crops_of(ALL)(images, codes, 0, 0)
    others = [crops_of(ALL)(images, codes, *pair) for pair in ((1, 0), (0, 1))]
    pictures = [first.globals[0, 0], first.globals[1, 0], first.globals[0, 1], *(each.globals[0, 0] for each in others)]
    for number, picture in enumerate(pictures):
        assert not any(torch.equal(picture, other) for other in pictures[:number])
    more = crops_of(ALL, size=24, locals_=5, views=3)(images, codes, 0, 0)
    assert torch.equal(more.locals[:3], first.locals)
    assert torch.equal(crops_of(ALL, locals_=0, views=1)(images, codes, 0, 0).globals[0], first.globals[0])
    assert crops_of(ALL, locals_=0)(images, codes, 0, 0).locals is None


# ---- where a crop's pixels come from


@pytest.mark.parametrize("flips", ["none", "both"])
def test_a_crop_lies_where_it_was_drawn(flips):
    """On a ramp every grey level tells its column (or row), and bilinear sampling is exact."""
    chosen = Policy("cut", global_scale=(0.1, 0.9), flips=flips)
    side, count = 64, 40
    ramp = torch.arange(side, dtype=torch.uint8).mul(4).expand(count, side, side)
    drawn = draw(chosen, global_group(chosen, SIZE, 1), codes_of(count), 0, 0)
    make = crops_of(chosen, size=SIZE, locals_=0, views=1)
    places = (np.arange(SIZE) + 0.5) / SIZE
    for images, first, length, turned in (
        (ramp, drawn.left, drawn.width, drawn.mirrored),
        (ramp.transpose(1, 2), drawn.top, drawn.height, drawn.upside_down),
    ):
        found = make(images, codes_of(count), 0, 0).globals[0, :, 0].numpy() * 255 / 4
        lines = found[:, SIZE // 2] if images is ramp else found[:, :, SIZE // 2]
        shares = np.where(turned, 1 - places, places)
        wanted = np.clip((first + shares * length) * side - 0.5, 0, side - 1)
        np.testing.assert_allclose(lines, wanted, atol=1e-3)
    assert turned.any() == (flips == "both")


@pytest.mark.parametrize("shrinkage", [0.7, 1.0, 1.5, 2.2, 3.0, 4.5])
def test_a_crop_is_near_pillows_antialiased_one(shrinkage):
    side, size, count = 160, 32, 6
    share = (shrinkage * size / side) ** 2
    chosen = Policy("cut", global_scale=(share, share))
    images = speckle(count, side, grain=10)
    drawn = draw(chosen, global_group(chosen, size, 1), codes_of(count), 0, 0).of(slice(None))
    found = crops_of(chosen, size=size, locals_=0, views=1)(images, codes_of(count), 0, 0).globals[0, :, 0].numpy()
    for number in range(count):
        left, top = drawn.left[number], drawn.top[number]
        box = tuple(side * np.array([left, top, left + drawn.width[number], top + drawn.height[number]]))
        picture = Image.fromarray(images[number].numpy())
        wanted = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box)) / 255
        assert np.sqrt(((found[number] - wanted) ** 2).mean()) < 0.08 * wanted.std()


def test_what_shrinks_much_is_halved_first():
    assert halvings(np.array([0.5, 1.0, 2.49, 2.51, 4.99, 5.01, 10.1])).tolist() == [0, 0, 0, 1, 1, 2, 3]
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8))
    for size, cell in ((16, 4), (8, 8)):  # twice as far as a half, or a quarter: the mean of each cell
        found = crops_of(WHOLE, size=size, locals_=0, views=1)(images, codes_of(3), 0, 0).globals[0, :, 0]
        wanted = images.double().view(3, size, cell, size, cell).mean((2, 4)) / 255
        torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [37, 64])
def test_halves_do_not_bleed_into_each_other(side):
    images = torch.full((20, side, side), 200, dtype=torch.uint8)
    chosen = Policy("cut", global_scale=(0.01, 1.0), flips="both")
    found = crops_of(chosen, size=8, locals_=0, views=4)(images, codes_of(20), 0, 0).globals
    torch.testing.assert_close(found, torch.full_like(found, 200 / 255))


def test_a_tilt_is_pillows():
    images = speckle(4, 48)
    found, drawn = whole(images, tilt=20.0)
    assert np.abs(np.degrees(drawn.tilt)).max() > 5
    for number, tilt in enumerate(drawn.tilt):
        turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        offset = 24 - turn @ [24, 24]
        places = (*turn[0], offset[0], *turn[1], offset[1])
        picture = Image.fromarray(images[number].numpy())
        wanted = np.asarray(picture.transform((48, 48), Image.Transform.AFFINE, places, Image.Resampling.BILINEAR))
        known = np.asarray(
            Image.new("L", (48, 48), 255).transform((48, 48), Image.Transform.AFFINE, places, Image.Resampling.NEAREST)
        )
        inside = known > 0
        picture = found[number, 0].numpy() * 255
        assert np.abs(picture - wanted)[inside].max() < 1.01  # Pillow cuts off what is behind the point
        assert (picture[~inside] == 0).mean() > 0.98  # but for places on the border itself


# ---- operations, each alone on whole images


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize(
    ("name", "largest"), [("brightness", 0.6), ("contrast", 0.6), ("saturation", 0.6), ("hue", 0.5)]
)
def test_jitter_is_torchvisions(name, largest, colour):
    images = speckle(6, colour=colour)
    found, drawn = whole(images, 3, **{name: largest})
    operation = getattr(reference, f"adjust_{name}")
    for number, image in enumerate(as_floats(images).expand(-1, 3, -1, -1)):
        wanted = operation(image, float(getattr(drawn, name)[number]))
        torch.testing.assert_close(found[number], wanted, atol=2e-4 if colour else 3e-3, rtol=0)


def test_gamma_is_a_power():
    images = speckle(5)
    found, drawn = whole(images, gamma=0.5)
    assert drawn.gamma.min() < 0.9
    assert drawn.gamma.max() > 1.1
    wanted = (images.numpy() / 255) ** drawn.gamma[:, None, None]
    np.testing.assert_allclose(found[:, 0].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_blur_is_torchvisions(colour):
    images = speckle(5, colour=colour)
    found, drawn = whole(images, 3 if colour else 1, blur_shares=(1.0, 1.0, 1.0), blur_sigma=(0.1, 3.0))
    for number, image in enumerate(as_floats(images)):
        wanted = reference.gaussian_blur(image, [9, 9], [float(drawn.sigma[number])] * 2)
        torch.testing.assert_close(found[number], wanted, atol=1e-5, rtol=0)


def test_solarisation_is_pillows():
    images, codes = speckle(4), codes_of(4)
    chosen = replace(WHOLE, solarise_share=1.0)
    first, second = crops_of(chosen, size=SIDE, locals_=0)(images, codes, 0, 0).globals[:, :, 0]
    for number, image in enumerate(images):
        np.testing.assert_array_equal(first[number].mul(255).round().numpy(), image.numpy())
        wanted = np.asarray(ImageOps.solarize(Image.fromarray(image.numpy()), 128))
        np.testing.assert_array_equal(second[number].mul(255).round().numpy(), wanted)


def test_grey_is_torchvisions_in_three_channels_and_pillows_in_one():
    images = speckle(4, colour=True)
    found, _ = whole(images, 3, grey_share=1.0)
    wanted = reference.rgb_to_grayscale(as_floats(images), 3)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)  # torchvision's weights have four digits
    single, _ = whole(images, 1)
    for number, image in enumerate(images):
        grey = np.asarray(Image.fromarray(image.numpy()).convert("L"))
        np.testing.assert_array_equal(single[number, 0].mul(255).round().numpy(), grey)


def test_noise_has_the_drawn_size_and_another_place_each_time():
    images = torch.full((12, 64, 64), 128, dtype=torch.uint8)
    found, drawn = whole(images, noise=0.05)
    fields = ((found[:, 0].numpy() - 128 / 255) / drawn.noise[:, None, None]).reshape(12, -1)
    np.testing.assert_allclose(fields.std(axis=1), 1, atol=0.06)
    np.testing.assert_allclose(fields.mean(axis=1), 0, atol=0.08)
    assert np.abs(np.corrcoef(fields) - np.eye(12)).max() < 0.1
    bright, _ = whole(torch.full((3, 16, 16), 255, dtype=torch.uint8), noise=0.2)
    assert bright.max() == 1


def test_what_was_not_drawn_leaves_the_image_as_it_is():
    images = speckle(3, colour=True)
    for numbers in ({"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2, "noise": 0.1}, {}):
        found, _ = whole(images, 3, jitter_share=0.0, **numbers)
        torch.testing.assert_close(found, as_floats(images), atol=1e-6, rtol=0)


def test_views_are_normalised_by_channel():
    images, codes = speckle(2, colour=True), codes_of(2)
    make = Crops(WHOLE, SIDE, None, 0, 3, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), 1)
    wanted = reference.normalize(as_floats(images), [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    torch.testing.assert_close(make(images, codes, 0, 0).globals[0], wanted, atol=1e-5, rtol=0)
    grey = make(images[..., 0], codes, 0, 0).globals[0]
    wanted = reference.normalize(as_floats(images[..., 0]).expand(-1, 3, -1, -1), [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    torch.testing.assert_close(grey, wanted, atol=1e-5, rtol=0)


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((4, None, 0, 1, (0.5,), (0.2,)), "8 pixels"),
        ((SIZE, None, 2, 1, (0.5,), (0.2,)), "8 pixels"),
        ((SIZE, LOCAL, -1, 1, (0.5,), (0.2,)), "cannot be made"),
        ((SIZE, LOCAL, 1, 2, (0.5, 0.5), (0.2, 0.2)), "1 or 3 channels"),
        ((SIZE, LOCAL, 1, 3, (0.5,), (0.2,)), "1 or 3 channels"),
        ((SIZE, LOCAL, 1, 1, (0.5,), (0.0,)), "above 0"),
    ],
)
def test_crops_that_cannot_be_made_are_refused(arguments, said):
    with pytest.raises(BadInput, match=said):
        Crops(WHOLE, *arguments)


def test_batches_of_another_form_are_refused():
    make, codes = crops_of(WHOLE), codes_of(2)
    for images in (torch.zeros(2, 8, 9, dtype=torch.uint8), torch.zeros(2, 8, 8), torch.zeros(2, 3, 8, 8).byte()):
        with pytest.raises(BadInput, match="expected uint8"):
            make(images, codes, 0, 0)
    with pytest.raises(BadInput, match="expected uint64"):
        make(speckle(2), codes[:1], 0, 0)
