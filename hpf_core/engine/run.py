"""A run: its stages in order, each trained, evaluated and written down; resumable at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from hpf_core.cache import write_atomic
from hpf_core.engine import checkpoint as files
from hpf_core.engine.build import Parts, build_parts, choose_device
from hpf_core.engine.folder import RunFolder
from hpf_core.engine.interrupt import Interrupt
from hpf_core.engine.measure import evaluate
from hpf_core.engine.pictures import StagePictures, run_figures
from hpf_core.engine.train import StageTrainer, StepReport, read
from hpf_core.engine.watch import Watchers
from hpf_core.errors import InputError, RunError
from hpf_core.interfaces import Observer, Progress, no_progress
from hpf_core.recipe import Resolved, StagePlan

_KEPT_CHECKPOINTS = 2


@dataclass
class Run:
    """One run of a recipe in a folder.

    Args:
        resolved: the recipe, from `hpf_core.recipe.load`.
        out: the run's folder.
        resume: continue the run that is in it.
        observers: who watches, beside those that the recipe names.
        progress: told of work outside of the stages (caches, priors, evaluation).
        cache: folder for what is made once; default the user's.
    """

    resolved: Resolved
    out: Path
    resume: bool = False
    observers: Sequence[Observer] = ()
    progress: Progress = no_progress
    cache: Path | None = None
    _evaluations: list[dict[str, Any]] = field(default_factory=list)
    _stages: list[dict[str, Any]] = field(default_factory=list)

    def execute(self) -> dict[str, Any]:
        """Run all stages; returns what summary.json holds.

        Raises:
            InputError: before any work starts, where something that was given is wrong.
            RunError: where the run can't go on; the last checkpoint stands.
            KeyboardInterrupt: it was stopped; a checkpoint of the last step stands.
        """
        recipe = self.resolved.recipe
        device = choose_device(recipe.runtime.device)
        if recipe.runtime.threads is not None:
            torch.set_num_threads(recipe.runtime.threads)
        # Whatever is wrong with the parts or their data is found before the folder is touched.
        parts = build_parts(self.resolved, self.cache)
        folder = RunFolder(self.out)
        folder.begin(self.resolved, self.resume)
        watch = Watchers([*self.observers, *parts.observers])
        watch.tell("run_started", self.out, self.resolved.document())
        try:
            parts.prepare(self.progress)
            parts.to(device)
            self._start_weights(parts, folder, watch, device)
            for plan in self.resolved.stages:
                self._stage(plan, parts, folder, device, watch)
            return self._finish(parts, folder, watch)
        except BaseException as error:
            watch.tell("run_failed", self.out, error)
            raise

    # ------------------------------------------------------------------------------------------------------- stages

    def _start_weights(self, parts: Parts, folder: RunFolder, watch: Watchers, device: torch.device) -> None:
        """Weights before the first stage: the backbone's own, or those that `init` names."""
        path = folder.initial_weights()
        init = self.resolved.recipe.init
        if not path.is_file():
            if init is not None:
                source = Path(init)
                files.load_model(parts.backbone, files.read(source), source)
            self._save_weights(parts, path, "init", 0)
        if init is not None:
            files.load_model(parts.backbone, files.read(path), path)
            self._evaluate("init", parts, folder, watch, device)

    def _stage(self, plan: StagePlan, parts: Parts, folder: RunFolder, device: torch.device, watch: Watchers) -> None:
        end = folder.stage_weights(plan.name)
        if not end.is_file():
            self._train(plan, parts, folder, device, watch)
        checkpoint = files.read(end)
        files.load_model(parts.backbone, checkpoint, end)
        self._stages.append(
            {
                "name": plan.name,
                "steps": plan.steps,
                "control_of": plan.control_of,
                "seconds": checkpoint.about["seconds"],
                "images_per_second": checkpoint.about["images_per_second"],
            }
        )
        self._evaluate(plan.name, parts, folder, watch, device)
        for path in folder.checkpoints(plan.name):
            path.unlink(missing_ok=True)

    def _train(self, plan: StagePlan, parts: Parts, folder: RunFolder, device: torch.device, watch: Watchers) -> None:
        start = folder.stage_weights(self._start_of(plan))
        files.load_model(parts.backbone, files.read(start), start)
        trainer = StageTrainer(parts, plan, self.resolved.recipe.seed, device)
        done, seconds, images = self._restore(plan, trainer, folder)
        pictures = StagePictures(folder.figures, plan.name, parts, self.resolved.recipe.log.pictures_every)
        watch.tell("stage_started", plan.name, plan.steps, done)
        clock = _Clock(seconds, images)
        with Interrupt() as interrupt:
            for report in trainer.steps(done, self.resolved.recipe.log.gradients_every):
                clock.count(report.images)
                self._record(report, trainer, folder, clock, watch)
                pictures.look(report)
                if report.step < plan.steps and (self._is_due(report.step) or interrupt.asked):
                    trainer.check_finite(report.step - 1)
                    self._checkpoint(plan, trainer, folder, report.step, clock, watch)
                    if interrupt.asked:
                        raise KeyboardInterrupt
        trainer.check_finite(plan.steps - 1)
        self._save_weights(parts, folder.stage_weights(plan.name), plan.name, plan.steps, clock)

    def _is_due(self, step: int) -> bool:
        return step % self.resolved.recipe.log.checkpoint_every == 0

    def _record(
        self, report: StepReport, trainer: StageTrainer, folder: RunFolder, clock: _Clock, watch: Watchers
    ) -> None:
        """A row of metrics.jsonl, now and then: reading values back makes a GPU wait."""
        plan = trainer.plan
        if report.step % self.resolved.recipe.log.every and report.gradients is None and report.step < plan.steps:
            return
        row = read(report, trainer.energy.names, trainer.energy.weight, trainer.rate(report.step - 1))
        trainer.check_finite(report.step - 1)
        row = {"stage": plan.name, **row, "images_per_second": clock.rate()}
        folder.append_metrics(row)
        watch.tell("step_done", plan.name, report.step, row)

    def _start_of(self, plan: StagePlan) -> str:
        """The stage whose weights a stage starts from; a control starts where its partner did, and feeds no one."""
        chain = "init"
        for other in self.resolved.stages:
            if other.name == (plan.control_of or plan.name):
                return chain
            if other.control_of is None:
                chain = other.name
        raise AssertionError(f"stage {plan.name} isn't in the recipe")

    # -------------------------------------------------------------------------------------------------- what is kept

    def _restore(self, plan: StagePlan, trainer: StageTrainer, folder: RunFolder) -> tuple[int, float, int]:
        """Go on from the stage's last checkpoint; returns the steps, seconds and images so far."""
        for path in reversed(folder.checkpoints(plan.name)):
            checkpoint = files.read(path)
            trainer.restore(checkpoint, path)
            about = checkpoint.about
            step = int(str(about["step"]))
            folder.cut_metrics(plan.name, step)
            return step, float(str(about["seconds"])), int(str(about["images"]))
        folder.cut_metrics(plan.name, 0)
        return 0, 0.0, 0

    def _checkpoint(
        self, plan: StagePlan, trainer: StageTrainer, folder: RunFolder, step: int, clock: _Clock, watch: Watchers
    ) -> None:
        path = folder.checkpoint(plan.name, step)
        about = {
            "kind": "checkpoint",
            "stage": plan.name,
            "step": step,
            "seconds": clock.seconds(),
            "images": clock.images,
        }
        files.save(path, trainer.tensors(), about)
        for old in folder.checkpoints(plan.name)[:-_KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)
        watch.tell("checkpoint_written", plan.name, step, path)

    def _save_weights(self, parts: Parts, path: Path, stage: str, step: int, clock: _Clock | None = None) -> None:
        backbone = self.resolved.backbone
        about = {
            "kind": "weights",
            "stage": stage,
            "step": step,
            "recipe": self.resolved.recipe.name,
            "seed": self.resolved.recipe.seed,
            "backbone": {"use": backbone.spec.name, **backbone.config.model_dump(mode="json")},
            "seconds": clock.seconds() if clock else 0.0,
            "images_per_second": clock.rate() if clock else 0.0,
        }
        files.save(path, files.model_tensors(parts.backbone), about)

    # -------------------------------------------------------------------------------------------------- evaluation

    def _evaluate(self, stage: str, parts: Parts, folder: RunFolder, watch: Watchers, device: torch.device) -> None:
        plan = self.resolved.recipe.evaluate
        if plan is None or parts.real is None:
            return
        path = folder.evaluation(stage)
        if not path.is_file():
            found = evaluate(parts, plan.split, device, plan.limit, plan.batch, self.progress)
            document = {
                "after": stage,
                "data": self.resolved.real.name if self.resolved.real else "",
                "simulated": parts.real.simulated,
                "split": plan.split,
                "centre": parts.real.protocol.centre,
                **found.measured.document(),
            }
            arrays = {"points": found.points, "joints": found.joints, "truth": found.truth}
            tensors = {k: torch.from_numpy(v).contiguous() for k, v in arrays.items()}
            write_atomic(folder.predictions(stage), lambda p: save_file(tensors, p))
            folder.write_json(path, document)
        document = _load_json(path)
        self._evaluations.append(document)
        watch.tell("evaluated", stage, document)

    def _finish(self, parts: Parts, folder: RunFolder, watch: Watchers) -> dict[str, Any]:
        trained = [s.name for s in self.resolved.stages if s.control_of is None]
        if trained:
            last = files.read(folder.stage_weights(trained[-1]))
            files.save(folder.weights, last.tensors, last.about)
        summary = {
            "recipe": self.resolved.recipe.name,
            "seed": self.resolved.recipe.seed,
            "changes": list(self.resolved.changes),
            "stages": self._stages,
            "evaluation": self._evaluations,
        }
        run_figures(folder, parts, self.resolved, self._evaluations)
        folder.write_json(folder.summary, summary)
        watch.tell("run_ended", self.out, summary)
        return summary


