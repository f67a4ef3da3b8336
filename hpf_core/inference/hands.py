"""A predicted hand in the camera's frame, with measures of its reliability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hpf_core.data.cameras import Camera, Rig
from hpf_core.data.crop import Crop
from hpf_core.errors import InputError, nearest

Side = str
"""`left` or `right`."""

Annotations = Mapping[str, tuple[tuple[str, ...], np.ndarray]]


@dataclass(frozen=True, eq=False)
class Hand:
    """A hand in a depth image.

    Attributes:
        side: "left" or "right".
        names: the J points' names.
        points: (J, 3) float64 mm in the camera's frame (x right, y down, z away); for a rig, in the rig's frame.
        pixels: (J, 2) float64, columns and rows of the points in the image; for a rig, in the first camera's image.
        spread_mm: (J,) float64, standard deviation of the network's map of each point; 0 for a network without
            variance.
        fit_mm: mean difference in depth between the hand's spheres and the surface, over pixels with both.
        iou: number of pixels with both sphere and hand surface, divided by those with either.
        confidence: 0 to 1, computed from fit, overlap, spread and bone lengths, without labels.
        centre: (3,) float64 mm, the palm's centre.
        crop: the network's input: depth (H, W) mm from the crop's centre, the state of its pixels, and the map to the
            camera's frame.
        upside_down: whether its arm comes from above; the network's input was then rotated by 180 degrees.
        annotations: for each annotation its joints' names and the (K, J) matrix from points to joints.
        unsmoothed: (J, 3) float64 mm, a tracked hand's points before smoothing; None if nothing was smoothed.
    """

    side: Side
    names: tuple[str, ...]
    points: np.ndarray
    pixels: np.ndarray
    spread_mm: np.ndarray
    fit_mm: float
    iou: float
    confidence: float
    centre: np.ndarray
    crop: Crop = field(repr=False)
    upside_down: bool
    annotations: Annotations = field(repr=False)
    unsmoothed: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def joints(self) -> dict[str, np.ndarray]:
        """Each point (3,) mm by its name."""
        return dict(zip(self.names, self.points, strict=True))

    def as_(self, annotation: str) -> np.ndarray:
        """(K, 3) float64 mm, the joints of an annotation such as "nyu14" in its order (`joint_names`).

        Raises:
            InputError: the hand model has no map to this annotation.
        """
        return self._annotation(annotation)[1].astype(np.float64) @ self.points

    def joint_names(self, annotation: str) -> tuple[str, ...]:
        """The K names of an annotation's joints."""
        return tuple(self._annotation(annotation)[0])

    def pixels_of(self, annotation: str, camera: Camera | Rig) -> np.ndarray:
        """(K, 2) float64, columns and rows of an annotation's joints in the image of a camera, or of a rig's first."""
        return self.pixels_at(self.as_(annotation), camera)

    @staticmethod
    def pixels_at(joints: np.ndarray, camera: Camera | Rig) -> np.ndarray:
        """(K, 2) float64, columns and rows of joints (K, 3) mm in the image of a camera, or of a rig's first camera."""
        if isinstance(camera, Rig):
            pose = camera.from_rig[0]
            joints, camera = joints @ pose[:3, :3].T + pose[:3, 3], camera.cameras[0]
        return camera.project(joints)[:, :2]

    def spread_of(self, annotation: str) -> np.ndarray:
        """(K,) float64 mm, spread of an annotation's joints: the weighted mean of their points' spreads."""
        weights = np.abs(self._annotation(annotation)[1].astype(np.float64))
        return weights @ self.spread_mm / weights.sum(axis=1)

    def document(self, annotation: str | None = None, camera: Camera | Rig | None = None) -> dict[str, Any]:
        """For JSON, rounded to a thousandth: side, joints by name, pixels, spread, fit, overlap, confidence.

        Args:
            annotation: joints of this annotation instead of all points.
            camera: camera or rig of the image, for the pixels of an annotation's joints; without one they are left out.
        """
        joints, pixels, spread = self.joints, self.pixels, self.spread_mm
        if annotation is not None:
            joints = dict(zip(self.joint_names(annotation), self.as_(annotation), strict=True))
            pixels = np.empty((0, 2)) if camera is None else self.pixels_of(annotation, camera)
            spread = self.spread_of(annotation)
        return {
            "side": self.side,
            "confidence": round(self.confidence, 4),
            "fit_mm": round(self.fit_mm, 3),
            "iou": round(self.iou, 4),
            "centre": _rounded(self.centre),
            "joints": {name: _rounded(place) for name, place in joints.items()},
            "pixels": [_rounded(pixel) for pixel in pixels],
            "spread_mm": _rounded(spread),
        }

    def _annotation(self, name: str) -> tuple[tuple[str, ...], np.ndarray]:
        if name not in self.annotations:
            raise InputError(f"The hand model has no joints '{name}'. {nearest(name, self.annotations)}")
        return self.annotations[name]


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in np.ravel(values)]
