"""`m2d.c` as a PyTorch operator for tensors on a CPU; `m2d` has the same computation in tensor operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpf_core.native import compiler

_SOURCE = Path(__file__).with_name("m2d.c")
available = compiler.availability(_SOURCE)


def _function(name: str, like: Tensor) -> Any:
    return compiler.function(_SOURCE, name, like.dtype)


@torch.library.custom_op("hpf::mean_residual", mutates_args=(), device_types="cpu")
def mean_residual(
    depth: Tensor,
    anchor: Tensor,
    hit: Tensor,
    target: Tensor,
    maps: Tensor,
    seen: Tensor,
    nearest: Tensor | None,
    counts: Tensor | None,
    squared: bool,
    background: float,
    far: float,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """Mean residual of each pair (P,), and its number of pixels (P,), at least 1. All tensors must be contiguous.

    Args:
        depth: (P, H, W) mm, of the render; differentiable.
        anchor: (P, H, W, 2) mm; differentiable.
        hit: (P, H, W) bool.
        target: (P,) int64, index of the depth map that each render is compared with.
        maps: (N, H, W) mm.
        seen: (N, H, W) bool, where maps show a surface.
        nearest: (N, H, W, 2) mm, x and y of the nearest such pixel, for the residual of renders over the background.
            Without `nearest` that residual is the difference in depth.
        counts: (P, H, W) bool, pixels that count; None for all.
        squared: whether to square the residuals.
        background: mm, the render's depth where it shows no surface.
        far: mm, the cap on both depths.
        clamp: mm, the cap on residuals; infinity for none.
    """
    out = _empty(depth)
    compiler.call(
        _function("residual_forward", depth), depth.shape[0], depth[0].numel() if len(depth) else 0,
        int(nearest is not None), int(squared), background, far, clamp,
        depth, hit, anchor, target, maps, seen, nearest, counts, *out,
    )  # fmt: skip
    return out


@mean_residual.register_fake
def _(depth: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _empty(depth)


def _empty(depth: Tensor) -> tuple[Tensor, Tensor]:
    return depth.new_empty(depth.shape[0]), depth.new_empty(depth.shape[0])


@torch.library.custom_op("hpf::mean_residual_backward", mutates_args=(), device_types="cpu")
def mean_residual_backward(
    depth: Tensor,
    anchor: Tensor,
    hit: Tensor,
    target: Tensor,
    maps: Tensor,
    seen: Tensor,
    nearest: Tensor | None,
    counts: Tensor | None,
    total: Tensor,
    by_value: Tensor,
    squared: bool,
    far: float,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """Gradients on depth (P, H, W) and on anchor (P, H, W, 2); the latter is empty without `nearest`."""
    by_depth, by_anchor = _empty_gradients(depth, anchor, nearest)
    compiler.call(
        _function("residual_backward", depth), depth.shape[0], depth[0].numel() if len(depth) else 0,
        int(nearest is not None), int(squared), far, clamp,
        depth, hit, anchor, target, maps, seen, nearest, counts, total, by_value,
        by_depth, None if nearest is None else by_anchor,
    )  # fmt: skip
    return by_depth, by_anchor


@mean_residual_backward.register_fake
def _(depth: Tensor, anchor: Tensor, hit: Tensor, target: Tensor, maps: Tensor, seen: Tensor,
      nearest: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:  # fmt: skip
    return _empty_gradients(depth, anchor, nearest)


def _empty_gradients(depth: Tensor, anchor: Tensor, nearest: Tensor | None) -> tuple[Tensor, Tensor]:
    return torch.empty_like(depth), anchor.new_empty(0) if nearest is None else torch.empty_like(anchor)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.squared, _, ctx.far, ctx.clamp = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[1])


def _gradient(ctx: Any, by_value: Tensor | None, _total: None) -> tuple[Tensor | None, ...]:
    if by_value is None:
        return (None,) * 12
    *tensors, total = ctx.saved_tensors
    nearest = tensors[6]
    by_depth, by_anchor = mean_residual_backward(
        *tensors, total, by_value.contiguous(), ctx.squared, ctx.far, ctx.clamp
    )
    return by_depth, by_anchor if nearest is not None else None, *(None,) * 10


mean_residual.register_autograd(_gradient, setup_context=_keep)
