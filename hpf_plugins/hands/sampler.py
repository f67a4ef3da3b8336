"""Random hands: poses of `mixture.py` with noise and without self-intersection, and shapes.

The sampler makes a few versions of each pose. Each has less noise than the version before and lies nearer to the start
of a transition. The sampler takes the first version that doesn't intersect itself. So crowded kinds of pose stay as
frequent as others. The work is the same for every draw, and no draw synchronises with the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.interfaces import PoseSample
from hpf_plugins.hands import anatomy
from hpf_plugins.hands.folded import fold_thumbs
from hpf_plugins.hands.mixture import (
    RELAXED,
    REST,
    Kinds,
    Solved,
    Tables,
    draw_kinds,
    draw_noise,
    draw_way,
    put_pinch,
    take_pinch,
    within_limits,
)
from hpf_plugins.hands.pinches import solve

_GLOBAL = 6
_CHUNK = 2048  # poses whose versions are checked together: bounds memory

# Versions of each pose: share of the noise, and share of the way to another pose.
_NOISE = (1.0, 0.85, 0.7, 0.35)
_WAY = (1.0, 1.0, 0.6, 0.0)

# Spheres of the neutral hand may overlap by this many mm. Spheres that are nearer at rest, such as those of
# neighbouring fingers, may approach by this share: flesh yields, and fingers touch each other.
DEPTH_MM = 4.0
_NEARER = 0.25
# Two points with a rest distance below this share of the radii's sum belong to the same flesh: any distance is valid.
_ONE_LUMP = 0.5
# The parts of the thumb that reach other fingers. At zero angles the thumb touches the index finger, so its rest
# distance gives no limit.
_REACHING = [anatomy.POINT_NAMES.index(f"TH_{name}") for name in anatomy.FINGER_POINTS[:4]]


@dataclass(frozen=True)
class _Constants:
    """Constants of the draws, on one device: a copy in each draw would make the host wait.

    Attributes:
        tables, solved: tables and solutions of the mixture.
        nearest: (J, J) mm, the least distance of each pair of points.
        ranges: (S, 2) of the shape numbers.
        noise, way: (versions,) and (versions - 1,) shares.
    """

    tables: Tables
    solved: Solved
    nearest: Tensor
    ranges: Tensor
    noise: Tensor
    way: Tensor


class PoseSampler:
    """Draws poses and shapes. All randomness comes from the generator, and all work is on its device.

    Shapes are uniform within their ranges, although people are normally distributed: a network should work equally well
    over the whole adult range. The overall size, a factor on all lengths, models their correlation.
    """

    def __init__(
        self,
        size_range: tuple[float, float],
        finger_range: tuple[float, float],
        thickness_range: tuple[float, float],
        palm_width_range: tuple[float, float],
    ) -> None:
        self._ranges = [size_range, *[finger_range] * 5, thickness_range, palm_width_range]
        self._solved: Solved | None = None
        self._constants: dict[torch.device, _Constants] = {}

    def keep_apart(self, neutral: Tensor, radii: Tensor, pairs: Tensor) -> None:
        """Compute the least distances of the spheres of pairs (K, 2) from the neutral hand (J, 3) mm and its radii
        (J,)."""
        one, other = pairs.unbind(-1)
        reach = radii[one] + radii[other]
        rest = (neutral[one] - neutral[other]).norm(dim=-1)
        least = torch.minimum(reach - DEPTH_MM, (1 - _NEARER) * rest)
        least = torch.where(rest < _ONE_LUMP * reach, 0.0, least)
        reaching = (pairs[..., None] == torch.tensor(_REACHING)).any(-1).any(-1)
        self._nearest = torch.zeros(len(neutral), len(neutral))
        self._nearest[one, other] = torch.where(reaching, reach - DEPTH_MM, least)
        self._radii = radii.detach().clone()
        self._solved = None
        self._constants.clear()

    def draw(self, count: int, generator: torch.Generator, points: Callable[[Tensor, Tensor], Tensor]) -> PoseSample:
        """Poses (count, 26) and shapes (count, 8) without self-intersection; `points` maps (pose, shape) to points."""
        sizes = [min(_CHUNK, count - start) for start in range(0, count, _CHUNK)] or [0]
        chunks = [self._draw_chunk(size, generator, points) for size in sizes]
        return PoseSample(torch.cat([c.pose for c in chunks]), torch.cat([c.shape for c in chunks]))

    @torch.no_grad()
    def _draw_chunk(
        self, count: int, generator: torch.Generator, points: Callable[[Tensor, Tensor], Tensor]
    ) -> PoseSample:
        device = generator.device
        constants = self._on(device, points)
        shape = self._draw_shape(count, generator, constants)
        angles = self._draw_versions(shape, generator, constants)
        versions = angles.shape[1]
        pose = torch.cat([angles.new_zeros(count, versions, _GLOBAL), angles.flatten(2)], dim=-1)
        posed = points(pose.flatten(0, 1), shape.repeat_interleave(versions, dim=0))
        # A table with zeros for pairs without a limit is far faster on all J x J distances than indexing the pairs.
        scale = shape[:, :1, None].repeat_interleave(versions, dim=0)
        inside = constants.nearest * scale - torch.cdist(posed, posed)
        depth = inside.clamp(min=0).flatten(1).amax(dim=-1).view(count, versions)
        # The first version without contact has depth 0. argmin doesn't guarantee the first of equal values on any
        # device, so the version's index breaks the tie.
        chosen = (depth + torch.arange(versions, device=device) * 1e-6).argmin(dim=-1)
        return PoseSample(pose[torch.arange(count, device=device), chosen], shape)

    @staticmethod
    def _draw_versions(shape: Tensor, generator: torch.Generator, constants: _Constants) -> Tensor:
        """(count, versions, 5, 4) radians within the joint limits."""
        count, tables, solved = len(shape), constants.tables, constants.solved
        drawn = draw_kinds(2 * count, generator, tables, solved)
        kinds, goal = Kinds(*(values[:count] for values in drawn)), drawn.angles[count:]
        way = draw_way(count, generator)
        noise = draw_noise((count, len(_NOISE)), generator, tables)
        # The tips of a pinch meet for this shape. Only a complete pinch keeps them together.
        pinches, which = solved.pinches, (kinds.finger, kinds.variant)
        pinch = pinches.angles[which] + (pinches.by_shape[which] @ (shape - 1)[..., None])[..., 0]
        begin = put_pinch(torch.stack([kinds.angles, kinds.roomy], dim=1), pinch[:, None], kinds.pinching, kinds.finger)
        kept = take_pinch(noise, kinds.finger) @ pinches.keep[which].transpose(-1, -2)
        noise = put_pinch(noise, kept, kinds.pinching & (way == 0), kinds.finger)

        ways = way[:, None] * constants.way
        angles = torch.lerp(begin[:, :1], goal[:, None], ways[..., None, None])
        angles = torch.cat([angles[:, :-1], begin[:, 1:]], dim=1)
        return within_limits(angles + noise * constants.noise[:, None, None], tables.limits)

    def _on(self, device: torch.device, points: Callable[[Tensor, Tensor], Tensor]) -> _Constants:
        """The constants on a device."""
        if device not in self._constants:
            solved = self._solve(points)
            self._constants[device] = _Constants(
                tables=Tables.on(device),
                solved=Solved(solved.pinches.to(device), solved.folded.to(device)),
                nearest=self._nearest.to(device),
                ranges=torch.tensor(self._ranges).to(device),
                noise=torch.tensor(_NOISE).to(device),
                way=torch.tensor(_WAY).to(device),
            )
        return self._constants[device]

    def _solve(self, points: Callable[[Tensor, Tensor], Tensor]) -> Solved:
        """Pinches and folded thumbs of this hand, on the host. The first draw solves them."""
        if self._solved is None:
            on_host, shapes = Tables.on(torch.device("cpu")), len(self._ranges)
            rest = torch.cat([on_host.states[RELAXED].expand(4, -1), on_host.thumbs[REST, None]])
            pinches = solve(points, shapes, on_host.limits, on_host.noise, self._nearest, self._radii, rest)
            self._solved = Solved(pinches, fold_thumbs(points, shapes, on_host, self._nearest))
        return self._solved

    @staticmethod
    def _draw_shape(count: int, generator: torch.Generator, constants: _Constants) -> Tensor:
        """Uniform within each range: overall size, five finger lengths, thickness, palm width. (count, 8)"""
        ranges = constants.ranges
        share = torch.rand(count, len(ranges), generator=generator, device=generator.device)
        return ranges[:, 0] + share * (ranges[:, 1] - ranges[:, 0])
