"""Random articulation: a mixture of poses that people hold, in the spirit of Sharp et al., CHI 2015.

A hand is open, half open, pinching, closed, pointing, or has each finger in a state of its own; then it may be on the
way from one such pose to another; then every angle gets noise within the joint limits. Of a few candidates the first
that doesn't run through itself is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.interfaces import PoseSample
from hpf_plugins.hands import anatomy

_FINGERS, _ANGLES = 5, 4
_GLOBAL = 6
_CANDIDATES = 3
_CHUNK = 2048  # poses whose candidates are checked at once: bounds memory

# Flesh gives way: two spheres may overlap until their centres are this share of r_j + r_k apart.
_TOUCHING = 0.65

# States of a finger, degrees: MCP flexion, abduction, PIP; the DIP joint follows.
STRAIGHT, RELAXED, HALF, CLOSED, HOOK, FLAT = range(6)
_FINGER_STATES = (
    (0.0, 0.0, 3.0),
    (18.0, 0.0, 22.0),
    (38.0, 0.0, 50.0),
    (75.0, 0.0, 98.0),
    (8.0, 0.0, 85.0),
    (65.0, 0.0, 12.0),
)
# States of the thumb, degrees: CMC flexion and abduction, MCP, IP.
OUT, REST, ALONG, ACROSS, OVER = range(5)
_THUMB_STATES = (
    (-34.0, -13.0, 8.0, -6.0),
    (-25.0, 6.0, 21.0, 10.0),
    (-17.0, -11.0, 43.0, 17.0),
    (-3.0, 22.0, 41.0, 40.0),
    (-3.0, 20.0, 46.0, 55.0),
)
# Fingertip on thumb tip, degrees: MCP flexion, abduction and PIP of the little ... index finger, then the thumb's four.
_PINCHES = (
    (51.0, 4.0, 53.0, 12.0, 30.0, 45.0, 39.0),
    (51.0, 2.0, 54.0, 3.0, 26.0, 39.0, 38.0),
    (49.0, 1.0, 55.0, -4.0, 24.0, 34.0, 35.0),
    (46.0, -2.0, 52.0, -12.0, 19.0, 30.0, 33.0),
)

_SHARE_OF_POSES = (0.20, 0.14, 0.20, 0.14, 0.16, 0.16)  # open, half open, pinched, closed, pointing, free
_SHARE_ON_THE_WAY = 0.35
_FREE_STATES = (0.30, 0.20, 0.16, 0.20, 0.07, 0.07)
_FREE_THUMBS = (0.25, 0.25, 0.2, 0.2, 0.1)
_SPREAD_DEG = (
    -11.0,
    -5.0,
    0.0,
    8.0,
)  # abduction of fully spread fingers; 0 the rest position, minus this pressed together
_NOISE_DEG = (8.0, 3.0, 9.0, 4.0)
_THUMB_NOISE_DEG = (6.0, 6.0, 7.0, 8.0)


@dataclass(frozen=True)
class _Tables:
    """The tables above in radians on one device."""

    states: Tensor  # (6, 4)
    thumbs: Tensor  # (5, 4)
    pinch_finger: Tensor  # (4, 4), by finger
    pinch_thumb: Tensor  # (4, 4), by finger
    spread: Tensor  # (4,)
    noise: Tensor  # (5, 4)
    low: Tensor  # (5, 4)
    high: Tensor  # (5, 4)

    @staticmethod
    def on(device: torch.device) -> _Tables:
        def radians(values: object) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device) * (math.pi / 180)

        def with_dip(angles: Tensor) -> Tensor:
            return torch.cat([angles, angles[:, 2:3] * anatomy.DIP_PER_PIP], dim=-1)

        limits = [list(anatomy.FINGER_LIMITS_DEG) for _ in range(4)] + [list(anatomy.THUMB_LIMITS_DEG)]
        limits[2][1] = anatomy.MIDDLE_ABDUCTION_DEG
        bounds = radians(limits)
        pinches = radians(_PINCHES)
        return _Tables(
            states=with_dip(radians(_FINGER_STATES)),
            thumbs=radians(_THUMB_STATES),
            pinch_finger=with_dip(pinches[:, :3]),
            pinch_thumb=pinches[:, 3:],
            spread=radians(_SPREAD_DEG),
            noise=radians([_NOISE_DEG] * 4 + [_THUMB_NOISE_DEG]),
            low=bounds[..., 0],
            high=bounds[..., 1],
        )


class PoseSampler:
    """Draws poses and shapes; all randomness comes from the generator, all work is done on its device."""

    def __init__(
        self,
        size_range: tuple[float, float],
        finger_range: tuple[float, float],
        thickness_range: tuple[float, float],
    ) -> None:
        self._size_range = size_range
        self._finger_range = finger_range
        self._thickness_range = thickness_range

    def keep_apart(self, neutral: Tensor, radii: Tensor, pairs: Tensor) -> None:
        """Learn which pairs (K, 2) must stay apart: those whose spheres don't touch in the neutral hand (J, 3) mm."""
        reach = radii[pairs].sum(-1)
        rest = (neutral[pairs[:, 0]] - neutral[pairs[:, 1]]).norm(dim=-1)
        nearest = torch.where(rest > reach, reach * _TOUCHING, 0.0)
        self._nearest = torch.zeros(len(neutral), len(neutral))
        self._nearest[pairs[:, 0], pairs[:, 1]] = nearest

    def draw(self, count: int, generator: torch.Generator, points: Callable[[Tensor, Tensor], Tensor]) -> PoseSample:
        """Poses (count, 26) and shapes (count, 7) that `points` (pose, shape) doesn't send through themselves."""
        sizes = [min(_CHUNK, count - start) for start in range(0, count, _CHUNK)] or [0]
        chunks = [self._draw_chunk(size, generator, points) for size in sizes]
        return PoseSample(torch.cat([c.pose for c in chunks]), torch.cat([c.shape for c in chunks]))

    @torch.no_grad()
    def _draw_chunk(
        self, count: int, generator: torch.Generator, points: Callable[[Tensor, Tensor], Tensor]
    ) -> PoseSample:
        device = generator.device
        shape = self._draw_shape(count, generator)
        angles = draw_angles(count * _CANDIDATES, generator)
        pose = torch.cat([torch.zeros(len(angles), _GLOBAL, device=device), angles.flatten(1)], dim=-1)
        posed = points(pose, shape.repeat_interleave(_CANDIDATES, dim=0))
        # All 41 x 41 distances against a table with zeros for pairs that don't matter: far faster than picking pairs.
        scale = shape[:, :1, None].repeat_interleave(_CANDIDATES, dim=0)
        inside = self._nearest.to(device) * scale - torch.cdist(posed, posed)
        depth = inside.clamp(min=0).flatten(1).amax(dim=-1).view(count, _CANDIDATES)
        # The first that is free of contact has depth 0; argmin takes the first of equals on no device for sure, so the
        # candidate's number breaks the tie.
        order = torch.arange(_CANDIDATES, device=device) * 1e-6
        chosen = (depth + order).argmin(dim=-1)
        pose = pose.view(count, _CANDIDATES, pose.shape[-1])[torch.arange(count, device=device), chosen]
        return PoseSample(pose, shape)

    def _draw_shape(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform within each range: overall size, five finger lengths, thickness. (count, 7)"""
        ranges = torch.tensor(
            [self._size_range] + [self._finger_range] * _FINGERS + [self._thickness_range], device=generator.device
        )
        share = torch.rand(count, len(ranges), generator=generator, device=generator.device)
        return ranges[:, 0] + share * (ranges[:, 1] - ranges[:, 0])


def draw_angles(count: int, generator: torch.Generator) -> Tensor:
    """(count, 5, 4) radians within the joint limits: little finger to thumb, see `anatomy.ANGLE_NAMES`."""
    tables = _Tables.on(generator.device)
    first, second = _pure_poses(2 * count, generator, tables).chunk(2)
    share = _uniform((count, 1, 1), generator)
    on_the_way = _uniform((count, 1, 1), generator) < _SHARE_ON_THE_WAY
    angles = torch.lerp(first, second, share * on_the_way)
    noise = torch.randn(angles.shape, generator=generator, device=generator.device) * tables.noise
    # What the PIP joint's noise bends, the DIP joint follows.
    follow = torch.zeros(_FINGERS, 1, device=generator.device)
    follow[:4] = anatomy.DIP_PER_PIP
    noise = torch.cat([noise[..., :3], noise[..., 3:] + follow * noise[..., 2:3]], dim=-1)
    # Bent knuckles can hardly spread: their collateral ligaments tighten.
    free = 0.25 + 0.75 * angles[..., :1].cos().clamp(min=0)
    free = torch.cat([free[:, :4], torch.ones_like(free[:, 4:])], dim=1)
    angles = angles + noise
    angles = torch.cat([angles[..., :1], angles[..., 1:2] * free, angles[..., 2:]], dim=-1)
    return angles.clamp(tables.low, tables.high)


def _pure_poses(count: int, generator: torch.Generator, tables: _Tables) -> Tensor:
    """(count, 5, 4) radians, the mixture before blending and noise.

    Every kind is drawn for every sample and one is chosen: static shapes, the same amount of randomness for each.
    """
    device = generator.device
    kind = _choose(_SHARE_OF_POSES, (count,), generator)
    extended = _uniform((count, 4), generator) < 0.4
    pinching = _choose((0.2, 0.2, 0.25, 0.35), (count,), generator)
    others = _choose((0.45, 0.25, 0.15, 0.15), (count,), generator)  # what the fingers do that don't pinch
    free = _choose(_FREE_STATES, (count, 4), generator)
    thumb_free = _choose(_FREE_THUMBS, (count,), generator)
    thumb_open = _choose((0.5, 0.4, 0.1), (count,), generator)
    thumb_closed = torch.where(_uniform((count,), generator) < 0.5, OVER, ALONG)
    spread = 2 * _uniform((count, 1), generator) - 1

    full = torch.ones(count, 4, dtype=torch.int64, device=device)
    state = torch.stack(
        [
            full * STRAIGHT,
            full * HALF,
            others[:, None].expand(-1, 4),
            full * CLOSED,
            torch.where(extended, STRAIGHT, CLOSED),
            free,
        ],
        dim=1,
    )
    thumb = torch.stack([thumb_open, full[:, 0] * REST, full[:, 0] * REST, thumb_closed, thumb_free, thumb_free], dim=1)
    row = torch.arange(count, device=device)
    fingers = tables.states[state[row, kind]]
    thumbs = tables.thumbs[thumb[row, kind]]

    pinched = (kind == 2)[:, None, None]
    which = (torch.arange(4, device=device) == pinching[:, None])[..., None]
    fingers = torch.where(pinched & which, tables.pinch_finger.expand(count, -1, -1), fingers)
    thumbs = torch.where(pinched[:, 0], tables.pinch_thumb[pinching], thumbs)
    abduction = fingers[..., 1] + torch.where(pinched[:, 0] & which[..., 0], 0.0, spread * tables.spread)
    fingers = torch.cat([fingers[..., :1], abduction[..., None], fingers[..., 2:]], dim=-1)
    return torch.cat([fingers, thumbs[:, None]], dim=1)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _choose(shares: tuple[float, ...], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Numbers (shape) of the choices, each as often as its share says."""
    edges = torch.tensor(shares, device=generator.device).cumsum(0)[:-1]
    return torch.bucketize(_uniform(shape, generator), edges)
