"""Supervision on synthetic samples with known points: on the network's maps (Eq. 3) or on coordinates."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.errors import InputError
from hpf_core.frames import Estimate
from hpf_core.geometry.rigid import at_least_float32
from hpf_core.interfaces import Build, Config, DataTerm, PluginSpec, StepData, TermValue


class SupervisedConfig(Config):
    """Options of the data term `supervised`."""

    on: Literal["maps", "points", "both"] = Field(
        "maps",
        description="`maps`: heatmaps and latent depth maps (Eq. 3, the paper's choice); `points`: coordinates; "
        "`both`.",
    )
    heatmap_weight: float = Field(
        1000.0,
        ge=0,
        description="Weight of the heatmaps' mean squared error, dimensionless. A label covers a thousandth of its "
        "map's mass, hence the size (authors' code: 1000).",
    )
    depth_weight: float = Field(
        1000.0,
        ge=0,
        description="Weight of the latent depth maps' mean squared error, in half cubes. An error of 10 % of the "
        "heatmap's peak and one of 5 % of the cube count alike.",
    )
    points_weight: float = Field(
        100.0, ge=0, description="Weight of the coordinates' mean squared error, in half cubes."
    )
    depth_outside: Literal["zero", "free"] = Field(
        "zero",
        description="Latent depth where a point's label has none: `zero`, it is 0 there (Eq. 3); `free`, it may be "
        "anything.",
    )


class Supervised(DataTerm):
    """Weighted sum of mean squared errors against the ideal output of each synthetic sample; dimensionless.

    Errors are means over all pixels of a map or over all coordinates. Depth is in half cubes (150 mm for a cube of 300
    mm). `depth_outside: free` drops the error outside and leaves the gradient of the rest unchanged.

    Args:
        config: the options.
        half_cube_mm: unit of depth and coordinates.
    """

    unit = "1"

    def __init__(self, config: SupervisedConfig, half_cube_mm: float) -> None:
        super().__init__()
        self.config = config
        self.half_cube_mm = half_cube_mm
        self.needs = frozenset() if config.on == "points" else frozenset({"heatmaps", "latent_depth"})

    def forward(self, step: StepData) -> TermValue:
        """Values (M,) of the samples, all with weight 1."""
        _, estimate, target = step.need_synthetic()
        values = at_least_float32(estimate.points).new_zeros(estimate.points.shape[0])
        if self.config.on in ("maps", "both"):
            values = values + self._maps(estimate, target)
        if self.config.on in ("points", "both"):
            values = values + self.config.points_weight * self._squared_mm(estimate.points, target.points).mean(
                dim=(1, 2)
            )
        return TermValue(values, torch.ones_like(values))

    def _maps(self, estimate: Estimate, target: Estimate) -> Tensor:
        """(M,)"""
        heatmaps, heat_labels = _both("heatmaps", estimate.heatmaps, target.heatmaps)
        depth, depth_labels = _both("latent_depth", estimate.latent_depth, target.latent_depth)
        heat_error = (at_least_float32(heatmaps) - at_least_float32(heat_labels).detach()).square()
        depth_error = self._squared_mm(depth, depth_labels)
        if self.config.depth_outside == "free":
            depth_error = torch.where(depth_labels != 0, depth_error, 0.0)
        return self.config.heatmap_weight * heat_error.mean(
            dim=(1, 2, 3)
        ) + self.config.depth_weight * depth_error.mean(dim=(1, 2, 3))

    def _squared_mm(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Squared difference of two tensors in mm, in units of half cubes."""
        return ((at_least_float32(found) - at_least_float32(wanted).detach()) / self.half_cube_mm).square()


def _both(name: str, found: Tensor | None, wanted: Tensor | None) -> tuple[Tensor, Tensor]:
    if found is None or wanted is None:
        raise InputError(
            f"supervised: `on: maps` compares the backbone's {name}, and this backbone has none; choose `on: points` "
            f"or a backbone that provides {name}"
        )
    if found.shape != wanted.shape:
        raise InputError(f"supervised: {name} are {tuple(found.shape)}, but their labels {tuple(wanted.shape)}")
    return found, wanted


def _build(config: SupervisedConfig, build: Build) -> Supervised:
    return Supervised(config, build.grid.far_mm)


SPEC = PluginSpec(
    kind="data_term",
    name="supervised",
    config=SupervisedConfig,
    factory=_build,
    summary="Synthetic samples compared with their known points, on heatmaps and latent depth or on coordinates.",
    source="Wan et al., CVPR 2019, Eq. 3, p. 10855",
    needs=frozenset({"synthetic"}),
)
