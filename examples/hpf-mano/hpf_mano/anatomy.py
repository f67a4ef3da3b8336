"""MANO's joints, and the 41 points of HPF's paper on them: names, parts, links and positions on the skeleton.

MANO's 16 joints are the wrist, then three for each of index, middle, little and ring finger and thumb, from the palm
outwards (Romero, Tzionas and Black 2017). The points have the names of NYU's annotation and of `spheres41`. So
renderers and terms that use these names work with this hand too. The README describes the positions.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np

JOINTS = 16
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
WRIST, INDEX, MIDDLE, LITTLE, RING, THUMB = 0, 1, 4, 7, 10, 13

FINGERS = {"little": LITTLE, "ring": RING, "middle": MIDDLE, "index": INDEX, "thumb": THUMB}
"""Each finger's first joint, in the order of NYU's points: a finger's MCP, the thumb's CMC."""
LAST_JOINTS = (3, 6, 9, 12, 15)

# Anchors define the points by interpolation. After the joints come the middles of the fingertips, for the fingers of
# `LAST_JOINTS`, and the wrist's two sides, towards the little finger and towards the index finger.
ANCHORS = JOINTS + len(LAST_JOINTS) + 2
SIDES = (ANCHORS - 2, ANCHORS - 1)
BONES = (*range(JOINTS), *LAST_JOINTS, WRIST, WRIST)
"""The joint that moves each anchor."""

_PREFIX = ("F1", "F2", "F3", "F4", "TH")
_ON_FINGER = ("KNU3_A", "KNU3_B", "KNU2_A", "KNU2_B", "KNU1_A", "KNU1_B")
NAMES = tuple(f"{finger}_{point}" for finger in _PREFIX for point in _ON_FINGER) + tuple(
    f"PALM_{k}" for k in range(1, 12)
)
PARTS = tuple(finger for finger in FINGERS for _ in _ON_FINGER) + ("palm",) * 11
NYU36 = NAMES[:36]
NYU14 = tuple(NAMES[k] for k in (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32))

# Positions of the palm's points: the share across, from the little finger's side (0) to the index finger's (1), and the
# share from the wrist (0) to the knuckles (1).
_PALM = (
    (0.00, 0.00),
    (1.00, 0.00),
    (0.50, 0.75),  # PALM_3, the palm's centre
    (0.68, 0.36),
    (0.50, 0.08),
    (0.12, 0.32),
    (0.88, 0.85),
    (0.08, 0.78),
    (0.10, 0.54),
    (0.50, 0.52),
    (0.85, 0.61),
)
_KNUCKLES = (LITTLE, RING, MIDDLE, INDEX)

_TRIANGLES = (
    ("PALM_1", "PALM_2", "PALM_5"),
    ("PALM_1", "PALM_5", "PALM_6"),
    ("PALM_2", "PALM_4", "PALM_5"),
    ("PALM_5", "PALM_6", "PALM_10"),
    ("PALM_4", "PALM_5", "PALM_10"),
    ("PALM_6", "PALM_9", "PALM_10"),
    ("PALM_4", "PALM_10", "PALM_11"),
    ("PALM_3", "PALM_9", "PALM_10"),
    ("PALM_3", "PALM_10", "PALM_11"),
    ("PALM_3", "PALM_8", "PALM_9"),
    ("PALM_3", "PALM_7", "PALM_11"),
    ("PALM_8", "F1_KNU1_B", "F2_KNU1_B"),
    ("PALM_3", "PALM_8", "F2_KNU1_B"),
    ("PALM_3", "F2_KNU1_B", "F3_KNU1_B"),
    ("PALM_3", "PALM_7", "F3_KNU1_B"),
    ("PALM_7", "F3_KNU1_B", "F4_KNU1_B"),
    ("PALM_2", "PALM_4", "TH_KNU1_B"),
    ("PALM_4", "PALM_11", "TH_KNU1_B"),
)


def index_of(name: str) -> int:
    """Index of a point."""
    return NAMES.index(name)


def placement() -> np.ndarray:
    """(41, 23) float64, the weights of the anchors in each point; rows sum to 1."""
    rows = np.zeros((len(NAMES), ANCHORS))
    for part, first in FINGERS.items():
        chain = (JOINTS + LAST_JOINTS.index(first + 2), first + 2, first + 1, first)  # tip, DIP, PIP, MCP
        for point, ends in enumerate(((0, 0), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3))):
            for end in ends:
                rows[PARTS.index(part) + point, chain[end]] += 0.5
    for point, (across, along) in enumerate(_PALM, start=PARTS.index("palm")):
        rows[point, SIDES] += np.array([1 - across, across]) * (1 - along)
        # The knuckles mark thirds of the palm's breadth.
        at = across * (len(_KNUCKLES) - 1)
        rows[point, _KNUCKLES] += np.clip(1 - np.abs(np.arange(len(_KNUCKLES)) - at), 0, None) * along
    return rows


def links() -> tuple[tuple[int, int], ...]:
    """Links along each finger from the tip, then the edges of the palm's triangles."""
    fingers = tuple((k, k + 1) for k in range(30) if k % len(_ON_FINGER) != 5)
    corners = [[index_of(name) for name in triangle] for triangle in _TRIANGLES]
    edges = {(min(pair), max(pair)) for triangle in corners for pair in combinations(triangle, 2)}
    return fingers + tuple(sorted(edges))


def rigid_pairs() -> tuple[tuple[int, int], ...]:
    """Pairs of points with constant distance in all poses: the links, and two braces that keep the palm from
    folding."""
    centre = index_of("PALM_3")
    return (*links(), (index_of("PALM_1"), centre), (index_of("PALM_2"), centre))


def colliding_pairs() -> list[tuple[int, int]]:
    """Pairs of points of two fingers, or of a finger and the palm."""
    groups = [[k for k, other in enumerate(PARTS) if other == part] for part in dict.fromkeys(PARTS)]
    return [pair for one, other in combinations(groups, 2) for pair in product(one, other)]


def selection(names: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """An annotation whose joints are points of the model: names and its (K, 41) matrix."""
    return names, np.eye(len(NAMES), dtype=np.float32)[[index_of(name) for name in names]]


def joints21() -> tuple[tuple[str, ...], np.ndarray]:
    """The common 21 joints: the wrist, midway between its two points, then thumb to little finger from base to tip."""
    fingers = {"thumb": "TH", "index": "F4", "middle": "F3", "ring": "F2", "little": "F1"}
    names, points = ["wrist"], ["PALM_1"]
    for finger, prefix in fingers.items():
        joints = ("cmc", "mcp", "ip", "tip") if finger == "thumb" else ("mcp", "pip", "dip", "tip")
        names += [f"{finger}_{joint}" for joint in joints]
        points += [f"{prefix}_{point}" for point in ("KNU1_B", "KNU2_B", "KNU3_B", "KNU3_A")]
    _, matrix = selection(tuple(points))
    matrix[0, [index_of("PALM_1"), index_of("PALM_2")]] = 0.5
    return tuple(names), matrix
