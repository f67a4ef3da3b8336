"""Meshes of simple bodies: spheres for hand models without a mesh, and functions that join meshes."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from hpf_core.interfaces import Mesh

_GOLDEN = (1 + 5**0.5) / 2
_CORNERS = (
    *((-1.0, _GOLDEN, 0.0), (1.0, _GOLDEN, 0.0), (-1.0, -_GOLDEN, 0.0), (1.0, -_GOLDEN, 0.0)),
    *((0.0, -1.0, _GOLDEN), (0.0, 1.0, _GOLDEN), (0.0, -1.0, -_GOLDEN), (0.0, 1.0, -_GOLDEN)),
    *((_GOLDEN, 0.0, -1.0), (_GOLDEN, 0.0, 1.0), (-_GOLDEN, 0.0, -1.0), (-_GOLDEN, 0.0, 1.0)),
)
_FACES = (
    *((0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2)),
    *((10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5)),
    *((2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)),
)


def of_spheres(centres: Tensor, radii: Tensor) -> Mesh:
    """Icosahedra with corners on the spheres. Their faces lie up to a fifth of the radius inside the spheres.

    Args:
        centres: (N, E, 3) mm.
        radii: (N, E) mm.

    Returns:
        12 E vertices in the order of the spheres, in the centres' dtype, and 20 E faces.
    """
    corners, faces = _icosahedron(centres.device, centres.dtype)
    vertices = centres[:, :, None] + radii[:, :, None, None] * (corners / corners.norm(dim=-1, keepdim=True))
    return Mesh(vertices.flatten(1, 2), numbered(faces, len(_CORNERS), radii.shape[1]))


@functools.lru_cache(maxsize=8)
def _icosahedron(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Corners (12, 3) and faces (20, 3). The cache avoids a copy to the GPU per draw, which would block the host."""
    return torch.tensor(_CORNERS).to(device=device, dtype=dtype), torch.tensor(_FACES).to(device)


def numbered(faces: Tensor, corners: int, copies: int) -> Tensor:
    """(copies * F, 3), the faces of `copies` bodies with `corners` corners each, one after the other."""
    first = torch.arange(copies, device=faces.device)[:, None, None] * corners
    return (faces + first).flatten(0, 1)


def joined(*meshes: Mesh) -> Mesh:
    """Join meshes of the same N moments: vertices (N, V1 + V2 + ..., 3) in order, and all faces."""
    faces, before = [], 0
    for mesh in meshes:
        faces.append(mesh.faces + before)
        before += mesh.vertices.shape[1]
    return Mesh(torch.cat([mesh.vertices for mesh in meshes], dim=1), torch.cat(faces))
