"""Candidate places of hands in a depth image, the most likely first; without labels and without a network.

A hand is an end. A box of a hand's size contains much surface, and the frame of a box of twice the width around it
little. A chest, a table or a wall fills that frame. An arm crosses it on two sides, and a hand leaves it on one side.
The boxes have the thickness of a hand, which separates a hand from the body behind it. A summed-area table with depth
as its third axis gives the surface in any box at constant cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpf_core.data.cameras import Camera

MOST = 6
"""Largest number of candidates per image."""

_PIXEL_MM = 7.0  # width of a coarse pixel at `_NEAR_MM`: a hand covers about 200 of them there
_NEAR_MM = 500.0
_FROM_MM, _TO_MM = 150.0, 2200.0  # range of searched depths: a hand farther away has too few pixels
_BIN_MM = 60.0  # bin of depth; the boxes are three bins thick, the outer box extends one bin farther back
_INNER_MM, _OUTER_MM = 150.0, 300.0  # sides of the two boxes
_LEAST_MM2 = 2500.0  # least surface in the inner box: a fist seen edge-on shows more
_HAND_MM2 = 9000.0  # a box with this much surface counts as full
_OUTSIDE = 0.3  # assumed share of surface in the part of a box outside of the image
APART_MM = 90.0  # least distance between candidates
_NEAR_SHARE = 0.6  # relative loss of score per metre: hands reach towards the camera
_ROUNDS = 3
_BALL_MM = 95.0  # radius around a candidate for the estimate of its centre
_WIDER = 1.6  # factor on the radius of the ball whose mean shows the direction of the arm
_ARM_SHARE = 0.5  # share of the move of the centre away from the arm (`hpf_core.data.hand_centre`)
_ARM_MM = 8.0  # shift of the wider ball's mean by a visible arm
_BEHIND_MM = 25.0  # distance of the palm's centre behind the middle of its visible surface


@dataclass(frozen=True)
class Candidate:
    """A candidate place of a hand.

    Attributes:
        centre: (3,) float64 mm in the camera's frame, expected position of the palm's centre.
        score: 0 to 1, similarity of the surface there to an end of a hand's size.
        arm_from_above: whether more surface continues upwards in the image than to the other sides, as for an arm.
    """

    centre: np.ndarray
    score: float
    arm_from_above: bool


def find(depth: np.ndarray, returned: np.ndarray, camera: Camera, most: int = MOST) -> list[Candidate]:
    """The candidate places of an image, the most likely first; empty if no surface has a hand's size.

    Args:
        depth: (H, W) mm.
        returned: (H, W) bool, pixels with a return.
        camera: of the image.
        most: largest number of candidates.
    """
    surface = _Surface.of(depth, returned, camera)
    found: list[Candidate] = []
    for place, score in surface.ends(most):
        centre, arm = surface.settled(place)
        if all(np.linalg.norm(centre - other.centre) > APART_MM / 2 for other in found):
            above = -arm[1] > _ARM_MM and -arm[1] > abs(arm[0])
            found.append(Candidate(centre, score, bool(above)))
    return found


@dataclass(frozen=True)
class _Surface:
    """The K surface points of an image, thinned to pixels of some millimetres.

    Attributes:
        points: (3, K) float32 mm.
        row, column: (K,) int, the coarse pixels.
        shape: of the coarse image.
        pitch: focal lengths along x and y, in coarse pixels.
    """

    points: np.ndarray
    row: np.ndarray
    column: np.ndarray
    shape: tuple[int, int]
    pitch: tuple[float, float]

    @staticmethod
    def of(depth: np.ndarray, returned: np.ndarray, camera: Camera) -> _Surface:
        step = max(1, round(_PIXEL_MM * max(camera.fx, camera.fy) / _NEAR_MM))
        first = step // 2
        z = depth[first::step, first::step]
        row, column = np.nonzero(returned[first::step, first::step] & (z > _FROM_MM) & (z < _TO_MM))
        along = z[row, column].astype(np.float32)
        x, y = (axis[first::step, first::step][row, column].astype(np.float32) for axis in camera.rays())
        inside = np.isfinite(x) & np.isfinite(y)  # a distorted image has corners outside of the model's range
        row, column = row[inside], column[inside]
        points = np.stack([x * along, y * along, along])[:, inside]
        return _Surface(points, row, column, z.shape, (camera.fx / step, camera.fy / step))

    def ends(self, most: int) -> list[tuple[np.ndarray, float]]:
        """Points (3,) mm whose scores are local maxima, and these scores."""
        if not self.points.shape[1]:
            return []
        score = self._scores()
        found: list[tuple[np.ndarray, float]] = []
        while len(found) < most:
            best = int(score.argmax())
            if score[best] <= 0:
                break
            place = self.points[:, best]
            found.append((place, float(score[best])))
            away = np.square(self.points - place[:, None]).sum(axis=0)
            score[away < APART_MM**2] = 0
        return found

    def _scores(self) -> np.ndarray:
        """(K,) score of each point; 0 with too little surface around it."""
        z = self.points[2]
        bins = (z / _BIN_MM).astype(np.int64)
        bins -= bins.min()
        depth = int(bins.max()) + 1
        height, width = self.shape
        area = np.square(z) / (self.pitch[0] * self.pitch[1])
        table = np.zeros((depth + 1, height + 1, width + 1), dtype=np.float32)
        table[bins + 1, self.row + 1, self.column + 1] = area
        for axis in range(3):
            np.cumsum(table, axis=axis, out=table)
        near, far = np.maximum(bins - 1, 0), np.minimum(bins + 2, depth)
        inner, _ = self._boxes(table, area, near, far, _INNER_MM)
        outer, outside = self._boxes(table, area, near, np.minimum(bins + 3, depth), _OUTER_MM)
        score = np.minimum(inner / _HAND_MM2, 1) * inner / np.maximum(outer + _OUTSIDE * outside, 1)
        score *= (1 - _NEAR_SHARE * z / 1000).clip(0.1)
        score[inner < _LEAST_MM2] = 0
        return score

    def _boxes(
        self, table: np.ndarray, area: np.ndarray, near: np.ndarray, far: np.ndarray, side: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """(K,) mm^2, surface in the box around each point; and (K,) mm^2, area of its face outside of the image.

        Args:
            table: (D + 1, h + 1, w + 1), summed areas.
            area: (K,) mm^2, area of a coarse pixel at each point.
            near, far: (K,) the first bin of a box, and the one after its last.
            side: mm.
        """
        height, width = self.shape
        half = side / 2 / self.points[2]
        across, down = (np.maximum(np.rint(half * pitch).astype(np.int64), 1) for pitch in self.pitch)
        left, right = np.maximum(self.column - across, 0), np.minimum(self.column + across + 1, width)
        top, bottom = np.maximum(self.row - down, 0), np.minimum(self.row + down + 1, height)
        flat, wide, layer = table.ravel(), width + 1, (height + 1) * (width + 1)

        def upto(k: np.ndarray) -> np.ndarray:
            base = k * layer
            low, high = base + top * wide, base + bottom * wide
            return flat.take(high + right) - flat.take(high + left) - flat.take(low + right) + flat.take(low + left)

        whole = (2 * across + 1) * (2 * down + 1)
        return upto(far) - upto(near), (whole - (right - left) * (bottom - top)) * area

    def settled(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected palm centre (3,) float64 mm for a place on a hand's surface, and the arm's shift (3,) mm.

        The shift is that of a wider ball's mean.

        Iterate the mean of a ball, then move it away from the arm.
        """
        away = np.square(self.points - place[:, None]).sum(axis=0)
        around = self.points[:, away < (_ROUNDS * _BALL_MM) ** 2]
        middle = place.astype(np.float32)
        for _ in range(_ROUNDS):
            away = np.square(around - middle[:, None]).sum(axis=0)
            middle = _mean(around[:, away < _BALL_MM**2])
        away = np.square(around - middle[:, None]).sum(axis=0)
        arm = _mean(around[:, away < (_WIDER * _BALL_MM) ** 2]) - middle
        centre = (middle - np.float32(_ARM_SHARE) * arm).astype(np.float64)
        return centre * (1 + _BEHIND_MM / np.linalg.norm(centre)), arm


def _mean(points: np.ndarray) -> np.ndarray:
    """(3,) float32 mean of points (3, K), weighted with the surface z^2 of each pixel."""
    weight = np.square(points[2])
    return (points * weight).sum(axis=1) / weight.sum()
