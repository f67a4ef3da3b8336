"""A forearm for any hand model: three tapered chains of spheres from the wrist, side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from hpf_core.interfaces import HandModel, Spheres

_LENGTH_MM = 250.0  # wrist to elbow: Pheasant & Haslegrave 2006 give 235-285 mm for adults


def forearm(hand: HandModel, points: Tensor, length: Tensor, bend: Tensor, radius: Tensor, count: int) -> Spheres:
    """Spheres (N, 3 * count) of forearms that go on from the palm over the wrist.

    The arm starts between the outermost wrist points, widens towards the elbow by a third in breadth and in thickness,
    and leaves the hand's plane by the wrist's two angles.

    Args:
        hand: says which points are the wrist and the palm's centre.
        points: (N, J, 3) mm.
        length: (N,) mm of arm that is there. Where it is 0 all spheres lie in the wrist.
        bend: (N, 2) rad: flexion (out of the hand's plane) and deviation (in it).
        radius: (N,) mm of the wrist.
        count: spheres in each of the three chains.
    """
    wrist, across, along, side, normal = _wrist_frame(hand, points)
    flexion, deviation = bend[:, :1], bend[:, 1:]
    straight = along * flexion.cos() + normal * flexion.sin()
    direction = straight * deviation.cos() + side * deviation.sin()

    steps = torch.linspace(0, 1, count, device=points.device, dtype=points.dtype)
    reached = length[:, None] * steps  # (N, count) mm from the wrist
    widening = 1 + (reached / _LENGTH_MM).clamp(max=1) / 3
    axis = wrist[:, None] + direction[:, None] * reached[..., None]
    spread = across[:, None] * widening[..., None]
    return Spheres(torch.cat([axis - spread, axis, axis + spread], dim=1), (radius[:, None] * widening).repeat(1, 3))


def bend_towards(hand: HandModel, points: Tensor, elbow: Tensor) -> Tensor:
    """(N, 2) rad, the wrist angles that point the forearm at an elbow (N, 3) mm, as far as a wrist goes.

    Limits: 60 degrees of flexion or extension and 25 of deviation, within the active range of adults (American Academy
    of Orthopaedic Surgeons: 80 / 70 and 20 / 30 degrees).
    """
    wrist, _, along, side, normal = _wrist_frame(hand, points)
    direction = torch.nn.functional.normalize(elbow - wrist, dim=-1)
    out, ahead, aside = ((direction * axis).sum(-1) for axis in (normal, along, side))
    flexion, deviation = torch.atan2(out, ahead.clamp(min=1e-3)), aside.clamp(-1, 1).asin()
    limit = torch.tensor([60.0, 25.0], device=points.device, dtype=points.dtype).deg2rad()
    return torch.stack([flexion, deviation], dim=-1).clamp(-limit, limit)


def _wrist_frame(hand: HandModel, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of (N, 3) each: the wrist's middle, half of its breadth, and unit vectors down the arm, across and out of it."""
    first, last = points[:, hand.wrist[0]], points[:, hand.wrist[-1]]
    wrist = (first + last) / 2
    along = torch.nn.functional.normalize(wrist - points[:, hand.palm_centre], dim=-1)
    across = (last - first) / 2
    across = across - (across * along).sum(-1, keepdim=True) * along
    side = torch.nn.functional.normalize(across, dim=-1)
    return wrist, across, along, side, torch.linalg.cross(along, side)


def random_bend(count: int, generator: torch.Generator) -> Tensor:
    """(count, 2) rad of wrist angles: flexion within +-50 and deviation within +-20 degrees, most of them small.

    Two thirds of the wrist's active range (American Academy of Orthopaedic Surgeons: 80 / 70 and 20 / 30 degrees).
    """
    draw = torch.rand(count, 2, 2, generator=generator, device=generator.device)
    reach = torch.tensor([50.0, 20.0], device=generator.device).deg2rad()
    return (draw.sum(-1) - 1) * reach  # triangular
