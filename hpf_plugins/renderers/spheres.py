"""The hand as opaque spheres under an orthographic camera: Eq. 6-8 (depth) and Eq. 10-11 (distance) of the paper.

Both methods find the front or nearest sphere without gradient, and then evaluate that one sphere with gradient. The
result and its gradient equal those of the dense formula (the minimum over all spheres). The backward pass keeps no
tensor of the size spheres x pixels.

On a CPU, compiled C does this (`kernels`). Without a compiler, and on other devices, tensor operations do it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hpf_core.geometry.rigid import at_least_float32
from hpf_core.grid import Grid
from hpf_core.interfaces import Build, PluginSpec, Rendered, Renderer, SurfaceDistance
from hpf_plugins.renderers import kernels
from hpf_plugins.renderers.surface import RADIUS_SCALE_RANGE, SurfaceConfig, along_rays, median_share, radii_around


class SpheresConfig(SurfaceConfig):
    """Options of the renderer `spheres`."""


class Spheres(Renderer):
    """One sphere around each of the hand model's points, with the model's radii.

    Args:
        radii: (J,) mm.
        config: the options.
    """

    radii: Tensor

    def __init__(self, radii: Tensor, config: SpheresConfig) -> None:
        super().__init__()
        self.config = config
        self.measures_radius_scale = config.radii == "measured"
        self.register_buffer("radii", radii.detach().clone(), persistent=False)
        # Computed on the host, once: a sphere's window of pixels must have a static side.
        self._largest_mm = float(radii.max())

    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        """Orthographic depth map of the nearest sphere along each ray (Eq. 6-8).

        A pixel is hit when a ray through its centre meets a sphere whose front is nearer than the far value. There is
        no near plane: a sphere in front of the cube is visible, so that a loss can push it back. Non-finite points are
        invisible.

        Args:
            points: (N, J, 3) mm in the crop's frame.
            grid: the crop's rays.
            radius_scale: (N,) factors on the radii; None for 1.

        Returns:
            Maps (N, size, size); half precision is computed and returned in float32.
        """
        points = at_least_float32(points)
        radii = radii_around(points, self.radii, radius_scale)
        far = self.config.far_mm(grid)
        if self._compiled(points):
            return Rendered(
                *kernels.depth(points.contiguous(), radii, grid.size, grid.pixel_mm, far, self.config.rim_floor_mm2)
            )
        largest = self._largest_mm * (1.0 if radius_scale is None else RADIUS_SCALE_RANGE[1])
        primitive = self._front(points.detach(), radii, grid, far, largest)  # (N, H * W), J without a hit
        hit = primitive < radii.shape[1]
        primitive = torch.where(hit, primitive, 0)

        x, y, z = (points[..., i].gather(1, primitive) for i in range(3))
        front, anchor = along_rays(x, y, z, radii.gather(1, primitive), grid, self.config.rim_floor_mm2)
        depth = torch.where(hit, front, far)

        shape = (points.shape[0], grid.size, grid.size)
        return Rendered(depth.view(shape), hit.view(shape), primitive.view(shape), anchor.view(*shape, 2))

    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        """Distance to the surface of the sphere with the nearest surface, abs(|p - c| - r) (Eq. 10-11).

        Args:
            points: (N, J, 3) mm.
            queries: (N, Q, 3) mm, in the same frame.
            radius_scale: (N,) factors on the radii; None for 1.

        Returns:
            Distances (N, Q) >= 0. The gradient is zero for a query at a sphere's centre or on its surface.
        """
        points, queries = at_least_float32(points), at_least_float32(queries)
        radii = radii_around(points, self.radii, radius_scale)
        if self._compiled(points):
            queries = queries.to(points.dtype).contiguous()
            return SurfaceDistance(*kernels.distance(points.contiguous(), radii, queries))
        with torch.no_grad():
            # Exact differences: |p|^2 + |c|^2 - 2 p.c would cancel, and its product may run in TF32 or bfloat16.
            apart = torch.cdist(points, queries, compute_mode="donot_use_mm_for_euclid_dist")
            primitive = apart.sub_(radii[:, :, None]).abs_().min(dim=1).indices  # Eq. 11; over J of (N, J, Q)
        offset = torch.stack([queries[..., i] - points[..., i].gather(1, primitive) for i in range(3)], dim=-1)
        distance = (torch.linalg.vector_norm(offset, dim=-1) - radii.gather(1, primitive)).abs()  # Eq. 10
        return SurfaceDistance(distance, primitive)

    @torch.no_grad()
    def measure_radius_scale(self, points: Tensor, queries: Tensor, valid: Tensor) -> Tensor:
        """(N,) median over the queries of the ratio of their distance from the nearest sphere's centre to its radius.

        Args:
            points: (N, J, 3) mm.
            queries: (N, Q, 3) mm on the hand's surface, as far as it is seen.
            valid: (N, Q) bool, which of them exist; NaN where none does.
        """
        points, queries = at_least_float32(points), at_least_float32(queries)
        primitive = self.distance(points, queries).primitive
        centre = torch.stack([points[..., i].gather(1, primitive) for i in range(3)], dim=-1)
        return median_share(queries, centre, self.radii.to(points.dtype)[primitive], valid)

    def _compiled(self, points: Tensor) -> bool:
        """Whether to use the compiled kernels."""
        return points.device.type == "cpu" and kernels.available(points.dtype)

    @torch.no_grad()
    def _front(self, points: Tensor, radii: Tensor, grid: Grid, far: float, largest_mm: float) -> Tensor:
        """(N, H * W) int64, the visible sphere of each pixel, or J: a depth buffer over windows of pixels."""
        count, spheres = points.shape[:2]
        # The window of the largest sphere, with a margin of 1% against rounding at the rim.
        reach = largest_mm / grid.pixel_mm + 0.01
        window = torch.arange(int(2 * reach) + 1, device=points.device)
        first = torch.ceil(points[..., :2] / grid.pixel_mm + (grid.size / 2 - 0.5) - reach).long()
        pixel = first[..., None] + window  # (N, J, 2, K)
        ray = (pixel.to(points.dtype) + (0.5 - grid.size / 2)) * grid.pixel_mm
        aside = (ray - points[..., :2, None]).square()  # Eq. 7
        aside = aside.masked_fill((pixel < 0) | (pixel >= grid.size), torch.inf)
        pixel = pixel.clamp(0, grid.size - 1)

        gap = (radii.square()[:, :, None] - aside[:, :, 1])[..., :, None] - aside[
            :, :, 0, None, :
        ]  # (N, J, K, K), r^2 - d^2
        depth = points[..., 2, None, None] - gap.clamp_min(self.config.rim_floor_mm2).sqrt()  # Eq. 6
        seen = (gap >= 0) & points.isfinite().all(dim=-1)[..., None, None]
        depth = torch.where(seen, depth, far).view(count, -1)
        where = (pixel[:, :, 1, :, None] * grid.size + pixel[:, :, 0, None, :]).view(count, -1)

        # The minimum depth, then the first sphere with this depth: minima don't depend on the order.
        buffer = depth.new_full((count, grid.size**2), far).scatter_reduce(1, where, depth, "amin")  # Eq. 8
        in_front = (depth < far) & (depth == buffer.gather(1, where))
        number = torch.arange(spheres, device=points.device).repeat_interleave(window.shape[0] ** 2)
        number = torch.where(in_front, number, spheres)
        return torch.full_like(buffer, spheres, dtype=torch.int64).scatter_reduce(1, where, number, "amin")


def _build(config: SpheresConfig, build: Build) -> Spheres:
    return Spheres(build.need_hand().radii, config)


SPEC = PluginSpec(
    kind="renderer",
    name="spheres",
    config=SpheresConfig,
    factory=_build,
    summary="One sphere around each point: the nearest along a ray, the nearest around a query.",
    source="Wan et al., CVPR 2019, Eq. 6-8 and 10-11, p. 10856",
)
