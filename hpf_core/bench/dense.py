"""The equations without optimisation, every sphere with every pixel and every point: the renderer's reference.

This module uses no renderer: Wan et al., CVPR 2019, Eq. 6-8 and 10-11, as differentiable tensor operations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hpf_core.grid import Grid

RIM_FLOOR_MM2 = 1.0
"""Lower bound of r^2 - d^2 under the root of Eq. 6: the renderers' default."""


def depth(points: Tensor, radii: Tensor, grid: Grid) -> Tensor:
    """(N, H, W) mm of spheres at points (N, J, 3) mm with radii (J,) mm; the cube's far side at pixels without hit."""
    axis = grid.axis(points.device, points.dtype)
    x, y, z = (points[:, :, None, None, k] for k in range(3))
    gap = radii.square()[:, None, None] - (x - axis).square() - (y - axis[:, None]).square()  # Eq. 7
    front = torch.where(gap >= 0, z - gap.clamp_min(RIM_FLOOR_MM2).sqrt(), grid.far_mm)  # Eq. 6
    return front.amin(dim=1).clamp_max(grid.far_mm)  # Eq. 8


def distance(points: Tensor, radii: Tensor, queries: Tensor) -> Tensor:
    """(N, Q) mm, distance of queries (N, Q, 3) mm to the nearest sphere surface; points (N, J, 3) mm, radii (J,) mm."""
    apart = torch.linalg.vector_norm(queries[:, :, None] - points[:, None], dim=-1)  # Eq. 10
    return (apart - radii).abs().amin(dim=-1)  # Eq. 11


def kept_mib(work: Callable[[], Tensor]) -> float:
    """MiB of tensors that the work saves for its backward pass."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        alive = work()
    del alive
    return sum(kept.values()) / 2**20
