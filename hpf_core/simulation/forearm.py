"""A forearm for any hand model: an elliptic tube that starts inside the hand's wrist and widens to the elbow."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from hpf_core.interfaces import HandModel, Mesh
from hpf_core.simulation.tessellate import numbered

_LENGTH_MM = 250.0  # wrist to elbow: Pheasant & Haslegrave 2006 give 235-285 mm for adults
_AROUND = 16  # corners of a ring; the sides dip by 2 % of the radius, half a millimetre
_RINGS = 10
_INSIDE_MM = 10.0  # the tube starts this far inside the hand and narrower than the wrist, so that a bend shows no gap
_NARROWER = 0.85
_WRIST_MM = 8.0  # vertices within this distance of the wrist's plane determine the wrist's breadth and depth
_AROUND_WRIST_MM = 50.0  # no wrist reaches farther from its middle; this excludes fingers that bend towards the wrist


def forearm(hand: HandModel, points: Tensor, skin: Tensor, length: Tensor, bend: Tensor, thickness: Tensor) -> Mesh:
    """Build closed tubes (N, 162 vertices) of forearms that continue from the palm over the wrist.

    The hand's own skin at the wrist sets the arm's breadth and depth. Both grow by a third towards the elbow
    (Pheasant & Haslegrave 2006). The wrist's two angles set the direction relative to the hand's plane.

    Args:
        hand: names the points of the wrist and of the palm's centre.
        points: (N, J, 3) mm.
        skin: (N, V, 3) mm, vertices of the hand's mesh in the same frame.
        length: (N,) mm of visible arm from the wrist on. With length 0 the arm is one point inside the wrist.
        bend: (N, 2) rad: flexion (out of the hand's plane) and deviation (in it).
        thickness: (N,) factor on breadth and depth.
    """
    wrist, along, side, normal = _wrist_frame(hand, points)
    wrist, half = _section(wrist, along, side, normal, skin)

    # Rings: one inside the hand, one in the wrist at half of the turn, and the others down the arm.
    reached = length[:, None] * torch.linspace(0, 1, _RINGS - 1, device=points.device, dtype=points.dtype)
    turned = torch.ones_like(reached)
    turned[:, 0].fill_(0.5)
    flexion, deviation = (turned * angle[:, None] for angle in bend.unbind(-1))  # (N, R) each
    straight = _turned(along, normal, flexion)
    down = _turned(straight, side[:, None], deviation)
    beside = _turned(side[:, None], -straight, deviation)
    out = torch.linalg.cross(down, beside)
    middle = wrist[:, None] + down * reached[..., None]
    widening = thickness[:, None] * (1 + (reached / _LENGTH_MM).clamp(max=1) / 3)

    inside = (wrist - along * _INSIDE_MM)[:, None]
    middle = torch.cat([inside, middle], dim=1)
    widening = torch.cat([thickness[:, None] * _NARROWER, widening], dim=1)
    beside, out = torch.cat([side[:, None], beside], dim=1), torch.cat([normal[:, None], out], dim=1)

    turn = torch.arange(_AROUND, device=points.device, dtype=points.dtype) * (2 * math.pi / _AROUND)
    size = widening[..., None] * half[:, None]  # (N, R, 2)
    across = (beside * size[..., :1])[:, :, None] * turn.cos()[:, None]
    deep = (out * size[..., 1:])[:, :, None] * turn.sin()[:, None]
    rings = (middle[:, :, None] + across + deep).flatten(1, 2)
    vertices = torch.cat([rings, middle[:, :1], middle[:, -1:]], dim=1)
    there = (length > 0)[:, None, None]
    return Mesh(torch.where(there, vertices, wrist[:, None]), _faces(points.device))


def bend_towards(hand: HandModel, points: Tensor, elbow: Tensor) -> Tensor:
    """(N, 2) rad: the wrist angles that point the forearm at an elbow (N, 3) mm, within the wrist's limits.

    Limits: 60 degrees of flexion or extension and 25 of deviation. The active range of adults is 80 / 70 and 20 / 30
    degrees (American Academy of Orthopaedic Surgeons).
    """
    wrist, along, side, normal = _wrist_frame(hand, points)
    direction = torch.nn.functional.normalize(elbow - wrist, dim=-1)
    out, ahead, aside = ((direction * axis).sum(-1) for axis in (normal, along, side))
    flexion, deviation = torch.atan2(out, ahead.clamp(min=1e-3)), aside.clamp(-1, 1).asin()
    limit = torch.tensor([60.0, 25.0], device=points.device, dtype=points.dtype).deg2rad()
    return torch.stack([flexion, deviation], dim=-1).clamp(-limit, limit)


def random_bend(count: int, generator: torch.Generator) -> Tensor:
    """Draw (count, 2) rad of wrist angles: flexion within +-50 and deviation within +-20 degrees, mostly small.

    This is two thirds of the wrist's active range (American Academy of Orthopaedic Surgeons: 80 / 70 and 20 / 30
    degrees).
    """
    draw = torch.rand(count, 2, 2, generator=generator, device=generator.device).sum(-1).sub_(1)  # triangular
    draw[:, 0].mul_(math.radians(50.0))
    draw[:, 1].mul_(math.radians(20.0))
    return draw


def _wrist_frame(hand: HandModel, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(N, 3) each: the middle of the wrist points, and unit vectors down the arm, across it and out of the hand."""
    first, last = points[:, hand.wrist[0]], points[:, hand.wrist[-1]]
    wrist = (first + last) / 2
    along = torch.nn.functional.normalize(wrist - points[:, hand.palm_centre], dim=-1)
    across = last - first
    side = torch.nn.functional.normalize(across - (across * along).sum(-1, keepdim=True) * along, dim=-1)
    return wrist, along, side, torch.linalg.cross(along, side)


