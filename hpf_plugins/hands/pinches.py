"""Pinches of fingertip and thumb tip for a given hand: solved once, then varied without separating the tips.

A pinch is a closed chain: the angles of one hand's pinch miss by a centimetre on another hand. So the solver finds a
few poses of each finger for the neutral hand and gives each pose two linear maps. One maps the shape numbers to changes
of the angles. The other keeps the part of a random deviation that leaves the gap between the tips unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_plugins.hands import anatomy

VARIANTS = 24  # poses of each finger that are kept
_TRIED = 72
_ROUNDS = 15
_PRESSED = 0.95  # distance of the tips as a share of the sum of their radii: pads yield by a millimetre

# Start of the search in degrees: MCP flexion, abduction and PIP of the little ... index finger, the thumb's four.
_AROUND = (
    (51.0, 4.0, 53.0, 12.0, 30.0, 45.0, 39.0),
    (51.0, 2.0, 54.0, 3.0, 26.0, 39.0, 38.0),
    (49.0, 1.0, 55.0, -4.0, 24.0, 34.0, 35.0),
    (46.0, -2.0, 52.0, -12.0, 19.0, 30.0, 33.0),
)
_SPREAD_DEG = (14.0, 3.0, 16.0, 8.0, 8.0, 10.0, 14.0)
# Position of the thumb tip relative to the finger's last segment: 0 is straight before its pad, 1 straight before its
# end.
_TOWARDS_END = (0.0, 0.75)

_TIP, _DIP, _PIP = (anatomy.FINGER_POINTS.index(name) for name in ("KNU3_A", "KNU3_B", "KNU2_B"))
_STRIDE = len(anatomy.FINGER_POINTS)
_THUMB_TIP = 4 * _STRIDE + _TIP
_GLOBAL, _ANGLES = 6, 20

Points = Callable[[Tensor, Tensor], Tensor]
"""Poses (N, D) and shapes (N, S) to points (N, J, 3) mm, as `HandModel.points`."""


@dataclass(frozen=True)
class Pinches:
    """Solved pinches of the little ... index finger: four angles of the finger, then the thumb's four, radians.

    Attributes:
        angles: (4, VARIANTS, 8) for the neutral shape.
        by_shape: (4, VARIANTS, 8, S) radians per unit of each shape number; with these changes the tips still meet.
        keep: (4, VARIANTS, 8, 8) projects a deviation of the angles to the part that doesn't move one tip from the
            other.
    """

    angles: Tensor
    by_shape: Tensor
    keep: Tensor

    def to(self, device: torch.device) -> Pinches:
        """The same pinches on a device, float32."""
        return Pinches(*(t.to(device=device, dtype=torch.float32) for t in (self.angles, self.by_shape, self.keep)))


@torch.no_grad()
def solve(
    points: Points, shapes: int, limits: Tensor, deviation: Tensor, nearest: Tensor, radii: Tensor, rest: Tensor
) -> Pinches:
    """Pinches of a hand by Levenberg-Marquardt on the angles, in float64 on the host; deterministic.

    Args:
        points: points of the hand by pose and shape.
        shapes: S shape numbers; the first is the overall size, 1 is neutral for all.
        limits: (5, 4, 2) radians, lowest and highest.
        deviation: (5, 4) radians, standard deviation of each angle's noise. The DIP joint's excludes its coupling to
            PIP.
        nearest: (J, J) mm, the least distance of each pair of points.
        radii: (J,) mm.
        rest: (5, 4) radians, the angles of the other fingers.
    """
    limits, deviation, nearest, radii, rest = (t.double().cpu() for t in (limits, deviation, nearest, radii, rest))
    reach = _PRESSED * (radii[[f * _STRIDE + _TIP for f in range(4)]] + radii[_THUMB_TIP])
    solved = [_solve_finger(f, points, shapes, limits, nearest, float(reach[f]), rest) for f in range(4)]
    maps = [_linear_maps(f, angles, points, shapes, deviation, rest) for f, angles in enumerate(solved)]
    return Pinches(torch.stack(solved), torch.stack([m[0] for m in maps]), torch.stack([m[1] for m in maps]))


def _solve_finger(
    finger: int, points: Points, shapes: int, limits: Tensor, nearest: Tensor, reach: float, rest: Tensor
) -> Tensor:
    """(VARIANTS, 8) radians, the best of `_TRIED` starts."""
    generator = torch.Generator().manual_seed(finger)
    start = torch.tensor(_AROUND[finger], dtype=torch.float64) * (math.pi / 180)
    spread = torch.tensor(_SPREAD_DEG, dtype=torch.float64) * (math.pi / 180)
    low, high = (torch.cat([limits[finger, :3, k], limits[4, :, k]]) for k in (0, 1))
    goal = start + spread * torch.randn(_TRIED, 7, generator=generator, dtype=torch.float64)
    goal = torch.minimum(torch.maximum(goal, low + 0.3 * spread), high - 0.3 * spread)
    first, last = _TOWARDS_END
    along = first + (last - first) * torch.rand(_TRIED, 1, generator=generator, dtype=torch.float64)

    def residuals(angles: Tensor, copies: int = 1) -> Tensor:
        """(N, R) residuals in units of their tolerance: half a millimetre, a third of a turn of the pad, the spread."""
        posed = points(*_posed(finger, _with_dip(angles), shapes, rest))
        tip, dip, pip = (posed[:, finger * _STRIDE + k] for k in (_TIP, _DIP, _PIP))
        gap = posed[:, _THUMB_TIP] - tip
        distance = gap.norm(dim=-1, keepdim=True)
        end = torch.nn.functional.normalize(tip - dip, dim=-1)
        # A bent finger's PIP joint lies on the pad's side of its last segment.
        pad = pip - dip
        pad = torch.nn.functional.normalize(pad - (pad * end).sum(-1, keepdim=True) * end, dim=-1)
        share = along.repeat(copies, 1)
        facing = gap / distance - share * end - (1 - share.square()).sqrt() * pad
        outside = (low - angles).clamp(min=0) + (angles - high).clamp(min=0)
        away = angles - goal.repeat(copies, 1)
        return torch.cat([(distance - reach) / 0.2, facing / 0.35, outside / 0.01, away / (2 * spread)], dim=-1)

    angles, damping = goal.clone(), 1e-2
    identity = torch.eye(7, dtype=torch.float64)
    for _ in range(_ROUNDS):
        now = residuals(angles)
        step = 1e-5
        moved = (angles[None] + step * identity[:, None]).flatten(0, 1)
        jacobian = (residuals(moved, 7).unflatten(0, (7, _TRIED)) - now).permute(1, 2, 0) / step
        normal = jacobian.transpose(1, 2) @ jacobian
        gradient = (jacobian.transpose(1, 2) @ now[..., None])[..., 0]
        change = torch.linalg.solve(normal + damping * identity * normal.diagonal(dim1=1, dim2=2)[:, None], gradient)
        tried = angles - change.clamp(-0.3, 0.3)
        better = residuals(tried).square().sum(-1) < now.square().sum(-1)
        angles = torch.where(better[:, None], tried, angles - 0.2 * change.clamp(-0.3, 0.3))

    # Rounding makes the choice of variants independent of the last digits of another library.
    posed = points(*_posed(finger, _with_dip(angles), shapes, rest))
    through = (nearest - torch.cdist(posed, posed)).clamp(min=0).flatten(1).amax(-1)
    cost = residuals(angles).square().sum(-1) + 10 * through
    kept = (cost * 1e4).round().argsort(stable=True)[:VARIANTS]
    return _with_dip(torch.minimum(torch.maximum(angles[kept], low), high))


def _with_dip(angles: Tensor) -> Tensor:
    """(N, 7) to (N, 8): the finger's DIP joint follows its PIP joint."""
    return torch.cat([angles[:, :3], angles[:, 2:3] * anatomy.DIP_PER_PIP, angles[:, 3:]], dim=-1)


