"""A recipe that is checked, with every plugin found and every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hpf_core.interfaces import Config, Kind, PluginSpec
from hpf_core.recipe.dump import to_yaml
from hpf_core.recipe.models import Recipe


class Offer(Protocol):
    """What the plugin host knows of a plugin (`hpf_core.plugins.Registered`)."""

    @property
    def spec(self) -> PluginSpec: ...
    @property
    def package(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def preset(self) -> Mapping[str, Any]: ...


class Host(Protocol):
    """What a recipe needs of the plugin host (`hpf_core.plugins.PluginHost`)."""

    def get(self, kind: Kind | tuple[Kind, ...], name: str) -> Offer:
        """The plugin of a name or alias; raises `PluginError` where there is none."""
        ...


@dataclass(frozen=True)
class Part:
    """A plugin and its checked options.

    Attributes:
        name: the plugin's own name, also where the recipe uses an alias.
        spec: its specification.
        config: its options, an instance of `spec.config`.
        package: the distribution that it comes from.
        version: that distribution's version.
    """

    name: str
    spec: PluginSpec
    config: Config
    package: str
    version: str


@dataclass(frozen=True)
class TermPart:
    """A term, its checked options and its weight.

    Attributes:
        name: what the recipe calls it, `_` for `-`: a plugin may be used as two terms.
        spec: its plugin's specification, of a data term or a prior.
        config: its options, an instance of `spec.config`.
        weight: factor of its raw value in the total loss, 1 per unit of the term; > 0.
        package: the distribution that it comes from.
        version: that distribution's version.
    """

    name: str
    spec: PluginSpec
    config: Config
    weight: float
    package: str
    version: str


@dataclass(frozen=True)
class StagePlan:
    """A stage as it is run; what a control inherits is filled in. The fields mean what `models.Stage` says.

    Attributes:
        name: what the recipe calls it.
        steps: optimiser steps.
        draw_real: real frames in a step, over all processes.
        draw_synthetic: synthetic samples in a step, over all processes.
        draw_clip: how many real frames that follow each other are drawn together.
        lr, weight_decay, schedule, warmup, clip_norm: the optimiser's.
        control_of: the stage that this one is a control of, or None.
        terms: the terms that are on, in the order of the recipe; at least one.
        cycle, during: which terms count in a part of each cycle of steps alone.
    """

    name: str
    steps: int
    draw_real: int
    draw_synthetic: int
    lr: float
    weight_decay: float
    schedule: str
    warmup: int
    clip_norm: float | None
    control_of: str | None
    terms: tuple[TermPart, ...]
    cycle: int | None = None
    draw_clip: int = 1
    during: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def counts(self, step: int) -> tuple[bool, ...] | None:
        """Which of the terms count in a step, numbered from 0; None where all of them always do."""
        if not self.during or self.cycle is None:
            return None
        spans = [self.during.get(term.name, (0, self.cycle)) for term in self.terms]
        return tuple(first <= step % self.cycle < end for first, end in spans)


@dataclass(frozen=True)
class Resolved:
    """All that a run needs to know. Two are equal if they run the same.

    Attributes:
        recipe: the whole recipe with the defaults of HPF and of all plugins filled in.
        hand, renderer, backbone: the parts that are always there.
        real, synthetic: the datasets, or None.
        transforms, observers, refiners: in the recipe's order.
        stages: the stages to run, in order.
        changes: what the command line changed, in words.
        notes: what a person should know and is no error, such as an environment variable that is not set.
        sources: the files read, the recipe itself first.
    """

    recipe: Recipe
    hand: Part
    renderer: Part
    backbone: Part
    real: Part | None
    synthetic: Part | None
    transforms: tuple[Part, ...]
    observers: tuple[Part, ...]
    refiners: tuple[Part, ...]
    stages: tuple[StagePlan, ...]
    changes: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    sources: tuple[Path, ...] = field(default=(), compare=False)

    def document(self) -> dict[str, Any]:
        """The recipe as plain data: dicts, lists, texts, numbers."""
        document = self.recipe.model_dump(mode="json", exclude={"extends"})
        for name, use in self.recipe.terms.items():
            if use.off and use.use is None and not use.options:
                document["terms"][name] = "off"
        return document

    def to_yaml(self) -> str:
        """The recipe as a file that can be run again, and then resolves to an equal one."""
        return to_yaml(self.document())
