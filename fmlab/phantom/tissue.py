"""What the beams meet: echo strength of every structure, with the heart in the picture or without it.

Tissue is painted back to front with soft edges: surroundings, heart muscle and fat, chambers, then the thin bright
things (endocardium, pericardium, leaflets, cusps). Smooth surfaces mirror the beam: their echo is strong where the
beam meets them head on and vanishes where it runs along them, which is why side walls drop out.

In:  `Distances` (mm) on the polar grid, depth (mm), fixed textures of the sequence (samples, lines)
Out: `Echo`: amplitude relative to heart muscle (1.0 = 0 dB), blood share, mirror-like amplitude; label map uint8
"""

from dataclasses import dataclass

import numpy as np

from fmlab.phantom.anatomy import Distances, Heart
from fmlab.phantom.scanner import LINES, SAMPLES, Sector, plane_points, polar_grid, smooth_noise


@dataclass(frozen=True)
class Surroundings:
    """What does not move with the heart, drawn once per sequence; fields (samples, lines) float32, amplitudes linear."""

    amplitude: np.ndarray
    muscle: np.ndarray
    near_wall: np.ndarray
    lung: float


@dataclass(frozen=True)
class Echo:
    """Amplitudes on the polar grid (samples, lines) float32; `blood` is the share of blood (0-1)."""

    amplitude: np.ndarray
    mirror: np.ndarray
    blood: np.ndarray


def _cover(distance: np.ndarray, softness: float) -> np.ndarray:
    """Share covered by a structure: 1 inside, 0 outside, a linear edge of +-`softness` mm."""
    return np.clip(np.float32(0.5) - distance * np.float32(0.5 / softness), 0.0, 1.0)


def _line(distance: np.ndarray, thickness: float) -> np.ndarray:
    """A soft line of half-width `thickness` mm around distance zero: 1 on it, 0 beyond twice the half-width."""
    return np.maximum(np.float32(1.0) - (distance * np.float32(0.5 / thickness)) ** 2, 0.0) ** 2


def _facing(distance: np.ndarray, step_mm: float) -> np.ndarray:
    """Squared cosine between the beam and the normal of a surface, 0-1."""
    slope = np.empty_like(distance)
    np.subtract(distance[2:], distance[:-2], out=slope[1:-1])
    slope[0], slope[-1] = slope[1], slope[-2]
    slope *= np.float32(0.5 / step_mm)
    return np.minimum(slope * slope, 1.0)


def surroundings(rng: np.random.Generator, sector: Sector, heart: Heart, liver: bool) -> Surroundings:
    """Tissue around the heart for one sequence: chest wall, fat, lung, and in subcostal views the liver."""
    depth, _ = polar_grid(sector)
    decibel = 5.0 * smooth_noise(rng, 7, 6) + 2.5 * smooth_noise(rng, 20, 12)
    amplitude = 0.40 * 10.0 ** (decibel / 20.0)
    if liver:
        amplitude = 0.50 * 10.0 ** (1.2 * smooth_noise(rng, 9, 7) / 20.0) * _vessels(rng, sector)
    muscle = (10.0 ** (2.2 * smooth_noise(rng, 22, 14) / 20.0)).astype(np.float32)
    ripple = 0.6 + 0.4 * smooth_noise(rng, 60, 3)
    near = np.clip((0.8 * heart.chest - depth) / 5.0, 0.0, 1.0) * np.abs(ripple) * rng.uniform(0.6, 1.3)
    near = near + rng.uniform(0.2, 0.8) * np.exp(-depth / rng.uniform(4.0, 9.0)) * (
        1.0 + 0.3 * smooth_noise(rng, 40, 2)
    )
    return Surroundings(
        amplitude.astype(np.float32), muscle, np.abs(near).astype(np.float32), float(rng.uniform(0.6, 2.0))
    )


