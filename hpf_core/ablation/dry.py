"""Dry run of an ablation: lists its runs, their numbers of images, and estimated hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpf_core.ablation import shared, variants
from hpf_core.ablation.plan import Job, Plan
from hpf_core.engine.dry_run import estimate
from hpf_core.errors import HPFError
from hpf_core.files.cache import content_key
from hpf_core.plugins import PluginHost
from hpf_core.progress import Progress, no_progress
from hpf_core.recipe import Resolved, StagePlan
from hpf_core.runs.folder import RunFolder


@dataclass(frozen=True)
class Forecast:
    """The cost of a run.

    Attributes:
        name: the variant with its seed, or the shared pretraining with its key.
        state: "done", "begun", "to do", or "can't run: ..." with the reason.
        stages: names of the stages in this run itself.
        images: number of depth maps through the network in these stages, each view counted.
        hours: time of these stages' steps at the measured rate, with placeholders for real frames.
    """

    name: str
    state: str
    stages: tuple[str, ...] = ()
    images: int = 0
    hours: float = 0.0

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "run": self.name,
            "state": self.state,
            "stages": list(self.stages),
            "images": self.images,
            "hours": round(self.hours, 3),
        }


@dataclass
class _Rates:
    """Images per step and per second. Stages with the same cost share one measurement."""

    progress: Progress
    known: dict[str, tuple[int, float]] = field(default_factory=dict)

    def of(self, resolved: Resolved, plan: StagePlan) -> tuple[int, float]:
        document = resolved.document()
        parts = ("hand", "renderer", "backbone", "grid", "transforms", "runtime")
        key = content_key(
            {name: document[name] for name in parts}
            | {"synthetic": document["data"]["synthetic"], "draw": document["stages"][plan.name]["draw"]}
            | {"terms": {term.name: document["terms"][term.name] for term in plan.terms}}
        )
        if key not in self.known:
            # Placeholders replace the real frames: a dry run doesn't need the dataset.
            (row,) = estimate(replace(resolved, stages=(plan,), real=None), self.progress)
            self.known[key] = (row.images_per_step, row.images_per_second)
        return self.known[key]


def forecast(plan: Plan, jobs: Sequence[Job], host: PluginHost, progress: Progress = no_progress) -> list[Forecast]:
    """List each shared pretraining before the runs that need it. Writes nothing except priors' caches."""
    rates = _Rates(progress)
    found: list[Forecast] = []
    planned: set[str] = set()
    for job in jobs:
        try:
            resolved = variants.resolve(
                job.variant, plan.base, seed=job.seed, sets=plan.sets, scale=plan.scale, host=host
            )  # fmt: skip
            out = plan.run_folder(job)
            own = list(resolved.stages)
            part = shared.pretraining(resolved, host)
            done = RunFolder(out).ended() is not None
            if part is not None:
                own = [stage for stage in own if stage.name not in part.stages]
                if part.key not in planned and not done and not shared.is_taken_over(part, out):
                    planned.add(part.key)
                    folder = plan.shared / part.key
                    found.append(_cost(f"shared pretraining {part.key}", part.resolved, part.resolved.stages,
                                       _state(RunFolder(folder)), rates))  # fmt: skip
            found.append(_cost(str(job), resolved, own, _state(RunFolder(out)), rates))
        except HPFError as error:
            found.append(Forecast(str(job), f"can't run: {error}"))
    return found


def _state(folder: RunFolder) -> str:
    if folder.ended() is not None:
        return "done"
    return "begun" if folder.recipe.is_file() else "to do"


def _cost(name: str, resolved: Resolved, stages: Sequence[StagePlan], state: str, rates: _Rates) -> Forecast:
    names = tuple(stage.name for stage in stages)
    if state == "done":
        return Forecast(name, state, names)
    images, hours = 0, 0.0
    for stage in stages:
        each, rate = rates.of(resolved, stage)
        images += each * stage.steps
        hours += each * stage.steps / rate / 3600
    return Forecast(name, state, names, images, hours)
