"""Quantities that depend only on the depth maps: packed maps, their nearest surface pixels and surface points."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from hpf_core.frames import RealFrames, State
from hpf_core.geometry.distance_transform import nearest_marked
from hpf_core.grid import Grid
from hpf_core.interfaces import SURFACE_BUDGET

_Any = TypeVar("_Any")


class Remembered:
    """Computes each result once. (`functools.cached_property` holds a lock, which can't be compiled.)"""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def _once(self, name: Hashable, make: Callable[[], _Any]) -> _Any:
        """The result of `make`, cached by name."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def computed(self) -> Iterator[Tensor]:
        """Every tensor computed so far, in a constant order as long as nothing is added."""
        yield from _leaves(self._made)


def _leaves(made: Any) -> Iterator[Tensor]:
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, dict | tuple):
        for part in made.values() if isinstance(made, dict) else made:
            yield from _leaves(part)


class DepthMaps(Remembered):
    """The N present views of a step's frames, in the order of `frames.views.rows`; all fits of the step share it.

    Results that depend only on depth maps are computed once for all stacks and terms.

    The step computes them, not the data loader. The number of surface points is an option of the terms, unknown to
    datasets. Each frame comes once in a pass, so caching would save nothing. A GPU computes them with less to copy.

    Args:
        frames: B real frames.
        grid: the crop's rays; its size is that of the depth maps.
    """

    def __init__(self, frames: RealFrames, grid: Grid) -> None:
        super().__init__()
        self.frames, self.grid = frames, grid

    @property
    def depth_maps(self) -> Tensor:
        """(N, H, W) mm, the present views' depth maps."""
        return self._once("depth_maps", lambda: self._packed(self.frames.depth))

    @property
    def states(self) -> Tensor:
        """(N, H, W) uint8, `State` of their pixels."""
        return self._once("states", lambda: self._packed(self.frames.state))

    @property
    def to_rig(self) -> Tensor:
        """(N, 4, 4), from each crop's frame to the rig's."""
        return self._once("to_rig", lambda: self._packed(self.frames.to_rig))

    @property
    def hit(self) -> Tensor:
        """(N, H, W) bool, pixels with a surface."""
        return self._once("hit", lambda: self.states == int(State.HIT))

    @property
    def nearest_hit(self) -> Tensor:
        """(N, H, W, 2) mm, x and y of the nearest HIT pixel; the pixel's own position in maps without one."""

        def found() -> Tensor:
            # Same as the grid's axis; indexing the axis would be slower. Depth maps have no gradient.
            pixel = nearest_marked(self.hit).to(self.depth_maps.dtype)
            return pixel.add_(0.5).sub_(self.grid.size / 2).mul_(self.grid.pixel_mm)

        return self._once("nearest_hit", found)

    def surface_points(self, budget: int | None = SURFACE_BUDGET) -> tuple[Tensor, Tensor]:
        """Points of the visible surface of each depth map; the same map always gives the same points.

        Args:
            budget: the largest number of points, spread evenly over the map; None for all pixels.

        Returns:
            Points (N, Q, 3) mm and their valid mask (N, Q) bool; Q is the budget or H x W.
        """
        return self._once(("surface", budget), lambda: self._sample_surface(budget))

    def _packed(self, values: Tensor) -> Tensor:
        """(B, V, ...) to the present views (N, ...)."""
        return values.flatten(0, 1)[self.frames.views.rows]

    def _sample_surface(self, budget: int | None) -> tuple[Tensor, Tensor]:
        size, depth, hit = self.grid.size, self.depth_maps.flatten(1), self.hit.flatten(1)
        axis = self.grid.axis(depth.device, depth.dtype)
        if budget is None or budget >= size**2:
            x, y = axis.repeat(size), axis.repeat_interleave(size)
            return torch.stack([x.expand_as(depth), y.expand_as(depth), depth], dim=-1), hit
        # An additive recurrence in two dimensions (the R2 sequence's plastic number). The pixels above any threshold of
        # it are spread evenly, so a budget thins the surface uniformly. No random state.
        column = torch.arange(size, device=depth.device, dtype=torch.float32)
        priority = (0.5 + 0.7548776662 * column + 0.5698402910 * column[:, None]).frac().flatten()
        best = torch.where(hit, priority, -1.0).topk(budget, dim=-1, sorted=False)
        x, y = axis[best.indices % size], axis[best.indices // size]
        return torch.stack([x, y, depth.gather(1, best.indices)], dim=-1), best.values >= 0