class _Clock:
    """Seconds and images of a stage, over all the times that it was resumed."""

    def __init__(self, seconds: float, images: int) -> None:
        self._before = seconds
        self._began = time.perf_counter()
        self.images = images

    def count(self, images: int) -> None:
        self.images += images

    def seconds(self) -> float:
        return round(self._before + time.perf_counter() - self._began, 3)

    def rate(self) -> float:
        return round(self.images / max(self.seconds(), 1e-9), 2)


def _load_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); delete it and resume, it will be measured again") from error


def next_folder(name: str, root: Path = Path("runs")) -> Path:
    """The folder of a new run where no --out is given: runs/NAME-1, runs/NAME-2, ..."""
    number = 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"


def last_folder(name: str, root: Path = Path("runs")) -> Path:
    """The newest run of a recipe, to resume without --out.

    Raises:
        InputError: there is none.
    """
    numbers = [int(p.name.rsplit("-", 1)[1]) for p in _numbered(name, root)]
    if not numbers:
        raise InputError(f"there is no run of '{name}' in {root}/ to resume; give its folder with --out")
    return root / f"{name}-{max(numbers)}"


def _numbered(name: str, root: Path) -> Iterator[Path]:
    for path in root.glob(f"{name}-*"):
        if path.name.removeprefix(f"{name}-").isdigit():
            yield path
