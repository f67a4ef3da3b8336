"""The Euclidean distance transform of masks, as the nearest marked pixel of each pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from hpf_core.native import fit_kernels

_AT_ONCE = 2**22  # numbers, 16 MiB: the memory that the tensor operations of `nearest_marked` use beside their maps


def nearest_marked(mask: Tensor) -> Tensor:
    """Find the nearest marked pixel of each pixel of a map: an exact Euclidean distance transform with indices.

    The transform is separable (Felzenszwalb and Huttenlocher, Distance Transforms of Sampled Functions, 2012). It goes
    along the columns first, then takes the lower envelope along the rows. Here the rows try every column, which keeps
    shapes static. On a CPU, compiled C does this. Both versions choose the same pixel among equally near ones.

    Args:
        mask: (N, H, W) bool; H and W at most 512.

    Returns:
        (N, H, W, 2) int64: column u and row v of the nearest marked pixel, or the pixel itself in an unmarked map.
    """
    height, width = mask.shape[-2:]
    if max(height, width) > 512:
        raise ValueError(f"maps of {height} x {width} pixels: at most 512 on a side")
    if mask.device.type == "cpu" and fit_kernels.available(torch.float32):
        return fit_kernels.nearest_marked(mask.contiguous())
    row = torch.arange(height, device=mask.device, dtype=torch.int32)[:, None]
    column = torch.arange(width, device=mask.device, dtype=torch.int32)
    none = 2 * max(height, width)  # farther than any pixel

    above = torch.where(mask, row, -none).cummax(dim=-2).values
    below = torch.where(mask, row, 2 * none).flip(-2).cummin(dim=-2).values.flip(-2)
    in_column = torch.where(row - above <= below - row, above, below)  # (N, H, W) nearest marked row in the column
    height_gap = (in_column - row).abs().clamp(max=none).square()

    # One integer holds the squared distance and the column, so one minimum gives both.
    aside = (column[:, None] - column).square() * width + column  # (W, W')
    keyed = height_gap.mul_(width)[..., None, :]  # (N, H, 1, W')
    # The sums are (N, H, W, W'), so we process a few maps at a time. A compiled graph stores none of the sums.
    at_once = len(mask) if torch.compiler.is_compiling() else _AT_ONCE // (height * width**2)
    least = [(some + aside).amin(dim=-1) for some in keyed.split(max(1, at_once))]
    found = (torch.cat(least) % width).long()
    nearest = torch.stack([found, in_column.long().gather(-1, found)], dim=-1)
    itself = torch.stack(torch.broadcast_tensors(column, row), dim=-1)
    return torch.where(mask.any(dim=(-2, -1))[..., None, None, None], nearest, itself.long())