def _vessels(rng: np.random.Generator, sector: Sector) -> np.ndarray:
    """Share of liver tissue left beside its veins (dark rods with bright walls), (samples, lines) float32."""
    right, ahead = plane_points(sector)
    share = np.ones((SAMPLES, LINES), dtype=np.float32)
    for _ in range(int(rng.integers(2, 6))):
        centre = rng.uniform((-35.0, 12.0), (35.0, 60.0))
        angle, long = rng.uniform(0, np.pi), rng.uniform(4.0, 22.0)
        u = (right - centre[0]) * np.cos(angle) + (ahead - centre[1]) * np.sin(angle)
        v = (ahead - centre[1]) * np.cos(angle) - (right - centre[0]) * np.sin(angle)
        edge = np.hypot(np.maximum(np.abs(u) - long, 0.0), v) - rng.uniform(1.2, 3.6)
        share *= 1.0 - 0.92 * _cover(edge, 0.8) + 0.5 * _line(edge, 0.7)
    return share


def heart_echo(heart: Heart, where: Distances, around: Surroundings, sector: Sector) -> Echo:
    """Echo of the heart and its surroundings at one instant."""
    step = sector.depth_mm / (SAMPLES - 1)
    depth, _ = polar_grid(sector)
    outside = np.maximum(where.heart, 0.0)
    facing_heart = _facing(where.heart, step)
    # Behind the heart the pericardium meets lung: a bright haze that fades with distance.
    rear = np.clip((depth - 45.0) * 0.03, 0.0, 1.0)
    amplitude = around.amplitude * (1.0 + around.lung * rear * np.exp(outside * np.float32(-1.0 / 16.0)))

    wall = _cover(where.heart, 0.7)
    muscle = around.muscle * (0.50 + 0.50 * _facing(where.epicardium, step))
    fat = around.muscle * (0.35 + 0.6 * facing_heart)
    tissue = fat + (muscle - fat) * _cover(where.epicardium, 1.0)
    amplitude = amplitude + (tissue - amplitude) * wall

    chambers = np.minimum(
        np.minimum(where.left_ventricle, where.left_atrium), np.minimum(where.right_atrium, where.right_ventricle)
    )
    chambers = np.minimum(chambers, where.aorta)
    inside = _cover(chambers, 0.6)
    inside *= 1.0 - _cover(where.papillary, 0.8) * (where.left_ventricle < 0)
    if heart.effusion > 0:
        inside = np.maximum(inside, _cover(np.maximum(0.8 - where.heart, where.pericardium), 0.6))
    blood = inside

    leaflet = _line(where.leaflets, heart.valve_thickness)
    amplitude = amplitude * (1.0 - blood)
    facing = _facing(chambers, step)
    mirror = 1.6 * _line(chambers, 0.8) * facing * facing
    mirror += (3.2 + 2.0 * rear) * _line(where.pericardium - 1.0, 1.1) * facing_heart * facing_heart
    amplitude += leaflet * 1.5
    mirror += 1.2 * leaflet * _facing(where.leaflets, step)
    return Echo(amplitude, mirror, blood)


def add_cusps(echo: Echo, where: Distances, opening: float, thickness: float) -> None:
    """Paint the aortic cusps, closed and open shares crossfading as they swing, into `echo` in place."""
    closed = (1.0 - opening) * _line(where.cusps_closed, 0.85 * thickness)
    echo.amplitude[...] += 1.3 * np.maximum(closed, 0.8 * opening * _line(where.cusps_open, 0.8 * thickness))


def labels(where: Distances) -> np.ndarray:
    """Label map (samples, lines) uint8 with the ids of `MASK_CLASSES`."""
    label = np.zeros(where.heart.shape, dtype=np.uint8)
    label[where.epicardium < 0] = 2
    label[where.right_ventricle < 0] = 4
    label[where.right_atrium < 0] = 5
    label[where.left_atrium < 0] = 3
    label[where.left_ventricle < 0] = 1
    label[where.aorta < 0] = 6
    return label


