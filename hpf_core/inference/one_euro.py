"""The one-euro filter on points in mm and seconds: it smooths what rests, and follows what moves.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012. A first-order low-pass whose cut-off grows with the speed, here with one speed for each point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_SPEED_CUTOFF_HZ = 1.0  # of the filter on speeds, as the paper sets it


@dataclass(frozen=True)
class OneEuroOptions:
    """What the filter does. The defaults were chosen on simulated replays at 30 frames a second (`docs/predict.md`).

    Attributes:
        min_cutoff_hz: cut-off at rest: lower is smoother, and later.
        beta: by how much the cut-off grows with the speed, Hz for each mm/s: higher lags less in motion.
    """

    min_cutoff_hz: float = 0.5
    beta: float = 0.05


class OneEuro:
    """The filter of J points, with what it remembers of them."""

    def __init__(self, options: OneEuroOptions | None = None) -> None:
        self.options = options or OneEuroOptions()
        self._time = 0.0
        self._points: np.ndarray | None = None
        self._velocity: np.ndarray | None = None

    def reset(self) -> None:
        """Forget the points: the next ones are another hand's."""
        self._points = self._velocity = None

    def __call__(self, points: np.ndarray, time: float) -> np.ndarray:
        """Points (J, 3) mm at a time in seconds, smoothed. Points of the first call stay as they are.

        A time that isn't later than the last one's begins anew.
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
    """How much of a new value a low-pass of this cut-off, Hz, takes after so many seconds."""
    turn = 2 * math.pi * cutoff * passed
    return turn / (turn + 1)
