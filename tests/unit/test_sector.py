"""The sector: fans, trapezoids and rectangles of speckle are found; lettering, bars and rulers are not part of them."""

import time

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fmlab.data.sector import find_sector

HEIGHT, WIDTH = 480, 640


def inside(points):
    picture = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(picture).polygon([tuple(point) for point in points], fill=1)
    return np.asarray(picture)


def fan(apex=(320, -40), inner=90, outer=480, half_angle=0.6):
    angles = np.linspace(-half_angle, half_angle, 40)
    arcs = [(outer, angles), (inner, angles[::-1])]
    return inside(
        np.concatenate([np.stack([apex[0] + r * np.sin(a), apex[1] + r * np.cos(a)], axis=1) for r, a in arcs])
    )


SHAPES = {
    "phased array": fan(apex=(320, 10), inner=4, outer=450, half_angle=0.75),
    "curved": fan(),
    "trapezoid": inside([(220, 40), (420, 40), (560, 440), (80, 440)]),
    "rectangle": inside([(120, 60), (520, 60), (520, 440), (120, 440)]),
}


def screen(shape, seed=0, brightness=60.0):
    """Rayleigh speckle in a shape, and around it what a screen shows: lettering, a colour bar, a ruler."""
    random = np.random.default_rng(seed)
    coarse = random.rayleigh(brightness, (HEIGHT // 2, WIDTH // 2)).clip(0, 255).astype(np.uint8)
    speckle = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))
    picture = Image.fromarray(np.where(shape, speckle, 0).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    pen.text((5, 5), "SAINT NOWHERE", fill=255)
    pen.text((5, 18), "DOE JANE 1970", fill=255)
    pen.text((520, 5), "MI 1.1", fill=255)
    for row in range(40, 440, 20):
        pen.line((620, row, 628, row), fill=200)
    pixels = np.array(picture)
    pixels[100:200, 600:612] = np.linspace(255, 0, 100)[:, None]
    return pixels


def overlap(found, shape):
    mask = inside(np.asarray(found).reshape(-1, 2) * (WIDTH, HEIGHT))
    return (mask & shape).sum() / (mask | shape).sum()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("brightness", [4.0, 60.0])
def test_shapes_are_found_even_when_they_are_nearly_black(name, brightness):
    found = find_sector([screen(SHAPES[name], brightness=brightness)])
    assert overlap(found, SHAPES[name]) > 0.95


def test_colour_and_several_frames():
    """A shadow hides half of each frame, another half in each: together they show all of the sector."""
    frames = []
    for seed in range(4):
        frame = screen(SHAPES["trapezoid"], seed)
        frame[:, : WIDTH // 2] = 0 if seed % 2 else frame[:, : WIDTH // 2]
        frame[:, WIDTH // 2 :] = 0 if not seed % 2 else frame[:, WIDTH // 2 :]
        frames.append(np.dstack([frame] * 3))
    assert overlap(find_sector(frames), SHAPES["trapezoid"]) > 0.95


def test_lettering_outside_is_outside():
    shape = SHAPES["curved"]
    mask = inside(np.asarray(find_sector([screen(shape)])).reshape(-1, 2) * (WIDTH, HEIGHT))
    assert not mask[:30, :100].any()
    assert not mask[:, 600:].any()


def test_no_sector():
    everything = np.ones((HEIGHT, WIDTH), bool)
    random = np.random.default_rng(0)
    assert find_sector([random.integers(0, 256, (HEIGHT, WIDTH), np.uint8)]) is None
    assert find_sector([np.zeros((HEIGHT, WIDTH), np.uint8)]) is None
    assert find_sector([screen(~everything)]) is None  # lettering alone
    assert find_sector([random.integers(0, 256, (60, 60), np.uint8)]) is None  # a cut-out of tissue
    for size in ((8, 400), (400, 8), (129, 8)):
        find_sector([np.zeros(size, np.uint8)])  # odd sizes do not fail


def test_a_box_from_the_header_bounds_the_search_and_stands_in_for_black():
    shape = SHAPES["rectangle"]
    picture = screen(shape)
    picture[:50] = np.random.default_rng(1).integers(0, 256, (50, WIDTH), np.uint8)  # a textured headline
    box = (110 / WIDTH, 55 / HEIGHT, 530 / WIDTH, 445 / HEIGHT)
    assert overlap(find_sector([picture], box), shape) > 0.95
    assert find_sector([np.zeros_like(picture)], (0.25, 0.25, 0.75, 0.75)) == (
        0.25,
        0.25,
        0.75,
        0.25,
        0.75,
        0.75,
        0.25,
        0.75,
    )


def test_it_is_quick():
    pixels = screen(SHAPES["curved"])
    times = []
    for _ in range(5):
        started = time.process_time()
        find_sector([pixels])
        times.append(time.process_time() - started)
    assert min(times) < 0.02  # 7 ms where this was written
