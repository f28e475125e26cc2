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
    pericardium: np.ndarray
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
    base = heart.base_descent * beat.contraction
    left = _left_ventricle(heart, beat, base, x, y, z)
    root = _root(heart, base, x, y, z)
    mitral, tricuspid = _annuli(heart, base)
    la = _atrium(heart.left_atrium, 1.22, beat, x - mitral[0] * 1.18, y - mitral[1] * 1.18, z - mitral[2])
    ra = _atrium(heart.right_atrium, 1.15, beat, x - tricuspid[0], y - tricuspid[1], z - tricuspid[2])
    inflow = _right_ventricle(heart, beat, tricuspid[2], x, y, z)
    outflow = _outflow(heart, beat, root)
    # A wall of 3.5 mm around the right ventricle, 2.4 mm around everything thinner.
    outer = _blend(left.epicardium, np.maximum(inflow, tricuspid[2] - 4.0 - z) - 3.5, 5.0)
    outer = _blend(outer, np.minimum(la, ra) - 2.4, 9.0)
    outer = _blend(outer, np.minimum(outflow, root.aorta) - 2.4, 6.0)
    # Fluid gathers around the ventricles; the sac ends at the atria.
    sac = np.float32(heart.effusion) * np.clip((z - base + 14.0) * np.float32(1.0 / 22.0), 0.0, 1.0)

    not_aorta = 2.2 - root.aorta
    left_atrium = np.maximum(np.maximum(la, z - mitral[2]), not_aorta)
    right_atrium = np.maximum(np.maximum(ra, z - tricuspid[2]), np.maximum(3.0 - left_atrium, not_aorta))
    right_chamber = np.minimum(np.maximum(inflow, tricuspid[2] - z), outflow)
    right_ventricle = np.maximum(np.maximum(right_chamber, 0.3 - left.myocardium), not_aorta)
    leaflets = np.minimum(
        _leaflets(x - mitral[0], y - mitral[1], z - mitral[2], 0.70 * heart.radius, beat.mitral_opening, _FRONT),
        _leaflets(
            x - tricuspid[0], y - tricuspid[1], z - tricuspid[2], 16.0, 0.9 * beat.mitral_opening, _SEPTAL_LEAFLET
        ),
    )
    closed, opened = _cusps(heart, root)
    return Distances(
        left_ventricle=left.cavity,
        epicardium=left.epicardium,
        left_atrium=left_atrium,
        right_ventricle=right_ventricle,
        right_atrium=right_atrium,
        aorta=root.aorta,
        heart=outer,
        pericardium=outer - sac,
        papillary=left.papillary,
        leaflets=leaflets,
        cusps_closed=closed,
        cusps_open=opened,
    )


_FRONT = (float(azimuth(AORTIC_AZIMUTH)[0]), float(azimuth(AORTIC_AZIMUTH)[1]))
_SEPTAL_LEAFLET = (float(azimuth(RIGHT_AZIMUTH)[0]), float(azimuth(RIGHT_AZIMUTH)[1]))


@dataclass(frozen=True)
class _Left:
    """Left ventricle: its cavity, its muscle with and without the cut at the base, its papillary muscles."""

    cavity: np.ndarray
    myocardium: np.ndarray
    epicardium: np.ndarray
    papillary: np.ndarray


