"""The ten views: where the probe stands and how its plane cuts the heart.

The heart frame (mm) has its origin in the middle of the mitral-aortic base at end-diastole. z points along the long
axis of the left ventricle to the apex; x points to the lateral wall and y to the anterior wall, so the azimuth around
the axis is 0 lateral, 90 anterior, 180 septal, 270 inferior. The three apical long-axis planes lie 60 degrees apart
(azimuths 20, 80 and 140), as in the ASE recommendations (Lang et al. 2015, chamber quantification); the five-chamber
plane is the four-chamber plane tilted forward into the outflow tract.

In:  view, `Heart` (its sizes place the skin), offsets of the operator's hand (degrees, mm)
Out: `Pose`: origin of the probe (mm) and the unit vectors right (image x), forward (image y) in the heart frame
"""

from dataclasses import dataclass

import numpy as np

from fmlab.phantom.anatomy import Heart, azimuth

VIEWS: tuple[str, ...] = (
    "2CH",
    "4CH",
    "A-5CH",
    "A-RV",
    "APLAX",
    "NO-ORGAN",
    "P-SAX",
    "PLAX",
    "SAX-AV",
    "SUBCOSTAL",
)
"""Class order of the limited-data study, Table 2."""

CONFUSABLE: dict[str, str] = {
    "2CH": "APLAX",
    "4CH": "A-5CH",
    "A-5CH": "4CH",
    "A-RV": "4CH",
    "APLAX": "2CH",
    "NO-ORGAN": "SUBCOSTAL",
    "P-SAX": "SAX-AV",
    "PLAX": "APLAX",
    "SAX-AV": "P-SAX",
    "SUBCOSTAL": "4CH",
}
"""The neighbour that a tired annotator writes instead; views of the external site map to views it has."""


@dataclass(frozen=True)
class Hand:
    """How far the operator's plane is off the textbook one.

    `rotation`, `tilt` (out of the plane) and `steer` (within it) turn the probe about the skin, in degrees; `shift_mm`
    moves it (right, out of the plane, forward).
    """

    rotation: float
    tilt: float
    steer: float
    shift_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Pose:
    """The imaging plane: `origin` (mm) on the skin, unit vectors `right` and `forward`, all (3,) float64."""

    origin: np.ndarray
    right: np.ndarray
    forward: np.ndarray


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _turn(vector: np.ndarray, axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rodrigues' rotation of `vector` about the unit `axis`."""
    angle = np.deg2rad(degrees)
    across = np.cross(axis, vector)
    return vector * np.cos(angle) + across * np.sin(angle) + axis * (axis @ vector) * (1.0 - np.cos(angle))


def _apical(heart: Heart, right_azimuth: float, tilt: float = 0.0, steer: float = 0.0, shift: float = 0.0) -> Pose:
    right, forward = azimuth(right_azimuth), np.array([0.0, 0.0, -1.0])
    origin = np.array([0.0, 0.0, heart.length + heart.wall + heart.chest]) + shift * right
    normal = np.cross(forward, right)
    forward = _turn(forward, right, tilt)
    right, forward = _turn(right, normal, steer), _turn(forward, normal, steer)
    return Pose(origin, right, forward)


def _parasternal(heart: Heart, target: np.ndarray, window: float, right: np.ndarray) -> Pose:
    """Plane through `target`, seen from the chest at azimuth `window`, with `right` on the right of the image."""
    right = _unit(right)
    forward = -azimuth(window)
    forward = _unit(forward - right * (right @ forward))
    return Pose(target - forward * (heart.window_distance + heart.chest), right, forward)


def standard_pose(view: str, heart: Heart) -> Pose:
    """The textbook plane of `view` for this heart; NO-ORGAN gets the apical pose and no heart in it."""
    if view in ("4CH", "NO-ORGAN"):
        return _apical(heart, 20.0, tilt=-2.5)
    if view == "A-5CH":
        return _apical(heart, 20.0, tilt=6.5)
    if view == "A-RV":
        return _apical(heart, 12.0, tilt=-2.0, steer=-15.0, shift=-10.0)
    if view == "2CH":
        return _apical(heart, 80.0)
    if view == "APLAX":
        return _apical(heart, 140.0)
    down_the_axis = np.array([0.0, 0.0, -1.0])
    if view == "PLAX":
        return _parasternal(heart, np.array([0.0, 0.0, 14.0]), 140.0, down_the_axis + 0.12 * azimuth(140.0))
    if view == "P-SAX":
        return _parasternal(heart, np.array([-4.0, 2.0, 0.46 * heart.length]), 125.0, azimuth(35.0))
    if view == "SAX-AV":
        root = heart.root_start + 7.0 * heart.root_axis
        across = azimuth(35.0) - heart.root_axis * (heart.root_axis @ azimuth(35.0))
        pose = _parasternal(heart, root, 125.0, across)
        forward = _unit(pose.forward - heart.root_axis * (heart.root_axis @ pose.forward))
        return Pose(root - forward * (heart.window_distance - 6.0 + heart.chest), _unit(across), forward)
    if view == "SUBCOSTAL":
        right = _unit(np.array([0.0, 0.0, 1.0]) + 0.55 * azimuth(20.0))
        forward = _unit(azimuth(20.0) - right * (right @ azimuth(20.0)))
        target = np.array([0.0, 0.0, 12.0]) + 12.0 * azimuth(200.0)
        return Pose(target - forward * (heart.window_distance + heart.chest + 12.0), right, forward)
    raise ValueError(f"view {view!r} is not known; expected one of {', '.join(VIEWS)}")


def held(pose: Pose, hand: Hand) -> Pose:
    """The textbook pose as the operator's hand really holds it."""
    right, forward = pose.right, pose.forward
    right = _turn(right, forward, hand.rotation)
    forward = _turn(forward, right, hand.tilt)
    normal = np.cross(forward, right)
    right, forward = _turn(right, normal, hand.steer), _turn(forward, normal, hand.steer)
    across, out, ahead = hand.shift_mm
    return Pose(pose.origin + across * right + out * normal + ahead * forward, right, forward)
