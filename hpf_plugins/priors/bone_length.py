"""Bones keep a length that hands have (Wan et al., CVPR 2019, Eq. 14-15, page 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from hpf_core.interfaces import Build, Config, HandModel, PluginSpec, Prior, TermValue
from hpf_plugins.priors.pairs import distance


class BoneLengthConfig(Config):
    """Nothing to choose: the ranges are the hand model's, and widen with the sizes that it samples."""


class BoneLength(Prior):
    """Squared excess over [min, max] of each of the hand model's bones, summed over the bones, in mm^2 per estimate."""

    unit = "mm^2"

    def __init__(self, hand: HandModel) -> None:
        super().__init__()
        bones = hand.bones()
        self.first: Tensor
        self.second: Tensor
        self.shortest: Tensor
        self.longest: Tensor
        for name, values in bones._asdict().items():
            self.register_buffer(name, values.clone(), persistent=False)

    def forward(self, points: Tensor) -> TermValue:
        """(N,) mm^2 of points (N, J, 3) mm."""
        length = distance(points, self.first, self.second)
        beyond = (length - self.longest.to(points)).clamp(min=0)
        short = (self.shortest.to(points) - length).clamp(min=0)
        values = (beyond.square() + short.square()).sum(-1)
        return TermValue(values, torch.ones_like(values))


def _make(config: BoneLengthConfig, build: Build) -> BoneLength:
    return BoneLength(build.need_hand())


SPEC = PluginSpec(
    kind="prior",
    name="bone_length",
    config=BoneLengthConfig,
    factory=_make,
    summary="bones stay within the lengths that the hand model allows",
    source="Wan et al., CVPR 2019, Eq. 14-15, page 5",
    default_weight=0.01,
)