def _section(wrist: Tensor, along: Tensor, side: Tensor, normal: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
    """The middle (N, 3) of the skin's section at the wrist, and half of its breadth and depth (N, 2), mm."""
    axes = torch.stack([along, side, normal], dim=1)
    placed = torch.bmm(axes, (skin - wrist[:, None]).transpose(1, 2))  # (N, 3, V)
    near = (placed[:, 0].abs() < _WRIST_MM) & (placed[:, 1:].abs().amax(dim=1) < _AROUND_WRIST_MM)
    flat, far = placed[:, 1:], ~near[:, None]
    most, least = flat.masked_fill(far, -math.inf).amax(dim=-1), flat.masked_fill(far, math.inf).amin(dim=-1)
    middle, half = (most + least) / 2, (most - least) / 2
    return wrist + (axes[:, 1:] * middle[..., None]).sum(dim=1), half


def _turned(first: Tensor, second: Tensor, angle: Tensor) -> Tensor:
    """Rotate unit vectors by angles (N, R) from `first` towards `second`, (N, 3) or (N, R, 3). Returns (N, R, 3)."""
    first, second = (axis[:, None] if axis.ndim == 2 else axis for axis in (first, second))
    return first * angle.cos()[..., None] + second * angle.sin()[..., None]


@functools.lru_cache(maxsize=8)
def _faces(device: torch.device) -> Tensor:
    """The tube's faces: two for each side of a ring and the next ring, and a fan at each end."""
    here = torch.arange(_AROUND)
    beside = (here + 1) % _AROUND
    strip = torch.cat(
        [
            torch.stack([here, beside, here + _AROUND], dim=-1),
            torch.stack([beside, beside + _AROUND, here + _AROUND], dim=-1),
        ]
    )
    last = (_RINGS - 1) * _AROUND
    first_fan = torch.stack([beside, here, torch.full_like(here, _RINGS * _AROUND)], dim=-1)
    last_fan = torch.stack([here + last, beside + last, torch.full_like(here, _RINGS * _AROUND + 1)], dim=-1)
    return torch.cat([numbered(strip, _AROUND, _RINGS - 1), first_fan, last_fan]).to(device)
