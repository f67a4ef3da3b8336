"""What the cameras of a rig see of a hand: the input of the calibration from hands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Surface:
    """Points of a visible surface in a camera's frame.

    Attributes:
        points: (K, 3) float32 mm.
        normals: (K, 3) float32, of length 1, towards the camera.
        on_hand: (K,) bool, points near the estimated hand.
    """

    points: np.ndarray
    normals: np.ndarray
    on_hand: np.ndarray

    @staticmethod
    def none() -> Surface:
        """A surface without points, for a camera that sees no hand."""
        return Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros(0, bool))


@dataclass(frozen=True)
class SeenHands:
    """The hands of F frames in V cameras.

    Attributes:
        points: (V, F, J, 3) float64 mm, a network's estimate in each camera's frame; NaN where a camera sees no hand.
        variance: (V, F, J) float64 mm^2 of the estimate.
        palm: index of the palm's centre among the points.
        surfaces: for each view and frame, the visible surface.
        numbers: (F,) int64, the frames' numbers in their split. Frames with consecutive numbers follow each other.
    """

    points: np.ndarray
    variance: np.ndarray
    palm: int
    surfaces: tuple[tuple[Surface, ...], ...]
    numbers: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """(V, F) bool, whether a camera sees the hand."""
        return np.isfinite(self.points).all(axis=(-2, -1))
