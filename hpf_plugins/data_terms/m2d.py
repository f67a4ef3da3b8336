"""Model to data: compares the rendered estimate with the depth map pixel by pixel (Eq. 5 of the paper).

As printed, Eq. 5 pushes a sphere over the background straight back. The force stays constant until the sphere is behind
the far plane, where its gradient vanishes. The default, `background: silhouette`, moves the sphere sideways instead.
Where only the render shows a surface, the residual is the distance in x and y to the nearest pixel with an observed
surface.

On a CPU, compiled C computes the mean residual (`m2d_kernel`) without a map of residuals.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.frames import State
from hpf_core.interfaces import Build, Config, DataTerm, PluginSpec, Rendered, StepData, TermValue
from hpf_plugins.data_terms import m2d_kernel


class ModelToDataConfig(Config):
    """Options of the data term `m2d`."""

    cross_view: bool = Field(
        True, description="Compare each view's estimate with the depth maps of all present views, not only its own."
    )
    background: Literal["silhouette", "far"] = Field(
        "silhouette",
        description="Residual where the render shows a surface and the input shows none: `silhouette`, the sideways "
        "distance in mm to the nearest pixel with a surface; `far`, the depth's difference from the far value (Eq. "
        "5-6 as printed).",
    )
    unknown: Literal["background", "ignore"] = Field(
        "background",
        description="Pixels for which the sensor returned nothing: `background` (the paper), or `ignore`, left out "
        "of the mean.",
    )
    forearm: Literal["wrist_plane", "keep"] = Field(
        "wrist_plane",
        description="`wrist_plane`: pixels that show a surface beyond the plane through the estimated wrist, across "
        "the line from the palm's centre, are left out of the mean; `keep`: all pixels count (the paper).",
    )
    margin_mm: float = Field(
        0.0, description="How far beyond the wrist, in mm, the plane of `wrist_plane` is; negative: before it."
    )
    loss: Literal["l1", "squared"] = Field(
        "l1",
        description="`l1`: mean of the residuals in mm (Eq. 5); `squared`: mean of their squares in mm^2 (authors' "
        "code).",
    )
    far_mm: float | None = Field(
        None,
        description="Both maps are capped at this depth in mm, and a surface beyond it counts as that deep, without "
        "gradient; null: the cube's far side. The authors' code: 100.",
    )
    clamp_mm: float | None = Field(
        None,
        gt=0,
        description="Largest residual of a pixel in mm; beyond it there is no gradient. null: none (the paper).",
    )


class ModelToData(DataTerm):
    """Mean residual over the pixels between render and depth map, for each pair of views.

    Args:
        config: the options.
    """

    unit = "mm"

    def __init__(self, config: ModelToDataConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, step: StepData) -> TermValue:
        """Values (P,), or (N,) without `cross_view`; weight 0 where the target's map shows no surface."""
        cross = self.config.cross_view
        target = step.pair_target(cross)
        rendered, counts = step.rendered(cross), self._counted(step, cross, target)
        values = self._mean_residual(step, rendered, target, counts)
        weights = step.hit.any(dim=2).any(dim=1)[target].to(values.dtype)
        return TermValue(values, weights, step.pair_frame(cross))

    def _mean_residual(self, step: StepData, rendered: Rendered, target: Tensor, counts: Tensor | None) -> Tensor:
        """(P,) mean over the pixels that count."""
        config, maps = self.config, step.depth_maps
        far = step.grid.far_mm if config.far_mm is None else config.far_mm
        nearest = step.nearest_hit if config.background == "silhouette" else None
        one_kind = rendered.depth.dtype == maps.dtype == rendered.anchor.dtype and maps.device.type == "cpu"
        if one_kind and m2d_kernel.available(maps.dtype):
            tensors = (rendered.depth, rendered.anchor, rendered.hit, target, maps, step.hit, nearest, counts)
            clamp = math.inf if config.clamp_mm is None else config.clamp_mm
            return m2d_kernel.mean_residual(
                *(None if t is None else t.contiguous() for t in tensors),
                squared=config.loss == "squared",
                background=step.grid.far_mm,
                far=float(far),
                clamp=float(clamp),
            )[0]
        residual = self._residual(step, rendered, target, nearest, far)
        if config.clamp_mm is not None:
            residual = residual.clamp_max(config.clamp_mm)
        if config.loss == "squared":
            residual = residual.square()
        if counts is None:
            return residual.mean(dim=(1, 2))
        share = counts.to(residual.dtype)
        return (residual * share).sum(dim=(1, 2)) / share.sum(dim=(1, 2)).clamp_min(1)

    @staticmethod
    def _residual(step: StepData, rendered: Rendered, target: Tensor, nearest: Tensor | None, far: float) -> Tensor:
        """(P, H, W) mm in tensor operations, for GPUs and for machines without a compiler."""
        # The renderer may use another background value; here both maps use the same.
        depth = torch.where(rendered.hit, rendered.depth, step.grid.far_mm).clamp_max(far)
        residual = (depth - step.depth_maps.clamp_max(far)[target]).abs()  # Eq. 5
        if nearest is None:
            return residual
        sideways = torch.linalg.vector_norm(rendered.anchor - nearest[target], dim=-1)
        return torch.where(rendered.hit & ~step.hit[target], sideways, residual)

    def _counted(self, step: StepData, cross: bool, target: Tensor) -> Tensor | None:
        """(P, H, W) bool, the pixels that count; None if all count."""
        counts = None
        if self.config.unknown == "ignore":
            counts = (step.states != int(State.UNKNOWN))[target]
        if self.config.forearm == "wrist_plane":
            hand = ~step.forearm(cross, *step.surface_points(None), self.config.margin_mm).view(-1, *step.hit.shape[1:])
            counts = hand if counts is None else counts & hand
        return counts


class SquaredModelToData(ModelToData):
    """Model to data with squared residuals."""

    unit = "mm^2"


def _build(config: ModelToDataConfig, build: Build) -> ModelToData:
    return SquaredModelToData(config) if config.loss == "squared" else ModelToData(config)


SPEC = PluginSpec(
    kind="data_term",
    name="m2d",
    config=ModelToDataConfig,
    factory=_build,
    summary="Model to data: the rendered estimate compared with each view's depth map.",
    source="Wan et al., CVPR 2019, Eq. 5, p. 10856; the silhouette rule is own work",
    needs=frozenset({"real"}),
)
