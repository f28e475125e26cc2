"""Hospitals, their machines and their patients: where the four sites and the external one differ.

Nothing here depends on the view, except how the operator's hand strays from the textbook plane; geometry, gain, depth,
text and disturbances are drawn alike for all views, so that none of them gives the label away.

In:  `PlannedSequence`, random generators
Out: `Machine`, `Heart`, `Window` (quality of one acquisition), `Hand`
"""

from dataclasses import dataclass, replace

import numpy as np

from fmlab.phantom.anatomy import Heart
from fmlab.phantom.burn_in import Style
from fmlab.phantom.motion import Drift
from fmlab.phantom.scanner import Beam, Sector
from fmlab.phantom.views import Hand


@dataclass(frozen=True)
class Machine:
    """One make of scanner: outline of its fan (pixels, degrees), resolution, typical depth (mm) and its writing."""

    apex_x: float
    apex_y: float
    inner_radius: float
    outer_radius: float
    half_angle: float
    depth_mm: float
    beam: Beam
    style: Style
    contrast: float


MACHINES: dict[str, tuple[Machine, ...]] = {
    "hospital-A": (
        Machine(128, 2, 3, 250, 37.5, 158, Beam(0.50, 1.00), Style(170, "top-left", "right", True, True), 1.0),
        Machine(128, 6, 5, 238, 36.0, 154, Beam(0.55, 1.10), Style(190, "top-left", "left", True, False), 0.95),
    ),
    "hospital-B": (
        Machine(126, 8, 8, 236, 41.0, 160, Beam(0.60, 1.15), Style(140, "top-right", "border", False, True), 1.1),
    ),
    "hospital-C": (
        Machine(130, 14, 4, 232, 39.0, 162, Beam(0.45, 0.95), Style(220, "bottom-left", "right", True, False), 0.9),
    ),
    "hospital-D": (
        Machine(128, 4, 6, 244, 40.0, 158, Beam(0.52, 1.05), Style(200, "top-right", "left", True, True), 1.0),
    ),
    "external": (
        Machine(131, 10, 9, 234, 42.0, 164, Beam(0.65, 1.3), Style(230, "bottom-right", "border", False, False), 1.08),
        Machine(124, 14, 4, 230, 35.0, 152, Beam(0.60, 1.25), Style(120, "top-right", "left", True, True), 0.85),
    ),
}


@dataclass(frozen=True)
class Window:
    """Quality of one acquisition. Levels in dB relative to heart muscle, widths in fractions of the fan.

    `shadows` are (centre, half-width, depth of onset in mm, loss in dB); `curve` holds the greys that the quantiles
    `QUANTILES` of the echo levels are shown at.
    """

    noise_db: float
    haze_db: float
    attenuation_db_per_cm: float
    shadows: tuple[tuple[float, float, float, float], ...]
    curve: tuple[float, ...]
    drift: Drift


QUANTILES = (0.02, 0.08, 0.15, 0.25, 0.37, 0.50, 0.62, 0.75, 0.85, 0.93, 0.98, 0.995)
_STEPS = (-4.0, -2.4, -1.7, -1.10, -0.53, 0.0, 0.40, 0.80, 1.12, 1.42, 1.80, 2.05)


def _jitter(rng: np.random.Generator, value: float, spread: float) -> float:
    return float(value * (1.0 + spread * np.clip(rng.standard_normal(), -2.2, 2.2)))


def draw_machine(rng: np.random.Generator, site: str) -> Machine:
    """The machine of this examination."""
    return MACHINES[site][int(rng.integers(len(MACHINES[site])))]


def draw_sector(rng: np.random.Generator, machine: Machine) -> Sector:
    """Fan of one sequence: the machine's outline, with the depth and width that the operator dialled."""
    depth = 5.0 * round(_jitter(rng, machine.depth_mm, 0.05) / 5.0)
    half_angle = _jitter(rng, machine.half_angle, 0.03)
    # A wide fan must still fit into the picture.
    reach = min(
        machine.outer_radius, (min(machine.apex_x, 255.0 - machine.apex_x) + 22.0) / np.sin(np.deg2rad(half_angle))
    )
    return Sector(machine.apex_x, machine.apex_y, machine.inner_radius, float(reach), half_angle, depth)


def draw_heart(rng: np.random.Generator, difficult: bool) -> Heart:
    """A patient's heart; at the difficult site most have a pathology."""
    size = _jitter(rng, 1.0, 0.05)
    heart = Heart(
        radius=size * _jitter(rng, 23.0, 0.05),
        length=size * _jitter(rng, 84.0, 0.04),
        wall=_jitter(rng, 9.0, 0.10),
        left_atrium=size * _jitter(rng, 20.5, 0.08),
        right_ventricle=size * _jitter(rng, 1.0, 0.06),
        right_atrium=size * _jitter(rng, 19.5, 0.08),
        root=size * _jitter(rng, 14.0, 0.06),
        root_tilt=_jitter(rng, 26.0, 0.12),
        shortening=_jitter(rng, 0.30, 0.12),
        base_descent=_jitter(rng, 13.0, 0.12),
        chest=_jitter(rng, 15.0, 0.15),
        valve_thickness=_jitter(rng, 1.15, 0.12),
    )
    return _diseased(rng, heart) if difficult and rng.random() < 0.65 else heart


