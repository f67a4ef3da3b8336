"""Moves cameras until their surfaces lie on each other: robust point-to-plane alignment of all pairs at once.

Chen and Medioni, Object modelling by registration of multiple range images, 1992.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from hpf_core.data.cameras import Volume
from hpf_core.data.hand_calibration.points import NormalEquations, PairFit, biweight, move, moved_points
from hpf_core.data.hand_calibration.seen_hands import SeenHands, Surface

_GATES_MM = (
    25.0,
    20.0,
    15.0,
    12.0,
    10.0,
    8.0,
    8.0,
    6.0,
    6.0,
    6.0,
    6.0,
    6.0,
)  # largest distance of a pair of points, by round
_FACING = 0.8  # least cosine between the normals of a pair of points: 37 degrees
_FRAMES = 60  # of each pair of cameras and round
_POINTS_WEIGHT = 0.02  # of estimated points beside surfaces; only holds directions that surfaces leave open


def lay_on(hands: SeenHands, pairs: list[PairFit], to_rig: np.ndarray, volume_mm: Volume | None = None) -> np.ndarray:
    """Move all cameras but the first until surfaces agree.

    Args:
        hands: with surfaces.
        pairs: the pairs of cameras to compare, in the frames that agree.
        to_rig: (V, 4, 4) within 2 degrees and 20 mm of the truth.
        volume_mm: take everything in this box in the rig's frame, not the hands alone.
    """
    centre = np.nanmean(move(to_rig[0], hands.points[0]), axis=(0, 1))
    for gate in _GATES_MM:
        normal = NormalEquations(len(to_rig), centre)
        for pair in pairs:
            one, other, at_one, at_other, weight = moved_points(hands, pair, to_rig)
            normal.add_points(one, other, at_one, at_other, _POINTS_WEIGHT * weight)
            for a, b in ((pair.one, pair.other), (pair.other, pair.one)):
                found = _planes(hands, pair, a, b, to_rig, gate, volume_mm)
                if len(found[0]):
                    target, source, normals = found
                    miss = (normals * (source - target)).sum(axis=-1)
                    normal.add(a, b, target, source, normals, biweight(miss) / max(np.median(np.abs(miss)), 0.5) ** 2)
        to_rig = normal.moved(to_rig, normal.step())
    return to_rig


def residuals(hands: SeenHands, pairs: list[PairFit], to_rig: np.ndarray, gate: float = 25.0) -> np.ndarray:
    """(V,) mm, median distance of each view's hand surface from the other views' planes; NaN without common surface."""
    misses: list[list[np.ndarray]] = [[] for _ in to_rig]
    for pair in pairs:
        for a, b in ((pair.one, pair.other), (pair.other, pair.one)):
            target, source, normals = _planes(hands, pair, a, b, to_rig, gate, None)
            miss = np.abs((normals * (source - target)).sum(axis=-1))
            misses[a].append(miss)
            misses[b].append(miss)
    every = [np.concatenate(some) if some else np.zeros(0) for some in misses]
    return np.array([np.median(some) if some.size else np.nan for some in every])


def _planes(
    hands: SeenHands, pair: PairFit, a: int, b: int, to_rig: np.ndarray, gate: float, volume_mm: Volume | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of view `a`, the nearest points of view `b`, and the normals at the points of `a`, (K, 3) in the rig's
    frame."""
    frames = np.flatnonzero(pair.fits)
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).astype(int))]
    targets, sources, normals = [], [], []
    for frame in frames:
        one, other = (_part(hands.surfaces[view][frame], to_rig[view], volume_mm) for view in (a, b))
        if len(one[0]) < 10 or len(other[0]) < 10:
            continue
        few = slice(None, None, 3)
        source, source_normals = other[0][few], other[1][few]
        away, nearest = cKDTree(one[0]).query(source, distance_upper_bound=gate)
        near = np.flatnonzero(np.isfinite(away))
        near = near[(one[1][nearest[near]] * source_normals[near]).sum(axis=-1) > _FACING]
        targets.append(one[0][nearest[near]])
        normals.append(one[1][nearest[near]])
        sources.append(source[near])
    if not targets:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3))
    return np.concatenate(targets), np.concatenate(sources), np.concatenate(normals)


def _part(surface: Surface, pose: np.ndarray, volume_mm: Volume | None) -> tuple[np.ndarray, np.ndarray]:
    if volume_mm is None:
        points, normals = surface.points[surface.on_hand], surface.normals[surface.on_hand]
    else:
        points, normals = surface.points, surface.normals
    placed, turned = move(pose, points.astype(np.float64)), normals @ pose[:3, :3].T
    if volume_mm is None:
        return placed, turned
    low, high = np.array(volume_mm).T
    inside = ((placed >= low) & (placed <= high)).all(axis=-1)
    return placed[inside], turned[inside]
