"""The data term `temporal_smoothness` for HPF: penalises motion between successive frames of a recording.

It compares frames of one batch: each with the next later frame of its recording, if that is near enough in time. Frames
without a successor in the batch have weight 0. So use a stage that draws clips (`draw: {real: 8, clip: 4}`).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from hpf.plugin import Build, Config, DataTerm, PluginSpec, StepData, TermValue, hookimpl


class TemporalSmoothnessConfig(Config):
    """Options of `temporal_smoothness`. Times are in seconds, or in frames for datasets without seconds."""

    longest_gap: float = Field(
        1.5, gt=0, description="Frames further apart in time than this aren't compared, s or numbers of frames."
    )
    free_mm: float = Field(0.0, ge=0, description="How far a point may move from one to the other for nothing, mm.")


class TemporalSmoothness(DataTerm):
    """Squared distance of each point to the next frame, beyond a free distance, mean over points, mm^2 per frame.

    The term compares points in the rig's frame, as the mean over a frame's views.

    Args:
        longest_gap: largest difference in time, in the unit of `RealFrames.time`.
        free_mm: the free distance, mm.
    """

    unit = "mm^2"
    invariances = frozenset({"translation", "rotation"})
    sequential = True

    def __init__(self, longest_gap: float, free_mm: float) -> None:
        super().__init__()
        self.longest_gap, self.free_mm = longest_gap, free_mm

    def forward(self, step: StepData) -> TermValue:
        """(B,) mm^2, one per frame; weight 0 without a later frame of the recording within the largest gap."""
        frames = step.need_frames()
        following, near = successor(frames.sequence, frames.time, self.longest_gap)
        points = step.rig_points()  # (B, V, J, 3), 0 for absent views
        views = frames.present.to(points.dtype).sum(1).clamp_min(1)
        middle = points.sum(1) / views[:, None, None]
        squared = (middle[following] - middle).square().sum(-1)
        if self.free_mm:
            moved = squared > self.free_mm**2
            squared = torch.where(moved, torch.where(moved, squared, 1).sqrt() - self.free_mm, 0).square()
        seen = frames.present.any(1)
        counts = (near & seen & seen[following]).to(points.dtype)
        return TermValue(squared.mean(-1), counts, torch.arange(len(counts), device=points.device))


def successor(sequence: Tensor, time: Tensor, longest_gap: float) -> tuple[Tensor, Tensor]:
    """The next later frame of the same recording.

    Args:
        sequence: (B,) int64.
        time: (B,) float64.
        longest_gap: largest difference in time of compared frames.

    Returns:
        Its row (B,) int64, and whether it exists, (B,) bool.
    """
    later = time[None] - time[:, None]
    fits = (sequence[None] == sequence[:, None]) & (later > 0) & (later <= longest_gap)
    found = torch.where(fits, later, torch.inf).min(dim=1)
    return found.indices, torch.isfinite(found.values)


def build(config: TemporalSmoothnessConfig, build: Build) -> TemporalSmoothness:
    """Build the term from a recipe's options."""
    return TemporalSmoothness(config.longest_gap, config.free_mm)


SPEC = PluginSpec(
    kind="data_term",
    name="temporal_smoothness",
    config=TemporalSmoothnessConfig,
    factory=build,
    summary="Hands move little from one frame of a recording to the next.",
    source="own work",
    needs=frozenset({"real"}),
    default_weight=0.001,
    interface=(2, 0),
)


@hookimpl
def hpf_data_terms():
    """The plugins of this package."""
    return (SPEC,)
