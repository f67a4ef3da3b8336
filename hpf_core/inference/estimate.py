"""A network's estimate of depth maps: that of its last stack. All prediction code uses this function."""

from __future__ import annotations

from torch import Tensor

from hpf_core.frames import Estimate
from hpf_core.interfaces import Backbone


def last_estimate(backbone: Backbone, depth: Tensor) -> Estimate:
    """The estimate of the last stack, the best one, of depth maps (N, H, W) mm: points (N, J, 3) mm and more."""
    return backbone(depth)[-1]
