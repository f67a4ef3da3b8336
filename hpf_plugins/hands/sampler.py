"""Random hands: poses of `mixture.py` with noise, none of which runs through itself, and shapes.

Of each drawn pose there are a few versions, each with less noise than the one before and nearer to where the pose
began, and the first that doesn't run through itself is taken. So no kind of pose becomes rare because it is crowded,
and the work is the same for every draw: nothing waits for the host.
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
_CHUNK = 2048  # poses whose versions are checked at once: bounds memory

# Versions of each pose: share of the noise, and of the way to another pose.
_NOISE = (1.0, 0.85, 0.7, 0.35)
_WAY = (1.0, 1.0, 0.6, 0.0)

# Spheres of the neutral hand may overlap by this many mm, and spheres that are nearer than that at rest, as those of
# neighbouring fingers are, may come nearer by this share: flesh gives way, and fingers lie against each other.
DEPTH_MM = 4.0
_NEARER = 0.25
# Two points whose distance at rest is below this share of the radii's sum are of one lump of flesh: any distance goes.
_ONE_LUMP = 0.5
# What the thumb can reach with. At zero angles it lies at the index finger, which says nothing of what it may meet.
_REACHING = [anatomy.POINT_NAMES.index(f"TH_{name}") for name in anatomy.FINGER_POINTS[:4]]


@dataclass(frozen=True)
class _Constants:
    """What each draw needs beside random numbers, on one device: a copy in each draw would make the host wait.

    Attributes:
        tables, solved: of the mixture.
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
    """Draws poses and shapes; all randomness comes from the generator, all work is done on its device.

    Shapes are uniform within their ranges, and not normal as people are: a network should be as good at the ends of the
    adult range as in its middle, and the overall size, a factor of all lengths, carries what correlates.
    """

    def __init__(
        self,
        size_range: tuple[float, float],
        finger_range: tuple[float, float],
        thickness_range: tuple[float, float],
        palm_width_range: tuple[float, float],
    ) -> None:
        self._ranges = [size_range, *[finger_range] * 5, thickness_range, palm_width_range]
        self._constants: dict[torch.device, _Constants] = {}

    def keep_apart(self, neutral: Tensor, radii: Tensor, pairs: Tensor) -> None:
        """Learn how near the spheres of pairs (K, 2) may come, from the neutral hand (J, 3) mm and its radii (J,)."""
        one, other = pairs.unbind(-1)
        reach = radii[one] + radii[other]
        rest = (neutral[one] - neutral[other]).norm(dim=-1)
        least = torch.minimum(reach - DEPTH_MM, (1 - _NEARER) * rest)
        least = torch.where(rest < _ONE_LUMP * reach, 0.0, least)
        reaching = (pairs[..., None] == torch.tensor(_REACHING)).any(-1).any(-1)
        self._nearest = torch.zeros(len(neutral), len(neutral))
        self._nearest[one, other] = torch.where(reaching, reach - DEPTH_MM, least)
        self._radii = radii.detach().clone()
        self._constants.clear()

    def draw(self, count: int, generator: torch.Generator, points: Callable[[Tensor, Tensor], Tensor]) -> PoseSample:
        """Poses (count, 26) and shapes (count, 8) that `points` (pose, shape) doesn't send through themselves."""
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
        # All J x J distances against a table with zeros for pairs that don't matter: far faster than picking pairs.
        scale = shape[:, :1, None].repeat_interleave(versions, dim=0)
        inside = constants.nearest * scale - torch.cdist(posed, posed)
        depth = inside.clamp(min=0).flatten(1).amax(dim=-1).view(count, versions)
        # The first that is free of contact has depth 0; argmin takes the first of equals on no device for sure, so the
        # version's number breaks the tie.
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
        # The tips of a pinch meet for this shape, and only a pinch that is at its place keeps them together.
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
        """The constants on a device; pinches and folded thumbs are found for this hand in the first draw."""
        if device not in self._constants:
            on_host, shapes = Tables.on(torch.device("cpu")), len(self._ranges)
            rest = torch.cat([on_host.states[RELAXED].expand(4, -1), on_host.thumbs[REST, None]])
            pinches = solve(points, shapes, on_host.limits, on_host.noise, self._nearest, self._radii, rest)
            folded = fold_thumbs(points, shapes, on_host, self._nearest)
            self._constants[device] = _Constants(
                tables=Tables.on(device),
                solved=Solved(pinches.to(device), folded.to(device)),
                nearest=self._nearest.to(device),
                ranges=torch.tensor(self._ranges).to(device),
                noise=torch.tensor(_NOISE).to(device),
                way=torch.tensor(_WAY).to(device),
            )
        return self._constants[device]

    @staticmethod
    def _draw_shape(count: int, generator: torch.Generator, constants: _Constants) -> Tensor:
        """Uniform within each range: overall size, five finger lengths, thickness, palm width. (count, 8)"""
        ranges = constants.ranges
        share = torch.rand(count, len(ranges), generator=generator, device=generator.device)
        return ranges[:, 0] + share * (ranges[:, 1] - ranges[:, 0])
