"""Checks a term's result: the form in every step; the values and the inputs once, at a stage's first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hpf_core.errors import RunError
from hpf_core.interfaces import TermValue
from hpf_core.objective.fit import Fit


def check_form(name: str, value: object, items: int | None = None) -> None:
    """Check shapes and types, without reading values.

    Args:
        name: name of the term.
        value: the term's result.
        items: the required number of items; None if the term decides.

    Raises:
        RunError: the value isn't a `TermValue` of K floating-point values, K weights and K frames or None.
    """
    if not isinstance(value, TermValue):
        raise RunError(
            f"the term '{name}' returned {_shown(value)}, not a TermValue: return TermValue(values, weights), with one "
            "value and one weight for each item"
        )
    for what, tensor in (("values", value.values), ("weights", value.weights)):
        if not isinstance(tensor, Tensor) or tensor.ndim != 1 or not tensor.is_floating_point():
            raise RunError(
                f"the term '{name}' returned {what} that are {_shown(tensor)}: one number for each item is needed, a "
                "floating-point tensor of shape (K,), not their sum or mean"
            )
    count = value.values.shape[0]
    if value.weights.shape[0] != count:
        raise RunError(f"the term '{name}' returned {count} values and {value.weights.shape[0]} weights")
    if items is not None and count != items:
        raise RunError(f"the term '{name}' returned {count} values for {items} estimates: one for each is needed")
    frame = value.frame
    if frame is not None and (not isinstance(frame, Tensor) or frame.shape != (count,) or frame.dtype != torch.int64):
        raise RunError(
            f"the term '{name}' returned frames that are {_shown(frame)}: int64 of shape ({count},) is needed"
        )


class Given:
    """A copy of a term's inputs before the call. It reads values, so it is too slow for every step.

    Args:
        fit: the term's input.
    """

    def __init__(self, fit: Fit) -> None:
        self._fit = fit
        self._before = {name: (value, value._version, value.detach().clone()) for name, value in _tensors(fit)}

    def check(self, name: str, value: TermValue, moves: bool) -> None:
        """Check a term's values, and that the inputs are unchanged.

        Args:
            name: name of the term.
            value: the term's result, in the right form.
            moves: whether the term needs a gradient: its weight isn't 0.

        Raises:
            RunError: a weight is negative or not finite, no value has a gradient, or the term changed an input in
            place.
        """
        for what, (tensor, version, kept) in self._before.items():
            if tensor._version != version or not torch.equal(tensor.detach().nan_to_num(), kept.nan_to_num()):
                raise RunError(f"the term '{name}' changes its input {what} in place: other terms read it, too")
        weights = value.weights.detach()
        if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
            worst = weights[~(torch.isfinite(weights) & (weights >= 0))][0]
            raise RunError(f"the term '{name}' returned a weight of {float(worst):g}: weights are finite and >= 0")
        followed = [e.points.requires_grad for e in (self._fit.real, self._fit.synthetic) if e is not None]
        if moves and any(followed) and bool((weights > 0).any()) and not value.values.requires_grad:
            raise RunError(
                f"the term '{name}' returned values without a gradient: it can't move the network. Keep .detach(), "
                ".item() and torch.no_grad() away from what leads from the points to the values, or set its weight to 0"
            )


def _tensors(fit: Fit) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a fit, by name: images, estimates, and the results computed so far."""
    for what in ("frames", "samples", "real", "synthetic", "target"):
        record = getattr(fit, what)
        if record is not None:
            for field in dataclasses.fields(record):
                value = getattr(record, field.name)
                if isinstance(value, Tensor):
                    yield f"{what}.{field.name}", value
    for number, tensor in enumerate(fit.computed()):
        yield f"(shared result {number})", tensor


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
    return "None" if value is None else f"a {type(value).__name__}"
