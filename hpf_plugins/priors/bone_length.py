"""Keeps bone lengths within the range of hands (Wan et al., CVPR 2019, Eq. 14-15, page 5)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from hpf_core.errors import PluginError
from hpf_core.interfaces import BoneRanges, Build, Config, HandModel, PluginSpec, Prior, TermValue
from hpf_plugins.priors.pairs import distance, squared_distance

_MEDIAN_OF = 4096  # sampled hands


class BoneLengthConfig(Config):
    """The pairs, their lengths, and the cost of an excess."""

    pairs: Literal["hand", "segments"] = Field(
        "hand",
        description="'hand': all of the hand model's bones; 'segments': those of its links that lie within the palm, "
        "or on a finger between the two points of one segment, KNU*_A and KNU*_B (authors' code; which its 20 pairs in "
        "the palm are is not known to us: the hand's own stand for them)",
    )
    factors: tuple[float, float] | None = Field(
        None,
        description="Shortest and longest, as factors of each pair's median length over sampled hands; the authors' "
        "code: [0.80, 1.05]. null: the hand model's ranges, which widen with the sizes that it samples",
    )
    loss: Literal["squared", "linear"] = Field(
        "squared",
        description="'squared': the excess squared, summed over the pairs, mm^2 (Eq. 14); 'linear': the excess of the "
        "squared length, mean over the pairs, mm^2 (authors' code)",
    )

    @field_validator("factors")
    @classmethod
    def _in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] <= value[1] <= 10:
            raise ValueError(f"needs 0 <= shortest <= longest <= 10, but is {value[0]:g} to {value[1]:g}")
        return value


class BoneLength(Prior):
    """Squared excess over [min, max] of each bone, summed over the bones, in mm^2 per estimate.

    Args:
        bones: the pairs and their ranges.
    """

    unit = "mm^2"
    invariances = frozenset({"translation", "rotation", "mirror"})  # depends only on distances between points

    def __init__(self, bones: BoneRanges) -> None:
        super().__init__()
        self.first: Tensor
        self.second: Tensor
        self.shortest: Tensor
        self.longest: Tensor
        for name, values in bones._asdict().items():
            self.register_buffer(name, values.clone(), persistent=False)

    def forward(self, points: Tensor) -> TermValue:
        """(N,) mm^2 of points (N, J, 3) mm."""
        length = distance(points, self.first, self.second)  # Eq. 15
        beyond = (length - self.longest.to(points)).clamp(min=0)
        short = (self.shortest.to(points) - length).clamp(min=0)
        values = (beyond.square() + short.square()).sum(-1)  # Eq. 14
        return TermValue(values, torch.ones_like(values))


class LinearBoneLength(BoneLength):
    """Excess of each bone's squared length over [min^2, max^2], mean over the bones, in mm^2 per estimate."""

    def forward(self, points: Tensor) -> TermValue:
        """(N,) mm^2 of points (N, J, 3) mm."""
        square = squared_distance(points, self.first, self.second)
        beyond = (square - self.longest.to(points).square()).clamp(min=0)
        short = (self.shortest.to(points).square() - square).clamp(min=0)
        values = (beyond + short).mean(-1)
        return TermValue(values, torch.ones_like(values))


def _segments(hand: HandModel, bones: BoneRanges) -> BoneRanges:
    """The bones within the palm and within one finger segment.

    Raises:
        PluginError: the hand model has none.
    """
    links = {frozenset(link) for link in hand.links}
    kept = [
        k
        for k, (a, b) in enumerate(zip(bones.first.tolist(), bones.second.tolist(), strict=True))
        if frozenset((a, b)) in links
        and (hand.parts[a] == hand.parts[b] == "palm" or {hand.names[a], hand.names[b]} == _segment(hand.names[a]))
    ]
    if not kept:
        raise PluginError("bone_length: `pairs: segments` finds no such bone in this hand model; write `pairs: hand`")
    rows = torch.tensor(kept, device=bones.first.device)
    return BoneRanges(*(values[rows] for values in bones))


def _segment(name: str) -> set[str]:
    """The names of both points on the segment of a point."""
    return {f"{name[:-1]}A", f"{name[:-1]}B"}


@torch.no_grad()
def _around_the_median(hand: HandModel, bones: BoneRanges, factors: tuple[float, float]) -> BoneRanges:
    sample = hand.sample(_MEDIAN_OF, torch.Generator(hand.radii.device).manual_seed(0))
    median = distance(hand.points(sample.pose, sample.shape), bones.first, bones.second).median(dim=0).values
    return bones._replace(shortest=factors[0] * median, longest=factors[1] * median)


def _make(config: BoneLengthConfig, build: Build) -> BoneLength:
    hand = build.need_hand()
    bones = hand.bones()
    if config.pairs == "segments":
        bones = _segments(hand, bones)
    if config.factors is not None:
        bones = _around_the_median(hand, bones, config.factors)
    return LinearBoneLength(bones) if config.loss == "linear" else BoneLength(bones)


SPEC = PluginSpec(
    kind="prior",
    name="bone_length",
    config=BoneLengthConfig,
    factory=_make,
    summary="bones stay within the lengths that the hand model allows",
    source="Wan et al., CVPR 2019, Eq. 14-15, page 5; linear and segments: their public code",
    default_weight=0.01,
)
