"""From seen hands to the poses of all cameras, with the figures that show whether to trust them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hpf_core.data.cameras import Volume
from hpf_core.data.hand_calibration.lag import find_lag
from hpf_core.data.hand_calibration.points import angle_deg, fit_pairs, refine, tie_together
from hpf_core.data.hand_calibration.seen_hands import SeenHands
from hpf_core.data.hand_calibration.surfaces import lay_on, residuals

_LEAST_SHARE = 0.4  # of a view's frames must agree with another view
_SURFACE_MM = 8.0  # surfaces of a good calibration lie nearer


@dataclass(frozen=True)
class ViewResult:
    """What the calibration says of one camera.

    Attributes:
        name: of the camera.
        rotation_deg: angle of `to_rig`.
        shift_mm: (3,) of `to_rig`.
        moved_deg, moved_mm: difference from the file's pose, at the hand; None without a pose in the file.
        points_mm: median distance of an estimated point from the same point in other views.
        before_mm, after_mm: median distance of the hand's surface from other views' surfaces, with the file's pose (or
            with the points alone) and with the result; NaN without a common surface.
        frames: number of frames used.
        seen: number of frames in which the camera sees a hand.
        lag_frames: by how many frames the camera is behind the first one; None if it can't be found.
        fits: whether the camera agrees with the others.
    """

    name: str
    rotation_deg: float
    shift_mm: np.ndarray
    moved_deg: float | None
    moved_mm: float | None
    points_mm: float
    before_mm: float
    after_mm: float
    frames: int
    seen: int
    lag_frames: float | None
    fits: bool


@dataclass(frozen=True)
class HandCalibration:
    """The poses of a rig's cameras from hands.

    Attributes:
        to_rig: (V, 4, 4) float64, from each camera's frame to the first one's, mm.
        views: the result for each camera.
        frames: number of frames that were looked at.
    """

    to_rig: np.ndarray
    views: tuple[ViewResult, ...]
    frames: int

    def mirrored(self) -> HandCalibration:
        """The result for the mirrored scene, where x is -x."""
        flip = np.diag([-1.0, 1.0, 1.0, 1.0])
        views = tuple(replace(one, shift_mm=one.shift_mm * [-1.0, 1.0, 1.0]) for one in self.views)
        return replace(self, to_rig=flip @ self.to_rig @ flip + 0.0, views=views)


def calibrate_from_hands(
    hands: SeenHands, names: tuple[str, ...], known: np.ndarray | None = None, volume_mm: Volume | None = None
) -> HandCalibration:
    """Find the poses of all cameras.

    Args:
        hands: what the cameras see.
        names: of the cameras.
        known: (V, 4, 4) poses of before, only for comparison.
        volume_mm: a box in the first camera's frame; with it, everything in the box is laid on each other at last.

    Raises:
        DataError: the cameras can't be tied together.
    """
    pairs = fit_pairs(hands)
    by_points = refine(hands, pairs, tie_together(pairs, names))
    to_rig = lay_on(hands, pairs, by_points)
    if volume_mm is not None:
        to_rig = lay_on(hands, pairs, to_rig, volume_mm)
    before = residuals(hands, pairs, by_points if known is None else known)
    after = residuals(hands, pairs, to_rig)
    middle = np.append(np.nanmedian(hands.points[0, :, hands.palm], axis=0), 1.0)
    seen = hands.seen
    views = []
    for view, name in enumerate(names):
        mine = [pair for pair in pairs if view in (pair.one, pair.other)]
        used = np.any([pair.fits for pair in mine], axis=0)
        gap = None if known is None else to_rig[view] @ np.linalg.inv(known[view])
        views.append(
            ViewResult(
                name=name,
                rotation_deg=angle_deg(to_rig[view, :3, :3]),
                shift_mm=to_rig[view, :3, 3],
                moved_deg=None if gap is None else angle_deg(gap[:3, :3]),
                moved_mm=None if gap is None else float(np.linalg.norm((gap @ middle - middle)[:3])),
                points_mm=float(np.median([pair.residual_mm for pair in mine])),
                before_mm=float(before[view]),
                after_mm=float(after[view]),
                frames=int(used.sum()),
                seen=int(seen[view].sum()),
                lag_frames=find_lag(hands, 0, view) if view else None,
                fits=bool(used.sum() >= _LEAST_SHARE * seen[view].sum() and not after[view] > _SURFACE_MM),
            )
        )
    return HandCalibration(to_rig, tuple(views), hands.points.shape[1])
