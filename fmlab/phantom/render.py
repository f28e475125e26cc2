"""Draw one planned sequence: patient, plane, beat, echoes, speckle, scan conversion, burn-in.

In:  `PhantomConfig`, `PlannedSequence`
Out: `RenderedSequence`: frames and masks (F, 256, 256) uint8, scored (F,) bool, sector, spacing (mm per pixel)
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from fmlab.phantom import burn_in, sites, tissue
from fmlab.phantom.anatomy import Distances, Heart, distances
from fmlab.phantom.cases import PhantomConfig, PlannedSequence, generator
from fmlab.phantom.motion import Beat, beat_at, drift_at
from fmlab.phantom.scanner import (
    IMAGE_SIZE,
    LINES,
    SAMPLES,
    Sector,
    advect,
    decibels,
    double,
    grey_map,
    plane_points,
    polar_grid,
    scan_map,
    smooth_noise,
    speckle,
)
from fmlab.phantom.views import Pose, held, standard_pose

BLOOD = 0.022
"""Amplitude of blood relative to heart muscle: -33 dB."""

DECORRELATION = 0.35
"""Share of another speckle realisation at the quarters of the beat; at its start and half there is none."""


@dataclass(frozen=True)
class RenderedSequence:
    """A finished sequence. `scored` marks the frames that count: all in train, five evenly spaced in a test set."""

    frames: np.ndarray
    masks: np.ndarray
    scored: np.ndarray
    phases: np.ndarray
    spacing_mm: float
    sector: Sector


@dataclass(frozen=True)
class _Scene:
    """All that stays the same over a sequence.

    `start` is the phase of the first frame, `lines` the burnt-in text. `points` are heart coordinates (mm) at half the
    polar resolution; `moving`, `changing` and `still` three speckle fields (samples, lines) complex64.
    """

    machine: sites.Machine
    heart: Heart
    heart_rate: float
    start: float
    lines: list[str]
    pose: Pose
    sector: Sector
    window: sites.Window
    around: tissue.Surroundings
    absent: tissue.Echo | None
    points: tuple[np.ndarray, np.ndarray, np.ndarray]
    gain: np.ndarray
    moving: np.ndarray
    changing: np.ndarray
    still: np.ndarray


def scored_frames(split: str, frames: int, scored: int) -> np.ndarray:
    """Which frames count, (frames,) bool: all in train, `scored` evenly spaced ones in a test set."""
    marks = np.ones(frames, dtype=bool)
    if split != "train":
        marks[:] = False
        # The middles of equal stretches, as fmlab.data marks any test sequence.
        marks[(2 * np.arange(scored) + 1) * frames // (2 * scored)] = True
    return marks


def _gain(rng: np.random.Generator, sector: Sector, window: sites.Window) -> np.ndarray:
    """Two-way attenuation left over after time-gain compensation, shadows and weak edges, linear (samples, lines)."""
    depth, _ = polar_grid(sector)
    level = -window.attenuation_db_per_cm * depth / 10.0 + np.interp(
        depth, np.linspace(0, sector.depth_mm, 6), rng.normal(0.0, 1.6, 6)
    )
    across = np.linspace(0.0, 1.0, LINES)[None, :]
    level = level + 1.5 * smooth_noise(rng, 1, 9)
    for centre, width, onset, loss in window.shadows:
        soft = np.clip((width - np.abs(across - centre)) / 0.035 + 0.5, 0.0, 1.0)
        level = level - loss * soft * np.clip((depth - onset) / 10.0, 0.0, 1.0)
    return (10.0 ** (level / 20.0)).astype(np.float32)


def _points(pose: Pose, sector: Sector, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heart coordinates (mm) of every polar sample, bent a little so that no chamber is a perfect ellipsoid."""
    right, ahead = plane_points(sector)
    right = right + 2.0 * smooth_noise(rng, 8, 6) + 0.7 * smooth_noise(rng, 22, 14)
    ahead = ahead + 1.8 * smooth_noise(rng, 8, 6) + 0.7 * smooth_noise(rng, 22, 14)
    right, ahead = right[::2, ::2], ahead[::2, ::2]
    return tuple(
        (float(pose.origin[i]) + right * float(pose.right[i]) + ahead * float(pose.forward[i])).astype(np.float32)
        for i in range(3)
    )


def _scene(config: PhantomConfig, planned: PlannedSequence) -> _Scene:
    """Draw the patient from the patient's stream and the acquisition from the sequence's."""
    difficult = planned.split == "T2"
    patient = generator(config, "patient", planned.patient_id)
    machine = sites.draw_machine(patient, planned.site)
    heart = sites.draw_heart(patient, difficult)
    heart_rate = float(patient.uniform(52, 98))
    rng = generator(config, "sequence", planned.sequence_id)
    sector = sites.draw_sector(rng, machine)
    window = sites.draw_window(rng, machine, difficult)
    lines = sites.draw_lines(rng, machine, sector, heart_rate)
    pose = held(standard_pose(planned.view, heart), sites.draw_hand(rng, difficult))
    absent = tissue.absent_echo(rng, sector, heart.chest) if planned.view == "NO-ORGAN" else None
    return _Scene(
        machine=machine,
        heart=heart,
        heart_rate=heart_rate,
        lines=lines,
        pose=pose,
        sector=sector,
        window=window,
        around=tissue.surroundings(rng, sector, heart, liver=planned.view == "SUBCOSTAL"),
        absent=absent,
        points=_points(pose, sector, rng),
        gain=_gain(rng, sector, window),
        moving=speckle(rng, sector, machine.beam),
        changing=speckle(rng, sector, machine.beam),
        still=speckle(rng, sector, machine.beam),
        start=float(rng.random()),
    )


