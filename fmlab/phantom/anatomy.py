"""The heart: a parametric solid whose signed distances can be taken anywhere, at any instant of the beat.

Chambers are ellipsoids cut at the valve planes, the aortic root is a tube, the right ventricular outflow tract a piece
of a torus around it, leaflets are thin surfaces of revolution that swing about their annulus. Every view samples the
same solid, so views of one patient agree with each other. Sizes follow the normal ranges of Lang et al. 2015
(recommendations for cardiac chamber quantification); pathologies scale them.

In:  `Heart` (mm), `Beat` (fractions), points x, y, z in the heart frame (arrays of one shape, float32, mm; see views.py)
Out: `Distances`: signed distance in mm, negative inside, one float32 array per structure, of the points' shape
"""

from dataclasses import dataclass

import numpy as np

from fmlab.phantom.motion import Beat

MASK_CLASSES: dict[int, str] = {
    0: "background",
    1: "LV cavity",
    2: "LV myocardium",
    3: "LA",
    4: "RV",
    5: "RA",
    6: "aorta",
}
"""Label ids of every mask; papillary muscles count as LV cavity, as clinical tracing does; RV holds its outflow tract."""

AORTIC_AZIMUTH = 140.0
RIGHT_AZIMUTH = 200.0


def azimuth(degrees: float) -> np.ndarray:
    """Unit vector (3,) across the long axis: 0 lateral, 90 anterior, 180 septal, 270 inferior."""
    angle = np.deg2rad(degrees)
    return np.array([np.cos(angle), np.sin(angle), 0.0])


@dataclass(frozen=True)
class Heart:
    """Sizes of one patient's heart at end-diastole, in mm, and how it moves (fractions unless said)."""

    radius: float = 23.0
    length: float = 84.0
    wall: float = 9.0
    septal_bulge: float = 0.0
    left_atrium: float = 20.5
    right_ventricle: float = 1.0
    right_atrium: float = 19.5
    root: float = 14.0
    root_tilt: float = 26.0
    flattening: float = 0.0
    shortening: float = 0.30
    thickening: float = 0.38
    base_descent: float = 13.0
    effusion: float = 0.0
    valve_thickness: float = 1.1
    chest: float = 14.0
    dyssynchrony: float = 0.0

    @property
    def root_start(self) -> np.ndarray:
        """Centre of the aortic annulus (3,) mm."""
        return azimuth(AORTIC_AZIMUTH) * (0.62 * self.radius) + np.array([0.0, 0.0, 2.0])

    @property
    def root_axis(self) -> np.ndarray:
        """Unit vector (3,) along the ascending aorta, away from the heart."""
        tilt = np.deg2rad(self.root_tilt)
        return azimuth(AORTIC_AZIMUTH) * np.sin(tilt) - np.array([0.0, 0.0, np.cos(tilt)])

    @property
    def window_distance(self) -> float:
        """From the long axis to the inner chest wall in front of it, mm."""
        return self.radius + self.wall + 24.0 * self.right_ventricle + 4.0


@dataclass(frozen=True)
class Distances:
    """Signed distances (mm, negative inside) to each structure."""

    left_ventricle: np.ndarray
    epicardium: np.ndarray
    left_atrium: np.ndarray
    right_ventricle: np.ndarray
    right_atrium: np.ndarray
    aorta: np.ndarray
    heart: np.ndarray
    papillary: np.ndarray
    leaflets: np.ndarray
    cusps_closed: np.ndarray
    cusps_open: np.ndarray


def _ellipsoid(x: np.ndarray, y: np.ndarray, z: np.ndarray, rx: float, ry: float, rz: float) -> np.ndarray:
    """First-order distance to an ellipsoid at the origin with semi-axes along the axes."""
    px, py, pz = x * (1.0 / rx), y * (1.0 / ry), z * (1.0 / rz)
    norm = np.sqrt(px * px + py * py + pz * pz) + 1e-4
    px *= 1.0 / rx
    py *= 1.0 / ry
    pz *= 1.0 / rz
    slope = np.sqrt(px * px + py * py + pz * pz) + 1e-6
    return norm * (norm - 1.0) / slope


def _capsule(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float
) -> np.ndarray:
    """Distance to a rod with round ends."""
    axis = end - start
    dx, dy, dz = x - float(start[0]), y - float(start[1]), z - float(start[2])
    along = (dx * float(axis[0]) + dy * float(axis[1]) + dz * float(axis[2])) * float(1.0 / (axis @ axis))
    along = np.clip(along, 0.0, 1.0)
    dx -= along * float(axis[0])
    dy -= along * float(axis[1])
    dz -= along * float(axis[2])
    return np.sqrt(dx * dx + dy * dy + dz * dz) - radius


