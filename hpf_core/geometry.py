"""Cameras, cube crops, rigid transforms, Procrustes, the orthographic grid. `docs/geometry.md` is the law.

Rigid maps are applied as sums of products, never as a matrix product: under autocast, or with TF32 allowed, a matrix
product would round points in the rig's frame, a metre from its origin, by millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hpf_core import fit_kernels
from hpf_core.errors import DataError


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is: millimetres need more than 11 bits."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


@dataclass(frozen=True)
class Grid:
    """The orthographic grid of a crop: `size` x `size` rays over a cube of `cube_mm`."""

    size: int = 64
    cube_mm: float = 300.0

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, mm."""
        return self.cube_mm / self.size

    @property
    def far_mm(self) -> float:
        """Depth of the cube's far side, mm: the value of a map where nothing is hit."""
        return self.cube_mm / 2

    def axis(self, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """(size,) mm, the x of each column and the y of each row: (u + 0.5 - W/2) * cube_mm / W."""
        steps = torch.arange(self.size, device=device, dtype=dtype)
        return (steps + 0.5 - self.size / 2) * self.pixel_mm


def apply_rigid(transform: Tensor, points: Tensor) -> Tensor:
    """Points (..., K, 3) taken through rigid maps (..., 4, 4), column vectors."""
    rotation, translation = transform[..., None, :3, :3], transform[..., None, :3, 3]
    return (rotation * points[..., None, :]).sum(dim=-1) + translation


def invert_rigid(transform: Tensor) -> Tensor:
    """Inverse of rigid maps (..., 4, 4) without a general matrix inverse."""
    rotation = transform[..., :3, :3].transpose(-1, -2)
    translation = -(rotation * transform[..., None, :3, 3]).sum(dim=-1, keepdim=True)
    top = torch.cat([rotation, translation], dim=-1)
    return torch.cat([top, transform[..., 3:, :]], dim=-2)


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


_AT_ONCE = 2**22  # numbers, 16 MiB: as many as the tensor operations of `nearest_marked` hold beside their maps


def nearest_marked(mask: Tensor) -> Tensor:
    """For each pixel the nearest marked pixel of its map: an exact Euclidean distance transform that names the pixel.

    Separable (Felzenszwalb and Huttenlocher, Distance Transforms of Sampled Functions, 2012): first along the columns,
    then the lower envelope along the rows, here by trying all of them, which keeps shapes static. On a CPU compiled C
    does it; of pixels at the same distance both name the same one.

    Args:
        mask: (N, H, W) bool; H and W at most 512.

    Returns:
        (N, H, W, 2) int64, column u and row v of the nearest marked pixel; the pixel itself in a map without any.
    """
    height, width = mask.shape[-2:]
    if max(height, width) > 512:
        raise ValueError(f"maps of {height} x {width} pixels: at most 512 on a side")
    if mask.device.type == "cpu" and fit_kernels.are_there(torch.float32):
        return fit_kernels.nearest_marked(mask.contiguous())
    row = torch.arange(height, device=mask.device, dtype=torch.int32)[:, None]
    column = torch.arange(width, device=mask.device, dtype=torch.int32)
    none = 2 * max(height, width)  # farther than any pixel

    above = torch.where(mask, row, -none).cummax(dim=-2).values
    below = torch.where(mask, row, 2 * none).flip(-2).cummin(dim=-2).values.flip(-2)
    in_column = torch.where(row - above <= below - row, above, below)  # (N, H, W) nearest marked row in the column
    height_gap = (in_column - row).abs().clamp(max=none).square()

    # Squared distance and column in one integer, so that one minimum finds both.
    aside = (column[:, None] - column).square() * width + column  # (W, W')
    keyed = height_gap.mul_(width)[..., None, :]  # (N, H, 1, W')
    # Some maps at a time, for the sums are (N, H, W, W'); a compiled graph keeps none of them.
    at_once = len(mask) if torch.compiler.is_compiling() else _AT_ONCE // (height * width**2)
    least = [(some + aside).amin(dim=-1) for some in keyed.split(max(1, at_once))]
    found = (torch.cat(least) % width).long()
    nearest = torch.stack([found, in_column.long().gather(-1, found)], dim=-1)
    itself = torch.stack(torch.broadcast_tensors(column, row), dim=-1)
    return torch.where(mask.any(dim=(-2, -1))[..., None, None, None], nearest, itself.long())
