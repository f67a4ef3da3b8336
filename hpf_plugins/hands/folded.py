"""Thumbs folded over closed fingers, or across the palm of open hands, for a given hand model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hpf_plugins.hands import anatomy
from hpf_plugins.hands.mixture import CLOSED, STRAIGHT, Tables

KEPT = 32
_TRIED = 768
_GLOBAL = 6
_STRIDE = len(anatomy.FINGER_POINTS)
_THUMB = 4 * _STRIDE


@torch.no_grad()
def fold_thumbs(points: Callable[[Tensor, Tensor], Tensor], shapes: int, tables: Tables, nearest: Tensor) -> Tensor:
    """(16, KEPT, 4) radians for each set of extended fingers: bit k of the set's number is set if finger k is straight.

    The function draws thumbs uniformly within their limits and drops those that intersect the hand. It keeps those with
    the tip nearest to the middle of the palm, or to the middle segments of closed fingers. Such thumbs rest on the
    covered surface. Runs on the host; deterministic.

    Args:
        points: points of the hand by pose and shape.
        shapes: S shape numbers; 1 is neutral for all.
        tables: the tables on the host.
        nearest: (J, J) mm, the least distance of each pair of points.
    """
    generator = torch.Generator().manual_seed(0)
    low, high = tables.limits[4].unbind(-1)
    thumbs = low + (high - low) * torch.rand(_TRIED, 4, generator=generator)
    bits = (torch.arange(16)[:, None] >> tables.number) & 1
    fingers = tables.follow @ tables.states[torch.where(bits == 1, STRAIGHT, CLOSED)]
    hands = torch.cat([fingers[:, None].expand(-1, _TRIED, -1, -1), thumbs.expand(16, -1, -1)[:, :, None]], dim=2)
    pose = torch.cat([thumbs.new_zeros(16, _TRIED, _GLOBAL), hands.flatten(2)], dim=-1)
    posed = torch.stack([points(poses, thumbs.new_ones(_TRIED, shapes)) for poses in pose])
    through = torch.stack([(nearest - torch.cdist(p, p)).clamp(min=0).flatten(1).amax(-1) for p in posed])

    tip = posed[:, :, _THUMB]
    middle = anatomy.FINGER_POINTS.index("KNU2_A")
    covered = posed[:, :, [f * _STRIDE + middle for f in range(4)]]
    away = (covered - tip[:, :, None]).norm(dim=-1)
    # A relaxed thumb doesn't reach the little finger, and it can't rest on an extended finger.
    away = torch.where((bits == 1)[:, None], torch.inf, away).amin(-1)
    palm = posed[:, :, _STRIDE * 5 + 2]
    away = torch.where((bits == 1).all(-1)[:, None], (palm - tip).norm(dim=-1), away)
    # Rounding makes the choice independent of the last digits of another library.
    cost = ((away + 20 * through) * 100).round()
    order = cost.argsort(dim=-1, stable=True)[:, :KEPT]
    return thumbs[order]
