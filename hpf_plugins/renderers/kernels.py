"""`spheres.c` as PyTorch operators on a CPU, with gradients, and without breaks in a compiled graph.

The backward pass keeps the inputs and the index of the sphere of each pixel or query.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpf_core.native import compiler

_SOURCE = Path(__file__).with_name("spheres.c")
available = compiler.availability(_SOURCE)


def _function(name: str, like: Tensor) -> Any:
    return compiler.function(_SOURCE, name, like.dtype)


# --------------------------------------------------------------------------------------------------------------- depth


@torch.library.custom_op("hpf::spheres_depth", mutates_args=(), device_types="cpu")
def depth(
    points: Tensor, radii: Tensor, size: int, pixel_mm: float, far: float, floor: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depth (N, H, W) mm, hit (N, H, W) bool, primitive (N, H, W) int64 and anchor (N, H, W, 2) mm, as in `Rendered`.

    Args:
        points: (N, J, 3) mm; all tensors must be contiguous.
        radii: (N, J) mm, without gradient.
        size: H = W.
        pixel_mm: side of a pixel.
        far: mm, the value of a pixel without a sphere; surfaces beyond it are invisible.
        floor: mm^2, the least r^2 - d^2 under the root.
    """
    out = _empty_maps(points, size)
    count, spheres = radii.shape
    compiler.call(_function("depth_forward", points), count, spheres, size, pixel_mm, far, floor, points, radii, *out)
    return out


@depth.register_fake
def _(
    points: Tensor, radii: Tensor, size: int, pixel_mm: float, far: float, floor: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _empty_maps(points, size)


def _empty_maps(points: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = (points.shape[0], size, size)
    return (
        points.new_empty(shape),
        points.new_empty(shape, dtype=torch.bool),
        points.new_empty(shape, dtype=torch.int64),
        points.new_empty((*shape, 2)),
    )


@torch.library.custom_op("hpf::spheres_depth_backward", mutates_args=(), device_types="cpu")
def depth_backward(
    points: Tensor,
    radii: Tensor,
    hit: Tensor,
    primitive: Tensor,
    by_depth: Tensor | None,
    by_anchor: Tensor | None,
    pixel_mm: float,
    floor: float,
) -> Tensor:
    """(N, J, 3), gradient on the points from the gradients on depth, on anchor, or on both."""
    out, size = torch.empty_like(points), hit.shape[-1]
    function, (count, spheres) = _function("depth_backward", points), radii.shape
    compiler.call(
        function, count, spheres, size, pixel_mm, floor, points, radii, hit, primitive, by_depth, by_anchor, out
    )  # fmt: skip
    return out


@depth_backward.register_fake
def _(
    points: Tensor,
    radii: Tensor,
    hit: Tensor,
    primitive: Tensor,
    by_depth: Tensor | None,
    by_anchor: Tensor | None,
    pixel_mm: float,
    floor: float,
) -> Tensor:
    return torch.empty_like(points)


def _keep_depth(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    points, radii, _, ctx.pixel_mm, _, ctx.floor = inputs
    _, hit, primitive, _ = output
    ctx.mark_non_differentiable(hit, primitive)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(points, radii, hit, primitive)


def _depth_gradient(ctx: Any, by_depth: Tensor | None, _hit: None, _primitive: None, by_anchor: Tensor | None) -> Any:
    by_points = None
    if by_depth is not None or by_anchor is not None:
        grads = (None if grad is None else grad.contiguous() for grad in (by_depth, by_anchor))
        by_points = depth_backward(*ctx.saved_tensors, *grads, ctx.pixel_mm, ctx.floor)
    return by_points, None, None, None, None, None


depth.register_autograd(_depth_gradient, setup_context=_keep_depth)


# ------------------------------------------------------------------------------------------------------------ distance


@torch.library.custom_op("hpf::spheres_distance", mutates_args=(), device_types="cpu")
def distance(points: Tensor, radii: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (N, Q) mm of queries (N, Q, 3) mm to the nearest surface and its sphere (N, Q) int64.

    Args:
        points: (N, J, 3) mm; all tensors must be contiguous.
        radii: (N, J) mm, without gradient.
        queries: (N, Q, 3) mm.
    """
    out = _empty_distances(queries)
    function, (count, spheres) = _function("distance_forward", points), radii.shape
    compiler.call(function, count, spheres, queries.shape[1], points, radii, queries, *out)
    return out


@distance.register_fake
def _(points: Tensor, radii: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    return _empty_distances(queries)


def _empty_distances(queries: Tensor) -> tuple[Tensor, Tensor]:
    return queries.new_empty(queries.shape[:2]), queries.new_empty(queries.shape[:2], dtype=torch.int64)


@torch.library.custom_op("hpf::spheres_distance_backward", mutates_args=(), device_types="cpu")
def distance_backward(
    points: Tensor, radii: Tensor, queries: Tensor, primitive: Tensor, by_distance: Tensor, with_queries: bool
) -> tuple[Tensor, Tensor]:
    """Gradients on points (N, J, 3) and on queries (N, Q, 3); the latter is empty unless requested."""
    by_points, by_queries = _empty_gradients(points, queries, with_queries)
    function, (count, spheres) = _function("distance_backward", points), radii.shape
    asked = by_queries if with_queries else None
    compiler.call(
        function, count, spheres, queries.shape[1], points, radii, queries, primitive, by_distance, by_points, asked
    )  # fmt: skip
    return by_points, by_queries


@distance_backward.register_fake
def _(
    points: Tensor, radii: Tensor, queries: Tensor, primitive: Tensor, by_distance: Tensor, with_queries: bool
) -> tuple[Tensor, Tensor]:
    return _empty_gradients(points, queries, with_queries)


def _empty_gradients(points: Tensor, queries: Tensor, with_queries: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(points), torch.empty_like(queries) if with_queries else queries.new_empty(0)


def _keep_distance(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, output[1])


def _distance_gradient(ctx: Any, by_distance: Tensor | None, _primitive: None) -> Any:
    if by_distance is None:
        return None, None, None
    with_queries = ctx.needs_input_grad[2]
    by_points, by_queries = distance_backward(*ctx.saved_tensors, by_distance.contiguous(), with_queries)
    return by_points, None, by_queries if with_queries else None


distance.register_autograd(_distance_gradient, setup_context=_keep_distance)