def _posed(finger: int, angles: Tensor, shapes: int, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Pose (N, 26) with these angles (N, 8) of finger and thumb, and the neutral shape (N, S)."""
    full = rest.expand(len(angles), -1, -1).clone()
    full[:, finger], full[:, 4] = angles[:, :4], angles[:, 4:]
    pose = torch.cat([angles.new_zeros(len(angles), _GLOBAL), full.flatten(1)], dim=-1)
    return pose, angles.new_ones(len(angles), shapes)


def _linear_maps(
    finger: int, angles: Tensor, points: Points, shapes: int, deviation: Tensor, rest: Tensor
) -> tuple[Tensor, Tensor]:
    """`by_shape` (VARIANTS, 8, S) and `keep` (VARIANTS, 8, 8) of one finger.

    With the noise's covariance C and the gap's derivative G by the angles, C G' (G C G')^-1 maps a change of the gap to
    the most likely change of the angles: its conditional mean.
    """
    sigma = torch.cat([deviation[finger], deviation[4]])
    mixing = torch.diag(sigma)
    mixing[3, 2] = anatomy.DIP_PER_PIP * sigma[2]
    covariance = mixing @ mixing.T

    def gap(angles: Tensor, shape: Tensor) -> Tensor:
        posed = points(_posed(finger, angles, shapes, rest)[0], shape)
        return posed[:, _THUMB_TIP] - posed[:, finger * _STRIDE + _TIP]

    step, one = 1e-5, angles.new_ones(len(angles), shapes)
    eye_angles, eye_shapes = (step * torch.eye(k, dtype=torch.float64) for k in (8, shapes))
    by_angle = torch.stack([gap(angles + e, one) - gap(angles - e, one) for e in eye_angles], dim=-1) / (2 * step)
    by_shape = torch.stack([gap(angles, one + e) - gap(angles, one - e) for e in eye_shapes], dim=-1) / (2 * step)
    by_shape[..., 0] = 0  # the overall size scales the gap and the radii by the same factor
    spread = covariance @ by_angle.transpose(1, 2)
    answer = torch.linalg.solve(by_angle @ spread, spread, left=False)  # (VARIANTS, 8, 3)
    return -answer @ by_shape, torch.eye(8, dtype=torch.float64) - answer @ by_angle
