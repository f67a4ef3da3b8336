"""Distances of pairs of points, with finite gradients also for coincident points."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_distance(points: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(N, K) mm^2 between points `first` and `second` (K,) of (N, J, 3) mm."""
    return (points.index_select(1, first) - points.index_select(1, second)).square().sum(-1)


def distance(points: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(N, K) mm between points `first` and `second` (K,) of (N, J, 3) mm; the gradient of coincident points is 0."""
    squared = squared_distance(points, first, second)
    apart = squared > 0
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)
