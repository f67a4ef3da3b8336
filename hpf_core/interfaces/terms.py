"""Data terms and priors: the parts of the loss, and what a step offers them."""

from __future__ import annotations

import abc
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from hpf_core.frames import Estimate, RealFrames, SyntheticSamples, ViewIndex
from hpf_core.grid import Grid
from hpf_core.interfaces.hand import HandModel
from hpf_core.interfaces.renderer import Rendered, Renderer, SurfaceDistance
from hpf_core.progress import Progress, no_progress

SURFACE_BUDGET = 768
"""Number of surface points used per depth map. A hand covers 600 to 1,000 of 64 x 64 pixels."""


class StepData(Protocol):
    """Inputs of a data term: one step's images, the estimates of one stack, and comparisons of both.

    N depth maps are packed over the present views in order of (frame, view). There are P ordered pairs of present views
    of the same frame. Pair p compares the estimate of row `views.source[p]` with the depth map of row
    `views.target[p]`. The first N pairs are the own views. Methods with the argument `cross` return all P pairs, or
    with False the first N.

    Lengths are in mm, in the crop's frame of the pair's target, in float32 or better. All terms share the results, so a
    term must not change them in place.
    """

    @property
    def hand(self) -> HandModel:
        """The hand model."""

    @property
    def renderer(self) -> Renderer:
        """The renderer of that hand."""

    @property
    def grid(self) -> Grid:
        """The crop's rays; depth maps have H = W = `grid.size` pixels."""

    @property
    def frames(self) -> RealFrames | None:
        """B real frames; None if the stage draws none."""

    @property
    def samples(self) -> SyntheticSamples | None:
        """M synthetic samples; None if the stage draws none."""

    @property
    def real(self) -> Estimate | None:
        """The estimates of the N depth maps of real frames; None if the stage draws none."""

    @property
    def synthetic(self) -> Estimate | None:
        """The estimates of the M synthetic samples; None if the stage draws none."""

    def need_frames(self) -> RealFrames:
        """The real frames. Raises InputError if the stage draws none."""

    def need_real(self) -> Estimate:
        """The estimates of the N depth maps of real frames. Raises InputError if the stage draws none."""

    def need_synthetic(self) -> tuple[SyntheticSamples, Estimate, Estimate]:
        """The M samples, their estimates, and the ideal output. Raises InputError if the stage draws none."""

    @property
    def views(self) -> ViewIndex:
        """The packed index of the present views and their pairs."""

    @property
    def depth_maps(self) -> Tensor:
        """(N, H, W) mm, the real depth maps; the far value in pixels without a surface."""

    @property
    def states(self) -> Tensor:
        """(N, H, W) uint8, `State` of their pixels."""

    @property
    def hit(self) -> Tensor:
        """(N, H, W) bool, pixels with a surface."""

    @property
    def nearest_hit(self) -> Tensor:
        """(N, H, W, 2) mm, x and y of the nearest HIT pixel; the pixel's own position in maps without one."""

    @property
    def to_rig(self) -> Tensor:
        """(N, 4, 4), from each crop's frame to the rig's."""

    def surface_points(self, budget: int | None = SURFACE_BUDGET) -> tuple[Tensor, Tensor]:
        """Points (N, Q, 3) mm of the visible surface of each depth map, and the valid mask (N, Q) bool.

        Q is the budget, with points spread evenly over the map, or H x W with None.
        """

    @property
    def rig_rows(self) -> Tensor:
        """(N, J, 3) mm, the estimates in the rig's frame."""

    def rig_points(self) -> Tensor:
        """(B, V, J, 3) mm, the same by frame and view; 0 for absent views."""

    def pair_target(self, cross: bool) -> Tensor:
        """(P,) int64, row of the depth map of each pair."""

    def pair_frame(self, cross: bool) -> Tensor:
        """(P,) int64, the frame of each pair."""

    def points_across(self, cross: bool) -> Tensor:
        """(P, J, 3) mm, the estimate of each pair's source in the crop's frame of its target."""

    def rendered(self, cross: bool) -> Rendered:
        """The pairs' estimates rendered, maps (P, H, W)."""

    def distances(self, cross: bool, budget: int | None = SURFACE_BUDGET) -> SurfaceDistance:
        """Distance (P, Q) mm of each target's `surface_points` to the estimated surface."""

    def forearm(self, cross: bool, points: Tensor, valid: Tensor, margin_mm: float = 0.0) -> Tensor:
        """(P, Q) bool, mask of the maps' points (N, Q, 3) mm over `margin_mm` beyond the estimated wrist.

        `valid` (N, Q) bool: mask of existing points.
        """


class TermValue(NamedTuple):
    """Values of a term for each item. The engine computes sum(values * weights) / sum(weights) over all processes.

    Attributes:
        values: (K,) the raw, unweighted loss of each item, in the term's unit.
        weights: (K,) float, weight of each item in the mean; 0 if absent. Without gradient.
        frame: (K,) int64, the frame of each item, or None where items aren't frames.
    """

    values: Tensor
    weights: Tensor
    frame: Tensor | None = None


class Term(nn.Module):
    """Base class of data terms and priors.

    Attributes:
        unit: unit of the raw value, e.g. "mm".
        needs: fields of `Estimate` beyond `points` that the term reads with its present options. The engine refuses a
            backbone whose `provides` lacks one, before any work. `PluginSpec.needs` has the needs of all options.
        invariances: transformations that leave the value unchanged, out of "translation", "rotation" and "mirror": of
            each estimate (priors), or of the rig's frame (data terms; no "mirror"). The contract tests verify them.
        sequential: whether the order of the frames matters, as for a term on motion.
    """

    unit: ClassVar[str] = "1"
    needs: frozenset[str] = frozenset()
    invariances: frozenset[str] = frozenset()
    sequential: bool = False

    def prepare(self, progress: Progress = no_progress) -> None:
        """Train or fetch the term's data before the first step; cached by a hash of all inputs."""


class DataTerm(Term, abc.ABC):
    """Compares estimates with data, real or synthetic."""

    @abc.abstractmethod
    def forward(self, step: StepData) -> TermValue:
        """Value of each item: K numbers, of pairs, views, frames or samples."""


class Prior(Term, abc.ABC):
    """A term that depends only on the points."""

    @abc.abstractmethod
    def forward(self, points: Tensor) -> TermValue:
        """Value of each estimate of points (N, J, 3) mm: values and weights (N,)."""
