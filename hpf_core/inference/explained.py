"""How well an estimate's spheres explain a crop: the confidence of a prediction, which needs no label.

We render the estimate and compare it with the crop, pixel by pixel. A wrong position, a wrong side or another object
leaves unexplained surface, or spheres in free space. Surface beyond the estimated wrist is the arm. Surface far behind
or in front of the hand is another object. Neither counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.frames import State
from hpf_core.grid import Grid
from hpf_core.interfaces import HandModel, Renderer

_BEHIND_MM = 25.0  # surface farther behind the farthest sphere, or before the nearest one, isn't the hand's
_NEAR_MM = 20.0  # tolerance between spheres and surface
_MOST_MM = 40.0  # cap on a pixel's difference
_WRIST_MM = 10.0  # distance of the arm's start beyond the wrist's points
# Logistic regression of hands against everything else, on the validation splits of simulated captures with tables,
# other people, held objects and images without hands (`tools/fit_confidence.py`, rounded). Difference in depth and
# spread add nothing to these features.
_CONSTANT, _AGREE, _IOU, _BONES = -6.8, 9.5, 4.8, -0.7
# The same regression for right against wrong sides of the same crops, on two captures: one's validation split, and
# another.
_SIDE_FIT, _SIDE_IOU, _SIDE_AGREE, _SIDE_SPREAD = -0.8, 34.0, 14.0, -0.45


@dataclass(frozen=True)
class Explained:
    """Agreement of N estimates with their crops; each (N,) float32.

    Attributes:
        fit_mm: mean difference in depth over pixels with both sphere and surface, capped at 40 mm per pixel.
        iou: number of pixels with both sphere and hand surface, divided by those with either.
        agree: number of pixels where both agree within 20 mm, divided by those with either.
        free: share of the spheres' pixels where the sensor sees a surface over 20 mm behind them.
        spread_mm: root of the mean variance of the network's maps; 0 without variance.
        bones_mm: mean excess of bone lengths over the hand model's ranges.
        surface_cm2: area of the hand's surface in the crop.
    """

    fit_mm: Tensor
    iou: Tensor
    agree: Tensor
    free: Tensor
    spread_mm: Tensor
    bones_mm: Tensor
    surface_cm2: Tensor

    def log_odds(self) -> Tensor:
        """(N,) log-odds that each is a hand; a value above 0 means hand."""
        return _CONSTANT + _AGREE * self.agree + _IOU * self.iou + _BONES * self.bones_mm.clamp(max=10)

    def side_score(self) -> Tensor:
        """(N,) score to compare sides of a crop: the difference between two sides is their log-odds."""
        return (
            _SIDE_FIT * self.fit_mm
            + _SIDE_IOU * self.iou
            + _SIDE_AGREE * self.agree
            + _SIDE_SPREAD * self.spread_mm.clamp(max=_MOST_MM)
        )


@torch.no_grad()
def explain(
    hand: HandModel,
    renderer: Renderer,
    grid: Grid,
    depth: Tensor,
    state: Tensor,
    points: Tensor,
    variance: Tensor | None = None,
) -> Explained:
    """Compare estimates with their crops.

    Args:
        hand: the hand model.
        renderer: renderer of the hand's surface.
        grid: grid of the crops.
        depth: (N, H, W) mm in the crop's frame.
        state: (N, H, W) uint8, `State`.
        points: (N, J, 3) mm in the crop's frame.
        variance: (N, J) mm^2 of the network's maps, or None.
    """
    rendered = renderer.depth(points, grid)
    known, seen = state != int(State.UNKNOWN), state == int(State.HIT)
    arm = _beyond_wrist(hand, points, grid, depth)
    z = points[..., 2]
    low, high = z.amin(dim=1) - _BEHIND_MM - 15, z.amax(dim=1) + _BEHIND_MM
    own = seen & ~arm & (depth > low[:, None, None]) & (depth < high[:, None, None])
    spheres = rendered.hit & known & ~_beyond_wrist(hand, points, grid, rendered.depth)
    apart = (rendered.depth - depth).abs()
    both, either = spheres & own, spheres | own
    pixels = either.sum(dim=(1, 2)).clamp(min=1)
    met = both.sum(dim=(1, 2))
    fit = torch.where(both, apart.clamp(max=_MOST_MM), 0.0).sum(dim=(1, 2)) / met.clamp(min=1)
    past = spheres & (depth > rendered.depth + _NEAR_MM)
    bones = hand.bones()
    lengths = (points[:, bones.first] - points[:, bones.second]).norm(dim=-1)
    off = (bones.shortest - lengths).clamp(min=0) + (lengths - bones.longest).clamp(min=0)
    spread = torch.zeros(len(points)) if variance is None else variance.clamp(min=0).mean(dim=1).sqrt()
    return Explained(
        fit_mm=torch.where(met > 0, fit, _MOST_MM),
        iou=met / pixels,
        agree=(both & (apart < _NEAR_MM)).sum(dim=(1, 2)) / pixels,
        free=past.sum(dim=(1, 2)) / spheres.sum(dim=(1, 2)).clamp(min=1),
        spread_mm=spread,
        bones_mm=off.mean(dim=1),
        surface_cm2=own.sum(dim=(1, 2)) * (grid.pixel_mm**2 / 100),
    )


def _beyond_wrist(hand: HandModel, points: Tensor, grid: Grid, depth: Tensor) -> Tensor:
    """(N, H, W) bool, mask of pixels with surface beyond the plane through the estimated wrist."""
    wrist = points[:, list(hand.wrist)].mean(dim=1)
    outwards = torch.nn.functional.normalize(wrist - points[:, hand.palm_centre], dim=-1)
    axis = grid.axis(points.device, points.dtype)
    offset = (wrist * outwards).sum(dim=-1) + _WRIST_MM
    plane = outwards[:, 0, None, None] * axis + outwards[:, 1, None, None] * axis[:, None]
    return plane + outwards[:, 2, None, None] * depth > offset[:, None, None]
