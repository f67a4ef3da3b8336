"""Renderers that break the contract."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from broken.faults import Faults
from hpf.plugin import Build, Config, Grid, Rendered, SurfaceDistance

RENDERER = Faults("renderer", lambda plugin, config, build: plugin(build.need_hand().radii, config.rim_floor_mm2))
Mine = RENDERER.module.Mine
breaks = RENDERER.breaks


@RENDERER.breaks_when_built("finite", "gradient on points")
def no_floor_under_the_root(config: Config, build: Build) -> Mine:
    return Mine(build.need_hand().radii, rim_floor_mm2=-math.inf)


# -------------------------------------------------------------------------------------------------------- depth maps


@breaks("shapes", "error", "int")
class PrimitivesInShortIntegers(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        rendered = super().depth(points, grid, radius_scale=radius_scale)
        return rendered._replace(primitive=rendered.primitive.int())


@breaks("shapes", "anchor is (5, 2, 32, 32), not (5, 32, 32, 2)")
class AnchorsInChannels(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        rendered = super().depth(points, grid, radius_scale=radius_scale)
        return rendered._replace(anchor=rendered.anchor.movedim(-1, 1))


@breaks("shapes", "over another grid is (5, 32, 32), not (5, 20, 20)")
class KeepsTheFirstGrid(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        self.grid = getattr(self, "grid", grid)
        return super().depth(points, self.grid, radius_scale=radius_scale)


@breaks("meta device", "meta")
class AxisOnTheHost(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        rendered = super().depth(points, grid, radius_scale=radius_scale)
        return rendered._replace(anchor=rendered.anchor + 0 * grid.axis()[:, None])


@breaks("orthographic", "moved")
class ScalesHeights(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        return super().depth(points * points.new_tensor([1.0, 2.0, 1.0]), grid, radius_scale=radius_scale)


@breaks("orthographic", "off their pixels' rays")
class AnchorsBesideTheirRays(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        rendered = super().depth(points, grid, radius_scale=radius_scale)
        return rendered._replace(anchor=rendered.anchor + 9)


@breaks("orthographic", "moved 12 mm away")
class FlattensHands(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        return super().depth(points * points.new_tensor([1.0, 1.0, 0.0]), grid, radius_scale=radius_scale)


@breaks("slopes", "depth().depth has no gradient")
class DepthIsDetached(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        rendered = super().depth(points, grid, radius_scale=radius_scale)
        return rendered._replace(depth=rendered.depth.detach())


@breaks("slopes", "depth().depth follows by 2 mm")
class DepthMovesTwiceAsFar(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        rendered = super().depth(points, grid, radius_scale=radius_scale)
        return rendered._replace(depth=2 * rendered.depth - rendered.depth.detach())


@breaks("slopes", "moved along y by a mm, depth().anchor follows by 0 mm")
class AnchorsDoNotMoveAlongY(Mine):
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        rendered = super().depth(points, grid, radius_scale=radius_scale)
        x, y = rendered.anchor.unbind(-1)
        return rendered._replace(anchor=torch.stack([x, y.detach()], dim=-1))


# --------------------------------------------------------------------------------------------------------- distances


@breaks("one surface", "off the surface")
class DistanceToThickerBalls(Mine):
    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        found = super().distance(points, queries, radius_scale=radius_scale)
        return found._replace(distance=found.distance + 9)


@breaks("one surface", "they are 0 to 0 mm from the surface")
class DistanceIsZero(Mine):
    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        found = super().distance(points, queries, radius_scale=radius_scale)
        return found._replace(distance=0 * found.distance)


@breaks("one surface", "nearest point is 909 to 1000 mm")
class DistanceIsSquared(Mine):
    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        found = super().distance(points, queries, radius_scale=radius_scale)
        return found._replace(distance=found.distance.square())


@breaks("slopes", "distance has no gradient")
class DistanceIsDetached(Mine):
    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        found = super().distance(points, queries, radius_scale=radius_scale)
        return found._replace(distance=found.distance.detach())


@breaks("slopes", "as its gradient has it")
class DistanceChangesTwiceAsMuch(Mine):
    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        found = super().distance(points, queries, radius_scale=radius_scale)
        return found._replace(distance=2 * found.distance - found.distance.detach())


# ------------------------------------------------------------------------------------------------------ radius scale


@breaks("radius scale", "lacks the method `measure_radius_scale`")
class MeasuresNoRadiusScale(Mine):
    measures_radius_scale = True


@breaks("radius scale", "shows no thicker hand")
class IgnoresTheRadiusScale(Mine):
    def _radii(self, points: Tensor, radius_scale: Tensor | None) -> Tensor:
        return super()._radii(points, None)


@breaks("radius scale", "both must multiply the radii by it")
class DistanceIgnoresTheRadiusScale(Mine):
    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        return super().distance(points, queries)
