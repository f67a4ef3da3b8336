"""The skin of the neutral hand as a signed distance field, of published breadths and depths.

Distances in mm, negative inside, true near the surface alone. The hand's own frame of `docs/geometry.md`. The skeleton
is that of `hpf_plugins/hands/anatomy.py`; here are the soft parts around it.

Breadths and depths are those half way between women's and men's means: of the index finger at its PIP joint 19.5 x 17.5
mm, of the thumb at its IP joint 21 x 20 mm, of the hand at the metacarpals' heads 30.5 mm deep (Pheasant, "Bodyspace",
British adults); hand breadth 85 mm and wrist circumference 162 mm (Gordon et al. 1989). Between these stations, and on
the other fingers, the shape is drawn by eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from hpf_plugins.hands import anatomy
from hpf_plugins.hands.kinematics import rest_frames

FRAMES = rest_frames().double().numpy()
KNUCKLES = np.array(anatomy.KNUCKLES)
LENGTHS = np.array(anatomy.LENGTHS)
# Where the stub of the arm begins to close, mm: a little beyond the wrist, so that it stays within a bent forearm.
STUB_Y = 76.0


@dataclass(frozen=True)
class Limb:
    """A straight limb of elliptic cross-sections with rounded ends.

    Attributes:
        origin: (3,) mm, where it starts.
        frame: (3, 3), its axes as columns: breadth along x, the limb along -y, depth along z.
        stations: mm along the limb.
        breadth, depth: mm at each station.
        shift: mm along z at each station, from the axis to the middle of the section.
        ends: length in mm of the two rounded ends.
    """

    origin: np.ndarray
    frame: np.ndarray
    stations: tuple[float, ...]
    breadth: tuple[float, ...]
    depth: tuple[float, ...]
    shift: tuple[float, ...]
    ends: tuple[float, float]

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(K,) mm of points (K, 3) mm: a first-order distance to the ellipse, or ellipsoid, at the nearest station."""
        own = (points - self.origin) @ self.frame
        along = np.clip(-own[:, 1], self.stations[0], self.stations[-1])
        a = PchipInterpolator(self.stations, self.breadth)(along) / 2
        c = PchipInterpolator(self.stations, self.depth)(along) / 2
        z = own[:, 2] - PchipInterpolator(self.stations, self.shift)(along)
        beyond = -own[:, 1] - along
        length = np.where(beyond < 0, *self.ends)
        return _ellipsoid(own[:, 0], beyond, z, a, length, c)


def _ellipsoid(x, y, z, a, b, c) -> np.ndarray:
    """First-order distance to an ellipsoid about the origin, of half axes a, b, c."""
    level = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    slope = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2 + (z / c**2) ** 2)
    return level * (level - 1) / np.maximum(slope, 1e-6)


def ellipsoid(points: np.ndarray, centre, axes: np.ndarray, half) -> np.ndarray:
    """Distance to an ellipsoid with the axes' columns as its own."""
    own = (points - np.asarray(centre, float)) @ axes
    return _ellipsoid(own[:, 0], own[:, 1], own[:, 2], *half)


def capsule(points: np.ndarray, a: np.ndarray, b: np.ndarray, ra: float, rb: float) -> np.ndarray:
    """Distance to a segment from a to b, thickened from ra to rb."""
    line = b - a
    share = np.clip((points - a) @ line / (line @ line), 0, 1)
    return np.linalg.norm(points - a - share[:, None] * line, axis=1) - (ra + (rb - ra) * share)