def _refined(where: Distances) -> Distances:
    """The same distances at twice the resolution."""
    return Distances(**{field.name: double(getattr(where, field.name)) for field in fields(where)})


def _tissue_shift(scene: _Scene, beat: Beat, drift: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Displacement (mm: right, ahead) of the tissue at every second polar sample since end-diastole."""
    heart, pose = scene.heart, scene.pose
    x, y, z = scene.points
    base = heart.base_descent * beat.contraction
    reach = np.hypot(x, y)
    inward = heart.radius * heart.shortening * beat.contraction
    near = np.exp(np.maximum(reach - heart.radius - heart.wall, 0.0) * np.float32(-1.0 / 18.0))
    radial = -inward * near * np.minimum(reach * np.float32(1.0 / heart.radius), 1.0) / np.maximum(reach, 1.0)
    along = base * np.clip((heart.length - z) * np.float32(1.0 / heart.length), 0.0, 1.0) * near
    parts = (x * radial, y * radial, along)
    right = sum(part * float(pose.right[i]) for i, part in enumerate(parts)) + drift[0]
    ahead = sum(part * float(pose.forward[i]) for i, part in enumerate(parts)) + drift[2]
    return right, ahead


def _frame(scene: _Scene, beat: Beat, phase: float, progress: float, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Echo levels (dB) and label map of one frame on the polar grid."""
    drift = drift_at(scene.window.drift, progress)
    if scene.absent is None:
        normal = np.cross(scene.pose.forward, scene.pose.right)
        back = drift[0] * scene.pose.right + drift[1] * normal + drift[2] * scene.pose.forward
        # Distances are smooth: half the resolution is enough, and four times as fast.
        x, y, z = (points - float(back[i]) for i, points in enumerate(scene.points))
        where = _refined(distances(scene.heart, beat, x, y, z))
        echo = tissue.heart_echo(scene.heart, where, scene.around, scene.sector)
        tissue.add_cusps(echo, where, beat.aortic_opening, scene.heart.valve_thickness)
        shift = _tissue_shift(scene, beat, drift)
        label = tissue.labels(where)
    else:
        echo = scene.absent
        flat = np.zeros((SAMPLES // 2, LINES // 2), dtype=np.float32)
        shift = (flat + drift[0], flat + 2.0 * drift[2])
        label = np.zeros((SAMPLES, LINES), dtype=np.uint8)
    signal = _signal(scene, echo, shift, phase, frame)
    return ndimage.gaussian_filter(decibels(np.abs(signal)), (0.9, 0.8), truncate=2.0), label


def _signal(
    scene: _Scene, echo: tissue.Echo, shift: tuple[np.ndarray, np.ndarray], phase: float, frame: int
) -> np.ndarray:
    """What the receiver hears, (samples, lines) complex64: tissue, blood, still clutter, noise."""
    # Speckle follows the tissue, and turns into another realisation and back, as tissue leaves the plane.
    other = np.float32(DECORRELATION * np.sin(2.0 * np.pi * phase))
    mixed = (scene.moving + other * scene.changing) * np.float32(1.0 / np.sqrt(1.0 + other * other))
    signal = advect(mixed, scene.sector, *shift) * (echo.amplitude + np.float32(0.45) * echo.mirror)
    signal += np.float32(0.8) * echo.mirror
    # Blood has left by the next frame, and noise is new each time: shifted fields stand in for fresh ones.
    signal += np.roll(scene.changing, (37 * frame + 11, 53 * frame + 7), axis=(0, 1)) * (echo.blood * np.float32(BLOOD))
    signal += scene.still * (scene.around.near_wall + _linear(scene.window.haze_db))
    signal *= scene.gain
    signal += _linear(scene.window.noise_db) * np.roll(scene.still, (91 * frame + 5, 29 * frame + 3), axis=(0, 1))
    return signal


def _linear(decibel: float) -> np.float32:
    return np.float32(10.0 ** (decibel / 20.0))


def render(config: PhantomConfig, planned: PlannedSequence) -> RenderedSequence:
    """Draw the sequence; the same config and plan give the same bytes, whatever was drawn before."""
    scene = _scene(config, planned)
    converter = scan_map(scene.sector)
    count = planned.frames
    levels = np.empty((count, converter.pixels.size), dtype=np.float32)
    masks = np.zeros((count, IMAGE_SIZE * IMAGE_SIZE), dtype=np.uint8)
    phases = (scene.start + np.arange(count) / count) % 1.0
    for frame, phase in enumerate(phases):
        polar, label = _frame(scene, beat_at(phase, scene.heart_rate), float(phase), frame / count, frame)
        levels[frame] = converter.image(polar)
        masks[frame, converter.pixels] = converter.nearest(label)
    knots, greys = grey_map(levels[:, ::5], np.array(sites.QUANTILES), np.array(scene.window.curve))
    still = burn_in.static_overlay(scene.sector, scene.machine.style, scene.lines)
    frames = np.empty((count, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for frame, phase in enumerate(phases):
        frames[frame] = np.maximum(still, burn_in.trace_overlay(scene.sector, scene.machine.style, float(phase)))
        frames[frame].ravel()[converter.pixels] = np.interp(levels[frame], knots, greys).astype(np.uint8)
    return RenderedSequence(
        frames=frames,
        masks=masks.reshape(count, IMAGE_SIZE, IMAGE_SIZE),
        scored=scored_frames(planned.split, count, config.scored_frames),
        phases=phases,
        spacing_mm=scene.sector.spacing_mm,
        sector=scene.sector,
    )