def _segment(u: np.ndarray, v: np.ndarray, start: tuple, end: tuple) -> np.ndarray:
    """Distance to a segment in the half-plane (u, v); end points may be arrays, so a leaflet may vary around its ring."""
    au, av = end[0] - start[0], end[1] - start[1]
    du, dv = u - start[0], v - start[1]
    along = np.clip((du * au + dv * av) / (au * au + av * av), 0.0, 1.0)
    du = du - along * au
    dv = dv - along * av
    return np.sqrt(du * du + dv * dv)


def _blend(first: np.ndarray, second: np.ndarray, width: float) -> np.ndarray:
    """Smooth minimum: a union whose crease is filled, as fat fills the grooves between chambers."""
    near = np.maximum(width - np.abs(first - second), 0.0)
    return np.minimum(first, second) - near * near * (0.25 / width)


def _leaflets(x: np.ndarray, y: np.ndarray, z: np.ndarray, radius: float, opening: float, front: tuple) -> np.ndarray:
    """Distance to the leaflets of an atrioventricular valve with its annulus in z = 0, opening toward +z.

    `front` is the unit direction (x, y) of the longer leaflet; closed leaflets meet in a shallow tent.
    """
    ring = np.sqrt(x * x + y * y) + 1e-3
    toward = (x * front[0] + y * front[1]) / ring
    size = 1.0 + 0.28 * toward
    tip = radius * (0.04 + 0.66 * opening)
    depth = radius * (0.28 + 0.85 * opening) * size
    bend = (0.55 * radius + 0.45 * tip + 0.10 * radius, 0.30 * depth + 0.06 * radius)
    first = _segment(ring, z, (radius, 0.0), bend)
    return np.minimum(first, _segment(ring, z, bend, (tip, depth)))


