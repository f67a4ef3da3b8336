"""The renderer: depth maps of points, and distances to their surface."""

from __future__ import annotations

import abc
from typing import NamedTuple

from torch import Tensor, nn

from hpf_core.errors import PluginError
from hpf_core.grid import Grid


class Rendered(NamedTuple):
    """Depth maps of a renderer.

    Attributes:
        depth: (N, H, W) mm, with the far value in pixels without a surface. Differentiable in the points.
        hit: (N, H, W) bool.
        primitive: (N, H, W) int64, index of the visible primitive (a sphere, a cone); 0 without a surface.
        anchor: (N, H, W, 2) mm, x and y of the visible surface point. Its value is the pixel's own ray. Its gradient
            moves with the primitive, so a loss on it slides the primitive sideways.
    """

    depth: Tensor
    hit: Tensor
    primitive: Tensor
    anchor: Tensor


class SurfaceDistance(NamedTuple):
    """`distance` (N, Q) mm >= 0 to the nearest primitive's surface, and its index `primitive` (N, Q) int64."""

    distance: Tensor
    primitive: Tensor


class Renderer(nn.Module, abc.ABC):
    """Renders points as a depth map and measures distances to the surface. Built with the hand model.

    Attributes:
        measures_radius_scale: whether the engine measures a factor on the radii for each recording at the start of a
            stage. If so, the renderer implements `measure_radius_scale`.
    """

    measures_radius_scale: bool = False

    @abc.abstractmethod
    def depth(self, points: Tensor, grid: Grid, *, radius_scale: Tensor | None = None) -> Rendered:
        """Orthographic depth of points (N, J, 3) mm over the grid.

        `radius_scale` (N,), without gradient, is a factor on the surface's radii for each hand; None for 1.
        """

    @abc.abstractmethod
    def distance(self, points: Tensor, queries: Tensor, *, radius_scale: Tensor | None = None) -> SurfaceDistance:
        """Distance of queries (N, Q, 3) mm to the surface of points (N, J, 3) mm; `radius_scale` as for `depth`."""

    def measure_radius_scale(self, points: Tensor, queries: Tensor, valid: Tensor) -> Tensor:
        """(N,) the best factor on the radii for hands at points (N, J, 3) mm and queries (N, Q, 3) mm on their
        surfaces.

        `valid` (N, Q) bool is the mask of existing queries. The result is NaN for a hand without any.

        Raises:
            PluginError: this renderer measures no factor.
        """
        raise PluginError(
            f"the renderer {type(self).__name__} measures no radius scale: it lacks the method `measure_radius_scale`"
        )
