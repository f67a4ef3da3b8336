"""Estimates across views: compares each view's points with every view of the same frame, by renders and distances."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor

from hpf_core.geometry.rigid import apply_rigid, at_least_float32, invert_rigid
from hpf_core.grid import Grid
from hpf_core.interfaces import Rendered, Renderer, SurfaceDistance
from hpf_core.objective.depth_maps import DepthMaps, Remembered

_Made = TypeVar("_Made", Tensor, Rendered, SurfaceDistance)


class ViewPairs(Remembered):
    """The P ordered pairs of present views of each frame: the estimate of one view, the depth map of the other.

    Pairs are in the order of `ViewIndex.source` and `.target`; the first N are the own views. Each result is computed
    once. With `cross` false, results have the first N pairs. They are slices of the result for all pairs if it exists.

    Args:
        maps: the N depth maps.
        points: (N, J, 3) mm, the estimate of each view in its crop's frame.
        renderer: the renderer.
        grid: the crop's rays.
    """

    def __init__(self, maps: DepthMaps, points: Tensor, renderer: Renderer, grid: Grid) -> None:
        super().__init__()
        self.maps, self.estimate = maps, points
        self.renderer, self.grid = renderer, grid
        self.views = maps.frames.views

    @property
    def rig_rows(self) -> Tensor:
        """(N, J, 3) mm, each view's estimate in the rig's frame."""
        return self._once("rig_rows", lambda: apply_rigid(self.maps.to_rig, at_least_float32(self.estimate)))

    def points(self, cross: bool) -> Tensor:
        """(P, J, 3) mm: the estimate of each pair's source in the crop's frame of its target."""

        def moved(pairs: slice) -> Tensor:
            source, target = self.views.source[pairs], self.views.target[pairs]
            return apply_rigid(invert_rigid(self.maps.to_rig[target]), self.rig_rows[source])

        # Own views skip the rigid map, which would add rounding errors.
        return self._pairs("points", cross, moved, own=lambda: at_least_float32(self.estimate))

    def rendered(self, cross: bool) -> Rendered:
        """The pairs' estimates rendered, maps (P, H, W)."""
        points = self.points(cross)

        def drawn(pairs: slice) -> Rendered:
            return self.renderer.depth(points[pairs], self.grid, radius_scale=self._radius_scale(pairs))

        return self._pairs("rendered", cross, drawn)

    def distances(self, cross: bool, budget: int | None) -> SurfaceDistance:
        """Distance (P, Q) mm of each target's surface points to the estimated surface."""
        points, (queries, _) = self.points(cross), self.maps.surface_points(budget)
        targets = self.views.target

        def measured(pairs: slice) -> SurfaceDistance:
            scale = self._radius_scale(pairs)
            return self.renderer.distance(points[pairs], queries[targets[pairs]], radius_scale=scale)

        return self._pairs(("distances", budget), cross, measured)

    def _radius_scale(self, pairs: slice) -> Tensor | None:
        """(P,) factors on the radii, if measured."""
        scale = self.maps.frames.radius_scale
        return None if scale is None else scale[self.views.frame[self.views.target[pairs]]]

    def _pairs(
        self,
        name: Hashable,
        cross: bool,
        make: Callable[[slice], _Made],
        own: Callable[[], _Made] | None = None,
    ) -> _Made:
        """The results of `make` for slices of the pairs: the own views and the rest, each computed once, in any
        order."""
        made: dict[str, _Made] = self._once(name, dict)
        rows, pairs = self.views.rows.shape[0], self.views.target.shape[0]
        if not cross or rows == pairs:
            if "own" not in made:
                if "all" in made:
                    made["own"] = _cut(made["all"], slice(0, rows))
                else:
                    made["own"] = own() if own else make(slice(0, rows))
            return made["own"]
        if "all" not in made:
            if "own" in made or own:
                made["all"] = _join(self._pairs(name, False, make, own), make(slice(rows, pairs)))
            else:
                made["all"] = make(slice(0, pairs))
        return made["all"]


def _cut(made: _Made, rows: slice) -> _Made:
    """A slice of the rows of a tensor, or of each tensor in a record."""
    return made[rows] if isinstance(made, Tensor) else type(made)(*(part[rows] for part in made))


def _join(first: _Made, second: _Made) -> _Made:
    """The concatenated rows of both."""
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    return type(first)(*(torch.cat([one, two]) for one, two in zip(first, second, strict=True)))
