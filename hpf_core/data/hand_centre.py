"""Crop centres without labels: the nearest surface, the centre of mass around it, and one place from all views."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from hpf_core.data.cameras import Camera

Centring = Literal["annotated", "mass", "refined"]

_NEAREST_PIXELS = 200  # at least this many pixels must be nearer than the hand's front, which excludes specks of noise
_STRIDE = 4  # step between the pixels in the first search for the front
_FRONT_MM = 60.0  # thickness of the first slice behind the front
_ROUNDS = 4
_DEEPEST = 65535  # mm, in 16 bits
_ARM_SHARE = 0.5  # the shift away from the arm, as a share of the distance between the narrow and the wide mean
_BEHIND_MM = 25.0  # the palm's centre is this far behind its visible surface's middle (simulated captures: 24-34)


def mass_centre(depth: np.ndarray, returned: np.ndarray, camera: Camera, cube_mm: float) -> np.ndarray | None:
    """Centre (3,) mm of a hand that is nearest to the camera, or None for an image without surfaces.

    The first 60 mm of depth give a start. Then four rounds take the mean of all points in a cube, half as wide as the
    crop's, and move the cube there. The forearm shifts this mean to the wrist. The mean of a wider ball lies farther up
    the arm, so the centre moves half as far in the opposite direction. The camera sees the surface only, so the palm's
    centre is taken 25 mm behind it. In one view the error can be 100 mm, if the arm is nearer than the hand.

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
    """The depth, mm, with 200 pixels in front of it; None for fewer pixels."""
    few = depth[::_STRIDE, ::_STRIDE][returned[::_STRIDE, ::_STRIDE]]
    # At least as many of all pixels are as near as the first 200 of this sample: only these need sorting.
    near = returned & (depth <= _kth(few)) if few.size >= _NEAREST_PIXELS else returned
    seen = depth[near]
    return float(_kth(seen)) if seen.size >= _NEAREST_PIXELS else None


def _kth(depths: np.ndarray) -> np.generic:
    """The 200th depth from the front."""
    return np.partition(depths, _NEAREST_PIXELS - 1)[_NEAREST_PIXELS - 1]


def _box(
    depth: np.ndarray, returned: np.ndarray, camera: Camera, centre: np.ndarray, half: float, beyond: float
) -> np.ndarray:
    """(3, K) mm: the points of an image within `half` of a centre along each axis, and nearer than `beyond`.

    The search is limited to the part of the image that may see them.
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
    """Rows and columns that may see points within `half` of a place along x and y, `low` to `high` mm away."""
    near, far = max(low, 1.0), max(high, 1.0)
    sides = [[side / z for side in (at - half, at + half) for z in (near, far)] for at in centre[:2].tolist()]
    return camera.window((min(sides[0]), min(sides[1])), (max(sides[0]), max(sides[1])))


def _points(place: np.ndarray, part: np.ndarray, camera: Camera, row: int, column: int) -> np.ndarray:
    """(3, K) float64 mm of pixels (K,), indexed through a part of an image that starts at a row and a column."""
    v, u = np.divmod(place.astype(np.int32), np.int32(part.shape[1]))
    z = part.ravel().take(place).astype(np.float64)
    u, v = u + np.int32(column), v + np.int32(row)
    if camera.is_distorted:
        x, y = camera.rays()
        return np.stack([x[v, u] * z, y[v, u] * z, z])
    return np.stack([(u - camera.cx) * (z / camera.fx), (v - camera.cy) * (z / camera.fy), z])


def _rounded(value: float, kind: np.dtype, way: Callable[[float], int]) -> np.generic:
    """Convert a bound to the depths' own type, rounded for whole numbers: comparison is far faster than in float64."""
    if not np.issubdtype(kind, np.integer):
        return np.float64(value)
    return kind.type(min(max(way(value), 0), _DEEPEST))


def _mean(points: np.ndarray) -> np.ndarray:
    """(3,) weighted mean of visible points (3, K).

    A pixel covers z^2 / (fx fy) of the surface. This weight avoids a bias towards near surfaces.
    """
    weight = np.square(points[2])
    return (points * weight).sum(axis=1) / weight.sum()


def fuse(centres: np.ndarray) -> np.ndarray:
    """Combine the places of several views (..., V, 3) into one (..., 3), mm in the rig's frame.

    This takes the median of each coordinate over the views with a result. Of three views, one may be wrong by any
    amount. Of two views, the median is the mean. NaN if no view has a result.
    """
    said = np.isfinite(centres).all(axis=-1, keepdims=True)
    none = ~said.any(axis=-2)
    # A median over partly missing views, without numpy's warning about rows that are entirely missing.
    usable = np.where(said, centres, np.nan)
    usable[none[..., 0]] = 0.0
    return np.where(none, np.nan, np.nanmedian(usable, axis=-2))


def in_cameras(centre: np.ndarray, to_rig: np.ndarray) -> np.ndarray:
    """(V, 3) mm in each camera's frame of one place (3,) in the rig's; `to_rig` (V, 4, 4), from cameras to the rig."""
    return np.einsum("vji,vj->vi", to_rig[:, :3, :3], centre - to_rig[:, :3, 3])


def in_rig(centres: np.ndarray, to_rig: np.ndarray) -> np.ndarray:
    """(V, 3) mm in the rig's frame of places (V, 3) in each camera's."""
    return np.einsum("vij,vj->vi", to_rig[:, :3, :3], centres) + to_rig[:, :3, 3]