def _left_ventricle(heart: Heart, beat: Beat, base: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> _Left:
    """A bullet: most of an ellipsoid, cut at the base, that narrows and thickens as the base comes down."""
    radius = heart.radius * (1.0 - heart.shortening * beat.contraction)
    wall = heart.wall * (1.0 + heart.thickening * beat.contraction)
    middle = base + 0.34 * (heart.length - base)
    half = heart.length - middle
    # A loaded right ventricle flattens the septum: the ring becomes a D.
    flat = x * (1.0 + np.float32(0.35 * heart.flattening) * (x < 0)) if heart.flattening > 0 else x
    endo = _ellipsoid(flat, y, z - middle, radius, radius, half)
    epi = _ellipsoid(flat, y, z - middle, radius + wall, radius + wall, half + 0.75 * wall)
    if heart.septal_bulge > 0:
        level = np.exp(-(((z - base - 16.0) * np.float32(1.0 / 14.0)) ** 2))
        endo = endo + np.float32(heart.septal_bulge) * level * np.clip(x * np.float32(-1.0 / radius), 0.0, 1.0)
    papillary = _papillary(heart, radius, base, beat.contraction, x, y, z)
    return _Left(np.maximum(endo, base - z), epi, np.maximum(epi, base - 3.0 - z), papillary)


def _annuli(heart: Heart, base: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Centres (mm) of the mitral and the tricuspid annulus; the tricuspid one lies and moves more toward the apex."""
    mitral = azimuth(AORTIC_AZIMUTH + 180.0) * (0.36 * heart.radius)
    tricuspid = azimuth(RIGHT_AZIMUTH) * (heart.radius + 13.0 + 3.0 * heart.right_ventricle)
    return (float(mitral[0]), float(mitral[1]), base), (float(tricuspid[0]), float(tricuspid[1]), 1.35 * base + 5.0)


def _atrium(radius: float, stretch: float, beat: Beat, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """An egg behind its annulus (the points' origin), not yet cut by the valve plane; full at end-systole."""
    radius = radius * (1.0 + 0.10 * beat.atrial_filling)
    return _ellipsoid(x, y, z + 0.89 * stretch * radius, radius, radius, stretch * radius)


def _right_ventricle(
    heart: Heart, beat: Beat, annulus: float, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """An ellipsoid beside the septum; what the left ventricle leaves of it is the crescent."""
    size = heart.right_ventricle
    centre = azimuth(168.0) * (heart.radius + 0.30 * heart.wall + 4.0 * size)
    dx, dy = x - float(centre[0]), y - float(centre[1])
    cosine, sine = float(azimuth(168.0)[0]), float(azimuth(168.0)[1])
    shrink = 1.0 - 0.17 * beat.contraction * min(1.0, heart.shortening / 0.28)
    around = 39.0 * size * (0.5 + 0.5 * shrink)
    outward, along_wall = cosine * dx + sine * dy, cosine * dy - sine * dx
    return _ellipsoid(outward, along_wall, z - annulus - 2.0, 27.0 * size * shrink, around, 0.74 * heart.length)


@dataclass(frozen=True)
class _Root:
    """Points in the frame of the aortic root: height above the annulus, distance from the axis, offset across it."""

    aorta: np.ndarray
    along: np.ndarray
    ring: np.ndarray
    across: tuple[np.ndarray, np.ndarray, np.ndarray]


def _root(heart: Heart, base: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> _Root:
    """The aortic root: a tube, narrow at the annulus, widest in the sinuses some 9 mm above it."""
    start, axis = heart.root_start, [float(part) for part in heart.root_axis]
    dx, dy, dz = x - float(start[0]), y - float(start[1]), z - float(start[2] + 0.85 * base)
    along = dx * axis[0] + dy * axis[1] + dz * axis[2]
    across = (dx - along * axis[0], dy - along * axis[1], dz - along * axis[2])
    ring = np.sqrt(across[0] ** 2 + across[1] ** 2 + across[2] ** 2) + 1e-3
    width = heart.root * (0.84 + 0.20 * np.exp(-(((along - 9.0) * np.float32(1.0 / 7.0)) ** 2)))
    return _Root(np.maximum(ring - width, -4.0 - along), along, ring, across)


def _outflow(heart: Heart, beat: Beat, root: _Root) -> np.ndarray:
    """The right ventricular outflow tract: a piece of a torus that wraps the front of the aortic root."""
    arc = azimuth(92.0)
    facing = (root.across[0] * float(arc[0]) + root.across[1] * float(arc[1])) / root.ring
    bore = 10.5 * heart.right_ventricle
    distance = root.ring - (heart.root + 3.0 + bore)
    tube = np.sqrt(distance * distance + (root.along - 7.0) ** 2) - bore * (1.0 - 0.12 * beat.contraction)
    return np.maximum(tube, (-0.42 - facing) * root.ring)


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


def _cusps(heart: Heart, root: _Root) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the three aortic cusps, closed (a cup whose commissures form a Y) and open (against the wall)."""
    first = azimuth(80.0)
    first = first - heart.root_axis * (heart.root_axis @ first)
    first /= np.linalg.norm(first)
    second = np.cross(heart.root_axis, first)
    u = sum(part * float(first[i]) for i, part in enumerate(root.across))
    v = sum(part * float(second[i]) for i, part in enumerate(root.across))
    lines = []
    for turn in np.deg2rad((0.0, 120.0, 240.0)):
        cosine, sine = float(np.cos(turn)), float(np.sin(turn))
        lines.append(np.hypot(v * cosine - u * sine, np.minimum(u * cosine + v * sine, 0.0)))
    height = 9.0
    commissures = np.minimum(np.minimum(lines[0], lines[1]), lines[2])
    commissures = np.hypot(commissures, np.maximum(np.abs(root.along - 0.75 * height) - 0.45 * height, 0.0))
    cup = _segment(root.ring, root.along, (0.86 * heart.root, 0.0), (0.5, 0.62 * height))
    closed = np.hypot(np.minimum(commissures, cup), np.maximum(root.ring - heart.root, 0.0))
    return closed, _segment(root.ring, root.along, (0.84 * heart.root, 0.0), (0.74 * heart.root, 1.3 * height))
