"""Shortens all that a recipe trains in proportion, for a look in minutes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_EVERY = ("every", "pictures_every", "checkpoint_every", "gradients_every", "unseen_every")


def scaled(document: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """A resolved recipe's plain data with every length times `scale`, at least 1.

    Lengths are the stages' steps and warm-ups (schedules are fractions of a stage), the option `steps` of terms, by
    which those that are trained beforehand say for how long, and the steps between what is logged. Data and evaluation
    stay as they are.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(document))
    if scale == 1:
        return changed
    for stage in changed["stages"].values():
        stage["steps"] = _shorter(stage["steps"], scale)
        stage["warmup"] = min(round(stage["warmup"] * scale), stage["steps"])
    for term in changed["terms"].values():
        if isinstance(term, dict) and isinstance(term.get("steps"), int):
            term["steps"] = _shorter(term["steps"], scale)
    for name in _EVERY:
        if changed["log"].get(name) is not None:
            changed["log"][name] = _shorter(changed["log"][name], scale)
    return changed


def _shorter(length: int, scale: float) -> int:
    return max(1, round(length * scale))
