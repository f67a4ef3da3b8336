"""Data to model: distance of each point of the depth map to the nearest estimated surface (Eq. 9-11 of the paper).

A forearm in the crop attracts the wrist's spheres, because no sphere explains its points. With an arm in the crop the
minimum lies centimetres up the arm. The default, `forearm: wrist_plane`, ignores points beyond the estimate's own
wrist.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hpf_core.interfaces import SURFACE_BUDGET, Build, Config, DataTerm, PluginSpec, StepData, TermValue


class DataToModelConfig(Config):
    """Options of the data term `d2m`."""

    cross_view: bool = Field(
        True, description="Compare each view's estimate with the depth maps of all present views, not only its own."
    )
    clamp_mm: float | None = Field(
        None,
        gt=0,
        description="Largest distance of a point in mm; beyond it there is no gradient. null: none (the paper). The "
        "authors' code: 50.",
    )
    forearm: Literal["wrist_plane", "keep"] = Field(
        "wrist_plane",
        description="`wrist_plane`: points beyond the plane through the estimated wrist, across the line from the "
        "palm's centre, are left out; `keep`: all points count (the paper).",
    )
    margin_mm: float = Field(
        0.0, description="How far beyond the wrist, in mm, the plane of `wrist_plane` is; negative: before it."
    )
    far_mm: float | None = Field(
        None,
        description="Points deeper than this behind the crop's centre, in mm, are left out; null: none (the paper). "
        "The authors' code: 99.",
    )
    budget: int | None = Field(
        SURFACE_BUDGET,
        ge=1,
        description="Largest number of points used per depth map, spread evenly; null: every pixel that shows a "
        "surface.",
    )


class DataToModel(DataTerm):
    """Mean distance of a depth map's points to the estimated surface, mm, for each pair of views.

    Args:
        config: the options.
    """

    unit = "mm"

    def __init__(self, config: DataToModelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, step: StepData) -> TermValue:
        """Values (P,), or (N,) without `cross_view`; weight 0 where the target's map has no point that counts."""
        cross, budget = self.config.cross_view, self.config.budget
        distance = step.distances(cross, budget).distance
        if self.config.clamp_mm is not None:
            distance = distance.clamp_max(self.config.clamp_mm)
        queries, valid = step.surface_points(budget)
        if self.config.far_mm is not None:
            valid = valid & (queries[..., 2] <= self.config.far_mm)
        counts = valid[step.pair_target(cross)]
        if self.config.forearm == "wrist_plane":
            counts = counts & ~step.forearm(cross, queries, valid, self.config.margin_mm)
        share = counts.to(distance.dtype)
        total = share.sum(dim=1)
        values = (distance * share).sum(dim=1) / total.clamp_min(1)  # Eq. 9
        return TermValue(values, (total > 0).to(values.dtype), step.pair_frame(cross))


def _build(config: DataToModelConfig, build: Build) -> DataToModel:
    return DataToModel(config)


SPEC = PluginSpec(
    kind="data_term",
    name="d2m",
    config=DataToModelConfig,
    factory=_build,
    summary="Data to model: distance of each point of a depth map to the nearest estimated surface.",
    source="Wan et al., CVPR 2019, Eq. 9-11, p. 10856; the wrist plane is own work",
    needs=frozenset({"real"}),
)
