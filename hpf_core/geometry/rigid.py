"""Rigid maps of points (`docs/geometry.md`, "Frames").

We apply rigid maps as sums of products, never as a matrix product. Under autocast, or with TF32, a matrix product
would round points in the rig's frame by millimetres, because they lie a metre from the origin.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Convert half precision to float32 and leave other types unchanged: millimetres need more than 11 bits."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def apply_rigid(transform: Tensor, points: Tensor) -> Tensor:
    """Map points (..., K, 3) by rigid maps (..., 4, 4), column vectors."""
    rotation, translation = transform[..., None, :3, :3], transform[..., None, :3, 3]
    return (rotation * points[..., None, :]).sum(dim=-1) + translation


def invert_rigid(transform: Tensor) -> Tensor:
    """Invert rigid maps (..., 4, 4) without a general matrix inverse."""
    rotation = transform[..., :3, :3].transpose(-1, -2)
    translation = -(rotation * transform[..., None, :3, 3]).sum(dim=-1, keepdim=True)
    top = torch.cat([rotation, translation], dim=-1)
    return torch.cat([top, transform[..., 3:, :]], dim=-2)
