"""The end of the hand: finds the points of a depth map beyond the estimated wrist."""

from __future__ import annotations

import torch
from torch import Tensor

from hpf_core.interfaces import HandModel
from hpf_core.native import fit_kernels

LEAST_HAND = 1 / 3
"""Least share of a depth map's points on the hand's side of the wrist; below it, the estimated wrist is not used. A
forearm in the cube covers fewer points than the hand. An estimate in the wrong direction classifies the hand as
forearm."""


@torch.no_grad()
def beyond_wrist(
    hand: HandModel, estimate: Tensor, points: Tensor, valid: Tensor, target: Tensor, margin_mm: float
) -> Tensor:
    """Mask of the points on the forearm, or on the body beyond it.

    The plane goes through the mean of the hand's wrist points. Its normal is the line from the palm's centre to that
    mean. Where the plane leaves less than `LEAST_HAND` of a map's points, no point counts as forearm: a wrong first
    estimate must not hide the hand.

    Args:
        hand: the hand model.
        estimate: (P, J, 3) mm, in the crop's frame of the target; no gradient flows to it.
        points: (N, Q, 3) mm, of each depth map.
        valid: (N, Q) bool, mask of existing points.
        target: (P,) int64, index of the depth map of each estimate.
        margin_mm: distance of the plane beyond the wrist.

    Returns:
        (P, Q) bool.
    """
    wrist = torch.stack([estimate[:, i] for i in hand.wrist]).mean(dim=0)
    outwards = torch.nn.functional.normalize(wrist - estimate[:, hand.palm_centre], dim=-1)
    offset = (wrist * outwards).sum(dim=-1) + margin_mm
    if points.device.type == "cpu" and points.dtype == offset.dtype and fit_kernels.available(points.dtype):
        planes = target, outwards.contiguous(), offset, LEAST_HAND
        return fit_kernels.beyond_planes(points.contiguous(), valid.contiguous(), *planes)
    # (p - w) . n, summed coordinate by coordinate: the points may be all pixels of all pairs.
    height = -offset[:, None]
    for axis in range(3):
        height = height + points[..., axis][target] * outwards[:, axis, None]
    beyond = valid[target] & (height > 0)
    counts = valid[target].sum(dim=1, keepdim=True)
    plausible = counts - beyond.sum(dim=1, keepdim=True) >= LEAST_HAND * counts
    return beyond & plausible
