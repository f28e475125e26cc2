"""Motion of the heart over one beat, and of the probe over the patient.

A beat is described by a handful of periodic curves of the phase (0 = end-diastole, the R wave; 1 = the next one):
how far the ventricles have contracted, how far each valve is open, how full the atria are. The curves are cosine
ramps between the landmarks of the Wiggers diagram: isovolumic contraction, ejection, rapid filling, diastasis and the
atrial kick. Systole takes a larger part of the beat at high heart rates (Weissler: about 0.41 s - 0.0016 s * rate).

In:  heart rate (beats per minute), phase (fraction of a beat, any real number; only its fraction counts)
Out: `Beat` (fractions 0-1), drift of the probe (mm, 3 numbers in the image frame: right, out of the plane, forward)
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Beat:
    """The state of the heart at one instant, in fractions: 0 is end-diastole or closed, 1 end-systole or fully open."""

    contraction: float
    mitral_opening: float
    aortic_opening: float
    atrial_filling: float


@dataclass(frozen=True)
class Drift:
    """Slow sway of the anatomy under the probe: breathing and an unsteady hand.

    `amplitude_mm` (right, out of the plane, forward); `turns` is how much of a breath fits into the sequence, so that
    one sequence of one beat sees only part of a breath; `start` is where in the breath it begins (fraction).
    """

    amplitude_mm: tuple[float, float, float]
    turns: float
    start: float


def systolic_fraction(heart_rate: float) -> float:
    """Part of the beat spent in systole, 0.28-0.5, for a heart rate in beats per minute."""
    systole_s = 0.41 - 0.0016 * heart_rate
    return float(np.clip(systole_s * heart_rate / 60.0, 0.28, 0.50))


def _ramp(phase: float, knots: list[tuple[float, float]]) -> float:
    """Cosine interpolation between (phase, value) knots that cover 0-1."""
    for (left, low), (right, high) in pairwise(knots):
        if left <= phase <= right:
            share = (phase - left) / (right - left)
            return float(low + (high - low) * (0.5 - 0.5 * np.cos(np.pi * share)))
    raise ValueError(f"phase {phase} lies outside the knots {knots[0][0]}-{knots[-1][0]}; the curve must cover 0-1")


def beat_at(phase: float, heart_rate: float) -> Beat:
    """State of the heart at `phase` of the beat; periodic, so phase 1 equals phase 0."""
    phase = float(phase) % 1.0
    end = systolic_fraction(heart_rate)
    fill = end + 0.45 * (1.0 - end) * 0.62
    kick = 1.0 - 0.30 * (1.0 - end)
    contraction = _ramp(phase, [(0, 0), (end, 1), (fill, 0.28), (kick, 0.20), (1, 0)])
    early = 0.5 * (end + fill)
    late = 0.5 * (kick + 1.0)
    mitral = _ramp(phase, [(0, 0), (end + 0.02, 0), (early, 1), (fill + 0.04, 0.4), (kick, 0.35), (late, 0.8), (1, 0)])
    aortic = _ramp(phase, [(0, 0), (0.04, 0), (0.10, 1), (end - 0.08, 0.9), (end, 0), (1, 0)])
    atrial = _ramp(phase, [(0, 0), (end, 1), (fill, 0.45), (kick, 0.4), (1, 0)])
    return Beat(contraction, mitral, aortic, atrial)


def drift_at(drift: Drift, progress: float) -> tuple[float, float, float]:
    """Displacement (mm: right, out of the plane, forward) at `progress` (0-1) through the sequence."""
    angle = 2.0 * np.pi * (drift.start + drift.turns * progress)
    offset = np.sin(angle) - np.sin(2.0 * np.pi * drift.start)
    return tuple(float(amplitude * offset) for amplitude in drift.amplitude_mm)
