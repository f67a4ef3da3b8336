"""The one-euro filter on points in mm and seconds: it smooths points at rest and follows moving points.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012. A first-order low-pass filter whose cut-off grows with the speed; here each point has one speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_SPEED_CUTOFF_HZ = 1.0  # of the filter on speeds, as in the paper


@dataclass(frozen=True)
class OneEuroOptions:
    """Parameters of the filter, chosen on simulated replays at 30 frames per second (`docs/predict.md`).

    Attributes:
        min_cutoff_hz: cut-off at rest: a lower value smooths more and adds delay.
        beta: increase of the cut-off with speed, Hz per mm/s: a higher value reduces lag in motion.
    """

    min_cutoff_hz: float = 0.5
    beta: float = 0.05


class OneEuro:
    """The filter of J points, with its state."""

    def __init__(self, options: OneEuroOptions | None = None) -> None:
        self.options = options or OneEuroOptions()
        self._time = 0.0
        self._points: np.ndarray | None = None
        self._velocity: np.ndarray | None = None

    def reset(self) -> None:
        """Reset the state: the next points belong to another hand."""
        self._points = self._velocity = None

    def __call__(self, points: np.ndarray, time: float) -> np.ndarray:
        """Points (J, 3) mm at a time in seconds, smoothed. The first call returns its points unchanged.

        A time that isn't later than the last one resets the filter.
        """
        points = np.asarray(points, dtype=np.float64)
        passed = time - self._time
        if self._points is None or self._velocity is None or passed <= 0 or self._points.shape != points.shape:
            self._points, self._velocity, self._time = points.copy(), np.zeros_like(points), time
            return points.copy()
        velocity = (points - self._points) / passed
        self._velocity = self._velocity + _share(_SPEED_CUTOFF_HZ, passed) * (velocity - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        share = _share(self.options.min_cutoff_hz + self.options.beta * speed, passed)
        self._points, self._time = self._points + share * (points - self._points), time
        return self._points.copy()


def _share(cutoff: float | np.ndarray, passed: float) -> float | np.ndarray:
    """Weight of a new value in a low-pass filter with this cut-off, Hz, after `passed` seconds."""
    turn = 2 * math.pi * cutoff * passed
    return turn / (turn + 1)
