"""`sphere_mesh.c` as PyTorch operators on a CPU, without breaks in a compiled graph.

They compute the results of `sphere_mesh_search` and have no gradient either.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hpf_core.native import compiler

_SOURCE = Path(__file__).with_name("sphere_mesh.c")
available = compiler.availability(_SOURCE)


@torch.library.custom_op("hpf::sphere_mesh_seen", mutates_args=(), device_types="cpu")
def seen(
    points: Tensor, radii: Tensor, links: Tensor, triangles: Tensor, size: int, pixel_mm: float, far: float
) -> tuple[Tensor, Tensor]:
    """Primitive (N, P) and weights (N, P, 3) of P = size^2 rays, as `sphere_mesh_search.seen`; contiguous arguments."""
    return _asked("seen", points, radii, links, triangles, (size, pixel_mm, far), (), size * size)


@seen.register_fake
def _(
    points: Tensor, radii: Tensor, links: Tensor, triangles: Tensor, size: int, pixel_mm: float, far: float
) -> tuple[Tensor, Tensor]:
    return _empty(points, size * size)


@torch.library.custom_op("hpf::sphere_mesh_nearest", mutates_args=(), device_types="cpu")
def nearest(points: Tensor, radii: Tensor, links: Tensor, triangles: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Primitive (N, P) and weights (N, P, 3) of queries (N, P, 3), as `sphere_mesh_search.nearest`; contiguous
    arguments."""
    return _asked("nearest", points, radii, links, triangles, (queries.shape[1],), (queries,), queries.shape[1])


@nearest.register_fake
def _(points: Tensor, radii: Tensor, links: Tensor, triangles: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    return _empty(points, queries.shape[1])


def _asked(
    name: str,
    points: Tensor,
    radii: Tensor,
    links: Tensor,
    triangles: Tensor,
    numbers: tuple[int | float, ...],
    others: tuple[Tensor, ...],
    count: int,
) -> tuple[Tensor, Tensor]:
    out = _empty(points, count)
    sizes = points.shape[1], links.shape[0], triangles.shape[0]
    tensors = points, radii, links, triangles, *others, *out
    compiler.call(compiler.function(_SOURCE, name, points.dtype), points.shape[0], *sizes, *numbers, *tensors)
    return out


def _empty(points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    maps = points.shape[0]
    return points.new_empty((maps, count), dtype=torch.int64), points.new_empty((maps, count, 3))
