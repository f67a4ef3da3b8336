"""The orthographic grid of a crop: see `docs/geometry.md`, "Crop"."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The orthographic grid of a crop: `size` x `size` rays over a cube of `cube_mm`."""

    size: int = 64
    cube_mm: float = 300.0

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, mm."""
        return self.cube_mm / self.size

    @property
    def far_mm(self) -> float:
        """Depth of the cube's far side, mm: the value of a map's pixel without surface."""
        return self.cube_mm / 2

    def axis(self, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """(size,) mm, the x of each column and the y of each row: (u + 0.5 - W/2) * cube_mm / W."""
        steps = torch.arange(self.size, device=device, dtype=dtype)
        return (steps + 0.5 - self.size / 2) * self.pixel_mm
