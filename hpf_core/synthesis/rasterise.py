"""Depth maps of many spheres: orthographic over a crop's grid (in batches), perspective in a camera's image.

Both are exact, hard z-buffers: each pixel holds the depth z of the nearest sphere that its ray meets, never the
distance along the ray. Nothing here is differentiable on purpose; the renderer plugins are.

A sphere touches only pixels near its centre, so each is drawn in a square window just large enough for its radius, and
the windows meet in one scatter that keeps the minimum. The windows' sizes are chosen before, on the host, from the
radii alone, so the drawing itself has static shapes and runs the same on any device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hpf_core.geometry import Grid
from hpf_core.synthesis.rigs import Camera

_STEP = 2  # windows grow in steps of so many pixels: fewer classes, fewer kernels, little waste


@dataclass(frozen=True)
class Windows:
    """Spheres grouped by the size of the window they need.

    Attributes:
        groups: pairs of (element indices (K,) int64, window side in pixels).
    """

    groups: tuple[tuple[Tensor, int], ...]

    @staticmethod
    def of(radii_px: Tensor) -> Windows:
        """From the largest radius (E,) in pixels that each element has in the batch. Reads its values on the host."""
        # A window of w pixels, placed at best, holds all pixel centres within (w - 1) / 2 of the sphere's centre.
        needed = (2 * radii_px.detach().to("cpu", torch.float64) + 1).clamp(min=1)
        sides = (needed / _STEP).ceil().long() * _STEP
        groups = tuple(
            ((sides == side).nonzero().squeeze(1).to(radii_px.device), int(side)) for side in sides.unique().tolist()
        )
        return Windows(groups)


def orthographic(centres: Tensor, radii: Tensor, grid: Grid, windows: Windows | None = None) -> Tensor:
    """Depth (N, H, W) mm of spheres over a crop's grid; +inf where a ray meets none.

    The ray of pixel (u, v) is x = (u + 0.5 - W/2) * cube / W, y likewise, along z (`docs/geometry.md`). Depth isn't
    clipped to the cube: `hpf_core.synthesis.crops.classify` does that.

    Args:
        centres: (N, E, 3) mm in the crop's frame.
        radii: (N, E) mm.
        grid: the crop's grid.
        windows: how to group the elements; by default from `radii`, which on a GPU waits for it once.
    """
    count, size, pixel = centres.shape[0], grid.size, grid.pixel_mm
    if windows is None:
        windows = Windows.of(radii.amax(dim=0) / pixel)
    # One more row and column on each side take what falls outside of the grid.
    canvas = centres.new_full((count, (size + 2) ** 2), math.inf)
    for members, side in windows.groups:
        group, reach = centres[:, members], radii[:, members] / pixel
        middle = group[..., :2] / pixel + (size / 2 - 0.5)  # in pixel indices
        first = (middle - (side - 1) / 2).ceil()
        steps = torch.arange(side, device=centres.device, dtype=centres.dtype)
        index = first[..., None] + steps  # (N, K, 2, side)
        squared = (index - middle[..., None]).square()
        # (r^2 - dy^2) - dx^2 in pixels^2: positive where the ray meets the sphere.
        left = (reach.square()[..., None] - squared[..., 1, :])[..., :, None] - squared[..., 0, :][..., None, :]
        depth = group[..., 2, None, None] - left.clamp(min=0).sqrt_().mul_(pixel)
        depth.masked_fill_(left < 0, math.inf)
        cell = (index + 1).clamp(0, size + 1).long()
        cell = cell[..., 1, :, None] * (size + 2) + cell[..., 0, None, :]
        canvas.scatter_reduce_(1, cell.flatten(1), depth.flatten(1), "amin")
    return canvas.view(count, size + 2, size + 2)[:, 1:-1, 1:-1].contiguous()


def perspective(centres: Tensor, radii: Tensor, camera: Camera) -> Tensor:
    """Depth z (H, W) mm of spheres in a camera's image; +inf where a ray meets none.

    Each pixel's ray is met with each sphere exactly: of d = ((u - cx) / fx, (v - cy) / fy, 1) and the centre c, the
    nearer root of |z d - c| = r. Spheres that reach behind 1 mm before the camera are left out.

    Args:
        centres: (E, 3) mm in the camera's frame.
        radii: (E,) mm.
        camera: the pinhole; its pixel (u, v) looks along the ray of its index (NYU's convention).
    """
    width, height = camera.width, camera.height
    kept = centres[:, 2] - radii > 1.0
    centres, radii = centres[kept], radii[kept]
    canvas = centres.new_full(((height + 2) * (width + 2),), math.inf)
    if not len(centres):
        return canvas.view(height + 2, width + 2)[1:-1, 1:-1]
    u0, u1 = _silhouette(centres[:, 0], centres[:, 2], radii, camera.fx, camera.cx)
    v0, v1 = _silhouette(centres[:, 1], centres[:, 2], radii, camera.fy, camera.cy)
    for members, side in Windows.of(torch.maximum(u1 - u0, v1 - v0) / 2).groups:
        steps = torch.arange(side, device=centres.device, dtype=centres.dtype)
        u = (((u0 + u1)[members] - (side - 1)) / 2).ceil()[:, None] + steps  # (K, side)
        v = (((v0 + v1)[members] - (side - 1)) / 2).ceil()[:, None] + steps
        x, y, z = (part[:, None, None] for part in centres[members].unbind(-1))
        dx, dy = ((u - camera.cx) / camera.fx)[:, None, :], ((v - camera.cy) / camera.fy)[:, :, None]
        # a z^2 - 2 b z + c = 0; b and c share the large z, so the discriminant is taken from the offset at the centre's
        # depth (Lagrange): a c - b^2 = a r^2 - |d x c|^2 would cancel in float32, this form does not.
        ox, oy = dx * z - x, dy * z - y
        a = dx.square() + dy.square() + 1
        b = dx * ox + dy * oy  # of the root t = z - depth, measured from the centre's depth
        left = b.square() - a * (ox.square() + oy.square() - radii[members].square()[:, None, None])
        depth = z - (b + left.clamp(min=0).sqrt()) / a
        depth.masked_fill_(left < 0, math.inf)
        column = (u + 1).clamp(0, width + 1).long()[:, None, :]
        row = (v + 1).clamp(0, height + 1).long()[:, :, None]
        canvas.scatter_reduce_(0, (row * (width + 2) + column).flatten(), depth.flatten(), "amin")
    return canvas.view(height + 2, width + 2)[1:-1, 1:-1]


def _silhouette(offset: Tensor, z: Tensor, radius: Tensor, focal: float, principal: float) -> tuple[Tensor, Tensor]:
    """First and last image coordinate (E,) of spheres along one axis: the tangents through the camera's centre."""
    distance = (offset.square() + z.square()).sqrt()
    angle, half = torch.atan2(offset, z), (radius / distance).clamp(max=1).asin()
    limit = math.radians(85)
    low, high = (angle - half).clamp(-limit, limit), (angle + half).clamp(-limit, limit)
    return low.tan() * focal + principal, high.tan() * focal + principal
