"""Where to crop without a label: the nearest surface, the centre of mass around it, and one place from all views."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from hpf_core.data.cameras import Camera

Centring = Literal["annotated", "mass", "refined"]

_NEAREST_PIXELS = 200  # so many pixels must be nearer than what is taken for the hand's front: no speck of noise is
_STRIDE = 4  # of the pixels that are looked at first for the front
_FRONT_MM = 60.0  # thickness of the first slice behind the front
_ROUNDS = 4
_DEEPEST = 65535  # mm, in 16 bits
_ARM_SHARE = 0.5  # how far the centre is moved away from the arm, as a share of how far the arm draws a wider mean
_BEHIND_MM = 25.0  # the palm's centre lies so far behind the middle of its visible surface (simulated captures: 24-34)


def mass_centre(depth: np.ndarray, returned: np.ndarray, camera: Camera, cube_mm: float) -> np.ndarray | None:
    """Centre (3,) mm of a hand that is the nearest thing to the camera, or None where nothing is seen.

    The first 60 mm of depth give a start; then the mean of what lies in a cube around it, half as wide as the crop's,
    is taken and the cube moved there, four times. The forearm has drawn it to the wrist by then: the mean of a wider
    ball lies farther up the arm, and the centre moves half as far the other way. What is seen is the surface: the
    palm's centre is taken 25 mm behind it. In one view it can be off by 100 mm, where the arm is nearer than the hand.

    Args:
        depth: (H, W) mm.
        returned: (H, W) bool.
        camera: of the image.
        cube_mm: side of the crop's cube.
    """
    if camera.is_distorted:
        returned = returned & np.isfinite(camera.rays()[0])
    front = _front(depth, returned)
    if front is None:
        return None
    beyond = front + cube_mm
    place = np.flatnonzero(returned & (depth <= _rounded(front + _FRONT_MM, depth.dtype, math.floor)))
    centre = _mean(_points(place, depth, camera, 0, 0))
    for _ in range(_ROUNDS):
        inside = _box(depth, returned, camera, centre, cube_mm / 4, beyond)
        if not inside.shape[1]:
            break
        centre = _mean(inside)
    near = _box(depth, returned, camera, centre, cube_mm / 2, beyond)
    away = np.square(near - centre[:, None]).sum(axis=0)
    around = near.take(np.flatnonzero(away < (cube_mm / 2) ** 2), axis=1)
    if around.shape[1]:
        centre = centre + _ARM_SHARE * (centre - _mean(around))
    return centre * (1 + _BEHIND_MM / np.linalg.norm(centre))


def _front(depth: np.ndarray, returned: np.ndarray) -> float | None:
    """The depth, mm, before which 200 pixels lie; None of fewer."""
    few = depth[::_STRIDE, ::_STRIDE][returned[::_STRIDE, ::_STRIDE]]
    # Of all pixels at least as many are as near as the first 200 of these few: only such need to be ordered.
    near = returned & (depth <= _kth(few)) if few.size >= _NEAREST_PIXELS else returned
    seen = depth[near]
    return float(_kth(seen)) if seen.size >= _NEAREST_PIXELS else None


def _kth(depths: np.ndarray) -> np.generic:
    """The 200th depth from the front."""
    return np.partition(depths, _NEAREST_PIXELS - 1)[_NEAREST_PIXELS - 1]


def _box(
    depth: np.ndarray, returned: np.ndarray, camera: Camera, centre: np.ndarray, half: float, beyond: float
) -> np.ndarray:
    """(3, K) mm, the points of an image nearer than `half` to a centre along each axis, and nearer than `beyond`.

    Only the part of the image that may see them is looked at.
    """
    low, high = float(centre[2]) - half, min(float(centre[2]) + half, beyond)
    rows, columns = _window(centre, half, low, high, camera)
    part = np.ascontiguousarray(depth[rows, columns])
    between = part > _rounded(low, depth.dtype, math.floor)
    between &= part < _rounded(high, depth.dtype, math.ceil)
    between &= returned[rows, columns]
    points = _points(np.flatnonzero(between), part, camera, rows.start, columns.start)
    inside = np.abs(points[0] - centre[0]) < half
    inside &= np.abs(points[1] - centre[1]) < half
    inside &= np.abs(points[2] - centre[2]) < half
    return points.take(np.flatnonzero(inside), axis=1)


def _window(centre: np.ndarray, half: float, low: float, high: float, camera: Camera) -> tuple[slice, slice]:
    """Rows and columns that may see what is nearer than `half` to a place along x and y, `low` to `high` mm away."""
    near, far = max(low, 1.0), max(high, 1.0)
    sides = [[side / z for side in (at - half, at + half) for z in (near, far)] for at in centre[:2].tolist()]
    return camera.window((min(sides[0]), min(sides[1])), (max(sides[0]), max(sides[1])))


def _points(place: np.ndarray, part: np.ndarray, camera: Camera, row: int, column: int) -> np.ndarray:
    """(3, K) float64 mm of pixels (K,), counted through a part of an image that begins at a row and a column."""
    v, u = np.divmod(place.astype(np.int32), np.int32(part.shape[1]))
    z = part.ravel().take(place).astype(np.float64)
    u, v = u + np.int32(column), v + np.int32(row)
    if camera.is_distorted:
        x, y = camera.rays()
        return np.stack([x[v, u] * z, y[v, u] * z, z])
    return np.stack([(u - camera.cx) * (z / camera.fx), (v - camera.cy) * (z / camera.fy), z])


def _rounded(value: float, kind: np.dtype, way: Callable[[float], int]) -> np.generic:
    """A bound on depths in their own type, rounded where they are whole: compared far faster than in float64."""
    if not np.issubdtype(kind, np.integer):
        return np.float64(value)
    return kind.type(min(max(way(value), 0), _DEEPEST))


def _mean(points: np.ndarray) -> np.ndarray:
    """(3,) weighted mean of points (3, K) that pixels see.

    A pixel covers z^2 / (fx fy) of the surface: with that weight the mean doesn't lean towards what is near.
    """
    weight = np.square(points[2])
    return (points * weight).sum(axis=1) / weight.sum()


def fuse(centres: np.ndarray) -> np.ndarray:
    """One place (..., 3) of what several views say (..., V, 3), mm in the rig's frame.

    The median of each coordinate over the views that say something: of three views one may be wrong by any amount; of
    two it is the mean. NaN where no view says anything.
    """
    said = np.isfinite(centres).all(axis=-1, keepdims=True)
    none = ~said.any(axis=-2)
    # A median over views of which some are missing, without numpy's warning of those that have none.
    usable = np.where(said, centres, np.nan)
    usable[none[..., 0]] = 0.0
    return np.where(none, np.nan, np.nanmedian(usable, axis=-2))


def in_cameras(centre: np.ndarray, to_rig: np.ndarray) -> np.ndarray:
    """(V, 3) mm in each camera's frame of one place (3,) in the rig's; `to_rig` (V, 4, 4), from cameras to the rig."""
    return np.einsum("vji,vj->vi", to_rig[:, :3, :3], centre - to_rig[:, :3, 3])


def in_rig(centres: np.ndarray, to_rig: np.ndarray) -> np.ndarray:
    """(V, 3) mm in the rig's frame of places (V, 3) in each camera's."""
    return np.einsum("vij,vj->vi", to_rig[:, :3, :3], centres) + to_rig[:, :3, 3]
