"""The shared state of a run's steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from hpf_core.engine.checkpointer import Keeper
from hpf_core.engine.distributed import World
from hpf_core.engine.watch import Watchers
from hpf_core.inference.build import Parts
from hpf_core.progress import Progress
from hpf_core.recipe import Resolved, StagePlan
from hpf_core.runs.folder import INIT, RunFolder


@dataclass(frozen=True)
class Context:
    """A run in progress.

    Attributes:
        resolved: the recipe.
        parts: its parts, built, on the device.
        folder: the folder of the run.
        world: the processes of the run; rank 0 writes.
        device: this process' device.
        watch: the observers.
        progress: called during work outside of the stages, and after each step with the stage's name.
        keeper: writes and reads weights and checkpoints.
        stages, evaluations: the entries of summary.json so far.
    """

    resolved: Resolved
    parts: Parts
    folder: RunFolder
    world: World
    device: torch.device
    watch: Watchers
    progress: Progress
    keeper: Keeper
    stages: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    def start_of(self, plan: StagePlan) -> str:
        """The stage whose weights a stage starts from. A control starts where its stage does, and no stage starts from
        it."""
        chain = INIT
        for other in self.resolved.stages:
            if other.name == (plan.control_of or plan.name):
                return chain
            if other.control_of is None:
                chain = other.name
        raise AssertionError(f"stage {plan.name} isn't in the recipe")
