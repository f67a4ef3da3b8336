"""Checks whether one run's control also serves another run, by the recipes' start, steps and synthetic draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hpf_core.errors import DataError
from hpf_core.runs.documents import read_recipe
from hpf_core.runs.folder import RunFolder

_ALL = ("seed", "hand", "renderer", "backbone", "grid", "init", "transforms", "evaluate", "versions")
"""Recipe keys that must be equal. Real data may differ: a control draws none, and the start's error shows whether both
runs used the same evaluation."""

_STEPS = ("steps", "lr", "weight_decay", "schedule", "warmup", "cooldown", "clip_norm", "ema", "cycle")


def differences(lender: Path, run: Path, stage: str) -> list[str] | None:
    """List the differences that prevent another run's control of `stage` from serving as this run's control.

    Args:
        lender: folder of the run with the control.
        run: folder of the run without a control.
        stage: the last stage that isn't a control. Both runs need the same name, because samples depend on seed, name
            and step.

    Returns:
        Keys of the recipe; empty if the control serves, None if a recipe is unreadable or has no such stage.
    """
    try:
        theirs, ours = _recipe(lender), _recipe(run)
        return list(dict.fromkeys(_different(theirs, ours, stage)))
    except (DataError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None


def draws_real(run: Path, stage: str) -> bool:
    """Whether a stage of a run draws real frames, as fitting does; true if the recipe is unreadable."""
    try:
        return bool(_recipe(run)["stages"][stage]["draw"]["real"])
    except (DataError, ValueError, KeyError, TypeError):
        return True


def _different(theirs: Mapping[str, Any], ours: Mapping[str, Any], stage: str) -> Iterator[str]:
    yield from (name for name in _ALL if theirs.get(name) != ours.get(name))
    if theirs["runtime"]["precision"] != ours["runtime"]["precision"]:
        yield "runtime.precision"
    if theirs["data"].get("synthetic") != ours["data"].get("synthetic"):
        yield "data.synthetic"
    control = next(plan for plan in theirs["stages"].values() if plan.get("control_of") == stage)
    fitted = ours["stages"][stage]
    yield from (f"stages.{stage}.{name}" for name in _STEPS if control.get(name) != fitted.get(name))
    if control["draw"]["synthetic"] != fitted["draw"]["synthetic"]:
        yield f"stages.{stage}.draw.synthetic"
    for term in control["terms"]:
        if term not in fitted["terms"] or control["during"].get(term) != fitted["during"].get(term):
            yield f"stages.{stage}.terms"
        yield from _terms([term], theirs, ours)
    before, here = _before(theirs, stage), _before(ours, stage)
    if list(before.items()) != list(here.items()):
        yield "stages"
    yield from _terms({term for plan in before.values() for term in plan["terms"]}, theirs, ours)


def _before(recipe: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The stages before a stage that provide its weights, in order."""
    found: dict[str, Any] = {}
    for name, plan in recipe["stages"].items():
        if name == stage:
            return found
        if plan.get("control_of") is None:
            found[name] = plan
    raise KeyError(stage)


def _terms(names: Iterable[str], theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(names):
        if theirs["terms"].get(name) != ours["terms"].get(name):
            yield f"terms.{name}"


def _recipe(run: Path) -> dict[str, Any]:
    return read_recipe(RunFolder(run).recipe)
