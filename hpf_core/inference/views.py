"""Several views of one moment, fused in the rig's frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from hpf_core.data.cameras import Camera, Rig
from hpf_core.inference.hands import Hand
from hpf_core.inference.search import Found

_AGREE_MM = 60.0  # views with nearer palms saw the same hand


def together(found: Sequence[Sequence[Found]], rig: Rig, make: Callable[[Found, Camera], Hand]) -> list[Hand]:
    """The hands of a moment, in the rig's frame, the most confident first.

    Views vote. Estimates of one hand have palms within 60 mm. A group of views is a hand unless it shares a view with a
    more confident group. The hand's points are the median over the views for each coordinate (with two views, the
    mean). Its side is the one with the larger sum of log-odds.

    Args:
        found: the estimates of each view, in its camera's frame.
        rig: the views' cameras.
        make: converts an estimate to a hand, in one camera's frame.
    """
    said = [
        (dataclasses.replace(one, points=one.points @ pose[:3, :3].T + pose[:3, 3]), make(one, camera))
        for hands, camera, pose in zip(found, rig.cameras, rig.poses, strict=True)
        for one in hands
    ]
    made: list[tuple[float, Hand]] = []
    while said:
        groups = [[other for other in said if _apart(one, other) < _AGREE_MM] for one in said]
        group = max(groups, key=lambda members: sum(one.log_odds for one, _ in members))
        made.append((sum(one.log_odds for one, _ in group), _merged(group, rig)))
        said = [one for one in said if all(one is not member for member in group)]
    made.sort(key=lambda pair: -pair[0])
    return [hand for _, hand in made]


def _apart(one: tuple[Found, Hand], other: tuple[Found, Hand]) -> float:
    # Points of both are compared at the hands' palms: the mean over all points varies less than any single point.
    return float(np.linalg.norm(one[0].points.mean(axis=0) - other[0].points.mean(axis=0)))


def _merged(group: Sequence[tuple[Found, Hand]], rig: Rig) -> Hand:
    odds = {side: sum(one.log_odds for one, _ in group if one.side == side) for side in ("right", "left")}
    side = max(odds, key=lambda name: odds[name])
    votes = [(one, hand) for one, hand in group if one.side == side]
    surest, hand = max(votes, key=lambda pair: pair[0].log_odds)
    points = np.median([one.points for one, _ in votes], axis=0)
    palm = int(np.argmin(np.linalg.norm(hand.points - hand.centre, axis=1)))
    camera = rig.cameras[0]
    inside = points @ rig.from_rig[0][:3, :3].T + rig.from_rig[0][:3, 3]
    return dataclasses.replace(
        hand,
        points=points,
        pixels=camera.project(inside)[:, :2],
        spread_mm=np.mean([one.spread_mm for one, _ in votes], axis=0),
        fit_mm=float(np.mean([one.fit_mm for one, _ in votes])),
        iou=float(np.mean([one.iou for one, _ in votes])),
        confidence=surest.confidence,
        centre=points[palm].copy(),
    )
