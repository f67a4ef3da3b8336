"""The hand as a sphere mesh under an orthographic camera: spheres, tangent cones along links, and tangent planes.

Source: Tkach, Pauly and Tagliasacchi, "Sphere-Meshes for Real-Time Hand Modeling and Tracking", SIGGRAPH Asia 2016,
section 3. The surface is the envelope of all spheres with centre and radius interpolated between two linked points, or
over three. A closed form without gradient finds the first sphere on a ray, or the sphere nearest to a query. The
renderer then evaluates that one sphere with gradient, as `spheres` does. That sphere is optimal along its primitive, so
a shift along the primitive has no first-order effect: the gradient is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.geometry.rigid import at_least_float32
from hpf_core.grid import Grid
from hpf_core.interfaces import Build, PluginSpec, Rendered, Renderer, SurfaceDistance
from hpf_plugins.renderers import sphere_mesh_kernels as kernels
from hpf_plugins.renderers import sphere_mesh_search as search
from hpf_plugins.renderers.surface import SurfaceConfig, along_rays, median_share, radii_around

# Radii in mm that fit the mesh over the paper's 41 points best to the skin of `spheres41`; fingers from little to
# thumb, tip to root. `tools/fit_sphere_mesh.py` computed them. Plain spheres need larger radii to fill gaps.
_FINGERS = (
    (6.1, 6.4, 7.4, 7.2, 8.5, 11.8),
    (6.9, 7.4, 7.8, 8.3, 9.3, 10.7),
    (7.2, 7.8, 8.5, 9.0, 9.2, 11.3),
    (7.4, 7.4, 8.6, 8.8, 9.0, 11.4),
    (8.7, 10.2, 10.3, 12.0, 15.4, 11.2),
)
_PALM = (16.2, 14.6, 13.4, 20.7, 21.7, 17.7, 15.8, 15.7, 16.0, 15.8, 17.2)
_POINTS = ("KNU3_A", "KNU3_B", "KNU2_A", "KNU2_B", "KNU1_A", "KNU1_B")
FITTED = {
    f"{finger}_{point}": radius
    for finger, radii in zip(("F1", "F2", "F3", "F4", "TH"), _FINGERS, strict=True)
    for point, radius in zip(_POINTS, radii, strict=True)
} | {f"PALM_{k + 1}": radius for k, radius in enumerate(_PALM)}
"""mm, by the point's name."""
_MAPS = 8  # number of maps that are blended together


class SphereMeshConfig(SurfaceConfig):
    """Options of the renderer `sphere_mesh`."""

    sizes: Literal["fitted", "hand"] = Field(
        "fitted",
        description="`fitted`: radii found for this surface, where the hand model has the 41 points of the paper; "
        "`hand`: the hand model's own, which are plain spheres' (as for any other hand model).",
    )


