"""`fit.c` as operators of PyTorch, for tensors on a CPU: `geometry` and `fit` have the same in tensor operations."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hpf_core.native import compiler

_SOURCE = Path(__file__).with_name("fit.c")
available = compiler.availability(_SOURCE)


@torch.library.custom_op("hpf::nearest_marked", mutates_args=(), device_types="cpu")
def nearest_marked(mask: Tensor) -> Tensor:
    """As `hpf_core.geometry.nearest_marked`, of a contiguous mask."""
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
    """(P, Q) bool, which points of a map lie beyond a plane, normal . p > offset; none where too few don't.

    Args:
        points: (N, Q, 3), contiguous as all tensors here.
        valid: (N, Q) bool, which of them exist.
        target: (P,) int64, the map of each plane.
        normal: (P, 3).
        offset: (P,).
        least: share of a map's points that must not lie beyond.
    """
    out = valid.new_empty((target.shape[0], valid.shape[1]))
    function = compiler.function(_SOURCE, "beyond_planes", points.dtype)
    compiler.call(function, target.shape[0], valid.shape[1], least, points, valid, target, normal, offset, out)
    return out


@beyond_planes.register_fake
def _(points: Tensor, valid: Tensor, target: Tensor, normal: Tensor, offset: Tensor, least: float) -> Tensor:
    return valid.new_empty((target.shape[0], valid.shape[1]))
