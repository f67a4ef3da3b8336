"""The prior `joint_limits` for HPF: limits the bending of fingers, in each direction, to the hand model's range.

Anatomy gives each joint of a finger a range of angles (Lin, Wu and Huang, "Modeling the constraints of human hand
motion", Workshop on Human Motion, 2000: static constraints). The prior computes angles only from the points, at every
point of a finger. It takes their ranges from hands that the hand model samples. So it works with any hand model whose
parts name the fingers, whatever its points and limits mean.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from hpf.plugin import Build, Config, HandModel, PluginError, PluginSpec, Prior, TermValue, hookimpl

_SHORT_MM2 = 1e-6  # shorter vectors have no direction, and so no angle


class JointLimitsConfig(Config):
    """Options of `joint_limits`."""

    margin_deg: float = Field(5.0, ge=0, le=180, description="How far beyond the range a joint may bend free, degrees.")
    samples: int = Field(2048, ge=16, le=100_000, description="Hands that are drawn to find the range of each angle.")


class Angles(NamedTuple):
    """Angles at each of K joints, radians (N, K): `flexion` about the palm's width, and `sideways` along it."""

    flexion: Tensor
    sideways: Tensor


class JointLimits(Prior):
    """Squared excess of each joint's two angles over their ranges, summed over the joints, in degrees^2 per estimate.

    A joint is a point of a finger with its two neighbours; the root's neighbour is the middle of the wrist. The axis of
    flexion is the line from the little finger's root to the index finger's. A mirrored hand bends its fingers
    backwards, so the prior isn't invariant to mirroring.

    Args:
        hand: the hand model; its fingers are chains of links between points of one part.
        samples: number of sampled hands.
        margin_deg: margin on each side of the ranges, degrees.

    Raises:
        PluginError: the hand model has no little or index finger, or no chain of points on any finger.
    """

    unit = "deg^2"
    invariances = frozenset({"translation", "rotation"})

    def __init__(self, hand: HandModel, samples: int, margin_deg: float) -> None:
        super().__init__()
        self.triples: Tensor
        self.wrist: Tensor
        self.across: Tensor
        self.lowest: Tensor
        self.highest: Tensor
        chains = {part: chain_of(hand, part) for part in dict.fromkeys(hand.parts)}
        chains = {part: chain for part, chain in chains.items() if len(chain) > 2}
        missing = {"little", "index"} - set(chains)
        if missing:
            raise PluginError(
                f"joint_limits needs the fingers `little` and `index` as chains of at least 3 linked points, but the "
                f"hand model has no {' and no '.join(sorted(missing))}; its parts: {', '.join(sorted(set(hand.parts)))}"
            )
        wrist = len(hand.names)  # index of the wrist's middle, appended to the points
        rows = [row for chain in chains.values() for row in zip([wrist, *chain], chain, chain[1:], strict=False)]
        self.register_buffer("triples", torch.tensor(rows).T.contiguous(), persistent=False)
        self.register_buffer("wrist", torch.tensor(hand.wrist), persistent=False)
        self.register_buffer("across", torch.tensor([chains["little"][0], chains["index"][0]]), persistent=False)
        with torch.no_grad():
            drawn = hand.sample(samples, torch.Generator(hand.radii.device).manual_seed(0))
            angles = torch.stack(self.angles(hand.points(drawn.pose, drawn.shape)))  # (2, samples, K)
        margin = math.radians(margin_deg)
        self.register_buffer("lowest", angles.amin(1) - margin, persistent=False)
        self.register_buffer("highest", angles.amax(1) + margin, persistent=False)

    def angles(self, points: Tensor) -> Angles:
        """(N, K) radians of points (N, J, 3) mm; 0 for a segment without length."""
        middle = points[:, self.wrist].mean(1, keepdim=True)
        before, here, after = (torch.cat([points, middle], dim=1)[:, row] for row in self.triples)
        axis = _unit(points[:, self.across[1:]] - points[:, self.across[:1]])  # (N, 1, 3)
        first, second = _unit(here - before), _unit(after - here)
        along_first, along_second = (first * axis).sum(-1), (second * axis).sum(-1)
        flat_first = first - along_first[..., None] * axis
        flat_second = second - along_second[..., None] * axis
        sine = (axis * torch.linalg.cross(flat_first, flat_second)).sum(-1)
        cosine = (flat_first * flat_second).sum(-1)
        there = sine.square() + cosine.square() > _SHORT_MM2
        flexion = torch.atan2(torch.where(there, sine, 0), torch.where(there, cosine, 1))
        # The arcsine's derivative is unbounded at 1: a segment along the axis counts as 2.6 degrees off the axis.
        sideways = along_second.clamp(-0.999, 0.999).asin() - along_first.clamp(-0.999, 0.999).asin()
        return Angles(flexion, sideways)

    def forward(self, points: Tensor) -> TermValue:
        """(N,) degrees^2 of points (N, J, 3) mm."""
        angles = torch.stack(self.angles(points), dim=1)  # (N, 2, K)
        beyond = (angles - self.highest.to(angles)).clamp_min(0) + (self.lowest.to(angles) - angles).clamp_min(0)
        values = torch.rad2deg(beyond).square().sum(dim=(1, 2))
        return TermValue(values, torch.ones_like(values))


def chain_of(hand: HandModel, part: str) -> list[int]:
    """The points of a finger from its root to its tip; empty for a part without a fingertip."""
    mine = {k for k, name in enumerate(hand.parts) if name == part}
    tips = [k for k in hand.fingertips if k in mine]
    if len(tips) != 1:
        return []
    chain, near = [tips[0]], {k: [a + b - k for a, b in hand.links if k in (a, b)] for k in mine}
    while onwards := [k for k in near[chain[-1]] if k in mine and k not in chain]:
        chain.append(onwards[0])
    return chain[::-1]


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (..., 3), scaled to length 1; zero vectors stay 0."""
    squared = vectors.square().sum(-1, keepdim=True)
    there = squared > _SHORT_MM2
    return torch.where(there, vectors / torch.where(there, squared, 1).sqrt(), 0)


def build(config: JointLimitsConfig, build: Build) -> JointLimits:
    """Build the prior from a recipe's options."""
    return JointLimits(build.need_hand(), config.samples, config.margin_deg)


SPEC = PluginSpec(
    kind="prior",
    name="joint_limits",
    config=JointLimitsConfig,
    factory=build,
    summary="Fingers bend, in each direction, no further than the hand model's do.",
    source="after Lin, Wu & Huang, HUMO 2000 (static constraints); own work",
    default_weight=0.001,
    interface=(2, 0),
)


@hookimpl
def hpf_priors():
    """The plugins of this package."""
    return (SPEC,)
