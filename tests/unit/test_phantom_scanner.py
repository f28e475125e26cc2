"""The scanner of the phantom: speckle statistics, advection, scan conversion, burn-in."""

import numpy as np
import pytest

from fmlab.phantom import burn_in
from fmlab.phantom.scanner import (
    LINES,
    SAMPLES,
    Beam,
    Sector,
    advect,
    decibels,
    double,
    grey_map,
    plane_points,
    scan_map,
    smooth_noise,
    speckle,
)

SECTOR = Sector(apex_x=128, apex_y=4, inner_radius=5, outer_radius=245, half_angle=38, depth_mm=160)
BEAM = Beam(axial_mm=0.55, lateral_degrees=1.0)


def fields(count):
    return [speckle(np.random.default_rng(seed), SECTOR, BEAM) for seed in range(count)]


def test_envelope_of_homogeneous_tissue_is_rayleigh():
    envelope = np.abs(np.concatenate(fields(6)))
    assert 1.7 <= envelope.mean() / envelope.std() <= 2.1
    assert np.mean(envelope**2) == pytest.approx(1.0, abs=0.01)
    # Rayleigh of unit power: the median is sqrt(ln 2), and one in e lies above 1.
    assert np.median(envelope) == pytest.approx(np.sqrt(np.log(2.0)), abs=0.02)
    assert np.mean(envelope > 1.0) == pytest.approx(np.exp(-1.0), abs=0.02)


def correlation_length_mm(samples):
    """Lateral distance (mm) at which the envelope's correlation falls to one half, between two depths."""
    rows = slice(*samples)
    envelopes = np.stack([np.abs(field[rows]) for field in fields(12)])
    envelopes = envelopes - envelopes.mean()
    lags = np.arange(0, 12)
    correlation = np.array(
        [np.mean(envelopes[..., : LINES - 12] * envelopes[..., lag : lag + LINES - 12]) for lag in lags]
    )
    lag = np.interp(-0.5, -correlation / correlation[0], lags)
    right, ahead = plane_points(SECTOR)
    middle, row = LINES // 2, (samples[0] + samples[1]) // 2
    step = np.hypot(right[row, middle + 1] - right[row, middle], ahead[row, middle + 1] - ahead[row, middle])
    return lag * step


def test_lateral_correlation_grows_with_depth():
    near, middle, far = (correlation_length_mm(samples) for samples in ((30, 70), (100, 140), (200, 240)))
    assert 1.4 * near < middle
    assert 1.4 * middle < far


def test_lateral_correlation_grows_in_the_image_too():
    """The same after scan conversion: neighbours on a row are more alike at depth."""
    converter = scan_map(SECTOR)
    alike = []
    for row in (60, 110, 200):
        pairs = []
        for field in fields(4):
            image = np.zeros(256 * 256, dtype=np.float32)
            image[converter.pixels] = converter.image(np.abs(field))
            strip = image.reshape(256, 256)[row : row + 8, 110:146]
            pairs.append(np.corrcoef(strip[:, :-2].ravel(), strip[:, 2:].ravel())[0, 1])
        alike.append(np.mean(pairs))
    assert alike[0] < alike[1] < alike[2]


def test_advection_carries_the_field_along():
    field = fields(1)[0]
    ahead = np.full((SAMPLES // 2, LINES // 2), 7 * SECTOR.depth_mm / (SAMPLES - 1), dtype=np.float32)
    moved = advect(field, SECTOR, np.zeros_like(ahead), ahead)
    middle = LINES // 2  # there the beam points straight ahead
    np.testing.assert_allclose(moved[40:240, middle], field[33:233, middle], atol=0.12)
    np.testing.assert_allclose(advect(field, SECTOR, 0 * ahead, 0 * ahead), field, atol=1e-6)


def test_doubling_keeps_a_ramp_a_ramp():
    ramp = np.add.outer(np.arange(4.0), 10.0 * np.arange(3.0)).astype(np.float32)
    fine = double(ramp)
    assert fine.shape == (8, 6)
    np.testing.assert_allclose(fine[:7, :5], np.add.outer(np.arange(7) / 2, 10 * np.arange(5) / 2))


def test_scan_conversion_puts_depth_and_angle_in_their_place():
    depth = np.repeat(np.arange(SAMPLES, dtype=np.float32)[:, None], LINES, axis=1)
    converter = scan_map(SECTOR)
    image = np.full(256 * 256, -1.0, dtype=np.float32)
    image[converter.pixels] = converter.image(depth)
    image = image.reshape(256, 256)
    assert image[4 + 5, 128] == pytest.approx(0.0, abs=1.0)
    assert image[4 + 125, 128] == pytest.approx((SAMPLES - 1) / 2, abs=1.0)
    assert (image[SECTOR.mask()] >= 0).all()
    assert (image[~SECTOR.mask()] == -1).all()


def test_decibels_and_grey_map():
    np.testing.assert_allclose(decibels(np.array([1.0, 0.1, 0.0], dtype=np.float32)), [0, -20, -90], atol=1e-4)
    levels = np.random.default_rng(0).normal(-30, 12, 4000)
    knots, greys = grey_map(levels, np.array([0.1, 0.5, 0.9]), np.array([10.0, 40.0, 200.0]))
    shown = np.interp(levels, knots, greys)
    assert np.median(shown) == pytest.approx(40.0, abs=0.5)
    assert np.all(np.diff(knots) > 0)


def test_smooth_noise_has_unit_spread():
    noise = smooth_noise(np.random.default_rng(1), 8, 6)
    assert noise.shape == (SAMPLES, LINES)
    assert noise.std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("corner", ["top-left", "top-right", "bottom-left", "bottom-right"])
def test_burn_in_stays_outside_the_sector(corner):
    style = burn_in.Style(grey=200, corner=corner, ticks="right", mark=True, trace=True)
    overlay = burn_in.static_overlay(SECTOR, style, ["HR 72", "MI 1.1", "FR 54HZ", "01/02/2021"] * 4)
    trace = burn_in.trace_overlay(SECTOR, style, 0.3)
    assert overlay.any()
    assert trace.any()
    assert not overlay[SECTOR.mask()].any()
    assert not trace[SECTOR.mask()].any()
