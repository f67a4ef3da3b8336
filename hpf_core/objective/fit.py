"""A batch of estimates compared with the depth maps of all views. Each result is computed once.

A `Fit` belongs to one step and one stack; terms read it as `StepData` (`hpf_core.interfaces`). `DepthMaps` holds the
results that depend only on the depth maps, once for all stacks. With `cross`, a fit uses all ordered pairs of present
views of a frame: the estimate of view i with the depth map of view j (Sec. 3.4.1 "Data terms" of the paper). Without
`cross` it uses only the own views.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from hpf_core.errors import InputError
from hpf_core.frames import Estimate, RealFrames, SyntheticSamples, ViewIndex
from hpf_core.grid import Grid
from hpf_core.interfaces import SURFACE_BUDGET, HandModel, Rendered, Renderer, SurfaceDistance
from hpf_core.objective.depth_maps import DepthMaps
from hpf_core.objective.pairs import ViewPairs
from hpf_core.objective.wrist import beyond_wrist


class Fit:
    """Estimates of one step and one stack, compared with their input images.

    N images are packed over the present views in order of (frame, view), P pairs as in `ViewIndex`. Pair p compares the
    estimate of row `views.source[p]` with the depth map of row `views.target[p]`; the first N pairs are the own views.
    Everything lies in the crop's frame of the pair's target, in mm, in float32 or better.

    Args:
        hand: the hand model.
        renderer: the renderer of that hand.
        grid: the crop's rays; its size is that of the depth maps.
        frames: B real frames, or None if the stage draws none.
        samples: M synthetic samples, or None if the stage draws none.
        real: estimates of the N present views, in the order of `frames.views.rows`.
        synthetic: estimates of the M samples.
        target: the ideal output for the samples' points, `backbone.labels(samples.points)`.
        maps: the depth maps of the same frames, shared with other stacks; None without other stacks.

    Raises:
        InputError: the sizes of images, estimates and grid don't match.
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
        self.hand = hand
        self.renderer = renderer
        self.grid = grid
        self.frames = frames
        self.samples = samples
        self.real = real
        self.synthetic = synthetic
        self.target = target
        self._depth_maps = maps
        self._pairs: ViewPairs | None = None
        self._check()

    # ------------------------------------------------------------------------------------------- what must be present

    def need_frames(self) -> RealFrames:
        """The real frames. Raises InputError if the stage draws none."""
        if self.frames is None:
            raise InputError("a term needs real frames, but none are drawn: set the stage's `draw: {real: ...}`")
        return self.frames

    def need_real(self) -> Estimate:
        """Estimates of the N present real views. Raises InputError without any."""
        self.need_frames()
        if self.real is None:
            raise InputError("a term needs estimates of the real frames, but the fit was made without them")
        return self.real

    def need_synthetic(self) -> tuple[SyntheticSamples, Estimate, Estimate]:
        """The M samples, their estimates and the ideal output. Raises InputError if the stage draws none."""
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

    # -------------------------------------------------------------------------------------------------- the depth maps

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
        """(N, H, W) bool, pixels with a surface."""
        return self._maps().hit

    @property
    def nearest_hit(self) -> Tensor:
        """(N, H, W, 2) mm, x and y of the nearest HIT pixel; the pixel's own position in maps without one."""
        return self._maps().nearest_hit

    def surface_points(self, budget: int | None = SURFACE_BUDGET) -> tuple[Tensor, Tensor]:
        """Points (N, Q, 3) mm of the visible surface of each depth map, and the valid mask (N, Q): see `DepthMaps`."""
        return self._maps().surface_points(budget)

    # --------------------------------------------------------------------------------------- estimates, across views

    @property
    def rig_rows(self) -> Tensor:
        """(N, J, 3) mm in the rig's frame, the estimates of the present views."""
        return self._across().rig_rows

    def rig_points(self) -> Tensor:
        """(B, V, J, 3) mm in the rig's frame; 0 where `frames.present` is False."""
        views, points = self.views, self.rig_rows
        flat = points.new_zeros(views.frames * views.views, *points.shape[1:])
        return flat.index_copy(0, views.rows, points).view(views.frames, views.views, *points.shape[1:])

    def pair_target(self, cross: bool) -> Tensor:
        """(P,) int64, row of the depth map of each pair; (N,) without `cross`."""
        views = self.views
        return views.target if cross else views.target[: views.rows.shape[0]]

    def pair_frame(self, cross: bool) -> Tensor:
        """(P,) int64, the frame of each pair; (N,) without `cross`."""
        return self.views.frame[self.pair_target(cross)]

    def points_across(self, cross: bool) -> Tensor:
        """(P, J, 3) mm: the estimate of each pair's source in the crop's frame of its target; (N, J, 3) without
        `cross`."""
        return self._across().points(cross)

    def rendered(self, cross: bool) -> Rendered:
        """The pairs' estimates rendered, maps (P, H, W); (N, H, W) without `cross`."""
        return self._across().rendered(cross)

    def distances(self, cross: bool, budget: int | None = SURFACE_BUDGET) -> SurfaceDistance:
        """Distance (P, Q) mm of each target's `surface_points` to the estimated surface; (N, Q) without `cross`."""
        return self._across().distances(cross, budget)

    def forearm(self, cross: bool, points: Tensor, valid: Tensor, margin_mm: float = 0.0) -> Tensor:
        """(P, Q) bool, mask of the points (N, Q, 3) mm of the depth maps beyond each pair's estimated wrist.

        (N, Q) without `cross`. `valid` (N, Q) bool is the mask of existing points. See `beyond_wrist`.
        """
        estimate, target = self.points_across(cross), self.pair_target(cross)
        return beyond_wrist(self.hand, estimate, points, valid, target, margin_mm)

    def computed(self) -> Iterator[Tensor]:
        """Every tensor computed so far that the terms share."""
        for shared in (self._depth_maps, self._pairs):
            if shared is not None:
                yield from shared.computed()

    # --------------------------------------------------------------------------------------------------------- inside

    def _maps(self) -> DepthMaps:
        if self._depth_maps is None:
            self._depth_maps = DepthMaps(self.need_frames(), self.grid)
        return self._depth_maps

    def _across(self) -> ViewPairs:
        if self._pairs is None:
            self._pairs = ViewPairs(self._maps(), self.need_real().points, self.renderer, self.grid)
        return self._pairs

    def _check(self) -> None:
        if self._depth_maps is not None and (
            self._depth_maps.frames is not self.frames or self._depth_maps.grid != self.grid
        ):
            raise InputError("`maps` were made from other frames, or on another grid, than this fit's")
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
