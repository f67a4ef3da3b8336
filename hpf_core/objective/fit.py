"""A batch of estimates held against all views: points taken across views, renders, distances, each made once.

A `Fit` belongs to one step and one stack. Terms read from it; what two of them need is computed once, and what the
depth maps alone decide once for all stacks (`DepthMaps`). With `cross_view` the ordered pairs of all present views of a
frame are used (estimate of view i against the depth map of view j, Sec. 3.4.1 "Data terms" of the paper), without it
the own views alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor

from hpf_core.errors import InputError
from hpf_core.frames import Estimate, RealFrames, SyntheticSamples, ViewIndex
from hpf_core.geometry.rigid import apply_rigid, at_least_float32, invert_rigid
from hpf_core.grid import Grid
from hpf_core.interfaces import HandModel, Rendered, Renderer, SurfaceDistance
from hpf_core.native import fit_kernels
from hpf_core.objective.depth_maps import SURFACE_BUDGET, DepthMaps, Remembered

_Made = TypeVar("_Made", Tensor, Rendered, SurfaceDistance)

LEAST_HAND = 1 / 3
"""Least share of a depth map's points that must lie on the hand's side of the wrist for the wrist to be believed. A
forearm within the cube covers less than the hand does; an estimate that is turned the wrong way calls the hand one."""


class Fit(Remembered):
    """Estimates of one step and one stack, held against the images they were made from.

    N images are packed over the present views in order of (frame, view), P pairs as in `ViewIndex`: pair p holds the
    estimate of row `views.source[p]` against the depth map of row `views.target[p]`; the first N pairs are the own
    views. Everything lies in the crop's frame of the pair's target, in mm, in float32 or better.

    Args:
        hand: the hand model.
        renderer: the renderer of that hand.
        grid: the crop's rays; its size is the depth maps'.
        frames: B real frames, or None where the stage draws none.
        samples: M synthetic samples, or None where the stage draws none.
        real: estimates of the N present views, in the order of `frames.views.rows`.
        synthetic: estimates of the M samples.
        target: the ideal output for the samples' points, `backbone.labels(samples.points)`.
        maps: what other fits to the same frames have found of them, to share it; None where there is no other.

    Raises:
        InputError: images, estimates and the grid don't fit together.
    """

    def __init__(
        self,
        *,
        hand: HandModel,
        renderer: Renderer,
        grid: Grid,
        frames: RealFrames | None = None,
        samples: SyntheticSamples | None = None,
        real: Estimate | None = None,
        synthetic: Estimate | None = None,
        target: Estimate | None = None,
        maps: DepthMaps | None = None,
    ) -> None:
        super().__init__()
        self.hand = hand
        self.renderer = renderer
        self.grid = grid
        self.frames = frames
        self.samples = samples
        self.real = real
        self.synthetic = synthetic
        self.target = target
        self._shared = maps
        self._check()

    # ------------------------------------------------------------------------------------------- what must be there

    def need_frames(self) -> RealFrames:
        """The real frames. Raises InputError where the stage draws none."""
        if self.frames is None:
            raise InputError("a term needs real frames, but none are drawn: set the stage's `draw: {real: ...}`")
        return self.frames

    def need_real(self) -> Estimate:
        """Estimates of the N present real views. Raises InputError where there are none."""
        self.need_frames()
        if self.real is None:
            raise InputError("a term needs estimates of the real frames, but the fit was made without them")
        return self.real

    def need_synthetic(self) -> tuple[SyntheticSamples, Estimate, Estimate]:
        """The M samples, their estimates and the ideal output. Raises InputError where the stage draws none."""
        if self.samples is None:
            raise InputError(
                "a term needs synthetic samples, but none are drawn: set the stage's `draw: {synthetic: ...}`"
            )
        if self.synthetic is None or self.target is None:
            raise InputError(
                "a term needs estimates and labels of the synthetic samples, but the fit was made without them"
            )
        return self.samples, self.synthetic, self.target

    @property
    def views(self) -> ViewIndex:
        """The packed index of the present views and their pairs."""
        return self.need_frames().views

    # ------------------------------------------------------------------------------------------------- images, packed

    @property
    def depth_maps(self) -> Tensor:
        """(N, H, W) mm, the present views' depth maps."""
        return self._maps().depth_maps

    @property
    def states(self) -> Tensor:
        """(N, H, W) uint8, `State` of their pixels."""
        return self._maps().states

    @property
    def to_rig(self) -> Tensor:
        """(N, 4, 4), from each crop's frame to the rig's."""
        return self._maps().to_rig

    @property
    def hit(self) -> Tensor:
        """(N, H, W) bool, pixels that hold a surface."""
        return self._maps().hit

    @property
    def nearest_hit(self) -> Tensor:
        """(N, H, W, 2) mm, x and y of the HIT pixel nearest to each; the pixel's own where a map has none."""
        return self._maps().nearest_hit

    def surface_points(self, budget: int | None = SURFACE_BUDGET) -> tuple[Tensor, Tensor]:
        """Points (N, Q, 3) mm of the surface that each depth map shows, and which are there: see `DepthMaps`."""
        return self._maps().surface_points(budget)

    # --------------------------------------------------------------------------------------- estimates, across views

    @property
    def rig_rows(self) -> Tensor:
        """(N, J, 3) mm in the rig's frame, the estimates of the present views."""
        return self._once("rig_rows", lambda: apply_rigid(self.to_rig, at_least_float32(self.need_real().points)))

    def rig_points(self) -> Tensor:
        """(B, V, J, 3) mm in the rig's frame; 0 where `frames.present` is False."""
        views, points = self.views, self.rig_rows
        flat = points.new_zeros(views.frames * views.views, *points.shape[1:])
        return flat.index_copy(0, views.rows, points).view(views.frames, views.views, *points.shape[1:])

    def pair_target(self, cross: bool) -> Tensor:
        """(P,) int64, the row whose depth map each pair is held against; (N,) without `cross`."""
        return self._rows(cross, self.views.target)

    def pair_frame(self, cross: bool) -> Tensor:
        """(P,) int64, the frame of each pair; (N,) without `cross`."""
        return self.views.frame[self.pair_target(cross)]

    def points_across(self, cross: bool) -> Tensor:
        """(P, J, 3) mm: the estimate of each pair's source in the crop's frame of its target; (N, J, 3) without
        `cross`."""

        def taken(pairs: slice) -> Tensor:
            source, target = self.views.source[pairs], self.views.target[pairs]
            return apply_rigid(invert_rigid(self.to_rig[target]), self.rig_rows[source])

        # Own views need no transform, and so lose nothing to its rounding.
        return self._pairs("points", cross, taken, own=lambda: at_least_float32(self.need_real().points))

    def rendered(self, cross: bool) -> Rendered:
        """The pairs' estimates rendered, maps (P, H, W); (N, H, W) without `cross`."""
        points = self.points_across(cross)
        return self._pairs(
            "rendered", cross, lambda pairs: self.renderer.depth(points[pairs], self.grid, *self._thickness(pairs))
        )

    def distances(self, cross: bool, budget: int | None = SURFACE_BUDGET) -> SurfaceDistance:
        """Distance (P, Q) mm of each target's `surface_points` to the estimated surface; (N, Q) without `cross`."""
        points, (queries, _) = self.points_across(cross), self.surface_points(budget)
        targets = self.views.target

        def measured(pairs: slice) -> SurfaceDistance:
            return self.renderer.distance(points[pairs], queries[targets[pairs]], *self._thickness(pairs))

        return self._pairs(("distances", budget), cross, measured)

    def forearm(self, cross: bool, points: Tensor, there: Tensor, margin_mm: float = 0.0) -> Tensor:
        """Which points of the depth maps lie beyond the estimated wrist, on the forearm or what it hangs from.

        The plane stands through the middle of the hand's wrist points, across the line from the palm's centre to it,
        both taken from the pair's estimate without gradient. Where it would leave less than `LEAST_HAND` of a map's
        points, the estimate isn't believed, and nothing is called forearm: a wrong start must not hide the hand from
        itself.

        Args:
            cross: for all pairs, or the own views alone.
            points: (N, Q, 3) mm, of each depth map.
            there: (N, Q) bool, which of them exist.
            margin_mm: how far beyond the wrist the plane stands.

        Returns:
            (P, Q) bool; (N, Q) without `cross`.
        """
        with torch.no_grad():
            estimate, target = self.points_across(cross), self.pair_target(cross)
            wrist = torch.stack([estimate[:, i] for i in self.hand.wrist]).mean(dim=0)
            outwards = torch.nn.functional.normalize(wrist - estimate[:, self.hand.palm_centre], dim=-1)
            offset = (wrist * outwards).sum(dim=-1) + margin_mm
            if points.device.type == "cpu" and points.dtype == offset.dtype and fit_kernels.are_there(points.dtype):
                planes = target, outwards.contiguous(), offset, LEAST_HAND
                return fit_kernels.beyond_planes(points.contiguous(), there.contiguous(), *planes)
            # (p - w) . n, summed coordinate by coordinate: points may be all pixels of all pairs.
            height = -offset[:, None]
            for axis in range(3):
                height = height + points[..., axis][target] * outwards[:, axis, None]
            beyond = there[target] & (height > 0)
            counts = there[target].sum(dim=1, keepdim=True)
            believed = counts - beyond.sum(dim=1, keepdim=True) >= LEAST_HAND * counts
            return beyond & believed

    # --------------------------------------------------------------------------------------------------------- inside

    def _maps(self) -> DepthMaps:
        if self._shared is None:
            self._shared = DepthMaps(self.need_frames(), self.grid)
        return self._shared

    def _thickness(self, pairs: slice) -> tuple[Tensor, ...]:
        """The renderer's third argument, if there is one: (P,) factors."""
        found = self.need_frames().thickness
        return () if found is None else (found[self.views.frame[self.views.target[pairs]]],)

    def _pairs(
        self,
        name: Hashable,
        cross: bool,
        make: Callable[[slice], _Made],
        own: Callable[[], _Made] | None = None,
    ) -> _Made:
        """What `make` says of slices of the pairs: the own views and the rest are each made once, in any order."""
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

    def _rows(self, cross: bool, values: Tensor) -> Tensor:
        return values if cross else values[: self.views.rows.shape[0]]

    def _check(self) -> None:
        if self._shared is not None and (self._shared.frames is not self.frames or self._shared.grid != self.grid):
            raise InputError("what was found of other frames, or on another grid, is no use to this fit (`maps`)")
        if self.frames is not None:
            size, rows = self.frames.depth.shape[-2:], self.frames.views.rows.shape[0]
            if tuple(size) != (self.grid.size, self.grid.size):
                raise InputError(
                    f"real depth maps are {size[0]} x {size[1]} pixels, but the grid is {self.grid.size} x "
                    f"{self.grid.size}"
                )
            if self.real is not None and self.real.points.shape[0] != rows:
                raise InputError(
                    f"{self.real.points.shape[0]} estimates for {rows} present views: the network works on the packed "
                    "views, in the order of `frames.views.rows`"
                )
        if self.samples is not None and self.synthetic is not None:
            estimates, samples = self.synthetic.points.shape[0], self.samples.depth.shape[0]
            if estimates != samples:
                raise InputError(f"{estimates} estimates for {samples} synthetic samples")


def _cut(made: _Made, rows: slice) -> _Made:
    """Some rows of a tensor, or of each of a record of tensors."""
    return made[rows] if isinstance(made, Tensor) else type(made)(*(part[rows] for part in made))


def _join(first: _Made, second: _Made) -> _Made:
    """The rows of both."""
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    return type(first)(*(torch.cat([one, two]) for one, two in zip(first, second, strict=True)))
