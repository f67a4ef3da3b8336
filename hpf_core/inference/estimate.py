"""A network's estimate of depth maps.

All prediction code uses this module. So the last stack is chosen in one place, and refiners work alike everywhere.

Transforms change training images only: no prediction applies them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from hpf_core.frames import Estimate
from hpf_core.interfaces import Backbone, Refiner


def last_estimate(network: Backbone | Callable[[Tensor], Sequence[Estimate]], depth: Tensor) -> Estimate:
    """The estimate of the last stack, the best one, of depth maps (N, H, W) mm: points (N, J, 3) mm and more."""
    return network(depth)[-1]


def refine(refiners: Iterable[Refiner], points: Tensor) -> list[Tensor]:
    """The network's points (N, J, 3) mm, and the result of each refiner, in order."""
    found = [points]
    for refiner in refiners:
        found.append(refiner(found[-1]))
    return found


def refined_points(backbone: Backbone, refiners: Iterable[Refiner], depth: Tensor) -> list[Tensor]:
    """Points (N, J, 3) mm in depth maps (N, H, W) mm: those of the last stack, then after each refiner, in order."""
    return refine(refiners, last_estimate(backbone, depth).points)
