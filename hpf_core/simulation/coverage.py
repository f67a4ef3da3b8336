"""Coverage of a sampler of hands: angles, sets of extended fingers, pinches, workspace, views, self-contact.

This module uses the hand model's interface only. The interface has no angle limits: the samples span each angle's
range.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from hpf_core.errors import DataError
from hpf_core.geometry.rotations import rotation_matrix
from hpf_core.interfaces import HandModel

LEAST = 16
"""Smallest number of samples for a statistic."""
BINS = 12
EXTENDED, EXTENDED_THUMB = 0.7, 0.85
"""A finger counts as extended if the distance of its tip from the palm's centre exceeds this share of the stretched
finger's distance. The thumb starts beside the palm, so even a closed thumb is farther from the centre than a finger."""
PINCH_MM = 2.0
VOXEL_MM = 20.0
DEPTH_MM = 6.0
"""A pose with a deeper self-intersection doesn't count as reachable."""
BANDS, SECTORS = 6, 12
"""Cells of the sphere of views. The bands have equal height and so equal area; sectors divide the palm's axis's turn.
"""
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_DEPTHS = (0.5, 0.9, 0.99, 1.0)
_CHUNK = 1000


@torch.no_grad()
def coverage(hand: HandModel, pose: Tensor, shape: Tensor, seed: int = 0) -> dict[str, Any]:
    """Compute the statistic of poses (N, D) and shapes (N, S), as a document for JSON.

    Distances are in mm of a hand of middle size. Each sample is divided by its own size, which we derive from the
    distance between the palm's centre and the wrist.

    Args:
        hand: the model, on the samples' device.
        pose: (N, D), including the global rotation.
        shape: (N, S).
        seed: of the uniform draws for the estimate of the reachable set.

    Returns:
        samples: N.
        angles: by name, for each articulated parameter: `quantiles_deg` at 0, 5, 25, 50, 75, 95 and 100 %, and
            `histogram`, the shares of `BINS` bins over the parameter's range.
        fingers: names of the fingertips, in the order of the sets' digits.
        sets: share of poses for each of the 2^K sets of extended fingers. Digits name a set: "00010".
        pinches: for each finger, the share of poses whose fingertip is within `PINCH_MM` of touching the thumb's tip.
        workspace: for each finger, the share of reachable voxels (side `VOXEL_MM`) that contain a tip of some pose;
            `largest`, the largest share of poses in one voxel; `voxels`, the number of reachable voxels. The same
            number of poses with independent, uniform angles defines the reachable voxels. Poses that intersect
            themselves by more than `DEPTH_MM` don't count.
        views: `cells`, a list of `BANDS` lists of `SECTORS` shares: how often the palm's axis points into each cell of
            the sphere. The first band points to the camera's far side, where the camera sees the palm. `occupied` is
            the share of non-empty cells; `least` and `most` are the extreme shares as multiples of the mean.
        depth_mm: by quantile, the depth of a pose's self-intersection at its worst pair of spheres, beyond the depth
            with all angles 0.

    Raises:
        DataError: there are fewer than `LEAST` samples, or values aren't finite.
    """
    if len(pose) < LEAST or len(pose) != len(shape):
        raise DataError(f"a statistic of coverage needs {LEAST} or more poses with a shape each, got {len(pose)}")
    if not bool(torch.isfinite(pose).all() & torch.isfinite(shape).all()):
        raise DataError("a statistic of coverage needs finite poses and shapes")
    own = torch.cat([torch.zeros_like(pose[:, :6]), pose[:, 6:]], dim=-1)
    points, scale = _points(hand, own, shape)
    tips = points[:, list(hand.fingertips)]
    names = [hand.parts[tip] for tip in hand.fingertips]
    return {
        "samples": len(pose),
        "angles": _angles(hand, pose),
        "fingers": names,
        "sets": _sets(hand, tips, shape, scale),
        "pinches": _pinches(hand, tips, names),
        "workspace": _workspace(hand, own, shape, tips, names, seed),
        "views": _views(pose),
        "depth_mm": _quantiles(_depths(hand, own, shape), _DEPTHS),
    }