class SphereMesh(Renderer):
    """Spheres around each of the hand model's points, cones along its links, planes over triangles of links.

    Primitives are numbered in this order: J points, L links, T triangles. A triangle is three mutually linked points.

    Args:
        radii: (J,) mm.
        links: pairs of points.
        config: the options.
    """

    radii: Tensor
    links: Tensor
    triangles: Tensor
    corners: Tensor

    def __init__(self, radii: Tensor, links: Sequence[tuple[int, int]], config: SphereMeshConfig) -> None:
        super().__init__()
        self.config = config
        self.measures_radius_scale = config.radii == "measured"
        points = [(j, j, j) for j in range(len(radii))]
        triangles = triangles_of(links)
        corners = [*points, *((a, b, b) for a, b in links), *triangles]
        self.register_buffer("radii", radii.detach().clone(), persistent=False)
        self.register_buffer("links", torch.tensor(links, dtype=torch.int64).reshape(-1, 2), persistent=False)
        self.register_buffer("triangles", torch.tensor(triangles, dtype=torch.int64).reshape(-1, 3), persistent=False)
        self.register_buffer("corners", torch.tensor(corners), persistent=False)

    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        """Orthographic depth map of the surface in front along each ray.

        As with `spheres`, there is no near plane, and surfaces beyond the far value are invisible. Primitives with a
        non-finite point are invisible.

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
        primitive, weights = self._seen(points.detach(), radii, grid, far)
        hit = primitive < len(self.corners)
        primitive = torch.where(hit, primitive, 0)
        x, y, z, radius = self._sphere(points, radii, primitive, weights).unbind(-1)
        # The radii have no gradient, but beside the points autograd would keep them as if they had one.
        front, anchor = along_rays(x, y, z, radius.detach(), grid, self.config.rim_floor_mm2)
        depth = torch.where(hit, front, far)

        shape = (points.shape[0], grid.size, grid.size)
        return Rendered(depth.view(shape), hit.view(shape), primitive.view(shape), anchor.view(*shape, 2))

    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        """Distance of each query to the surface of the interpolated sphere that is nearest, or that holds it deepest.

        Outside, this is the distance to the sphere mesh. Inside, it is the query's depth: at most the distance to the
        surface, and equal to it where only one primitive is near. Surfaces within other primitives don't count.

        Args:
            points: (N, J, 3) mm.
            queries: (N, Q, 3) mm, in the same frame.
            radius_scale: (N,) factors on the radii; None for 1.

        Returns:
            Distances (N, Q) >= 0. The gradient is zero for a query at a sphere's centre or on its surface.
        """
        points, queries = at_least_float32(points), at_least_float32(queries)
        radii = radii_around(points, self.radii, radius_scale)
        primitive, sphere = self._nearest(points, radii, queries)
        apart = torch.linalg.vector_norm(queries - sphere[..., :3], dim=-1)
        return SurfaceDistance((apart - sphere[..., 3]).abs(), primitive)

    @torch.no_grad()
    def measure_radius_scale(self, points: Tensor, queries: Tensor, valid: Tensor) -> Tensor:
        """(N,) median over the queries of the ratio of their distance from the nearest sphere's centre to its radius.

        Args:
            points: (N, J, 3) mm.
            queries: (N, Q, 3) mm on the hand's surface, as far as it is seen.
            valid: (N, Q) bool, which of them exist; NaN where none does.
        """
        points, queries = at_least_float32(points), at_least_float32(queries)
        _, sphere = self._nearest(points, radii_around(points, self.radii, None), queries)
        return median_share(queries, sphere[..., :3], sphere[..., 3], valid)

    def _nearest(self, points: Tensor, radii: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """For each query: the primitive (N, Q) and its nearest sphere (N, Q, 4)."""
        mesh = points.detach(), radii, self.links, self.triangles
        if self._compiled(points):
            places = queries.detach().to(points.dtype).contiguous()
            primitive, weights = kernels.nearest(mesh[0].contiguous(), *mesh[1:], places)
        else:
            primitive, weights = search.nearest(*mesh, queries.detach())
        return primitive, self._sphere(points, radii, primitive, weights)

    def _seen(self, points: Tensor, radii: Tensor, grid: Grid, far: float) -> tuple[Tensor, Tensor]:
        """For each pixel: the visible primitive (N, H * W), or the number of primitives without one; and its corners'
        weights."""
        if self._compiled(points):
            mesh = points.contiguous(), radii, self.links, self.triangles
            return kernels.seen(*mesh, grid.size, grid.pixel_mm, far)
        return search.seen(points, radii, self.links, self.triangles, grid, far)

    def _compiled(self, points: Tensor) -> bool:
        """Whether to use the compiled kernels."""
        return points.device.type == "cpu" and kernels.available(points.dtype)

    def _sphere(self, points: Tensor, radii: Tensor, primitive: Tensor, weights: Tensor) -> Tensor:
        """(N, P, 4) mm, centre and radius of the spheres at weights (N, P, 3) of primitives (N, P)."""
        spheres = torch.cat([points, radii[..., None].to(points.dtype)], dim=-1)  # (N, J, 4)
        if torch.compiler.is_compiling():
            return _blended(spheres, self.corners, primitive, weights)
        blended: Tensor = _Blend.apply(spheres, self.corners, primitive, weights)
        return blended


class _Blend(torch.autograd.Function):
    """`_blended` for a few maps at a time. The backward pass keeps only primitives and weights. The corners of all rays
    and their spheres would be the largest tensors of a render. A compiled graph avoids them by itself."""

    @staticmethod
    def forward(ctx: Any, spheres: Tensor, corners: Tensor, primitive: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(corners, primitive, weights)
        ctx.shape = spheres.shape
        some = (tensor.split(_MAPS) for tensor in (spheres, primitive, weights))
        return torch.cat([_blended(mine, corners, *others) for mine, *others in zip(*some, strict=True)])

    @staticmethod
    def backward(ctx: Any, *by_blended: Tensor) -> tuple[Tensor | None, ...]:
        corners, primitive, weights = ctx.saved_tensors
        found = []
        some = (tensor.split(_MAPS) for tensor in (by_blended[0], primitive, weights))
        for by, mine, shares in zip(*some, strict=True):
            by_corner = (by[:, :, None] * shares[..., None]).flatten(1, 2)
            nothing = by.new_zeros(len(by), *ctx.shape[1:])
            found.append(nothing.scatter_add(1, _places(corners, mine), by_corner))
        return torch.cat(found), None, None, None


def _blended(spheres: Tensor, corners: Tensor, primitive: Tensor, weights: Tensor) -> Tensor:
    """(N, P, 4), weighted sums of spheres (N, J, 4) at the corners of primitives (N, P), with weights (N, P, 3)."""
    at_corners = spheres.gather(1, _places(corners, primitive)).unflatten(1, (primitive.shape[1], 3))
    return (at_corners * weights[..., None]).sum(dim=2)


def _places(corners: Tensor, primitive: Tensor) -> Tensor:
    """(N, P * 3, 4), the indices of the corners of primitives (N, P), for each of a sphere's four numbers."""
    return corners[primitive].flatten(1, 2)[..., None].expand(-1, -1, 4)


def triangles_of(links: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """All triples of mutually linked points, each in rising order."""
    linked = {frozenset(link) for link in links}
    points = sorted({point for link in links for point in link})
    near = {a: [b for b in points if b > a and frozenset((a, b)) in linked] for a in points}
    return [(a, b, c) for a in points for b, c in combinations(near[a], 2) if frozenset((b, c)) in linked]


def _build(config: SphereMeshConfig, build: Build) -> SphereMesh:
    hand = build.need_hand()
    radii = hand.radii
    if config.sizes == "fitted" and set(hand.names) == set(FITTED):
        radii = torch.tensor([FITTED[name] for name in hand.names], dtype=radii.dtype, device=radii.device)
    return SphereMesh(radii, hand.links, config)


SPEC = PluginSpec(
    kind="renderer",
    name="sphere_mesh",
    config=SphereMeshConfig,
    factory=_build,
    summary="Spheres joined by tangent cones along links and by tangent planes over three linked points.",
    source="Tkach, Pauly and Tagliasacchi, SIGGRAPH Asia 2016, section 3",
)