def triangle(points: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a triangle thickened by a radius."""
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal)
    height = (points - a) @ normal
    inside = np.ones(len(points), bool)
    edges = []
    for p, q in ((a, b), (b, c), (c, a)):
        inside &= (points - p) @ np.cross(normal, q - p) >= 0
        edges.append(capsule(points, p, q, 0.0, 0.0))
    return np.where(inside, np.abs(height), np.min(edges, axis=0)) - radius


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """The lesser of two fields with the crease filled within k mm (polynomial)."""
    h = np.maximum(k - np.abs(a - b), 0) / k
    return np.minimum(a, b) - h * h * k / 4


# Breadth, depth and shift (mm) of the index finger: at the knuckle, at the web, amid the proximal phalanx, at the PIP
# joint, amid the middle phalanx, at the DIP joint, at the pad, and where the tip's round end begins.
_FINGER = (
    (20.0, 23.0, -3.0),
    (19.6, 20.5, -1.8),
    (18.9, 18.6, -1.2),
    (19.5, 17.6, -0.5),
    (17.8, 16.4, -0.9),
    (17.0, 14.6, -0.5),
    (16.8, 14.4, -1.0),
    (15.8, 12.8, -0.7),
)
_THICKNESS = (0.86, 0.96, 1.02, 1.0)  # of the fingers, relative to the index finger
_TIP_END = 8.0

_THUMB = (
    (24.0, 26.0, -2.0),  # the saddle joint
    (29.0, 28.0, -3.0),  # amid the metacarpal
    (25.5, 23.5, -1.0),  # the MCP joint
    (21.8, 20.2, -0.8),
    (22.0, 19.6, -0.3),  # the IP joint
    (21.6, 17.0, -1.2),
    (20.0, 14.6, -0.8),
)
_THUMB_END = 10.0

# The metacarpals: breadth, depth and shift at the base, amid, and at the head.
_METACARPALS = (
    ((20.0, 27.0, -3.0), (19.0, 23.0, -2.5), (23.2, 23.5, -2.5)),
    ((20.0, 28.0, -2.0), (20.0, 24.0, -1.0), (23.0, 27.0, -3.1)),
    ((20.0, 28.0, -2.0), (21.5, 25.0, -0.5), (24.0, 29.0, -3.6)),
    ((20.0, 28.0, -2.0), (22.0, 26.0, -1.0), (26.7, 27.5, -3.1)),
)
_BASES = ((-16.0, 38.0, -1.0), (-7.0, 37.0, 2.0), (2.5, 37.0, 3.0), (12.5, 38.0, 2.0))


def fingers() -> list[Limb]:
    """The five fingers, little to thumb, from a little before their first joint to the tip."""
    limbs = []
    for k in range(4):
        first, second, third = LENGTHS[k]
        whole = first + second + third + anatomy.TIP_RADII[k]
        t = _THICKNESS[k]
        stations = (
            -4.0,
            0.45 * first,
            0.68 * first,
            first,
            first + 0.55 * second,
            first + second,
            first + second + 9.0 * t,
            whole - _TIP_END * t,
        )
        b, d, s = (tuple(t * row[i] for row in _FINGER) for i in range(3))
        limbs.append(Limb(KNUCKLES[k], FRAMES[k], stations, b, d, s, (8.0, _TIP_END * t)))
    first, second, third = LENGTHS[4]
    whole = first + second + third + anatomy.TIP_RADII[4]
    stations = (0.0, 0.5 * first, first, first + 0.6 * second, first + second, first + second + 11, whole - _THUMB_END)
    b, d, s = (tuple(row[i] for row in _THUMB) for i in range(3))
    limbs.append(Limb(KNUCKLES[4], FRAMES[4], stations, b, d, s, (10.0, _THUMB_END)))
    return limbs


def metacarpals() -> list[Limb]:
    """The four rays of the palm, from the carpus to the knuckles."""
    limbs = []
    for k in range(4):
        base = np.array(_BASES[k])
        along = KNUCKLES[k] - base
        length = np.linalg.norm(along)
        y = -along / length
        side = FRAMES[k][:, 0] - FRAMES[k][:, 0] @ y * y
        side /= np.linalg.norm(side)
        frame = np.stack([side, y, np.cross(side, y)], axis=1)
        b, d, s = (tuple(row[i] for row in _METACARPALS[k]) for i in range(3))
        limbs.append(Limb(base, frame, (0.0, 0.5 * length, length), b, d, s, (10.0, 9.0)))
    return limbs


def wrist() -> Limb:
    """Carpus, wrist and a stub of the arm, along +y."""
    frame = np.diag([1.0, -1.0, -1.0])
    return Limb(
        np.array([-1.0, 38.0, -3.0]),
        frame,
        (0.0, 14.0, anatomy.WRIST_Y - 38.0, STUB_Y - 38.0),
        (50.0, 54.5, 60.0, 60.5),
        (32.0, 37.0, 42.0, 42.0),
        (0.0, 0.0, 0.0, 0.0),
        (8.0, 5.0),
    )


def _turned(along: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Axes whose y lies along one vector and whose z is nearest to another."""
    y = along / np.linalg.norm(along)
    z = towards - towards @ y * y
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], axis=1)