def absent_echo(rng: np.random.Generator, sector: Sector, chest_mm: float) -> Echo:
    """A picture without a heart: lung behind ribs, abdomen, layered muscle, or a probe with poor contact."""
    draw = (_lung, _abdomen, _muscle, _air)[int(rng.choice(4, p=[0.30, 0.35, 0.20, 0.15]))]
    right, ahead = plane_points(sector)
    ahead = ahead + 2.5 * smooth_noise(rng, 4, 5) + 0.8 * smooth_noise(rng, 12, 12)
    amplitude, mirror = draw(rng, sector, right, ahead, chest_mm)
    amplitude = amplitude * 10.0 ** ((4.0 * smooth_noise(rng, 6, 6) + 2.0 * smooth_noise(rng, 18, 12)) / 20.0)
    nothing = np.zeros((SAMPLES, LINES), dtype=np.float32)
    return Echo(amplitude.astype(np.float32), (nothing + mirror).astype(np.float32), nothing)


_Picture = tuple[np.ndarray, np.ndarray]


def _lung(rng: np.random.Generator, sector: Sector, right: np.ndarray, ahead: np.ndarray, chest_mm: float) -> _Picture:
    """Pleural line with its repetitions (A-lines) and comet tails (B-lines)."""
    pleura = chest_mm + rng.uniform(4.0, 14.0)
    bow = ahead + rng.uniform(-0.003, 0.003) * right**2
    amplitude = 0.7 * np.exp(-np.maximum(bow - pleura, 0.0) / rng.uniform(18.0, 60.0))
    mirror = sum(rng.uniform(1.0, 3.0) * 0.5**turn * _line(bow - (turn + 1) * pleura, 1.3) for turn in range(5))
    streaks = np.maximum(smooth_noise(rng, 2, int(rng.integers(8, 30))) - rng.uniform(0.3, 1.3), 0.0)
    comet = streaks * _cover(pleura - bow, 2.0) * np.exp(-ahead / rng.uniform(80.0, 160.0))
    return amplitude + rng.uniform(0.2, 1.2) * comet, mirror


def _abdomen(
    rng: np.random.Generator, sector: Sector, right: np.ndarray, ahead: np.ndarray, chest_mm: float
) -> _Picture:
    """Liver with its veins, hollow organs, and a diaphragm beyond it."""
    amplitude = 0.6 * _vessels(rng, sector)
    edge = ahead - rng.uniform(60.0, 130.0) + rng.uniform(-0.006, 0.006) * (right - rng.uniform(-30.0, 30.0)) ** 2
    mirror = rng.uniform(0.5, 2.5) * _line(edge, 1.3)
    amplitude = amplitude * (1.0 - rng.uniform(0.0, 0.8) * _cover(-edge, 3.0))
    for _ in range(int(rng.integers(1, 5))):
        centre, size = rng.uniform((-45.0, 35.0), (45.0, 125.0)), rng.uniform(7.0, 26.0, 2)
        hollow = (np.hypot((right - centre[0]) / size[0], (ahead - centre[1]) / size[1]) - 1.0) * size.min()
        amplitude = amplitude * (1.0 - 0.96 * _cover(hollow, 1.0)) + rng.uniform(0.1, 1.0) * _line(hollow, 1.2)
    return amplitude, mirror


def _muscle(
    rng: np.random.Generator, sector: Sector, right: np.ndarray, ahead: np.ndarray, chest_mm: float
) -> _Picture:
    """Striped layers of muscle and fascia, darker with depth."""
    band = np.sin((ahead + rng.uniform(-0.4, 0.4) * right) * rng.uniform(0.25, 0.7))
    amplitude = (0.15 + 0.6 * np.maximum(band, 0.0) ** 3) * np.exp(-ahead / rng.uniform(40.0, 120.0))
    return amplitude, rng.uniform(0.2, 1.2) * _line(ahead - rng.uniform(1.5, 4.0) * chest_mm, 1.5)


def _air(rng: np.random.Generator, sector: Sector, right: np.ndarray, ahead: np.ndarray, chest_mm: float) -> _Picture:
    """Poor contact: rings of the probe's own echo, then haze."""
    depth, _ = polar_grid(sector)
    rings = np.maximum(np.cos(2.0 * np.pi * depth / rng.uniform(5.0, 12.0)), 0.0) ** 4
    return 1.0 * np.exp(-ahead / rng.uniform(15.0, 45.0)), 0.7 * rings * np.exp(-depth / rng.uniform(25.0, 70.0))
