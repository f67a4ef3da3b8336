"""Transform `shrink`: squeezes real hands in the image and undoes it on the points (authors' code).

The transform squeezes each image towards the crop's centre by random factors along x and y. It stretches the network's
points by the same factors before the losses compare them with the original image. Depth is unchanged.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field, field_validator
from torch import Tensor

from hpf_core.grid import Grid
from hpf_core.interfaces import Build, Config, PluginSpec, Transform


class ShrinkConfig(Config):
    """Frequency and range of the factors."""

    share: float = Field(0.5, ge=0, le=1, description="Share of the steps whose images are shrunk.")
    factor: tuple[float, float] = Field(
        (0.7, 1.0), description="Smallest and largest factor, drawn for each image along x and along y."
    )

    @field_validator("factor")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.1 <= value[0] <= value[1] <= 1:
            raise ValueError(f"needs 0.1 <= smallest <= largest <= 1, but is {value[0]:g} to {value[1]:g}")
        return value


class Shrink(Transform):
    """Squeezes maps towards the crop's centre without interpolation: no surface lies between two depths.

    Args:
        config: the options.
        grid: of the maps.
    """

    def __init__(self, config: ShrinkConfig, grid: Grid) -> None:
        super().__init__()
        self.config, self.grid = config, grid

    def forward(self, depth: Tensor, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Squeezed maps (N, H, W) mm, with the far value beyond the cube; and the inverse map of points, which
        stretches x and y."""
        draw = torch.rand(2 * len(depth) + 1, generator=generator, device=generator.device).to(depth)
        smallest, largest = self.config.factor
        factor = smallest + draw[1:].view(-1, 2) * (largest - smallest)
        factor = torch.where(draw[0] < self.config.share, factor, torch.ones_like(factor))
        column, across = self._source(factor[:, 0], depth.shape[-1])
        row, down = self._source(factor[:, 1], depth.shape[-2])
        taken = depth.gather(1, row[:, :, None].expand_as(depth)).gather(2, column[:, None, :].expand_as(depth))
        seen = torch.where(down[:, :, None] & across[:, None, :], taken, self.grid.far_mm)

        def back(points: Tensor) -> Tensor:
            return points / torch.nn.functional.pad(factor, (0, 1), value=1.0).to(points)[:, None, :]

        return seen, back

    @staticmethod
    def _source(factor: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """(N, size) int64, source pixel of each new pixel along an axis, and (N, size) bool, whether it exists."""
        steps = torch.arange(size, device=factor.device, dtype=factor.dtype)
        place = (steps + 0.5 - size / 2) / factor[:, None] + size / 2
        source = place.floor().long()
        return source.clamp(0, size - 1), (source >= 0) & (source < size)


def _build(config: ShrinkConfig, build: Build) -> Shrink:
    return Shrink(config, build.grid)


SPEC = PluginSpec(
    kind="transform",
    name="shrink",
    config=ShrinkConfig,
    factory=_build,
    summary="Real images squeezed along x and y in some of the steps, undone on the points.",
    source="the public code of Wan et al., CVPR 2019",
)
