"""Pinhole cameras, and rigs of several whose poses are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