_FINGERS, _METACARPAL_LIMBS, _WRIST = fingers(), metacarpals(), wrist()


def palm_distance(points: np.ndarray) -> np.ndarray:
    """Palm, wrist and the webs between the fingers, without the thumb."""
    field = _WRIST.distance(points)
    rays = _METACARPAL_LIMBS[0].distance(points)
    for limb in _METACARPAL_LIMBS[1:]:
        rays = smooth_min(rays, limb.distance(points), 13.0)
    field = smooth_min(field, rays, 12.0)
    # The hypothenar eminence: from the heel of the hand to the little finger's knuckle, along the hand's edge.
    heel = ellipsoid(
        points, (-25.5, 24.0, -6.5), _turned(np.array([-0.22, -1.0, 0.08]), np.array([0, 0, 1.0])), (12.5, 36, 13)
    )
    field = smooth_min(field, heel, 12.0)
    webs = np.full(len(points), np.inf)
    for k in range(3):
        ends = []
        for f in (k, k + 1):
            reach = 0.30 * LENGTHS[f][0]
            ends.append(KNUCKLES[f] + FRAMES[f] @ np.array([0.0, -reach, -3.0]))
        webs = np.minimum(webs, capsule(points, ends[0], ends[1], 6.5, 6.5))
    return smooth_min(field, webs, 7.0)


def thumb_distance(points: np.ndarray) -> np.ndarray:
    """The thumb with the ball at its root."""
    frame, root = FRAMES[4], KNUCKLES[4]
    field = _FINGERS[4].distance(points)
    ball = ellipsoid(points, root + frame @ np.array([0.0, -17.0, -8.0]), frame, (15.0, 28.0, 13.5))
    return smooth_min(field, ball, 9.0)


def ray_distances(points: np.ndarray) -> np.ndarray:
    """(K, 5) mm to each finger with its own metacarpal: whose skin a point is."""
    rays = [np.minimum(_FINGERS[k].distance(points), _METACARPAL_LIMBS[k].distance(points)) for k in range(4)]
    return np.stack([*rays, thumb_distance(points)], axis=1)


def hand_distance(points: np.ndarray) -> np.ndarray:
    """(K,) mm of points (K, 3) mm to the skin of the neutral hand."""
    field = palm_distance(points)
    frame, root = FRAMES[4], KNUCKLES[4]
    fold = triangle(
        points,
        root + frame @ np.array([0.0, -0.35 * LENGTHS[4][0], -2.0]),
        root + frame @ np.array([0.0, -0.92 * LENGTHS[4][0], -1.0]),
        KNUCKLES[3] + np.array([-2.0, 12.0, 0.0]),
        5.0,
    )
    thumb = smooth_min(thumb_distance(points), fold, 9.0)
    field = smooth_min(field, thumb, 12.0)
    # Fingers meet the palm smoothly but not each other.
    return smooth_min(field, np.min([limb.distance(points) for limb in _FINGERS[:4]], axis=0), 7.0)
