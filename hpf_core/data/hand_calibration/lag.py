"""The time lag between two cameras, from the path of the palm."""

from __future__ import annotations

import numpy as np

from hpf_core.data.hand_calibration.points import LEAST_FRAMES, align, biweight, move, neighbours
from hpf_core.data.hand_calibration.seen_hands import SeenHands
from hpf_core.errors import DataError

MOST_FRAMES = 4
"""Lags of up to this many frames are searched for."""

_CLEARLY = 0.85  # a shift counts if it cuts the residual to this share of the residual without a shift


def find_lag(hands: SeenHands, one: int, other: int) -> float | None:
    """By how many frames the camera `other` shows a moment later than the camera `one`; None if it can't be found.

    For each whole shift, we align the two palms' paths rigidly and robustly. The shift with the least residual counts,
    and a parabola through its neighbours gives the fraction. The result is 0 if no shift is clearly better than none.
    """
    seen = hands.seen
    cost = {}
    for shift in range(-MOST_FRAMES - 1, MOST_FRAMES + 2):
        rows = [(a, b) for a, b in neighbours(hands.numbers, shift) if seen[one, a] and seen[other, b]]
        if len(rows) < 2 * LEAST_FRAMES:
            continue
        a, b = np.array(rows).T
        try:
            cost[shift] = _residual(hands.points[other, b, hands.palm], hands.points[one, a, hands.palm])
        except DataError:  # the palm stands still or moves on a line
            return None
    if 0 not in cost or len(cost) < 3:
        return None
    best = min(cost, key=lambda shift: (cost[shift], abs(shift)))
    if best == 0 or cost[best] > _CLEARLY * cost[0]:
        return 0.0
    if best - 1 not in cost or best + 1 not in cost:
        return float(best)
    curve = cost[best - 1] - 2 * cost[best] + cost[best + 1]
    return best + (float((cost[best - 1] - cost[best + 1]) / (2 * curve)) if curve > 0 else 0.0)


def _residual(source: np.ndarray, target: np.ndarray) -> float:
    """Median distance, mm, of two paths (K, 3) after robust alignment."""
    weight = np.ones(len(source))
    pose = np.eye(4)
    for _ in range(10):
        pose = align(source, target, weight)
        weight = biweight(np.linalg.norm(move(pose, source) - target, axis=-1)) + 1e-6
    return float(np.median(np.linalg.norm(move(pose, source) - target, axis=-1)))
