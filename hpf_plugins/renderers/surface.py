"""Code that the sphere-based renderers share: options, radii, and a ray's view of its sphere."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.grid import Grid
from hpf_core.interfaces import Config

RADIUS_SCALE_RANGE = (0.7, 1.5)
"""Smallest and largest factor on the radii. Our choice: wider than the adults of the hand model."""


class SurfaceConfig(Config):
    """Options of a surface made of spheres."""

    rim_floor_mm2: float = Field(
        1.0,
        gt=0,
        description="Smallest r^2 - d^2 under the root of Eq. 6, mm^2: the root's gradient goes to infinity at a "
        "sphere's rim. It moves the surface by less than the floor's root.",
    )
    miss: Literal["far"] | float = Field(
        "far",
        description="What a pixel sees where nothing is hit: `far`, the far side of the cube (d_far of Eq. 6), or a "
        "depth in mm. It is a constant without gradient, and a surface beyond it isn't seen.",
    )
    radii: Literal["fixed", "measured"] = Field(
        "fixed",
        description="`fixed`: the same for every hand (the paper); `measured`: times one factor for each "
        "recording, measured on its depth maps with the weights that a stage starts from. Spheres that are too "
        "thin move towards the surface of a thick hand, and towards each other.",
    )

    def far_mm(self, grid: Grid) -> float:
        """Value of a pixel without a surface, mm."""
        return float(grid.far_mm if self.miss == "far" else self.miss)


def radii_around(points: Tensor, radii: Tensor, radius_scale: Tensor | None) -> Tensor:
    """(N, J) mm, radii (J,) times the factor (N,) of each hand, for spheres around points (N, J, 3); contiguous and
    without gradient."""
    expanded = radii.to(points.dtype).expand(points.shape[0], -1)
    if radius_scale is None:
        return expanded.contiguous()
    return expanded * radius_scale.detach().to(points.dtype).clamp(*RADIUS_SCALE_RANGE)[:, None]


def along_rays(x: Tensor, y: Tensor, z: Tensor, radii: Tensor, grid: Grid, floor_mm2: float) -> tuple[Tensor, Tensor]:
    """View of a sphere along each of the grid's rays: depth (N, H * W) mm (Eq. 6) and anchor (N, H * W, 2) mm.

    Args:
        x, y, z: (N, H * W) mm, the centre of each ray's sphere, with gradient.
        radii: (N, H * W) mm.
        grid: the rays.
        floor_mm2: the least r^2 - d^2 under the root.
    """
    axis = grid.axis(x.device, x.dtype)
    pixel_y, pixel_x = axis.repeat_interleave(grid.size), axis.repeat(grid.size)
    gap = radii.square() - (x - pixel_x).square() - (y - pixel_y).square()  # Eq. 7
    # The anchor has the value of the pixel's ray and the gradient of the sphere: a loss on it slides the sphere
    # sideways.
    anchor = torch.stack([pixel_x + (x - x.detach()), pixel_y + (y - y.detach())], dim=-1)
    return z - gap.clamp_min(floor_mm2).sqrt(), anchor  # Eq. 6


def median_share(queries: Tensor, centres: Tensor, radii: Tensor, valid: Tensor) -> Tensor:
    """(N,) median over queries (N, Q, 3) of the ratio of their distance from centres (N, Q, 3) to radii (N, Q). Only
    queries of the mask `valid` (N, Q) count; NaN without any."""
    share = torch.linalg.vector_norm(queries - centres, dim=-1) / radii
    return share.masked_fill(~valid, torch.nan).nanmedian(dim=1).values
