"""Poses of cameras from the estimated points of hands: robust alignment of pairs, and a graph over all cameras."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from hpf_core.data.hand_calibration.seen_hands import SeenHands
from hpf_core.errors import DataError
from hpf_core.geometry.alignment import align_rigid

LEAST_FRAMES = 12
"""A pair of cameras needs at least this many common frames that agree. Fewer can agree by chance."""

_HYPOTHESES = 60  # single frames whose alignment is tried on all frames
_FITS_MM = 30.0  # a frame fits a pair if the mean distance of its points is at most this; estimates differ by 8-20 mm
_FLOOR_MM2 = 25.0  # added to the variance: no estimate is better than 5 mm
_TUKEY = 4.685  # of robust standard deviations, for 95 % efficiency with normal errors (Huber, Robust Statistics, 1981)
_ROUNDS = 30
_STILL = 1e-6  # mm and radians


@dataclass(frozen=True)
class PairFit:
    """The alignment of two cameras.

    Attributes:
        one, other: the views.
        to_one: (4, 4) from the frame of `other` to that of `one`, mm.
        fits: (F,) bool, the frames that agree with it.
        shared: number of frames in which both cameras see a hand.
        residual_mm: median distance of a point between the two views, over the frames that agree.
    """

    one: int
    other: int
    to_one: np.ndarray
    fits: np.ndarray
    shared: int
    residual_mm: float


def fit_pairs(hands: SeenHands) -> list[PairFit]:
    """Align every pair of cameras that share enough frames."""
    found = []
    views = len(hands.points)
    for one in range(views):
        for other in range(one + 1, views):
            fit = fit_pair(hands, one, other)
            if fit is not None:
                found.append(fit)
    return found


def fit_pair(hands: SeenHands, one: int, other: int) -> PairFit | None:
    """Align two cameras; None if too few frames agree.

    Single frames give hypotheses. The hypothesis that fits most frames starts iteratively reweighted least squares.
    Estimates of some frames may thus be wrong by any amount, such as by a swapped front and back of a hand.
    """
    shared = np.flatnonzero(hands.seen[one] & hands.seen[other])
    if len(shared) < LEAST_FRAMES:
        return None
    target, source = hands.points[one, shared], hands.points[other, shared]
    weight = _weight(hands, one, shared, other)
    best, most = np.eye(4), -1.0
    for row in np.unique(np.linspace(0, len(shared) - 1, min(_HYPOTHESES, len(shared))).astype(int)):
        pose = align(source[row], target[row], weight[row])
        away = _away(pose, source, target)
        score = float(np.clip(1 - away / (2 * _FITS_MM), 0, None).sum())
        if score > most:
            best, most = pose, score
    pose, fits = best, np.zeros(len(shared), bool)
    for _ in range(_ROUNDS):
        before, fits = pose, _away(pose, source, target) <= _FITS_MM
        if fits.sum() < LEAST_FRAMES:
            return None
        miss = np.linalg.norm(move(pose, source[fits]) - target[fits], axis=-1)
        pose = align(
            source[fits].reshape(-1, 3), target[fits].reshape(-1, 3), (weight[fits] * biweight(miss)).reshape(-1)
        )
        if np.abs(pose - before).max() < _STILL:
            break
    miss = np.linalg.norm(move(pose, source[fits]) - target[fits], axis=-1)
    every = np.zeros(hands.points.shape[1], bool)
    every[shared[fits]] = True
    return PairFit(one, other, pose, every, len(shared), float(np.median(miss)))


def tie_together(pairs: list[PairFit], names: tuple[str, ...]) -> np.ndarray:
    """(V, 4, 4) from each camera's frame to the first one's, along the strongest pairs (a maximum spanning tree).

    Raises:
        DataError: a camera shares too few frames with the others.
    """
    to_rig: dict[int, np.ndarray] = {0: np.eye(4)}
    while len(to_rig) < len(names):
        open_pairs = [pair for pair in pairs if (pair.one in to_rig) != (pair.other in to_rig)]
        if not open_pairs:
            lost = [name for view, name in enumerate(names) if view not in to_rig]
            known = [name for view, name in enumerate(names) if view in to_rig]
            raise DataError(
                f"The rig can't be tied together: no {LEAST_FRAMES} frames show one hand alike in {_listed(lost)} and "
                f"in {_listed(known)}. Record a hand that turns slowly where the cameras' images overlap, and look at "
                "`hpf data check`."
            )
        best = max(open_pairs, key=lambda pair: pair.fits.sum() / max(pair.residual_mm, 1.0))
        if best.one in to_rig:
            to_rig[best.other] = to_rig[best.one] @ best.to_one
        else:
            to_rig[best.one] = to_rig[best.other] @ np.linalg.inv(best.to_one)
    return np.stack([to_rig[view] for view in range(len(names))])


def refine(hands: SeenHands, pairs: list[PairFit], to_rig: np.ndarray) -> np.ndarray:
    """Move all cameras but the first, so that the points of all pairs agree best: Gauss-Newton with Tukey's weights."""
    to_rig = to_rig.copy()
    for _ in range(_ROUNDS):
        normal = NormalEquations(len(to_rig))
        for pair in pairs:
            normal.add_points(*moved_points(hands, pair, to_rig))
        step = normal.step()
        to_rig = normal.moved(to_rig, step)
        if np.abs(step).max() < _STILL:
            break
    return to_rig


