"""Plans the stages: selects each stage's terms, and checks that the stage draws and builds what the terms need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpf_core.documents.errors import Problem, Problems, fail
from hpf_core.documents.tree import Path_, canonical
from hpf_core.errors import nearest
from hpf_core.interfaces import PluginSpec
from hpf_core.recipe.models import Recipe, Stage
from hpf_core.recipe.plugins import Part, TermPart, Terms

_IMAGES = ("real", "synthetic")


@dataclass(frozen=True)
class Selection:
    """Selections on the command line besides `--set`: names in canonical spelling.

    Attributes:
        with_terms: terms to add to every suitable stage.
        without_terms: terms to switch off.
        stages: stages to run; all if None.
    """

    with_terms: tuple[str, ...] = ()
    without_terms: tuple[str, ...] = ()
    stages: tuple[str, ...] | None = None


@dataclass(frozen=True)
class StagePlan:
    """A stage in its final form, including a control's inherited values. `models.Stage` explains the fields.

    Attributes:
        name: the stage's name in the recipe.
        steps: optimiser steps.
        draw_real: real frames in a step, over all processes.
        draw_synthetic: synthetic samples in a step, over all processes.
        draw_clip: number of consecutive real frames in one draw.
        lr, weight_decay, schedule, warmup, cooldown, clip_norm: the optimiser's.
        ema: decay of the weights' average, or None.
        control_of: the stage with the same start and synthetic draw, if this stage is its control, or None.
        terms: the active terms, in the order of the recipe; at least one.
        cycle, during: the terms that are active only in a part of each cycle of steps.
    """

    name: str
    steps: int
    draw_real: int
    draw_synthetic: int
    lr: float
    weight_decay: float
    schedule: str
    warmup: int
    cooldown: int
    clip_norm: float | None
    ema: float | None
    control_of: str | None
    terms: tuple[TermPart, ...]
    cycle: int | None = None
    draw_clip: int = 1
    during: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def counts(self, step: int) -> tuple[bool, ...] | None:
        """The active terms of a step, numbered from 0; None if all terms are always active."""
        if not self.during or self.cycle is None:
            return None
        spans = [self.during.get(term.name, (0, self.cycle)) for term in self.terms]
        return tuple(first <= step % self.cycle < end for first, end in spans)


def selected(recipe: Recipe, names: tuple[str, ...] | None) -> dict[str, Stage]:
    """The stages to run, in the recipe's order.

    Raises:
        InvalidRecipe: no stage has a given name, or a control lacks the stage that it controls.
    """
    if names is None:
        return dict(recipe.stages)
    by_name = {canonical(name): name for name in recipe.stages}
    for name in names:
        if name not in by_name:
            fail(f"--stages {name}: the recipe has no such stage", hint=nearest(name, recipe.stages))
    kept = {name: stage for name, stage in recipe.stages.items() if canonical(name) in names}
    for name, stage in kept.items():
        if stage.control_of is not None and stage.control_of not in kept:
            fail(
                f"--stages: {name} is a control of {stage.control_of}, which is not among the stages to run",
                hint=f"Write --stages {stage.control_of},{name}.",
            )
    return kept


@dataclass(frozen=True)
class Planner:
    """The common context of all stage plans.

    Attributes:
        recipe: the checked recipe.
        selection: the command line's selections.
        terms: the terms, on and off.
        backbone: the network, or None if the network has errors.
        inherited_real: controls that inherit their number of real frames.
        problems: receives all errors.
        changes: receives the effects of `--with` and `--without`, in words.
    """

    recipe: Recipe
    selection: Selection
    terms: Terms
    backbone: Part | None
    inherited_real: frozenset[str]
    problems: Problems
    changes: list[str]

    def plan(self, stages: Mapping[str, Stage]) -> tuple[StagePlan, ...]:
        """Plan the stages."""
        listed = {name: self._listed(name, stage) for name, stage in stages.items()}
        for term in self.selection.with_terms:
            self._add(term, stages, listed)
        plans = [self._stage(name, stage, listed[name]) for name, stage in stages.items()]
        for term in self.selection.without_terms:
            where = [name for name, stage in stages.items() if term in map(canonical, stage.terms)]
            self.changes.append(f"{term}: off{_in_stages(where)} (--without)")
        return tuple(plan for plan in plans if plan is not None)

    def _listed(self, name: str, stage: Stage) -> list[str]:
        """The active terms in a stage's own list. Each term's needs are checked."""
        kept: list[str] = []
        seen: set[str] = set()
        for index, written in enumerate(stage.terms):
            term = canonical(written)
            path: Path_ = ("stages", name, "terms", index)
            if term in seen:
                self.problems.add(path, f"{term} is listed twice")
            elif term in self.terms.on:
                unmet = self._unmet(term, stage)
                if unmet:
                    self.problems.add(path, f"{term} {unmet}")
                kept.append(term)
            seen.add(term)
        return kept

    def _unmet(self, term: str, stage: Stage) -> str:
        """The needs of a term that a stage doesn't meet, in words; empty if all are met."""
        needs = _needs(self.terms.on[term].spec)
        for images in _IMAGES:
            if images in needs and getattr(stage.draw, images) == 0:
                return f"needs {images} images, and the stage draws none (draw.{images} is 0)"
        if self.backbone is None:
            return ""
        lacking = needs - set(_IMAGES) - {"points"} - self.backbone.spec.provides
        if not lacking:
            return ""
        provided = ", ".join(sorted({"points", *self.backbone.spec.provides}))
        wanted = " and ".join(repr(field) for field in sorted(lacking))
        return f"needs {wanted}, which the backbone {self.backbone.name} does not provide (it provides {provided})"

    def _add(self, term: str, stages: Mapping[str, Stage], listed: dict[str, list[str]]) -> None:
        """`--with`: add a term to every suitable stage. Controls keep their terms, because they are compared."""
        if term not in self.terms.on:
            return  # the plugin's error is already reported
        was_off = term in self.recipe.terms and self.recipe.terms[term].off
        added: list[str] = []
        reasons: list[str] = []
        for name, stage in stages.items():
            if stage.control_of is not None:
                continue
            unmet = self._unmet(term, stage)
            if term in listed[name] and not was_off:
                reasons.append(f"{term}: in stage {name} already (--with)")
            elif unmet:
                reasons.append(f"{term}: not in stage {name}: it {unmet} (--with)")
            else:
                if term not in listed[name]:
                    listed[name].append(term)
                added.append(name)
        if not added and not any(term in terms for terms in listed.values()):
            lines = "; ".join(reason.removesuffix(" (--with)") for reason in reasons)
            self.problems.found.append(Problem(f"--with {term}: it fits in no stage: {lines}"))
        if added:
            weight = self.terms.on[term].weight
            self.changes.append(f"{term}: on{_in_stages(added)}, weight {weight:g} (--with)")
        self.changes.extend(reasons)

    def _stage(self, name: str, stage: Stage, terms: list[str]) -> StagePlan | None:
        path = ("stages", name)
        real, synthetic = stage.draw.real, stage.draw.synthetic
        parts = tuple(self.terms.on[term] for term in terms)
        if name in self.inherited_real and parts and all(_synthetic_only(part.spec) for part in parts):
            real = 0  # the control's terms use synthetic images only: real ones would be unused
        for kind, count in (("real", real), ("synthetic", synthetic)):
            if count and getattr(self.recipe.data, kind) is None:
                what = f"{count} {kind} {'frames' if kind == 'real' else 'samples'}"
                self.problems.add((*path, "draw", kind), f"draws {what} a step, but the recipe has no data.{kind}")
        if not terms:
            named = [canonical(term) for term in stage.terms]
            if all(term in self.terms.off for term in named):
                gone = [term for term in named if term in self.selection.without_terms]
                by = f" after --without {','.join(gone)}" if gone else ": all of its terms are off"
                hint = f"Leave the stage out by --stages, or keep one of {', '.join(named)}."
                self.problems.add(path, f"no term is left{by}", hint, key=True)
            return None
        same = {key: getattr(stage, key) for key in Stage.model_fields if key not in ("draw", "terms", "during")}
        return StagePlan(
            name=name,
            draw_real=real,
            draw_synthetic=synthetic,
            draw_clip=stage.draw.clip,
            terms=parts,
            during=self._during(name, stage, terms),
            **same,
        )

    def _during(self, name: str, stage: Stage, terms: list[str]) -> dict[str, tuple[int, int]]:
        """The spans of the active terms. A control inherits the spans of terms that the control may lack."""
        named = [canonical(term) for term in stage.terms]
        for written in stage.during:
            if canonical(written) not in named and stage.control_of is None:
                path = ("stages", name, "during", written)
                self.problems.add(path, f"{written} isn't among the stage's terms", nearest(written, named), key=True)
        spans = {canonical(term): span for term, span in stage.during.items() if canonical(term) in terms}
        if stage.cycle is not None and len(spans) == len(terms):
            last = 0
            for first, end in sorted(spans.values()):
                if first > last:
                    break
                last = max(last, end)
            if last < stage.cycle:
                self.problems.add(("stages", name, "during"), f"no term counts in step {last} of each {stage.cycle}")
        return spans


def _needs(spec: PluginSpec) -> frozenset[str]:
    """The needs of a term. Every prior needs estimates of real images (`Energy`), declared or not."""
    return spec.needs | {"real"} if spec.kind == "prior" else spec.needs


def _synthetic_only(spec: PluginSpec) -> bool:
    return "synthetic" in spec.needs and "real" not in _needs(spec)


def _in_stages(names: list[str]) -> str:
    return f" in stage{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""
