"""Trees of tensors, in records and mappings: their leaves, changes, and differences of two sets of outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in records, mappings and sequences, with its dotted name."""
    for key, child in _children(tree):
        path = f"{name}.{key}" if name else key
        if isinstance(child, Tensor):
            yield path, child
        else:
            yield from leaves(child, path)


def changed(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same tree with a function applied to every tensor."""
    if isinstance(tree, Tensor):
        return change(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return dataclasses.replace(tree, **{key: changed(child, change) for key, child in _children(tree)})
    if isinstance(tree, Mapping):
        return {key: changed(child, change) for key, child in tree.items()}
    return tree


def same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], rtol: float, atol: float) -> str:
    """The difference of two sets of outputs, in words; empty if equal. NaN equals NaN."""
    for name, one in wanted.items():
        other = found.get(name)
        if other is None or other.shape != one.shape:
            return f"{name} is {None if other is None else tuple(other.shape)}, not {tuple(one.shape)}"
        if not torch.allclose(other.detach().double(), one.detach().double(), rtol, atol, equal_nan=True):
            gap = (other.detach().double() - one.detach().double()).abs()
            return f"{name} differs by up to {float(gap.nan_to_num(torch.inf).max()):.3g}"
    return ""


def _children(tree: Any) -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree) if field.init]
    return [(str(key), child) for key, child in tree.items()] if isinstance(tree, Mapping) else []