def _points(hand: HandModel, pose: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Return points (N, J, 3) in mm of a hand of middle size, and the sizes (N, 1, 1) that divided the points."""
    chunks = zip(pose.split(_CHUNK), shape.split(_CHUNK), strict=True)
    points = torch.cat([hand.points(p, s) for p, s in chunks])
    neutral = _neutral(hand, pose, shape)
    scale = _palm_length(hand, points) / _palm_length(hand, neutral)
    return points / scale[:, None, None], scale[:, None, None]


def _neutral(hand: HandModel, pose: Tensor, shape: Tensor) -> Tensor:
    """(1, J, 3) mm: all angles are 0, and all shape parameters have the middle value of the samples."""
    middle = (shape.amin(0) + shape.amax(0)) / 2
    return hand.points(torch.zeros_like(pose[:1]), middle[None])


def _palm_length(hand: HandModel, points: Tensor) -> Tensor:
    return (points[:, list(hand.wrist)].mean(1) - points[:, hand.palm_centre]).norm(dim=-1)


def _angles(hand: HandModel, pose: Tensor) -> dict[str, Any]:
    found = {}
    for name, radians in zip(hand.pose_names[6:], pose[:, 6:].T, strict=True):
        values = torch.rad2deg(radians).double()
        low, high = float(values.min()), float(values.max())
        counts = torch.histc(values.float().cpu(), BINS, low, high if high > low else low + 1)
        found[name] = {
            "quantiles_deg": _rounded(torch.quantile(values, values.new_tensor(_QUANTILES)), 1),
            "histogram": _rounded(counts / counts.sum(), 4),
        }
    return found


def _sets(hand: HandModel, tips: Tensor, shape: Tensor, scale: Tensor) -> dict[str, float]:
    stretched = hand.points(shape.new_zeros(len(shape), len(hand.pose_names)), shape) / scale
    length = stretched[:, list(hand.fingertips)].norm(dim=-1)
    share = [EXTENDED_THUMB if hand.parts[tip] == "thumb" else EXTENDED for tip in hand.fingertips]
    extended = (tips.norm(dim=-1) > length.new_tensor(share) * length).long()  # the palm's centre is the origin
    fingers = extended.shape[1]
    number = extended @ 2 ** torch.arange(fingers - 1, -1, -1, device=extended.device)
    shares = torch.bincount(number, minlength=2**fingers).double() / len(tips)
    digits = ("".join(bits) for bits in product("01", repeat=fingers))
    return dict(zip(digits, _rounded(shares, 4), strict=True))


def _pinches(hand: HandModel, tips: Tensor, names: Sequence[str]) -> dict[str, float]:
    if "thumb" not in names:
        return {}
    thumb = names.index("thumb")
    radii = hand.radii[list(hand.fingertips)]
    gap = (tips - tips[:, thumb : thumb + 1]).norm(dim=-1) - (radii + radii[thumb])
    shares = (gap < PINCH_MM).double().mean(0)
    return {name: round(float(share), 4) for name, share in zip(names, shares, strict=True) if name != "thumb"}


def _workspace(
    hand: HandModel, pose: Tensor, shape: Tensor, tips: Tensor, names: Sequence[str], seed: int
) -> dict[str, dict[str, float]]:
    generator = torch.Generator(pose.device).manual_seed(seed)
    low, high = pose.amin(0), pose.amax(0)
    uniform = low + (high - low) * torch.rand(pose.shape, generator=generator, device=pose.device)
    reached = _points(hand, uniform, shape)[0][:, list(hand.fingertips)]
    reached = reached[_depths(hand, uniform, shape) <= DEPTH_MM]
    found = {}
    for number, name in enumerate(names):
        reachable = {tuple(v) for v in _voxels(reached[:, number])}
        mine, counts = torch.unique(_voxels_of(tips[:, number]), dim=0, return_counts=True)
        covered = reachable & {tuple(v) for v in mine.tolist()}
        found[name] = {
            "covered": round(len(covered) / max(1, len(reachable)), 4),
            "largest": round(float(counts.max()) / len(tips), 4),
            "voxels": len(reachable),
        }
    return found


def _voxels_of(points: Tensor) -> Tensor:
    return (points / VOXEL_MM).floor().long()


def _voxels(points: Tensor) -> list[list[int]]:
    voxels: list[list[int]] = torch.unique(_voxels_of(points), dim=0).tolist()
    return voxels


def _views(pose: Tensor) -> dict[str, Any]:
    # The camera's axis in the hand's frame selects the cell of the view.
    axis = rotation_matrix(pose[:, :3].double())[:, 2]
    band = ((1 - axis[:, 2]) / 2 * BANDS).long().clamp(0, BANDS - 1)
    sector = ((torch.atan2(axis[:, 1], axis[:, 0]) / (2 * torch.pi) + 0.5) * SECTORS).long().clamp(0, SECTORS - 1)
    counts = torch.bincount(band * SECTORS + sector, minlength=BANDS * SECTORS).double()
    shares = counts / counts.sum()
    return {
        "cells": [_rounded(row, 5) for row in shares.view(BANDS, SECTORS)],
        "occupied": round(float((counts > 0).double().mean()), 4),
        "least": round(float(shares.min() * len(shares)), 3),
        "most": round(float(shares.max() * len(shares)), 3),
    }


def _depths(hand: HandModel, pose: Tensor, shape: Tensor) -> Tensor:
    """(N,) mm: 0 if no pair of spheres is nearer than touching, or nearer than with all angles 0."""
    first, second = hand.collisions()
    reach = hand.radii[first] + hand.radii[second]
    rest = _neutral(hand, pose, shape)  # the same size as the points of `_points`
    least = torch.minimum(reach, (rest[:, first] - rest[:, second]).norm(dim=-1))
    points = _points(hand, pose, shape)[0]
    worst = [
        (least - (p[:, first] - p[:, second]).norm(dim=-1)).amax(dim=-1).clamp(min=0) for p in points.split(_CHUNK)
    ]
    return torch.cat(worst)


def _quantiles(values: Tensor, at: Sequence[float]) -> dict[str, float]:
    found = torch.quantile(values.double(), values.double().new_tensor(at))
    return {f"{100 * q:g}%": round(float(v), 2) for q, v in zip(at, found, strict=True)}


def _rounded(values: Tensor, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
