"""What depth maps say by themselves, whatever is estimated: packed, with their nearest surface pixels and points."""

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
    """Makes each thing once. (`functools.cached_property` holds a lock, which can't be compiled.)"""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def _once(self, name: Hashable, make: Callable[[], _Any]) -> _Any:
        """What `make` says, remembered by name."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def computed(self) -> Iterator[Tensor]:
        """Every tensor that was made so far, the same ones in the same order as long as nothing is added."""
        yield from _leaves(self._made)


def _leaves(made: Any) -> Iterator[Tensor]:
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, dict | tuple):
        for part in made.values() if isinstance(made, dict) else made:
            yield from _leaves(part)


class DepthMaps(Remembered):
    """The N present views of a step's frames, in the order of `frames.views.rows`. All fits of the step share it: what
    depends on depth maps alone is made once, however many stacks there are and however many terms ask.

    It is made in the step and not where frames are loaded: how many surface points there are to be is an option of the
    terms, of which datasets know nothing; each frame comes once in a pass, so that nothing would be saved; and on a GPU
    it is done there, with less to copy.

    Args:
        frames: B real frames.
        grid: the crop's rays; its size is the depth maps'.
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
        """(N, H, W) bool, pixels that hold a surface."""
        return self._once("hit", lambda: self.states == int(State.HIT))

    @property
    def nearest_hit(self) -> Tensor:
        """(N, H, W, 2) mm, x and y of the HIT pixel nearest to each; the pixel's own where a map has none."""

        def found() -> Tensor:
            # As the grid's axis has it; looking it up there would take longer. Depth maps have no gradient.
            pixel = nearest_marked(self.hit).to(self.depth_maps.dtype)
            return pixel.add_(0.5).sub_(self.grid.size / 2).mul_(self.grid.pixel_mm)

        return self._once("nearest_hit", found)

    def surface_points(self, budget: int | None = SURFACE_BUDGET) -> tuple[Tensor, Tensor]:
        """Points of the surface that each depth map shows, the same ones whenever the same map comes.

        Args:
            budget: how many at most, spread evenly over the map; None for all pixels.

        Returns:
            Points (N, Q, 3) mm and which of them are there, (N, Q) bool; Q is the budget or H x W.
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
        # An additive recurrence in two dimensions (the R2 sequence's plastic number): the pixels above any threshold
        # of it are spread evenly, so that a budget thins the surface and favours no part of it. No random state.
        column = torch.arange(size, device=depth.device, dtype=torch.float32)
        priority = (0.5 + 0.7548776662 * column + 0.5698402910 * column[:, None]).frac().flatten()
        best = torch.where(hit, priority, -1.0).topk(budget, dim=-1, sorted=False)
        x, y = axis[best.indices % size], axis[best.indices // size]
        return torch.stack([x, y, depth.gather(1, best.indices)], dim=-1), best.values >= 0
