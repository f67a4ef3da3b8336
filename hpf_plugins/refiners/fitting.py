"""Fits a hand model's pose and shape to points: batched Levenberg-Marquardt within limits, from a near start."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hpf_core.geometry.alignment import align_rigid_batch
from hpf_core.geometry.rotations import rotation_vector
from hpf_core.interfaces import HandModel

_GLOBAL = 6  # number of rotation and translation parameters at the start of every pose
_STEP = 1e-6  # of the forward differences, in the parameters' own units; in float64 their error is about 1e-8
_FIRST_DAMPING = 1e-2
_FLOOR = 1e-9  # of the damping: a parameter without effect on the points keeps its value


class Room(NamedTuple):
    """Limits of a hand's parameters and poses for the start, all float64.

    Attributes:
        low, high: (D + S,) limits of pose and shape; infinite for the global rotation and translation.
        pose: (K, D) sampled poses, global part zero.
        shape: (K, S) their shapes.
        points: (K, J, 3) mm, the points of these hands in the hand's own frame.
        rest: (J, 3) mm, the points of a hand of middle shape with all angles zero.
    """

    low: Tensor
    high: Tensor
    pose: Tensor
    shape: Tensor
    points: Tensor
    rest: Tensor


class Fitted(NamedTuple):
    """Hands fitted to points: `pose` (N, D), `shape` (N, S), `points` (N, J, 3) mm and `residual` (N, J) mm, the
    distance between each fitted and observed point; all float64."""

    pose: Tensor
    shape: Tensor
    points: Tensor
    residual: Tensor


@torch.no_grad()
def room_of(hand: HandModel, count: int, widen: float, generator: torch.Generator) -> Room:
    """The ranges of `count` sampled hands, with a margin on each side as a share of the range.

    The interface of hands has no limits of angles: the samples of a hand model define its valid poses.
    """
    sample = hand.sample(count, generator)
    pose, shape = sample.pose.double(), sample.shape.double()
    every = torch.cat([pose, shape], dim=-1)
    low, high = every.amin(0), every.amax(0)
    span = high - low
    low, high = low - widen * span, high + widen * span
    low[:_GLOBAL], high[:_GLOBAL] = -torch.inf, torch.inf
    rest = hand.points(torch.zeros_like(pose[:1]), (shape.amin(0) + shape.amax(0))[None] / 2)[0]
    return Room(low, high, pose, shape, hand.points(pose, shape), rest)


@torch.no_grad()
def fit(
    hand: HandModel, room: Room, points: Tensor, rigid: Tensor, *, iterations: int, robust_mm: float, shape: bool
) -> Fitted:
    """The hand nearest to points (N, J, 3) mm: minimises sum_j c^2 / 2 log(1 + |r_j|^2 / c^2), c = `robust_mm`.

    This cost is the negative log-likelihood of Cauchy-distributed errors: it weights points beyond c down. The method
    is Levenberg-Marquardt with Marquardt's scaling (1963, J. SIAM 11(2)); each frame has its own damping. A parameter
    at its limit stays there if the step points outwards. The Jacobian uses forward differences in float64. One call of
    `hand.points` computes all of them, so the hand needs no forward-mode derivatives.

    Args:
        hand: the model, on the points' device.
        room: from `room_of`, on the same device.
        points: (N, J, 3) mm.
        rigid: (J,) bool, the points of the rigid part, the palm. The start is aligned to them.
        iterations: number of steps, the same for every frame.
        robust_mm: c.
        shape: whether to fit the shape; else it keeps its start value.
    """
    seen = points.double()
    values = _start(room, seen, rigid)
    width = room.pose.shape[1]
    free = torch.ones_like(room.low, dtype=torch.bool)
    free[width:] = shape
    made = hand.points(values[:, :width], values[:, width:])
    cost = _cost(made - seen, robust_mm)
    damping = torch.full_like(cost, _FIRST_DAMPING)
    for _ in range(iterations):
        jacobian = _jacobian(hand, values, made, width)
        weight = 1 / (1 + (made - seen).square().sum(-1) / robust_mm**2)
        step = _step(jacobian, made - seen, weight, damping, values, room, free)
        trial = torch.clamp(values + step, room.low, room.high)
        there = hand.points(trial[:, :width], trial[:, width:])
        reached = _cost(there - seen, robust_mm)
        better = reached < cost  # false for NaN
        values = torch.where(better[:, None], trial, values)
        made = torch.where(better[:, None, None], there, made)
        cost = torch.where(better, reached, cost)
        damping = torch.where(better, damping / 5, damping * 4).clamp(1e-9, 1e9)
    return Fitted(values[:, :width], values[:, width:], made, (made - seen).norm(dim=-1))


def _start(room: Room, seen: Tensor, rigid: Tensor) -> Tensor:
    """(N, D + S): Procrustes alignment of the palm, and the sampled hand nearest to the points in the palm's frame."""
    rotation, translation = align_rigid_batch(room.rest[rigid], seen[:, rigid])
    own = (seen - translation[:, None]) @ rotation  # the inverse rotation, for row vectors
    nearest = torch.cdist(own.flatten(1), room.points.flatten(1)).argmin(dim=-1)
    # Align again with the palm of that hand.
    rotation, translation = align_rigid_batch(room.points[nearest][:, rigid], seen[:, rigid])
    pose = room.pose[nearest]
    turned = torch.cat([rotation_vector(rotation), translation, pose[:, _GLOBAL:]], dim=-1)
    return torch.cat([turned, room.shape[nearest]], dim=-1)


def _cost(residual: Tensor, robust_mm: float) -> Tensor:
    """(N,) mm^2 of residuals (N, J, 3) mm."""
    return (residual.square().sum(-1) / robust_mm**2).log1p().sum(-1) * robust_mm**2 / 2


def _jacobian(hand: HandModel, values: Tensor, made: Tensor, width: int) -> Tensor:
    """(N, 3J, P): derivatives of the points by each parameter."""
    count, parameters = values.shape
    moved = values[:, None] + _STEP * torch.eye(parameters, dtype=values.dtype, device=values.device)
    moved = moved.flatten(0, 1)
    points = hand.points(moved[:, :width], moved[:, width:]).unflatten(0, (count, parameters))
    return ((points - made[:, None]) / _STEP).flatten(2).transpose(-1, -2)


def _step(
    jacobian: Tensor, residual: Tensor, weight: Tensor, damping: Tensor, values: Tensor, room: Room, free: Tensor
) -> Tensor:
    """(N, P): the damped Gauss-Newton step of the free parameters."""
    weighted = jacobian * weight.repeat_interleave(3, dim=-1)[..., None]
    gradient = (weighted.transpose(-1, -2) @ residual.flatten(1)[..., None])[..., 0]
    stuck = ((values <= room.low) & (gradient > 0)) | ((values >= room.high) & (gradient < 0)) | ~free
    normal = weighted.transpose(-1, -2) @ jacobian
    normal = normal.masked_fill(stuck[:, :, None] | stuck[:, None, :], 0.0)
    scale = normal.diagonal(dim1=-2, dim2=-1)
    normal = normal + torch.diag_embed(damping[:, None] * scale + _FLOOR + stuck.double())
    found = torch.linalg.solve_ex(normal, -gradient.masked_fill(stuck, 0.0)).result
    return torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)
