"""Hands that the synthetic set doesn't hold: who is seen in a simulated capture.

An actor is built from the hand model's points, but has a body of its own: proportions from the ends of the shape's
range, stretched along the hand's axes beyond what the shape can do, and a surface with another profile of thickness.
A network that was trained on the model's own surface has something to adapt to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.interfaces import HandModel, Spheres
from hpf_core.synthesis.forearm import bend_towards, forearm
from hpf_core.synthesis.motion import Motion

_SPACING = 0.35  # of the smaller radius: the surface between two spheres dips by 1.5 % of the radius
_ARM_MM = 250.0
_ARM_SPHERES = 24


@dataclass(frozen=True)
class Actor:
    """A person's right hand and forearm.

    Attributes:
        hand: whose points are posed.
        shape: (S,) in the hand model's own parameters.
        radii: (J,) mm, the thickness of the hand model's own surface at each point, for this shape.
        stretch: (3,) factors along the hand's x, y and z.
        thickness: factor on all radii.
        evenness: 0 keeps the model's radii in proportion, 1 makes all of them the same.
        bulge: how much thicker a link is in its middle than at its ends, as a share.
        arm: factor on the forearm's radius.
    """

    hand: HandModel
    shape: Tensor
    radii: Tensor
    stretch: Tensor
    thickness: float
    evenness: float
    bulge: float
    arm: float

    @staticmethod
    def random(hand: HandModel, generator: torch.Generator) -> Actor:
        """Draw a person, not one from the middle: every proportion near one end or the other of its range.

        Each shape parameter takes the 15th or the 85th percentile of what `hand.sample` draws, so that with the stretch
        on top the bones mostly stay within the ranges that the bone-length prior allows. The stretch of +-4 % and the
        thickness of +-12 % lie within the spread of adult hands (Greiner 1991, Natick/TR-92/011: coefficients of
        variation of about 5 % in lengths, 6 to 8 % in breadths).
        """
        drawn = hand.sample(512, generator)
        shapes = drawn.shape
        ends = shapes.quantile(torch.tensor([0.15, 0.85], dtype=shapes.dtype), dim=0)
        chosen = torch.randint(0, 2, (1, shapes.shape[1]), generator=generator)
        shape = ends.gather(0, chosen)

        def off_middle(reach: float) -> float:
            size, side = torch.rand(2, generator=generator).tolist()
            return math.copysign(reach * (0.5 + 0.5 * size), side - 0.5)

        return Actor(
            hand=hand,
            shape=shape[0],
            radii=thickness_at_points(hand, drawn.pose[:1], shape)[0],
            stretch=torch.tensor([1 + off_middle(0.04) for _ in range(3)], dtype=shapes.dtype),
            thickness=1 + off_middle(0.12),
            evenness=0.15,
            bulge=0.06,
            arm=1 + off_middle(0.12),
        )

    def perform(self, motion: Motion) -> tuple[Tensor, Spheres]:
        """Points (F, J, 3) mm in the rig's frame, and the surface there: hand and forearm."""
        frames, device = len(motion.pose), motion.pose.device
        still = self.hand.points(motion.pose, self.shape.expand(frames, -1)) * self.stretch
        points = still @ motion.rotation.transpose(-1, -2) + motion.position[:, None]
        skin = self._skin(points)
        arm = forearm(
            self.hand,
            points,
            length=torch.full((frames,), _ARM_MM, device=device, dtype=points.dtype),
            bend=bend_towards(self.hand, points, motion.elbow),
            radius=(self.arm * self.thickness * self.radii[list(self.hand.wrist)].mean()).expand(frames),
            count=_ARM_SPHERES,
        )
        return points, Spheres(torch.cat([skin.centres, arm.centres], 1), torch.cat([skin.radii, arm.radii], 1))

    def _skin(self, points: Tensor) -> Spheres:
        """Spheres in a row along each link, as many as the longest pose of the motion needs."""
        mean = self.radii.log().mean().exp()
        radii = self.thickness * mean * (self.radii / mean) ** (1 - self.evenness)
        first, last = torch.tensor(self.hand.links, device=points.device).unbind(1)
        length = (points[:, first] - points[:, last]).norm(dim=-1).amax(dim=0)
        counts = (length / (_SPACING * torch.minimum(radii[first], radii[last]))).ceil().clamp(min=1).long()
        link = torch.arange(len(counts), device=points.device).repeat_interleave(counts)
        step = torch.arange(int(counts.sum()), device=points.device) - (counts.cumsum(0) - counts)[link]
        t = ((step + 0.5) / counts[link]).to(points.dtype)
        between = torch.lerp(points[:, first[link]], points[:, last[link]], t[:, None])
        thick = torch.lerp(radii[first[link]], radii[last[link]], t) * (1 + self.bulge * 4 * t * (1 - t))
        centres = torch.cat([points, between], dim=1)
        return Spheres(centres, torch.cat([radii, thick]).expand(len(points), -1))


def thickness_at_points(hand: HandModel, pose: Tensor, shape: Tensor) -> Tensor:
    """(N, J) mm, the radius of the surface's sphere nearest to each point, for poses (N, D) and shapes (N, S)."""
    surface = hand.surface(pose, shape)
    nearest = torch.cdist(hand.points(pose, shape), surface.centres).argmin(dim=-1)
    return surface.radii.gather(1, nearest)
