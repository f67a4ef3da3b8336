"""Where to crop without a label: the nearest surface and the centre of mass around it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hpf_core.synthesis.rigs import Camera

Centring = Literal["annotated", "mass"]

_NEAREST_PIXELS = 200  # so many pixels must be nearer than what is taken for the hand's front: no speck of noise is
_FRONT_MM = 60.0  # thickness of the first slice behind the front
_ROUNDS = 4


def mass_centre(depth: np.ndarray, returned: np.ndarray, camera: Camera, cube_mm: float) -> np.ndarray | None:
    """Centre (3,) mm of a hand that is the nearest thing to the camera, or None where nothing is seen.

    The first 60 mm of depth give a start; then the mean of what lies in a cube around it, half as wide as the crop's,
    is taken and the cube moved there, four times. It is rough: a forearm draws it to the wrist and beyond (30 mm on
    average in a simulated capture), and it lies on the surface, some 30 mm before the palm's centre.

    Args:
        depth: (H, W) mm.
        returned: (H, W) bool.
        camera: of the image.
        cube_mm: side of the crop's cube.
    """
    seen = depth[returned]
    if seen.size < _NEAREST_PIXELS:
        return None
    front = np.partition(seen, _NEAREST_PIXELS - 1)[_NEAREST_PIXELS - 1]
    v, u = np.nonzero(returned & (depth < front + cube_mm))
    points = camera.lift(np.stack([u, v, depth[v, u]], axis=-1))
    # A pixel covers z^2 / (fx fy) of the surface: with that weight the mean doesn't lean towards what is near.
    weight = points[:, 2] ** 2
    inside = points[:, 2] <= front + _FRONT_MM
    centre = np.average(points[inside], axis=0, weights=weight[inside])
    for _ in range(_ROUNDS):
        inside = (np.abs(points - centre) < cube_mm / 4).all(axis=1)
        if not inside.any():
            break
        centre = np.average(points[inside], axis=0, weights=weight[inside])
    return centre
