"""Multi-view consistency: compares each view's points with the robust average of all views in the rig's frame (Eq.
12)."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.errors import InputError
from hpf_core.interfaces import Build, Config, DataTerm, PluginSpec, StepData, TermValue


class TooFewViewsWarning(UserWarning):
    """Frames have too few views for a consistency term; the term ignores these frames."""


class MultiviewConfig(Config):
    """Options of the data term `multiview`."""

    average: Literal["median", "least_variance", "mean"] = Field(
        "median",
        description="`median`: of each coordinate in the rig's frame, needs 3 views; `least_variance`: the view "
        "whose heatmap of that point has the least variance; `mean`: which outliers pull away. The last two need 2 "
        "views.",
    )
    detach: bool = Field(True, description="The average is a goal: no gradient flows through it.")


class Multiview(DataTerm):
    """Squared distance of each view's points to their average over the frame's views, mm^2, as a mean over points.

    Eq. 12 sums over points. The mean makes the value independent of the hand model's number of points.

    The median is per coordinate in the rig's frame. It is equivariant to translations of that frame but not to
    rotations. The other averages are equivariant to both.

    Args:
        config: the options.
    """

    unit = "mm^2"

    def __init__(self, config: MultiviewConfig) -> None:
        super().__init__()
        self.config = config
        self.needs = frozenset({"variance"}) if config.average == "least_variance" else frozenset()
        self._told = False

    @property
    def least_views(self) -> int:
        """The least number of views for a frame to count."""
        return 3 if self.config.average == "median" else 2

    def forward(self, step: StepData) -> TermValue:
        """Values (N,) of the present views; weight 0 in frames with fewer views than the average needs."""
        views, present = step.views, step.need_frames().present
        self._tell(views.counts)
        points = step.rig_points()
        average = self._average(step, points, present)
        if self.config.detach:
            average = average.detach()
        values = (step.rig_rows - average[views.frame]).square().sum(dim=-1).mean(dim=-1)  # Eq. 12
        enough = present.sum(dim=1) >= self.least_views
        return TermValue(values, enough[views.frame].to(values.dtype), views.frame)

    def _average(self, step: StepData, points: Tensor, present: Tensor) -> Tensor:
        """(B, J, 3) of points (B, V, J, 3); also finite in frames without a view."""
        if self.config.average == "median":
            return _median(points, present)
        if self.config.average == "mean":
            count = present.sum(dim=1).clamp_min(1).to(points.dtype)
            return points.sum(dim=1) / count[:, None, None]  # absent views hold 0
        variance = step.need_real().variance
        if variance is None:
            raise InputError(
                "multiview: `average: least_variance` needs the variance of each point's heatmap, and this backbone "
                "has none; choose `average: median` or a backbone that provides `variance`"
            )
        # The choice of the best view is discrete and has no gradient.
        rows = variance.new_full((present.numel(), variance.shape[1]), torch.inf).index_copy(
            0, step.views.rows, variance.detach()
        )
        best = rows.view(*present.shape, -1).argmin(dim=1)  # (B, J)
        return points.gather(1, best[:, None, :, None].expand(-1, -1, -1, 3)).squeeze(1)

    def _tell(self, counts: tuple[int, ...]) -> None:
        """Warn once about frames that can't count. The host knows the number of views, so the device need not
        synchronise."""
        if torch.compiler.is_compiling():
            return  # a warning would break the graph and recompile it for every other number of views
        few = sum(count < self.least_views for count in counts)
        if few and not self._told:
            self._told = True
            warnings.warn(
                f"multiview: {few} of the batch's {len(counts)} frames have fewer than the {self.least_views} views "
                f"that `average: {self.config.average}` needs; they add nothing to this term. "
                "Choose `average: mean` for frames with 2 views (printed once)",
                TooFewViewsWarning,
                stacklevel=2,
            )


def _median(points: Tensor, present: Tensor) -> Tensor:
    """(B, J, 3), the median of each coordinate over the present views; the mean of the middle two for even numbers."""
    count = present.sum(dim=1)
    ordered = points.masked_fill(~present[:, :, None, None], torch.inf).sort(dim=1).values

    def ranked(rank: Tensor) -> Tensor:
        return ordered.gather(1, rank.clamp_min(0)[:, None, None, None].expand(-1, 1, *points.shape[2:])).squeeze(1)

    median = (ranked((count - 1) // 2) + ranked(count // 2)) / 2
    return torch.where((count > 0)[:, None, None], median, 0.0)


def _build(config: MultiviewConfig, build: Build) -> Multiview:
    return Multiview(config)


SPEC = PluginSpec(
    kind="data_term",
    name="multiview",
    config=MultiviewConfig,
    factory=_build,
    summary="Consistency over views: each view's points compared with their robust average in the rig's frame.",
    source="Wan et al., CVPR 2019, Eq. 12, p. 10856",
    aliases={
        "multiview-median": {"average": "median"},
        "multiview-least-variance": {"average": "least_variance"},
        "multiview-mean": {"average": "mean"},
    },
    needs=frozenset({"real"}),
    default_weight=0.01,
)
