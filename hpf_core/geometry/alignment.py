"""Rigid alignment of two sets of points (orthogonal Procrustes), plain and robust. For calibration, on the host."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hpf_core.errors import DataError
from hpf_core.geometry.rigid import apply_rigid


class Alignment(NamedTuple):
    """A rigid map found by Procrustes alignment.

    Attributes:
        transform: (4, 4) float64, from the source's frame to the target's; its rotation is proper, never a reflection.
        residual: (K,) float64 mm, the distance that remains at each point.
        weights: (K,) float64 in [0, 1], how much each point counted.
    """

    transform: Tensor
    residual: Tensor
    weights: Tensor


def align_rigid(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Alignment:
    """The rotation and translation that take `source` nearest to `target` in the least-squares sense.

    The orthogonal Procrustes problem with the determinant's sign corrected (Kabsch 1978, Umeyama 1991): of a mirrored
    shape it returns the best proper motion, with the residual that it deserves. For calibration, on the host.

    Args:
        source: (K, 3) mm.
        target: (K, 3) mm, in the same order.
        weights: (K,) >= 0, or None where all count the same.

    Raises:
        DataError: the points don't determine a rotation (fewer than three, or on one line), differ in number, or aren't
            finite. A failed alignment never looks like a perfect one.
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
    # The size of the points themselves tells a line from a plane: only two directions are needed.
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
    """As `align_rigid`, but points that don't fit the rest lose their say.

    Iteratively reweighted least squares. It starts from the sum of distances (weights 1 / residual), which a minority
    of outliers can't turn over, and goes on with Tukey's biweight at 4.685 robust standard deviations (1.4826 times the
    median residual; Huber, Robust Statistics, 1981), whose weight for an outlier is 0.

    Args:
        source: (K, 3) mm.
        target: (K, 3) mm, in the same order.
        rounds: upper bound of the reweightings of each kind; they stop when the map stands still.

    Raises:
        DataError: as `align_rigid`.
    """
    found = align_rigid(source, target)
    # Below this, a residual is rounding, and weights would only tell noise from noise.
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
