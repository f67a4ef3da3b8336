"""Rigid alignment of two sets of points (orthogonal Procrustes), plain and robust. For calibration, on the host."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hpf_core.errors import DataError
from hpf_core.geometry.rigid import apply_rigid


class Alignment(NamedTuple):
    """A rigid map from Procrustes alignment.

    Attributes:
        transform: (4, 4) float64, from the source's frame to the target's; its rotation is proper, never a reflection.
        residual: (K,) float64 mm, the distance that remains at each point.
        weights: (K,) float64 in [0, 1], the weight of each point.
    """

    transform: Tensor
    residual: Tensor
    weights: Tensor


def align_rigid(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Alignment:
    """Compute the rotation and translation that map `source` to `target` with the least squared error.

    This is the orthogonal Procrustes problem with a corrected sign of the determinant (Kabsch 1978, Umeyama 1991). For
    a mirrored shape the result is the best proper motion, with a large residual. For calibration, on the host.

    Args:
        source: (K, 3) mm.
        target: (K, 3) mm, in the same order.
        weights: (K,) >= 0, or None for equal weights.

    Raises:
        DataError: the points don't determine a rotation (fewer than three, or on one line), differ in number, or aren't
            finite. So a failed alignment never looks like a perfect one.
    """
    source, target = source.double(), target.double()
    if source.shape != target.shape or source.ndim != 2 or source.shape[-1] != 3:
        raise DataError(
            f"rigid alignment: expected two sets of points (K, 3) of one size, got {tuple(source.shape)} and "
            f"{tuple(target.shape)}"
        )
    weights = source.new_ones(source.shape[0]) if weights is None else weights.to(source)
    if not bool(torch.isfinite(source).all() & torch.isfinite(target).all() & torch.isfinite(weights).all()):
        raise DataError("rigid alignment: a point or a weight is not finite; leave missing points out")
    if int((weights > 0).sum()) < 3:
        raise DataError(f"rigid alignment needs at least 3 points, got {int((weights > 0).sum())}")

    share = (weights / weights.sum())[:, None]
    centre, goal = (share * source).sum(dim=0), (share * target).sum(dim=0)
    covariance = (target - goal).T @ (share * (source - centre))
    left, sizes, right = torch.linalg.svd(covariance)
    # The points' own extent separates a line from a plane: a rotation needs only two directions.
    extent = (share * (source - centre).square()).sum().sqrt() * (share * (target - goal).square()).sum().sqrt()
    if not bool(sizes[1] > 1e-9 * extent):
        raise DataError("rigid alignment: the points lie on one line, or on one point, and determine no rotation")
    sign = torch.sign(torch.linalg.det(left @ right))
    rotation = left @ torch.diag(torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign])) @ right

    transform = torch.eye(4, dtype=source.dtype, device=source.device)
    transform[:3, :3] = rotation
    transform[:3, 3] = goal - rotation @ centre
    residual = torch.linalg.vector_norm(apply_rigid(transform, source) - target, dim=-1)
    return Alignment(transform, residual, weights / weights.max())


def align_rigid_robust(source: Tensor, target: Tensor, rounds: int = 50) -> Alignment:
    """Align as `align_rigid` does, with low weights for outliers.

    The method is iteratively reweighted least squares. The first stage minimises the sum of distances (weights
    1 / residual), which a minority of outliers can't flip. The second stage uses Tukey's biweight at 4.685 robust
    standard deviations (1.4826 times the median residual; Huber, Robust Statistics, 1981). There an outlier has
    weight 0.

    Args:
        source: (K, 3) mm.
        target: (K, 3) mm, in the same order.
        rounds: largest number of reweightings of each kind. A stage stops when the map converges.

    Raises:
        DataError: as for `align_rigid`.
    """
    found = align_rigid(source, target)
    # A residual below this is rounding error: weights would only rank noise.
    floor = 1e-6 * max(1.0, float(target.double().abs().max()))

    def distances(residual: Tensor) -> Tensor:
        return 1 / residual.clamp_min(floor)

    def biweight(residual: Tensor) -> Tensor:
        scale = (4.685 * 1.4826 * residual.median()).clamp_min(10 * floor)
        return (1 - (residual / scale).square()).clamp_min(0).square()

    for weigh in (distances, biweight):
        for _ in range(rounds):
            previous, found = found.transform, align_rigid(source, target, weigh(found.residual))
            if bool((found.transform - previous).abs().max() < 1e-9):
                break
    return found


def align_rigid_batch(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The proper rotations and translations that map `source` nearest to `target` (Kabsch 1978), for a batch.

    It checks nothing: points on a line get one of the equally good rotations. Use it for a start, not for a result.

    Args:
        source: (K, 3) or (N, K, 3) mm.
        target: (N, K, 3) mm, in the same order.

    Returns:
        Rotations (N, 3, 3) and translations (N, 3) mm.
    """
    source = source.expand_as(target)
    centre, goal = source.mean(dim=1), target.mean(dim=1)
    covariance = (target - goal[:, None]).transpose(-1, -2) @ (source - centre[:, None])
    left, _, right = torch.linalg.svd(covariance)
    sign = torch.linalg.det(left @ right).sign()
    left = torch.cat([left[..., :2], left[..., 2:] * sign[:, None, None]], dim=-1)
    rotation = left @ right
    return rotation, goal - (rotation @ centre[..., None])[..., 0]
