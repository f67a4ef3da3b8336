"""Rigid maps of points (`docs/geometry.md`, "Frames").

Rigid maps are applied as sums of products, never as a matrix product: under autocast, or with TF32 allowed, a matrix
product would round points in the rig's frame, a metre from its origin, by millimetres.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is: millimetres need more than 11 bits."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def apply_rigid(transform: Tensor, points: Tensor) -> Tensor:
    """Points (..., K, 3) taken through rigid maps (..., 4, 4), column vectors."""
    rotation, translation = transform[..., None, :3, :3], transform[..., None, :3, 3]
    return (rotation * points[..., None, :]).sum(dim=-1) + translation


def invert_rigid(transform: Tensor) -> Tensor:
    """Inverse of rigid maps (..., 4, 4) without a general matrix inverse."""
    rotation = transform[..., :3, :3].transpose(-1, -2)
    translation = -(rotation * transform[..., None, :3, 3]).sum(dim=-1, keepdim=True)
    top = torch.cat([rotation, translation], dim=-1)
    return torch.cat([top, transform[..., 3:, :]], dim=-2)
