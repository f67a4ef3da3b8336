"""A resolved recipe as plain data: with every default filled in, as a run's folder keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpf_core.interfaces import Config
from hpf_core.recipe.models import Recipe, Stage
from hpf_core.recipe.parts import Parts
from hpf_core.recipe.resolved import Part, StagePlan, TermPart


def document(
    recipe: Recipe,
    name: str,
    init: str | None,
    parts: Parts,
    plans: Sequence[StagePlan],
    terms: Mapping[str, Any],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """The recipe that runs the same again.

    Args:
        recipe: the recipe as it was checked.
        name: its name, where it has none of its own.
        init: where the weights come from, a file by its absolute path.
        parts: the plugins and their options.
        plans: the stages.
        terms: the terms by name, as `dumped_terms` and `TermTable.switched_off` write them.
        versions: of the packages that it rests on.
    """
    return {
        "name": recipe.name or name,
        "seed": recipe.seed,
        "hand": _dumped(parts.hand),
        "renderer": _dumped(parts.renderer),
        "backbone": _dumped(parts.backbone),
        "grid": recipe.grid.model_dump(),
        "init": init,
        "data": {
            "real": _dumped(parts.real),
            "synthetic": _dumped(parts.synthetic),
        },
        "transforms": [_dumped(transform) for transform in parts.transforms],
        "observers": [_dumped(observer) for observer in parts.observers],
        "stages": {plan.name: _dumped_stage(plan) for plan in plans},
        "terms": dict(terms),
        "evaluate": recipe.evaluate
        and recipe.evaluate.model_dump() | {"refiners": [_dumped(refiner) for refiner in parts.refiners]},
        "log": recipe.log.model_dump(),
        "runtime": recipe.runtime.model_dump(),
        "plugins": recipe.plugins,
        "versions": dict(versions),
    }


def dumped_terms(terms: Iterable[TermPart]) -> dict[str, Any]:
    """Terms by name, with weights and options."""
    return {term.name: {"use": term.spec.name, "weight": term.weight, **_options(term.config)} for term in terms}


def _options(config: Config) -> dict[str, Any]:
    # round_trip leaves out computed fields, which the model would not take back.
    return config.model_dump(mode="json", by_alias=True, round_trip=True)


def _dumped(part: Part | None) -> dict[str, Any] | None:
    return None if part is None else {"use": part.name, **_options(part.config)}


def _dumped_stage(plan: StagePlan) -> dict[str, Any]:
    fields = {field: getattr(plan, field) for field in Stage.model_fields if field not in ("draw", "terms")}
    draw = {"real": plan.draw_real, "synthetic": plan.draw_synthetic, "clip": plan.draw_clip}
    return {"draw": draw, **fields, "terms": [term.name for term in plan.terms]}
