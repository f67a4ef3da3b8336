"""Occluders and backgrounds of synthetic hands: balls that erase pixels, and planes such as tables and bodies."""

from __future__ import annotations

import torch
from torch import Tensor

from hpf_core.grid import Grid

_AROUND_MM = 19.0  # standard deviation of a ball's centre around its point
_STEEPEST = 1.7  # slope of a plane along x and y: 60 degrees from the image plane


def erased(
    depth: Tensor, points: Tensor, grid: Grid, most: int, radius_mm: float, generator: torch.Generator
) -> Tensor:
    """Return the pixels (N, H, W) bool inside up to `most` balls around random points. The balls simulate occluders.

    The balls follow Ren et al., TIP 2022 (their public code). A centre scatters by 19 mm around a point of the hand.
    Radii are uniform up to the largest radius.

    Args:
        depth: (N, H, W) mm from the crop's centre.
        points: (N, J, 3) mm, of the hand.
        grid: of the crop.
        most: largest number of balls. Every number from 0 to `most` has the same probability.
        radius_mm: largest radius, mm.
        generator: on the maps' device.
    """
    count, joints = points.shape[:2]
    device = points.device
    draw = torch.rand((3, count, most), generator=generator, device=device)
    chosen = (draw[0] * joints).long().clamp_(max=joints - 1)
    centre = points.gather(1, chosen[..., None].expand(-1, -1, 3))
    centre = centre + _AROUND_MM * torch.randn(centre.shape, generator=generator, device=device)
    number = (draw[2, :, :1] * (most + 1)).floor()
    valid = torch.arange(most, device=device) < number
    square = torch.where(valid, (radius_mm * draw[1]).square(), -1.0)
    axis = grid.axis(device)
    x = (axis - centre[..., 0, None]).square()[:, :, None, :]  # (N, K, 1, W)
    y = (axis - centre[..., 1, None]).square()[:, :, :, None]
    z = (depth[:, None] - centre[..., 2, None, None]).square()
    return (z.add_(x).add_(y) < square[..., None, None]).any(dim=1)


def plane_behind(vertices: Tensor, grid: Grid, share: float, gap_mm: float, generator: torch.Generator) -> Tensor:
    """Depth (N, H, W) mm of a plane of random slope behind each hand; +inf where a map has no plane.

    The plane simulates a table or a body. The plane touches the skin's farthest vertex or lies up to `gap_mm` behind
    it.

    Args:
        vertices: (N, V, 3) mm, of the hand's skin.
        grid: of the crop.
        share: share of the maps that get a plane.
        gap_mm: largest distance along z, mm.
        generator: on the maps' device.
    """
    draw = torch.rand((4, len(vertices), 1), generator=generator, device=vertices.device)
    slope = _STEEPEST * (2 * draw[:2] - 1)
    beyond = (vertices[..., 2] - slope[0] * vertices[..., 0] - slope[1] * vertices[..., 1]).amax(dim=1, keepdim=True)
    offset = beyond + gap_mm * draw[2]
    offset = torch.where(draw[3] < share, offset, torch.inf)
    axis = grid.axis(vertices.device)
    return offset[..., None] + (slope[0] * axis)[:, None, :] + (slope[1] * axis)[:, :, None]