def _diseased(rng: np.random.Generator, heart: Heart) -> Heart:
    """One or two of: dilated, hypertrophied, overloaded right heart, large atria, effusion, thick valves."""
    diseases = rng.permutation(["dilated", "hypertrophied", "right", "atria", "effusion", "valves"])
    for disease in diseases[: int(rng.integers(1, 3))]:
        amount = rng.uniform(0.6, 1.0)
        if disease == "dilated":
            heart = replace(
                heart, radius=heart.radius * (1 + 0.40 * amount), shortening=0.10, base_descent=5.0, thickening=0.1
            )
        elif disease == "hypertrophied":
            bulge = float(6.0 * amount * (rng.random() < 0.5))
            heart = replace(heart, wall=heart.wall * (1 + 0.8 * amount), radius=heart.radius * 0.82, septal_bulge=bulge)
        elif disease == "right":
            heart = replace(
                heart, right_ventricle=1 + 0.40 * amount, right_atrium=heart.right_atrium * 1.3, flattening=0.8
            )
        elif disease == "atria":
            heart = replace(
                heart, left_atrium=heart.left_atrium * (1 + 0.45 * amount), right_atrium=heart.right_atrium * 1.15
            )
        elif disease == "effusion":
            heart = replace(heart, effusion=float(16.0 * amount))
        else:
            heart = replace(heart, valve_thickness=heart.valve_thickness * (1 + 1.2 * amount), root=heart.root * 0.9)
    return heart


def draw_hand(rng: np.random.Generator, difficult: bool) -> Hand:
    """The operator's deviation from the textbook plane; at the difficult site also turned hearts."""
    spread = 1.3 if difficult else 1.0
    rotation, tilt, steer = np.clip(rng.standard_normal(3), -2.2, 2.2) * (5.5, 1.9, 2.6) * spread
    if difficult and rng.random() < 0.2:
        rotation += rng.choice([-1.0, 1.0]) * rng.uniform(12.0, 22.0)
    shift = np.clip(rng.standard_normal(3), -2.2, 2.2) * (3.5, 1.7, 3.0) * spread
    return Hand(float(rotation), float(tilt), float(steer), tuple(float(value) for value in shift))


def draw_window(rng: np.random.Generator, machine: Machine, difficult: bool) -> Window:
    """Noise, haze, shadows and display of one sequence."""
    poor = difficult and rng.random() < 0.4
    shadows = []
    for edge in (0.0, 1.0):
        if rng.random() < (0.65 if poor else 0.35):
            shadows.append((edge, rng.uniform(0.04, 0.32 if poor else 0.18), rng.uniform(0, 14), rng.uniform(10, 34)))
    if rng.random() < (0.6 if poor else 0.18):
        width = rng.uniform(0.05, 0.13 if poor else 0.07)
        shadows.append((rng.uniform(0.2, 0.8), width, rng.uniform(5, 25), rng.uniform(8, 30 if poor else 16)))
    middle = 27.0 * np.exp(0.25 * np.clip(rng.standard_normal(), -2, 2)) * (0.75 if poor else 1.0)
    contrast = machine.contrast * np.exp(0.10 * np.clip(rng.standard_normal(), -2, 2))
    # The curve itself varies too: a fixed one would leave the fingerprint of calm pictures in every histogram.
    steps = np.array(_STEPS) * contrast + 0.12 * np.clip(rng.standard_normal(len(_STEPS)), -2, 2)
    greys = np.minimum(np.maximum.accumulate(middle * np.exp(steps)), 245.0)
    return Window(
        noise_db=float(rng.uniform(-38, -30) + (3.0 if poor else 0.0)),
        haze_db=float(rng.uniform(-34, -19) + (rng.uniform(1, 5) if poor else 0.0)),
        attenuation_db_per_cm=float(rng.uniform(-0.2, 0.9) + (0.3 if poor else 0.0)),
        shadows=tuple(tuple(float(value) for value in shadow) for shadow in shadows),
        curve=tuple(float(grey) for grey in greys),
        drift=Drift(
            tuple(float(v) for v in rng.uniform(0.2, 2.0, 3)), float(rng.uniform(0.15, 0.4)), float(rng.random())
        ),
    )


def draw_lines(rng: np.random.Generator, machine: Machine, sector: Sector, heart_rate: float) -> list[str]:
    """Lines of text as scanners write them: machine settings, date, rates; never the view."""
    choices = [
        f"HR {heart_rate:.0f}",
        f"FR {rng.integers(38, 92)}HZ",
        f"{sector.depth_mm / 10:.0f}CM",
        f"MI {rng.uniform(0.8, 1.5):.1f}",
        f"TIS {rng.uniform(0.3, 1.2):.1f}",
        f"{rng.choice(['1.7/3.4', '1.6/3.2', '2.0/4.0', '2.5'])} MHZ",
        f"GAIN {rng.integers(-8, 9)}",
        f"DR {rng.integers(48, 75)}",
        f"{rng.integers(1, 29):02d}/{rng.integers(1, 13):02d}/20{rng.integers(14, 25)}",
        f"ID {rng.integers(10**5, 10**6)}",
        f"{rng.choice(['M3S', 'S5-1', 'X5-1', '4VC', 'P4-2'])}",
        f"PWR {rng.integers(-4, 1)}",
    ]
    count = int(rng.integers(3, 7))
    return [choices[index] for index in rng.permutation(len(choices))[:count]]
