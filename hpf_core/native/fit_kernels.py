"""`fit.c` as PyTorch operators for CPU tensors. `geometry` and `fit` have the same functions in tensor operations."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hpf_core.native import compiler

_SOURCE = Path(__file__).with_name("fit.c")
available = compiler.availability(_SOURCE)


@torch.library.custom_op("hpf::nearest_marked", mutates_args=(), device_types="cpu")
def nearest_marked(mask: Tensor) -> Tensor:
    """`hpf_core.geometry.nearest_marked` for a contiguous mask."""
    out = mask.new_empty((*mask.shape, 2), dtype=torch.int64)
    function = compiler.function(_SOURCE, "nearest_marked", torch.float32)
    compiler.call(function, mask.shape[0], mask.shape[1], mask.shape[2], mask, out)
    return out


@nearest_marked.register_fake
def _(mask: Tensor) -> Tensor:
    return mask.new_empty((*mask.shape, 2), dtype=torch.int64)


@torch.library.custom_op("hpf::beyond_planes", mutates_args=(), device_types="cpu")
def beyond_planes(
    points: Tensor, valid: Tensor, target: Tensor, normal: Tensor, offset: Tensor, least: float
) -> Tensor:
    """(P, Q) bool: the points of a map beyond a plane, normal . p > offset; none if too few points are on this side.

    Args:
        points: (N, Q, 3), contiguous like all tensors here.
        valid: (N, Q) bool, the valid mask of the points.
        target: (P,) int64, the map of each plane.
        normal: (P, 3).
        offset: (P,).
        least: smallest share of a map's points on this side of the plane.
    """
    out = valid.new_empty((target.shape[0], valid.shape[1]))
    function = compiler.function(_SOURCE, "beyond_planes", points.dtype)
    compiler.call(function, target.shape[0], valid.shape[1], least, points, valid, target, normal, offset, out)
    return out


@beyond_planes.register_fake
def _(points: Tensor, valid: Tensor, target: Tensor, normal: Tensor, offset: Tensor, least: float) -> Tensor:
    return valid.new_empty((target.shape[0], valid.shape[1]))
