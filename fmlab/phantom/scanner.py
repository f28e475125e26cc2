"""The scanner: speckle, beam physics, log compression and scan conversion.

Speckle follows the usual model (Goodman; Wagner et al. 1983): many scatterers per resolution cell make a circular
complex Gaussian field, the point spread function correlates it, and its envelope is Rayleigh distributed, with a
mean-to-standard-deviation ratio of 1.91. The field lives on the polar grid of beams and depths; a beam has a constant
angular width, so in millimetres the lateral correlation grows with depth.

In:  `Sector` (pixels, degrees), `Beam` (mm, degrees), amplitudes on the polar grid (samples, lines) float32
Out: complex speckle of unit power (samples, lines) complex64; echo levels in dB; images (256, 256)
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

IMAGE_SIZE = 256
SAMPLES = 256
LINES = 128


@dataclass(frozen=True)
class Sector:
    """Where the fan of beams lies in the image, in pixels of a 256x256 image; angles in degrees from straight down.

    `apex_x`, `apex_y` is where the edges would meet (it may lie above the image); beams run from `inner_radius` (the
    face of the probe) to `outer_radius`, between -`half_angle` and +`half_angle`. `depth_mm` is the length of a beam.
    """

    apex_x: float
    apex_y: float
    inner_radius: float
    outer_radius: float
    half_angle: float
    depth_mm: float

    @property
    def spacing_mm(self) -> float:
        """Size of a pixel in mm."""
        return self.depth_mm / (self.outer_radius - self.inner_radius)

    def mask(self) -> np.ndarray:
        """The fan, (256, 256) bool, read-only: the only pixels that hold echoes."""
        return _fan(self)[0]


@lru_cache(maxsize=4)
def _fan(sector: Sector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask of the fan (256, 256) bool, and of its pixels the radius (pixels) and the angle (degrees), 1-D float32."""
    row, column = np.indices((IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    across, down = column - np.float32(sector.apex_x), row - np.float32(sector.apex_y)
    radius, angle = np.hypot(across, down), np.degrees(np.arctan2(across, down))
    mask = (radius >= sector.inner_radius) & (radius <= sector.outer_radius) & (np.abs(angle) <= sector.half_angle)
    mask.flags.writeable = False
    return mask, radius[mask], angle[mask]


@dataclass(frozen=True)
class Beam:
    """Resolution of the scanner: pulse length (mm) and beam width (degrees), as standard deviations of Gaussians."""

    axial_mm: float
    lateral_degrees: float


def polar_grid(sector: Sector) -> tuple[np.ndarray, np.ndarray]:
    """Depth below the skin (samples, 1) in mm and beam angle (1, lines) in radians, float32."""
    depth = np.linspace(0.0, sector.depth_mm, SAMPLES, dtype=np.float32)[:, None]
    angle = np.deg2rad(np.linspace(-sector.half_angle, sector.half_angle, LINES, dtype=np.float32))[None, :]
    return depth, angle


def plane_points(sector: Sector) -> tuple[np.ndarray, np.ndarray]:
    """Position of every polar sample in the imaging plane (mm): to the right of and ahead of the probe's face."""
    depth, angle = polar_grid(sector)
    face = np.float32(sector.inner_radius * sector.spacing_mm)
    return (face + depth) * np.sin(angle), (face + depth) * np.cos(angle) - face


def speckle(rng: np.random.Generator, sector: Sector, beam: Beam) -> np.ndarray:
    """Fully developed speckle of unit mean power, (samples, lines) complex64.

    Its envelope is Rayleigh; neighbouring beams are correlated over a constant angle, so over more mm at depth.
    """
    axial = beam.axial_mm / (sector.depth_mm / (SAMPLES - 1))
    lateral = beam.lateral_degrees / (2.0 * sector.half_angle / (LINES - 1))
    parts = []
    for _ in range(2):
        field = rng.standard_normal((SAMPLES, LINES), dtype=np.float32)
        field = ndimage.gaussian_filter1d(field, axial, axis=0, mode="wrap", truncate=3.0)
        parts.append(ndimage.gaussian_filter1d(field, lateral, axis=1, mode="wrap", truncate=3.0))
    field = parts[0] + np.complex64(1j) * parts[1]
    return field * np.float32(1.0 / np.sqrt(np.mean(np.abs(field) ** 2)))


def smooth_noise(rng: np.random.Generator, knots_deep: int, knots_across: int) -> np.ndarray:
    """Slowly varying field on the polar grid, about zero mean and unit spread, (samples, lines) float32."""
    knots = rng.standard_normal((knots_deep, knots_across)).astype(np.float32)
    quarter = (SAMPLES // 4 / knots_deep, LINES // 4 / knots_across)
    field = ndimage.zoom(knots, quarter, order=2, mode="nearest", grid_mode=True)
    return double(double(field)) / max(float(field.std()), 1e-3)


def advect(field: np.ndarray, sector: Sector, right_mm: np.ndarray, ahead_mm: np.ndarray) -> np.ndarray:
    """The field carried along with the tissue, which moved by (right, ahead) mm since the reference instant.

    Displacements have half the grid's resolution, (samples / 2, lines / 2); the field wraps around at the edges.
    """
    depth, angle = polar_grid(sector)
    depth, angle = depth[::2], angle[:, ::2]
    sine, cosine = np.sin(angle), np.cos(angle)
    face = sector.inner_radius * sector.spacing_mm
    deep = right_mm * sine + ahead_mm * cosine
    turned = (right_mm * cosine - ahead_mm * sine) / np.maximum(depth + np.float32(face), 8.0)
    rows = double(deep * np.float32((SAMPLES - 1) / sector.depth_mm))
    columns = double(turned * np.float32((LINES - 1) / np.deg2rad(2.0 * sector.half_angle)))
    rows = np.arange(SAMPLES, dtype=np.float32)[:, None] - rows
    columns = np.arange(LINES, dtype=np.float32)[None, :] - columns
    low_row, low_column = np.floor(rows), np.floor(columns)
    part_row, part_column = rows - low_row, columns - low_column
    row, column = low_row.astype(np.int32) % SAMPLES, low_column.astype(np.int32) % LINES
    start = row * LINES + column
    # One padded row and column make the four neighbours plain offsets.
    padded = np.pad(field, ((0, 1), (0, 1)), mode="wrap").ravel()
    start = start + row
    width = LINES + 1
    top = padded[start] * (1.0 - part_column) + padded[start + 1] * part_column
    bottom = padded[start + width] * (1.0 - part_column) + padded[start + width + 1] * part_column
    return top * (1.0 - part_row) + bottom * part_row


def double(coarse: np.ndarray) -> np.ndarray:
    """Twice the resolution in both directions by linear interpolation; the last row and column are repeated."""
    rows, columns = coarse.shape
    wide = np.empty((rows, 2 * columns), dtype=coarse.dtype)
    wide[:, ::2] = coarse
    np.add(coarse[:, :-1], coarse[:, 1:], out=wide[:, 1:-1:2])
    wide[:, 1:-1:2] *= 0.5
    wide[:, -1] = coarse[:, -1]
    fine = np.empty((2 * rows, 2 * columns), dtype=coarse.dtype)
    fine[::2] = wide
    np.add(wide[:-1], wide[1:], out=fine[1:-1:2])
    fine[1:-1:2] *= 0.5
    fine[-1] = wide[-1]
    return fine


@dataclass(frozen=True)
class ScanMap:
    """Scan conversion with its indices worked out once: `pixels` of the flat image, corners and weights on the grid."""

    pixels: np.ndarray
    corners: np.ndarray
    row_weight: np.ndarray
    column_weight: np.ndarray

    def image(self, polar: np.ndarray) -> np.ndarray:
        """Bilinear values at the sector's pixels, (pixels,) float32, from a polar field (samples, lines)."""
        flat = polar.ravel()
        first, column = flat[self.corners], self.column_weight
        top = first + (flat[self.corners + 1] - first) * column
        first = flat[self.corners + LINES]
        bottom = first + (flat[self.corners + LINES + 1] - first) * column
        return top + (bottom - top) * self.row_weight

    def nearest(self, polar: np.ndarray) -> np.ndarray:
        """Values of the nearest polar sample, for label maps, (pixels,)."""
        step = self.corners + LINES * (self.row_weight > 0.5) + (self.column_weight > 0.5)
        return polar.ravel()[step]


def scan_map(sector: Sector) -> ScanMap:
    """Index map from the polar grid to the pixels of `sector`."""
    mask, radius, angle = _fan(sector)
    pixels = np.flatnonzero(mask)
    row = (radius - sector.inner_radius) / (sector.outer_radius - sector.inner_radius) * (SAMPLES - 1)
    column = (angle + sector.half_angle) / (2.0 * sector.half_angle) * (LINES - 1)
    low_row = np.clip(np.floor(row), 0, SAMPLES - 2).astype(np.int32)
    low_column = np.clip(np.floor(column), 0, LINES - 2).astype(np.int32)
    return ScanMap(
        pixels,
        low_row * LINES + low_column,
        (row - low_row).astype(np.float32),
        (column - low_column).astype(np.float32),
    )


def decibels(envelope: np.ndarray) -> np.ndarray:
    """Log compression: 20 log10 of the envelope, floored at -90 dB."""
    return np.float32(20.0) * np.log10(np.maximum(envelope, np.float32(10.0**-4.5)))


def grey_map(levels_db: np.ndarray, quantiles: np.ndarray, greys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots (dB, grey) of a monotone display curve that puts the given quantiles of the levels at the given greys.

    This is the scanner's automatic gain: pictures of different anatomy end up equally bright.
    """
    knots = np.quantile(levels_db, quantiles)
    knots = np.maximum.accumulate(knots + 1e-3 * np.arange(len(knots)))
    return knots.astype(np.float32), greys.astype(np.float32)
