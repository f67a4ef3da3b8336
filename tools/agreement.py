"""Agreement of two sets of depth maps, for the tools that fit spheres to the skin and measure them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Agreement(NamedTuple):
    """Agreement of N pairs of depth maps.

    Attributes:
        depth_mm: (N,) mean difference of the two depths where both cover.
        bias_mm: (N,) the same with its sign, first less second.
        iou: (N,) intersection over union of the silhouettes.
    """

    depth_mm: Tensor
    bias_mm: Tensor
    iou: Tensor


def agreement(first: Tensor, second: Tensor) -> Agreement:
    """Of maps (N, ...) mm, +inf where they show nothing."""
    first, second = first.flatten(1), second.flatten(1)
    one, other = torch.isfinite(first), torch.isfinite(second)
    both = one & other
    apart = torch.where(both, first - second, 0)
    pixels = both.sum(1)
    return Agreement(apart.abs().sum(1) / pixels, apart.sum(1) / pixels, pixels / (one | other).sum(1))
