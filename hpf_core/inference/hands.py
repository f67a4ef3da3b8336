"""A predicted hand in the camera's frame, with measures of its reliability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

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

    def document(self, annotation: str | None = None) -> dict[str, Any]:
        """For JSON, rounded to a thousandth: side, joints by name, pixels, spread, fit, overlap, confidence.

        Args:
            annotation: joints of this annotation instead of all points; spread and pixels remain those of the points.
        """
        joints = (
            self.joints
            if annotation is None
            else dict(zip(self.joint_names(annotation), self.as_(annotation), strict=True))
        )
        return {
            "side": self.side,
            "confidence": round(self.confidence, 4),
            "fit_mm": round(self.fit_mm, 3),
            "iou": round(self.iou, 4),
            "centre": _rounded(self.centre),
            "joints": {name: _rounded(place) for name, place in joints.items()},
            "pixels": [_rounded(pixel) for pixel in self.pixels],
            "spread_mm": _rounded(self.spread_mm),
        }

    def _annotation(self, name: str) -> tuple[tuple[str, ...], np.ndarray]:
        if name not in self.annotations:
            raise InputError(f"The hand model has no joints '{name}'. {nearest(name, self.annotations)}")
        return self.annotations[name]


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in np.ravel(values)]
