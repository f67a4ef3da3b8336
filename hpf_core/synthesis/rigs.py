"""Pinhole cameras, and rigs of several that look at one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hpf_core.errors import InputError


@dataclass(frozen=True)
class Camera:
    """A pinhole without distortion: u = x * fx / z + cx, v = y * fy / z + cy.

    The ray of pixel index (i, j) is that of u = i, v = j: whole numbers are pixel centres here, as in NYU's annotation
    (`docs/geometry.md`, "Cameras").

    Attributes:
        width, height: pixels.
        fx, fy: focal lengths, pixels.
        cx, cy: principal point, pixels.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) mm in the camera's frame to (..., 3): u, v in pixels and the depth z in mm."""
        x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        return np.stack([x * self.fx / z + self.cx, y * self.fy / z + self.cy, z], axis=-1)


PRIMESENSE = Camera(width=640, height=480, fx=588.03, fy=587.07, cx=320.0, cy=240.0)
"""The intrinsics of NYU's annotation (Tompson et al. 2014, evaluation code of the dataset)."""


@dataclass(frozen=True)
class Rig:
    """Calibrated cameras.

    Attributes:
        camera: the pinhole that all of them share.
        to_rig: (V, 4, 4) float64, from each camera's frame to the rig's, which is the first camera's. mm.
    """

    camera: Camera
    to_rig: np.ndarray

    @property
    def from_rig(self) -> np.ndarray:
        """(V, 4, 4) float64, from the rig's frame to each camera's."""
        return np.linalg.inv(self.to_rig)


def arc(views: int, distance_mm: float, spread_deg: float, camera: Camera = PRIMESENSE) -> Rig:
    """A rig of `views` cameras on an arc, all `distance_mm` from one place, (0, 0, distance) in the first one's frame.

    The first camera is in the middle; the others stand in turn to its right and left, the outermost pair at
    `spread_deg`, alternately a little higher and lower, so that no two look along lines in one plane.

    Raises:
        InputError: fewer than one view.
    """
    if views < 1:
        raise InputError(f"views is {views}, but a rig needs 1 camera or more.")
    target = np.array([0.0, 0.0, distance_mm])
    pairs = math.ceil((views - 1) / 2)
    poses = []
    for view in range(views):
        step = (view + 1) // 2
        azimuth = math.radians(spread_deg) * (step / pairs if pairs else 0.0) * (1 if view % 2 else -1)
        elevation = math.radians(spread_deg) * (0.0 if view == 0 else 0.3 if view % 2 else -0.2)
        poses.append(_looking_at(target, distance_mm, azimuth, elevation))
    return Rig(camera, np.stack(poses))


def _looking_at(target: np.ndarray, distance: float, azimuth: float, elevation: float) -> np.ndarray:
    """(4, 4), the frame of a camera that stands right of the middle by `azimuth`, higher by `elevation`, upright."""
    c, s = math.cos(azimuth), math.sin(azimuth)
    around = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    c, s = math.cos(elevation), math.sin(elevation)
    above = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    pose = np.eye(4)
    pose[:3, :3] = around @ above
    pose[:3, 3] = target - pose[:3, 2] * distance
    return pose
