"""What a sampler of hands covers: angles, sets of extended fingers, pinches, where fingertips get, views, contact.

It knows a hand by its interface alone. Limits of angles aren't part of that: an angle's range is what the samples span.
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
"""Samples that a statistic needs at least."""
BINS = 12
EXTENDED, EXTENDED_THUMB = 0.7, 0.85
"""A finger counts as extended whose tip is farther from the palm's centre than this share of what it is stretched. The
thumb, which begins beside the palm, is never as near to its centre as a closed finger."""
PINCH_MM = 2.0
VOXEL_MM = 20.0
DEPTH_MM = 6.0
"""Poses that run through themselves by more than this don't count as reachable."""
BANDS, SECTORS = 6, 12
"""Cells of the sphere of views: bands of equal height, and so of equal area, and sectors around the palm's axis."""
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_DEPTHS = (0.5, 0.9, 0.99, 1.0)
_CHUNK = 1000


@torch.no_grad()
def coverage(hand: HandModel, pose: Tensor, shape: Tensor, seed: int = 0) -> dict[str, Any]:
    """The statistic of poses (N, D) and shapes (N, S), as a document that JSON can hold.

    Distances are in mm of a hand of middle size: those of a sample are divided by its own, which the distance from
    the palm's centre to the wrist tells.

    Args:
        hand: the model, on the samples' device.
        pose: (N, D), the global rotation included.
        shape: (N, S).
        seed: of the uniform draws that the reachable set is estimated from.

    Returns:
        samples: N.
        angles: by name, of each articulated parameter: `quantiles_deg` at 0, 5, 25, 50, 75, 95 and 100 %; `histogram`,
            the shares of `BINS` bins over its range.
        fingers: names of the fingertips, in the order of the sets' digits.
        sets: share of poses by set of extended fingers, for each of 2^K sets, as digits: "00010".
        pinches: by finger, share of poses whose tip is within `PINCH_MM` of touching the thumb's tip.
        workspace: by finger, share of the reachable voxels (side `VOXEL_MM`) in which a tip was found, `largest`, the
            largest share of poses in one voxel, and how many `voxels` are reachable. Reachable are those that as many
            poses with independent, uniform angles reach without running `DEPTH_MM` into themselves.
        views: `cells`, a list of `BANDS` lists of `SECTORS` shares, how often the palm's axis points into each cell of
            the sphere (first band: towards the camera's far side, the palm is seen); `occupied`, the share of cells
            that were hit; `least` and `most`, the smallest and largest share as a multiple of the mean.
        depth_mm: by quantile, how far a pose runs into itself at its worst pair of spheres, beyond what is so with all
            angles 0.

    Raises:
        DataError: fewer than `LEAST` samples, or not finite.
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
    """Points (N, J, 3) in mm of a hand of middle size, and the sizes (N, 1, 1) that they were divided by."""
    chunks = zip(pose.split(_CHUNK), shape.split(_CHUNK), strict=True)
    points = torch.cat([hand.points(p, s) for p, s in chunks])
    neutral = _neutral(hand, pose, shape)
    scale = _palm_length(hand, points) / _palm_length(hand, neutral)
    return points / scale[:, None, None], scale[:, None, None]


def _neutral(hand: HandModel, pose: Tensor, shape: Tensor) -> Tensor:
    """(1, J, 3) mm: all angles 0, all shape numbers in the middle of the samples'."""
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
    # What the hand's frame sees: where the camera's axis points in it, the cell of the view.
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
    """(N,) mm, 0 where no pair of spheres is nearer than touching, or than with all angles 0."""
    first, second = hand.collisions()
    reach = hand.radii[first] + hand.radii[second]
    rest = _neutral(hand, pose, shape)  # as large as what `_points` gives
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
