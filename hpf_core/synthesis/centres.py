"""Where to crop without a label: the nearest surface, the centre of mass around it, and one place from all views."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hpf_core.synthesis.rigs import Camera

Centring = Literal["annotated", "mass", "refined"]

_NEAREST_PIXELS = 200  # so many pixels must be nearer than what is taken for the hand's front: no speck of noise is
_FRONT_MM = 60.0  # thickness of the first slice behind the front
_ROUNDS = 4
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
    front = _front(depth, returned)
    if front is None:
        return None
    limit = front + cube_mm
    if np.issubdtype(depth.dtype, np.integer):  # compared in the image's own type: much faster than in float64
        limit = depth.dtype.type(min(np.ceil(limit), np.iinfo(depth.dtype).max))
    place = np.flatnonzero(returned & (depth < limit)).astype(np.int32)
    v, u = np.divmod(place, np.int32(depth.shape[1]))
    z = depth.ravel().take(place).astype(np.float64)
    points = np.stack([(u - camera.cx) * (z / camera.fx), (v - camera.cy) * (z / camera.fy), z])
    # A pixel covers z^2 / (fx fy) of the surface: with that weight the mean doesn't lean towards what is near.
    weight = z**2
    centre = _mean(points, weight, np.flatnonzero(points[2] <= front + _FRONT_MM))
    for _ in range(_ROUNDS):
        inside = np.flatnonzero(np.abs(points[2] - centre[2]) < cube_mm / 4)
        for axis in (0, 1):
            inside = inside[np.abs(points[axis].take(inside) - centre[axis]) < cube_mm / 4]
        if not len(inside):
            break
        centre = _mean(points, weight, inside)
    near = np.flatnonzero(np.abs(points[2] - centre[2]) < cube_mm / 2)
    around = near[np.square(points.take(near, axis=1) - centre[:, None]).sum(axis=0) < (cube_mm / 2) ** 2]
    if len(around):
        centre = centre + _ARM_SHARE * (centre - _mean(points, weight, around))
    return centre * (1 + _BEHIND_MM / np.linalg.norm(centre))


def _front(depth: np.ndarray, returned: np.ndarray) -> float | None:
    """The depth, mm, before which 200 pixels lie; None of fewer."""
    seen = depth[returned]
    if seen.size < _NEAREST_PIXELS:
        return None
    if np.issubdtype(seen.dtype, np.integer):  # counted: an order of so many is slower than all that follows
        return float(np.searchsorted(np.cumsum(np.bincount(seen)), _NEAREST_PIXELS))
    return float(np.partition(seen, _NEAREST_PIXELS - 1)[_NEAREST_PIXELS - 1])


def _mean(points: np.ndarray, weight: np.ndarray, which: np.ndarray) -> np.ndarray:
    """(3,) weighted mean of the points (3, K) of these numbers."""
    share = weight.take(which)
    return (points.take(which, axis=1) * share).sum(axis=1) / share.sum()


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
