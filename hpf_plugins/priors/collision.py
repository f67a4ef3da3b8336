"""Penalises self-intersection of the hand (Wan et al., CVPR 2019, Eq. 16, page 5).

Eq. 16 as printed is max(r_j + r_k - |c_j - c_k|^2, 0). It subtracts square millimetres from millimetres, so it acts
below sqrt(r_j + r_k), 4 to 7 mm. It keeps fingers from the same place but lets neighbouring spheres overlap, as they do
at rest.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.interfaces import Build, Config, HandModel, PluginSpec, Prior, TermValue
from hpf_plugins.priors.pairs import distance, squared_distance

_FIXED_MM = 6.0
_NEIGHBOUR_POSES = 256


class CollisionConfig(Config):
    """The threshold of the distance."""

    mode: Literal["printed", "fixed", "radii"] = Field(
        "printed",
        description="'printed': r_j + r_k - d^2, Eq. 16 to the letter (mm^2); 'fixed': (6 mm)^2 - d^2 for all pairs "
        "(mm^2); 'radii': r_j + r_k - d (mm), without the pairs that touch in most poses. Each where positive, summed "
        "over the pairs",
    )


class SquaredCollision(Prior):
    """max(threshold - d^2, 0) over the hand model's collision pairs, summed, in mm^2 per estimate."""

    unit = "mm^2"
    invariances = frozenset({"translation", "rotation", "mirror"})  # depends only on distances between points

    def __init__(self, hand: HandModel, mode: Literal["printed", "fixed"]) -> None:
        super().__init__()
        self.first: Tensor
        self.second: Tensor
        self.threshold: Tensor
        pairs = hand.collisions()
        reach = hand.radii[pairs.first] + hand.radii[pairs.second]
        self.register_buffer("first", pairs.first.clone(), persistent=False)
        self.register_buffer("second", pairs.second.clone(), persistent=False)
        threshold = reach if mode == "printed" else torch.full_like(reach, _FIXED_MM**2)
        self.register_buffer("threshold", threshold, persistent=False)

    def forward(self, points: Tensor) -> TermValue:
        """(N,) mm^2 of points (N, J, 3) mm."""
        excess = self.threshold.to(points) - squared_distance(points, self.first, self.second)  # Eq. 16
        values = excess.clamp(min=0).sum(-1)
        return TermValue(values, torch.ones_like(values))


class RadiiCollision(Prior):
    """max(r_j + r_k - d, 0), summed over the pairs without contact in most poses, in mm per estimate.

    The roots of neighbouring fingers and the palm overlap in every hand: such pairs would have a constant force.
    """

    unit = "mm"
    invariances = frozenset({"translation", "rotation", "mirror"})

    def __init__(self, hand: HandModel) -> None:
        super().__init__()
        self.first: Tensor
        self.second: Tensor
        self.reach: Tensor
        pairs = hand.collisions()
        reach = hand.radii[pairs.first] + hand.radii[pairs.second]
        sample = hand.sample(_NEIGHBOUR_POSES, torch.Generator(reach.device).manual_seed(0))
        posed = hand.points(sample.pose, sample.shape)
        touching = distance(posed, pairs.first, pairs.second) < reach
        kept = touching.float().mean(0) <= 0.5
        self.register_buffer("first", pairs.first[kept], persistent=False)
        self.register_buffer("second", pairs.second[kept], persistent=False)
        self.register_buffer("reach", reach[kept], persistent=False)

    def forward(self, points: Tensor) -> TermValue:
        """(N,) mm of points (N, J, 3) mm."""
        excess = self.reach.to(points) - distance(points, self.first, self.second)
        values = excess.clamp(min=0).sum(-1)
        return TermValue(values, torch.ones_like(values))


def _make(config: CollisionConfig, build: Build) -> Prior:
    if config.mode == "radii":
        return RadiiCollision(build.need_hand())
    return SquaredCollision(build.need_hand(), config.mode)


SPEC = PluginSpec(
    kind="prior",
    name="collision",
    config=CollisionConfig,
    factory=_make,
    summary="fingers don't run through each other or the palm",
    source="Wan et al., CVPR 2019, Eq. 16, page 5",
    default_weight=0.01,
)
