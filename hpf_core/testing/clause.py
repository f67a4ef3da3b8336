"""What a clause of the contract is, and how it says that a plugin breaks it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from hpf_core.interfaces import Kind

if TYPE_CHECKING:
    from hpf_core.testing.subject import Subject


class Broken(AssertionError):
    """A plugin breaks a clause. The message says how, and what the clause asks for."""


class NotApplicable(Exception):
    """A clause that asks nothing of this plugin. The message says why."""


@dataclass(frozen=True)
class Clause:
    """One thing that every plugin of some kinds must do.

    Attributes:
        name: a few words, as reports show it.
        says: what is asked for, one sentence.
        kinds: the kinds of plugin that it binds.
        check: raises `Broken` where it doesn't hold, `NotApplicable` where it asks nothing.
    """

    name: str
    says: str
    kinds: tuple[Kind, ...]
    check: Callable[[Subject], None]


def clause(name: str, says: str, *kinds: Kind) -> Callable[[Callable[[Subject], None]], Clause]:
    """Turn a check into a clause."""
    return lambda check: Clause(name, says, kinds, check)


@dataclass(frozen=True)
class Finding:
    """What became of a clause: it holds, is broken (`why` says how), or doesn't apply (`why` says why)."""

    clause: Clause
    status: Literal["holds", "broken", "not applicable"]
    why: str = ""


def need(holds: object, why: str) -> None:
    """Raise `Broken` unless it holds."""
    if not bool(holds):
        raise Broken(why)


# ------------------------------------------------------------------------------------------------- trees of tensors


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in records, mappings and sequences, with its dotted name."""
    for key, child in _children(tree):
        path = f"{name}.{key}" if name else key
        if isinstance(child, Tensor):
            yield path, child
        else:
            yield from leaves(child, path)


def changed(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same tree with every tensor changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return dataclasses.replace(tree, **{key: changed(child, change) for key, child in _children(tree)})
    if isinstance(tree, Mapping):
        return {key: changed(child, change) for key, child in tree.items()}
    return tree


def same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], rtol: float, atol: float) -> str:
    """How two sets of outputs differ, in words; empty where they agree. NaN equals NaN."""
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