def moved_points(
    hands: SeenHands, pair: PairFit, to_rig: np.ndarray
) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray]:
    """The views of a pair, their points (K, 3) in the rig's frame, and weights (K,)."""
    frames = np.flatnonzero(pair.fits)
    one = move(to_rig[pair.one], hands.points[pair.one, frames])
    other = move(to_rig[pair.other], hands.points[pair.other, frames])
    weight = _weight(hands, pair.one, frames, pair.other) * biweight(np.linalg.norm(one - other, axis=-1))
    return pair.one, pair.other, one.reshape(-1, 3), other.reshape(-1, 3), weight.reshape(-1)


class NormalEquations:
    """Gauss-Newton's equations for small motions of all cameras but the first, in the rig's frame.

    A motion is a rotation vector and a shift. Rotations are about a centre near the hands: both are then independent.
    """

    def __init__(self, views: int, centre: np.ndarray | None = None) -> None:
        self.views = views
        self.centre = np.zeros(3) if centre is None else centre
        self._left = np.zeros((6 * views, 6 * views))
        self._right = np.zeros(6 * views)

    def add_points(self, one: int, other: int, at_one: np.ndarray, at_other: np.ndarray, weight: np.ndarray) -> None:
        """Demand that points (K, 3) of two views coincide."""
        for axis in range(3):
            direction = np.zeros_like(at_one)
            direction[:, axis] = 1
            self.add(one, other, at_one, at_other, direction, weight)

    def add(
        self, one: int, other: int, at_one: np.ndarray, at_other: np.ndarray, direction: np.ndarray, weight: np.ndarray
    ) -> None:
        """Demand that points (K, 3) of two views coincide along directions (K, 3)."""
        miss = (direction * (at_other - at_one)).sum(axis=-1)
        turn = np.concatenate([np.cross(at_other - self.centre, direction), direction], axis=-1)
        block = (turn * weight[:, None]).T @ turn
        side = (turn * weight[:, None]).T @ miss
        rows = {view: slice(6 * view, 6 * view + 6) for view in (one, other)}
        self._left[rows[one], rows[one]] += block
        self._left[rows[other], rows[other]] += block
        self._left[rows[one], rows[other]] -= block
        self._left[rows[other], rows[one]] -= block
        self._right[rows[other]] -= side
        self._right[rows[one]] += side

    def step(self) -> np.ndarray:
        """(V, 6) rotation vectors and shifts that lower the sum of squares; 0 for the first camera."""
        left, right = self._left[6:, 6:], self._right[6:]
        damped = left + 1e-9 * max(float(np.trace(left)), 1e-12) * np.eye(len(left))
        return np.concatenate([np.zeros(6), np.linalg.solve(damped, right)]).reshape(self.views, 6)

    def moved(self, to_rig: np.ndarray, step: np.ndarray) -> np.ndarray:
        """(V, 4, 4) after the motions."""
        found = to_rig.copy()
        for view, motion in enumerate(step):
            turn = rotation(motion[:3])
            found[view, :3, :3] = turn @ to_rig[view, :3, :3]
            found[view, :3, 3] = turn @ (to_rig[view, :3, 3] - self.centre) + self.centre + motion[3:]
        return found


def rotation(vector: np.ndarray) -> np.ndarray:
    """(3, 3) of a rotation vector (3,) in radians, by Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def align(source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(4, 4) of the rigid map from points (K, 3) to points (K, 3), with weights (K,).

    Raises:
        DataError: as `align_rigid`.
    """
    found = align_rigid(torch.from_numpy(source), torch.from_numpy(target), torch.from_numpy(weight))
    return found.transform.numpy()


def move(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (..., 3) by a rigid map (4, 4)."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def biweight(miss: np.ndarray) -> np.ndarray:
    """Tukey's weights of distances, with their own robust scale."""
    scale = max(_TUKEY * 1.4826 * float(np.median(np.abs(miss))), 1e-6) if miss.size else 1.0
    return np.clip(1 - np.square(miss / scale), 0, None) ** 2


def angle_deg(turn: np.ndarray) -> float:
    """The angle of a rotation (3, 3), degrees."""
    # From the skew part too: the trace alone is inexact near 0.
    skew = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return float(np.degrees(np.arctan2(np.linalg.norm(skew), np.trace(turn) - 1)))


def _weight(hands: SeenHands, one: int, frames: np.ndarray, other: int) -> np.ndarray:
    """(F, J) inverse variance of the difference of two views' points."""
    return 1 / (hands.variance[one, frames] + hands.variance[other, frames] + _FLOOR_MM2)


def _away(pose: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(F,) mm, mean distance of the points of each frame."""
    return np.linalg.norm(move(pose, source) - target, axis=-1).mean(axis=-1)


def _listed(names: list[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)


def neighbours(numbers: np.ndarray, shift: int) -> Iterator[tuple[int, int]]:
    """The rows of frames (F,) and of the frames with numbers that are larger by `shift`."""
    rows = {int(number): row for row, number in enumerate(numbers)}
    for number, row in rows.items():
        if number + shift in rows:
            yield row, rows[number + shift]