def distances(heart: Heart, beat: Beat, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Distances:
    """Signed distances of all structures at the points, at this instant of the beat."""
    squeeze = beat.contraction
    base = heart.base_descent * squeeze
    radius = heart.radius * (1.0 - heart.shortening * squeeze)
    wall = heart.wall * (1.0 + heart.thickening * squeeze)
    up = z - base

    middle = base + 0.34 * (heart.length - base)
    half = heart.length - middle
    # A loaded right ventricle flattens the septum: the ring becomes a D.
    lx = x * (1.0 + heart.flattening * 0.35 * (x < 0))
    endo = _ellipsoid(lx, y, z - middle, radius, radius, half)
    epi = _ellipsoid(lx, y, z - middle, radius + wall, radius + wall, half + 0.75 * wall)
    if heart.septal_bulge > 0:
        endo = endo + heart.septal_bulge * np.exp(-(((z - base - 16.0) / 14.0) ** 2)) * np.clip(-x / radius, 0.0, 1.0)
    cavity = np.maximum(endo, -up)
    epicardium = np.maximum(epi, -up - 3.0)

    back, right = azimuth(AORTIC_AZIMUTH + 180.0), azimuth(RIGHT_AZIMUTH)
    mitral = back * (0.36 * heart.radius)
    mx, my = x - float(mitral[0]), y - float(mitral[1])
    swell = 1.0 + 0.10 * beat.atrial_filling
    la_radius = heart.left_atrium * swell
    atrium = _ellipsoid(
        mx - float(4.0 * back[0]),
        my - float(4.0 * back[1]),
        up + 0.92 * 1.15 * la_radius,
        la_radius,
        la_radius,
        1.22 * la_radius,
    )
    left_atrium = np.maximum(atrium, up)

    size = heart.right_ventricle
    tricuspid = base * 1.35 + 5.0
    centre = azimuth(168.0) * (heart.radius + 0.30 * heart.wall + 4.0 * size)
    dx, dy = x - float(centre[0]), y - float(centre[1])
    c, s = float(np.cos(np.deg2rad(168.0))), float(np.sin(np.deg2rad(168.0)))
    shrink = 1.0 - 0.17 * squeeze * min(1.0, heart.shortening / 0.28)
    rv_outer = _ellipsoid(
        c * dx + s * dy,
        -s * dx + c * dy,
        z - tricuspid - 2.0,
        27.0 * size * shrink,
        39.0 * size * (0.5 + 0.5 * shrink),
        0.74 * heart.length,
    )
    right_inflow = np.maximum(np.maximum(rv_outer, -(epi - 0.3)), tricuspid - z)

    start, axis = heart.root_start + np.array([0.0, 0.0, base * 0.85]), heart.root_axis
    rx, ry, rz = x - float(start[0]), y - float(start[1]), z - float(start[2])
    along = rx * float(axis[0]) + ry * float(axis[1]) + rz * float(axis[2])
    ax, ay, az = rx - along * float(axis[0]), ry - along * float(axis[1]), rz - along * float(axis[2])
    ring = np.sqrt(ax * ax + ay * ay + az * az) + 1e-3
    # Annulus narrower than the sinuses, which lie about 8 mm above it.
    sinus = heart.root * (0.84 + 0.20 * np.exp(-(((along - 9.0) / 7.0) ** 2)))
    aorta = np.maximum(ring - sinus, -along - 4.0)

    arc = azimuth(92.0)
    turned = (ax * float(arc[0]) + ay * float(arc[1])) / ring
    torus_radius = heart.root + 3.0 + 10.5 * size
    tube = np.sqrt((ring - torus_radius) ** 2 + (along - 7.0) ** 2) - 10.5 * size * (1.0 - 0.12 * squeeze)
    outflow = np.maximum(tube, (-0.42 - turned) * ring)
    right_ventricle = np.minimum(right_inflow, np.maximum(outflow, -(epi - 0.3)))

    hinge = right * (heart.radius + 13.0 + 3.0 * size)
    tx, ty = x - float(hinge[0]), y - float(hinge[1])
    ra_radius = heart.right_atrium * (1.0 + 0.10 * beat.atrial_filling)
    drop = z - tricuspid
    right_chamber = _ellipsoid(tx, ty, drop + 0.95 * ra_radius, ra_radius, ra_radius, 1.15 * ra_radius)
    right_atrium = np.maximum(np.maximum(right_chamber, drop), -(left_atrium - 3.0))

    left_atrium = np.maximum(left_atrium, -(aorta - 2.2))
    right_atrium = np.maximum(right_atrium, -(aorta - 2.2))
    right_ventricle = np.maximum(right_ventricle, -(aorta - 2.2))

    outer = _blend(epicardium, np.maximum(rv_outer, tricuspid - 4.0 - z) - 3.5, 5.0)
    outer = _blend(outer, np.minimum(atrium, right_chamber) - 2.4, 9.0)
    outer = _blend(outer, np.minimum(outflow, aorta) - 2.4, 6.0)

    papillary = _papillary(heart, radius, base, squeeze, x, y, z)
    valves = np.minimum(
        _leaflets(mx, my, up, 0.70 * heart.radius, beat.mitral_opening, (-float(back[0]), -float(back[1]))),
        _leaflets(tx, ty, drop, 16.0 * size**0.5, 0.9 * beat.mitral_opening, (float(right[0]), float(right[1]))),
    )
    closed, opened = _cusps(heart, ring, along, ax, ay, az)
    return Distances(
        cavity, epicardium, left_atrium, right_ventricle, right_atrium, aorta, outer, papillary, valves, closed, opened
    )


def _papillary(
    heart: Heart, radius: float, base: float, squeeze: float, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Distance to the anterolateral and posteromedial papillary muscles."""
    best = None
    for where in (5.0, 250.0):
        foot = azimuth(where) * (0.72 * radius) + np.array([0.0, 0.0, base + 0.70 * (heart.length - base)])
        head = azimuth(where) * (0.62 * radius) + np.array([0.0, 0.0, base + 0.40 * (heart.length - base)])
        rod = _capsule(x, y, z, foot, head, 5.0 + 1.2 * squeeze)
        best = rod if best is None else np.minimum(best, rod)
    return best


def _cusps(
    heart: Heart, ring: np.ndarray, along: np.ndarray, ax: np.ndarray, ay: np.ndarray, az: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the three aortic cusps, closed (a cup whose commissures form a Y) and open (against the wall)."""
    first = azimuth(80.0)
    first = first - heart.root_axis * (heart.root_axis @ first)
    first /= np.linalg.norm(first)
    second = np.cross(heart.root_axis, first)
    u = ax * float(first[0]) + ay * float(first[1]) + az * float(first[2])
    v = ax * float(second[0]) + ay * float(second[1]) + az * float(second[2])
    commissure = None
    for turn in (0.0, 120.0, 240.0):
        c, s = float(np.cos(np.deg2rad(turn))), float(np.sin(np.deg2rad(turn)))
        ahead, aside = u * c + v * s, v * c - u * s
        line = np.hypot(aside, np.minimum(ahead, 0.0))
        commissure = line if commissure is None else np.minimum(commissure, line)
    height = 9.0
    commissure = np.hypot(commissure, np.maximum(np.abs(along - 0.75 * height) - 0.45 * height, 0.0))
    inside = np.maximum(ring - heart.root, 0.0)
    cup = _segment(ring, along, (0.86 * heart.root, 0.0), (0.5, 0.62 * height))
    opened = _segment(ring, along, (0.84 * heart.root, 0.0), (0.74 * heart.root, 1.3 * height))
    return np.hypot(np.minimum(commissure, cup), inside), opened
