"""The hand as opaque spheres under an orthographic camera: Eq. 6-8 (depth) and Eq. 10-11 (distance) of the paper.

Both ask which sphere is in front, or nearest, without gradient, and then evaluate that one sphere with gradient. The
result and its gradient are those of the dense formula (the minimum over all spheres), but nothing of the size
spheres x pixels is kept for the backward pass.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.geometry import Grid, at_least_float32
from hpf_core.interfaces import BoneRanges, Build, Config, PluginSpec, Rendered, Renderer, SurfaceDistance


class SpheresConfig(Config):
    """Options of the renderer `spheres`."""

    rim_floor_mm2: float = Field(
        1.0,
        gt=0,
        description="Smallest r^2 - d^2 under the root of Eq. 6, mm^2: the root's gradient goes to infinity at a "
        "sphere's rim. It moves the surface by less than the floor's root.",
    )
    miss: Literal["far"] | float = Field(
        "far",
        description="What a pixel sees where no sphere is hit: `far`, the far side of the cube (d_far of Eq. 6), or "
        "a depth in mm. It is a constant without gradient, and a surface beyond it isn't seen.",
    )
    radii: Literal["fixed", "sized"] = Field(
        "fixed",
        description="`fixed`: the hand model's, for every hand (the paper); `sized`: times the size of the hand that "
        "the points make, the median over its bones of length by neutral length, without gradient. A large hand is "
        "thicker: spheres too thin for it are drawn to its surface and together.",
    )


_SIZES = (0.8, 1.25)
"""The smallest and the largest size that `sized` takes a hand for: adults, and room for estimates that are off."""


class Spheres(Renderer):
    """One sphere around each of the hand model's points, with the model's radii.

    Args:
        radii: (J,) mm.
        config: the options.
        bones: whose lengths tell the size of a hand; for `radii: sized`, where the middle of each range is neutral.
    """

    radii: Tensor
    _first: Tensor
    _second: Tensor
    _neutral: Tensor

    def __init__(self, radii: Tensor, config: SpheresConfig, bones: BoneRanges | None = None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("radii", radii.detach().clone(), persistent=False)
        # On the host, once: the side of the window of pixels that a sphere can cover must be static.
        self._largest_mm = float(radii.max())
        if config.radii == "sized":
            assert bones is not None, "sizes are told by bones"
            self.register_buffer("_first", bones.first.clone(), persistent=False)
            self.register_buffer("_second", bones.second.clone(), persistent=False)
            self.register_buffer("_neutral", (bones.shortest + bones.longest) / 2, persistent=False)
            self._largest_mm *= _SIZES[1]

    def depth(self, points: Tensor, grid: Grid) -> Rendered:
        """Orthographic depth map of the nearest sphere along each ray (Eq. 6-8).

        A pixel is hit when a ray through its centre meets a sphere whose front lies nearer than the far value. There is
        no near plane: a sphere in front of the cube is seen, so that a loss can push it back. Points that aren't
        finite are not seen.

        Args:
            points: (N, J, 3) mm in the crop's frame.
            grid: the crop's rays.

        Returns:
            Maps (N, size, size); half precision is computed and returned in float32.
        """
        points = at_least_float32(points)
        radii = self._radii_of(points)
        far = self._far_mm(grid)
        element = self._front(points.detach(), radii, grid, far)  # (N, H * W), J where nothing is hit
        hit = element < radii.shape[1]
        element = torch.where(hit, element, 0)

        axis = grid.axis(points.device, points.dtype)
        pixel_y, pixel_x = axis.repeat_interleave(grid.size), axis.repeat(grid.size)
        x, y, z = (points[..., i].gather(1, element) for i in range(3))
        gap = radii.gather(1, element).square() - (x - pixel_x).square() - (y - pixel_y).square()
        depth = torch.where(hit, z - gap.clamp_min(self.config.rim_floor_mm2).sqrt(), far)
        # The value is the pixel's own ray, the gradient the sphere's: a loss on it slides the sphere sideways.
        anchor = torch.stack([pixel_x + (x - x.detach()), pixel_y + (y - y.detach())], dim=-1)

        shape = (points.shape[0], grid.size, grid.size)
        return Rendered(depth.view(shape), hit.view(shape), element.view(shape), anchor.view(*shape, 2))

    def distance(self, points: Tensor, queries: Tensor) -> SurfaceDistance:
        """Distance to the surface of the sphere whose surface is nearest, abs(|p - c| - r) (Eq. 10-11).

        Args:
            points: (N, J, 3) mm.
            queries: (N, Q, 3) mm, in the same frame.

        Returns:
            Distances (N, Q) >= 0, with a zero gradient where a query is a sphere's very centre or on its surface.
        """
        points, queries = at_least_float32(points), at_least_float32(queries)
        radii = self._radii_of(points)
        with torch.no_grad():
            # Exact differences: |p|^2 + |c|^2 - 2 p.c would cancel, and its product may be done in TF32 or bfloat16.
            apart = torch.cdist(points, queries, compute_mode="donot_use_mm_for_euclid_dist")
            element = (apart - radii[:, :, None]).abs_().min(dim=1).indices  # over J of (N, J, Q)
        offset = torch.stack([queries[..., i] - points[..., i].gather(1, element) for i in range(3)], dim=-1)
        distance = (torch.linalg.vector_norm(offset, dim=-1) - radii.gather(1, element)).abs()
        return SurfaceDistance(distance, element)

    @torch.no_grad()
    def _radii_of(self, points: Tensor) -> Tensor:
        """(N, J) mm, the radii of the spheres around points (N, J, 3)."""
        radii = self.radii.to(points.dtype).expand(points.shape[0], -1)
        if self.config.radii == "fixed":
            return radii
        length = torch.linalg.vector_norm(points[:, self._first] - points[:, self._second], dim=-1)
        size = (length / self._neutral.to(points.dtype)).nanmedian(dim=1).values
        return radii * size.clamp(*_SIZES)[:, None]

    def _far_mm(self, grid: Grid) -> float:
        return grid.far_mm if self.config.miss == "far" else self.config.miss

    @torch.no_grad()
    def _front(self, points: Tensor, radii: Tensor, grid: Grid, far: float) -> Tensor:
        """(N, H * W) int64, the sphere that each pixel sees, J where none: a depth buffer over windows of pixels."""
        count, spheres = points.shape[:2]
        # Pixels that the largest sphere can cover; a hundredth more, against rounding at the rim.
        reach = self._largest_mm / grid.pixel_mm + 0.01
        window = torch.arange(int(2 * reach) + 1, device=points.device)
        first = torch.ceil(points[..., :2] / grid.pixel_mm + (grid.size / 2 - 0.5) - reach).long()
        pixel = first[..., None] + window  # (N, J, 2, K)
        ray = (pixel.to(points.dtype) + (0.5 - grid.size / 2)) * grid.pixel_mm
        aside = (ray - points[..., :2, None]).square()
        aside = aside.masked_fill((pixel < 0) | (pixel >= grid.size), torch.inf)
        pixel = pixel.clamp(0, grid.size - 1)

        gap = (radii.square()[:, :, None] - aside[:, :, 1])[..., :, None] - aside[
            :, :, 0, None, :
        ]  # (N, J, K, K), r^2 - d^2
        depth = points[..., 2, None, None] - gap.clamp_min(self.config.rim_floor_mm2).sqrt()
        depth = torch.where(gap >= 0, depth, far).view(count, -1)
        where = (pixel[:, :, 1, :, None] * grid.size + pixel[:, :, 0, None, :]).view(count, -1)

        # First the depth in front, then the first of the spheres that have it: minima, so the order never matters.
        buffer = depth.new_full((count, grid.size**2), far).scatter_reduce(1, where, depth, "amin")
        in_front = (depth < far) & (depth == buffer.gather(1, where))
        number = torch.arange(spheres, device=points.device).repeat_interleave(window.shape[0] ** 2)
        number = torch.where(in_front, number, spheres)
        return torch.full_like(buffer, spheres, dtype=torch.int64).scatter_reduce(1, where, number, "amin")


def _build(config: SpheresConfig, build: Build) -> Spheres:
    hand = build.need_hand()
    return Spheres(hand.radii, config, hand.bones() if config.radii == "sized" else None)


SPEC = PluginSpec(
    kind="renderer",
    name="spheres",
    config=SpheresConfig,
    factory=_build,
    summary="One sphere around each point: the nearest along a ray, the nearest around a query.",
    source="Wan et al., CVPR 2019, Eq. 6-8 and 10-11, p. 10856",
)
