"""Shortens all training of a recipe by one factor, for a quick smoke test."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_EVERY = ("every", "pictures_every", "checkpoint_every", "gradients_every", "unseen_every")


def scaled(document: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Multiply every length in a resolved recipe's plain data by `scale`; the minimum is 1.

    Lengths are the stages' steps, warm-ups, cool-downs and cycles (schedules are fractions of a stage). They are also
    the option `steps` of terms that train in advance, and the steps between log entries. Data and evaluation don't
    change.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(document))
    if scale == 1:
        return changed
    for stage in changed["stages"].values():
        stage["steps"] = _shorter(stage["steps"], scale)
        stage["warmup"] = min(round(stage["warmup"] * scale), stage["steps"])
        cooldown = round(stage.get("cooldown", 0) * scale)
        stage["cooldown"] = min(cooldown, stage["steps"] - stage["warmup"])
        _shorten_cycle(stage, scale)
    for term in changed["terms"].values():
        if isinstance(term, dict) and isinstance(term.get("steps"), int):
            term["steps"] = _shorter(term["steps"], scale)
    for name in _EVERY:
        if changed["log"].get(name) is not None:
            changed["log"][name] = _shorter(changed["log"][name], scale)
    return changed


def _shorten_cycle(stage: dict[str, Any], scale: float) -> None:
    """Shorten the terms' parts of a cycle with the cycle, to at least one step: a short stage uses every term."""
    if (whole := stage.get("cycle")) is None:
        return
    cycle = max(2, round(whole * scale))
    stage["cycle"] = cycle
    for name, span in (stage.get("during") or {}).items():
        first, end = (round(step * cycle / whole) for step in span)
        first = min(first, cycle - 1)
        stage["during"][name] = [first, max(end, first + 1)]


def _shorter(length: int, scale: float) -> int:
    return max(1, round(length * scale))
