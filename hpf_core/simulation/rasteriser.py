"""Depth maps of triangle meshes: orthographic over a crop's grid (in batches), perspective in a camera's image.

Both are exact, hard z-buffers: each pixel holds the depth z of the nearest face on its ray. This rasteriser is not
differentiable by design; the renderer plugins are.

A face of a hand is hardly larger than a crop's pixel: most faces contain no pixel centre, or one. So one list holds
the pixels of each face's bounding rectangle, whatever the size. One scatter keeps each pixel's minimum. A closed
surface never shows a back face first, so the list omits back faces. We measured 64 hands with forearms (3,600 faces)
at 64 x 64 on one CPU thread: 11 ms for a list of 0.13 million pairs. A window of 4 x 4 pixels for every face would
make 3.7 million pairs, and would still be too small for the forearm's faces. We did not time compiled rasterisers.
They require CUDA (nvdiffrast) or rebuild a tree of each map's faces (Embree).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hpf_core.data.cameras import Camera
from hpf_core.grid import Grid
from hpf_core.interfaces import Mesh

_NEAREST_MM = 1.0  # from the camera; a nearer face has no bounded image
_SLACK_PX = 1e-3  # margin of each rectangle; without it, rounding could drop a pixel between two neighbouring faces


def orthographic(mesh: Mesh, grid: Grid, most: int | None = None) -> Tensor:
    """Depth (N, H, W) mm of closed meshes over a crop's grid; +inf where a ray meets none.

    The ray of pixel (u, v) is x = (u + 0.5 - W/2) * cube / W, y likewise, along z (`docs/geometry.md`). Depth isn't
    clipped to the cube: `hpf_core.data.crop.classify` clips it.

    Args:
        mesh: vertices (N, V, 3) mm in the crop's frame, faces (F, 3) wound outwards.
        grid: the crop's grid.
        most: length of the list of faces and pixels, for all maps together (`listed` returns the needed length). With
            `most`, all shapes are known in advance and the host never waits for a GPU. If a batch needs more, every
            depth of the batch is NaN: nothing is silently omitted.
    """
    return _drawn(_on_grid(mesh, grid), mesh.faces, grid.size, grid.size, most, reciprocal=False)


def listed(mesh: Mesh, grid: Grid) -> Tensor:
    """(N,) int64: the number of (face, pixel) pairs that `orthographic` processes for each map."""
    return _rectangles(_on_grid(mesh, grid), mesh.faces, grid.size, grid.size).pixels.sum(dim=0, dtype=torch.int64)


def perspective(vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """Depth z (H, W) mm of closed meshes in a camera's image; +inf where a ray meets none.

    Along a face, 1 / z is linear in the image. Faces with a point nearer than 1 mm in front of the camera are omitted.

    Args:
        vertices: (V, 3) mm in the camera's frame.
        faces: (F, 3) wound outwards.
        camera: the pinhole camera. Pixel (u, v) looks along the ray of its index (NYU's convention).
    """
    x, y, z = vertices.unbind(-1)
    before = z > _NEAREST_MM
    faces = faces[before[faces].all(dim=-1)]
    inverse = 1 / torch.where(before, z, 1.0)
    image = torch.stack([x * inverse * camera.fx + camera.cx, y * inverse * camera.fy + camera.cy, inverse])
    return _drawn(image[..., None], faces, camera.width, camera.height, None, reciprocal=True)[0]


class _Rectangles(NamedTuple):
    """The pixels around each face, (F, N): first column and row, columns, and number of pixels (0: invisible face)."""

    column: Tensor
    row: Tensor
    columns: Tensor
    pixels: Tensor


def _on_grid(mesh: Mesh, grid: Grid) -> Tensor:
    """(3, V, N): u and v in whole pixels, and z. With the maps last, indexing a face's corners copies whole rows."""
    image = mesh.vertices.permute(2, 1, 0).contiguous()
    image[:2].div_(grid.pixel_mm).add_(grid.size / 2 - 0.5)
    return image


def _corners(image: Tensor, faces: Tensor) -> Tensor:
    """(2, 3, F, N), u and v of each face's corners."""
    picked = image[:2].index_select(1, faces.T.flatten())
    return picked.view(2, 3, len(faces), image.shape[-1])


def _rectangles(image: Tensor, faces: Tensor, width: int, height: int, corners: Tensor | None = None) -> _Rectangles:
    (ax, bx, cx), (ay, by, cy) = _corners(image, faces) if corners is None else corners
    column = torch.minimum(torch.minimum(ax, bx), cx).sub_(_SLACK_PX).ceil_().clamp_(min=0)
    row = torch.minimum(torch.minimum(ay, by), cy).sub_(_SLACK_PX).ceil_().clamp_(min=0)
    last_column = torch.maximum(torch.maximum(ax, bx), cx).add_(_SLACK_PX).floor_().clamp_(max=width - 1)
    last_row = torch.maximum(torch.maximum(ay, by), cy).add_(_SLACK_PX).floor_().clamp_(max=height - 1)
    columns = last_column.sub_(column).add_(1).clamp_(min=0)
    rows = last_row.sub_(row).add_(1).clamp_(min=0)
    # Outward winding with y down and z away gives a face towards the camera a negative area in the image. We keep faces
    # on edge: rounding, not the sign of an area, decides there, pixel by pixel.
    turn = (bx - ax).mul_(cy - ay).sub_((by - ay).mul_(cx - ax))
    return _Rectangles(column, row, columns, torch.where(turn < _SLACK_PX**2, columns * rows, 0.0))


def _drawn(image: Tensor, faces: Tensor, width: int, height: int, most: int | None, reciprocal: bool) -> Tensor:
    """(N, H, W), the nearest face's z at each pixel. With `reciprocal`, faces hold 1 / z and the result inverts it."""
    maps, device = image.shape[-1], image.device
    canvas = image.new_full((maps * height * width,), math.inf)
    corners = _corners(image, faces)
    around = _rectangles(image, faces, width, height, corners)

    # The potentially visible faces, one column each: the data that a pixel needs about its face.
    pixels = around.pixels.flatten()
    face = (pixels > 0).nonzero().squeeze(1) if most is None else torch.arange(len(pixels), device=device)
    known = [*corners.flatten(0, 1), around.column, around.row, around.columns]
    table = torch.stack([row.flatten().index_select(0, face) for row in known])
    pixels = pixels.index_select(0, face).long()

    # One entry for each (face, pixel) pair: the face's index, and the pixel's index within the face's rectangle.
    ends = pixels.cumsum(0)
    if most is None:
        own = torch.repeat_interleave(pixels)
        slot = torch.arange(len(own), device=device)
    else:
        slot = torch.arange(most, device=device)
        own = torch.searchsorted(ends, slot, right=True).clamp_(max=len(ends) - 1)
    number = (slot - (ends - pixels).index_select(0, own)).to(image.dtype)
    ax, bx, cx, ay, by, cy, u, v, across = table.index_select(1, own)
    down = (number / across).floor_()
    u.add_(number.sub_(down * across))
    v.add_(down)

    # Twice the areas that the pixel spans with each side. Two faces that share a side get the same number with opposite
    # signs, bit by bit. So no pixel falls between the faces. This forbids fusing two operations into one rounding.
    for along, at in ((ax, u), (bx, u), (cx, u), (ay, v), (by, v), (cy, v)):
        along.sub_(at)
    areas = torch.stack([cx * by - bx * cy, ax * cy - cx * ay, bx * ay - ax * by])
    inside = (areas.amin(dim=0) >= 0) & (areas.sum(dim=0) > 0)
    if most is not None:
        inside &= slot < ends[-1]
    hit = inside.nonzero().squeeze(1) if most is None else slot
    areas, own = areas.index_select(1, hit), own.index_select(0, hit)
    face = face.index_select(0, own)
    which, image_of = face.div(maps, rounding_mode="floor"), face % maps
    ends_at = faces.index_select(0, which).T * maps + image_of
    value = image[2].flatten().index_select(0, ends_at.flatten()).view(3, -1)
    total = areas.sum(dim=0)
    depth = (areas * value).sum(dim=0)
    depth = total / depth if reciprocal else depth / total
    cell = image_of * (height * width) + v.mul_(width).add_(u).long().index_select(0, hit)
    if most is not None:
        depth, cell = depth.masked_fill(~inside, math.inf), cell.masked_fill(~inside, 0)
        canvas = canvas.masked_fill(ends[-1] > most, math.nan)
    return canvas.scatter_reduce_(0, cell, depth, "amin").view(maps, height, width)
