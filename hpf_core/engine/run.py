"""A run: its stages in order, each trained, evaluated and written down; resumable at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hpf_core.engine.checkpointer import Clock, Keeper
from hpf_core.engine.deterministic import deterministic
from hpf_core.engine.distributed import ALONE, World, processes
from hpf_core.engine.interrupt import Interrupt
from hpf_core.engine.pictures import StagePictures, run_figures
from hpf_core.engine.train import TRAIN_SPLIT, StageTrainer, StepReport, read, train_frames
from hpf_core.engine.watch import Watchers
from hpf_core.errors import DataError, InputError, RunError, SaidElsewhere, spared
from hpf_core.inference import centring, evaluate, radius_scale, shown_frames, unseen
from hpf_core.inference.build import Parts, build_parts, load_init
from hpf_core.interfaces import Observer
from hpf_core.progress import Progress, no_progress
from hpf_core.recipe import Resolved, StagePlan
from hpf_core.recipe.models import Evaluate
from hpf_core.runs import checkpoint as files
from hpf_core.runs.folder import INIT, RunFolder, check_stages, last_folder, next_folder

_LOOK_SAMPLES = 1000  # unseen synthetic samples that are measured while a stage runs


@dataclass
class Run:
    """One run of a recipe in a folder; by all processes that torchrun started, if it did.

    Args:
        resolved: the recipe, from `hpf_core.recipe.load`.
        out: the run's folder; None for a new runs/NAME-1, -2, ..., or the last of them where it resumes. `execute` puts
            here which one it is.
        resume: continue the run that is in it.
        observers: who watches, beside those that the recipe names.
        progress: told of work outside of the stages (caches, priors, evaluation).
        cache: folder for what is made once; default the user's.

    Attributes:
        was_done: after `execute`, whether there was nothing left to do.
    """

    resolved: Resolved
    out: Path | None = None
    resume: bool = False
    observers: Sequence[Observer] = ()
    progress: Progress = no_progress
    cache: Path | None = None
    was_done: bool = field(default=False, init=False)
    _world: World = field(default=ALONE, init=False)
    _keeper: Keeper = field(init=False)
    _evaluations: list[dict[str, Any]] = field(default_factory=list)
    _stages: list[dict[str, Any]] = field(default_factory=list)

    def execute(self) -> dict[str, Any]:
        """Run all stages; returns what summary.json holds. Of a run that is done, it is returned at once.

        Raises:
            InputError: before any work starts, where something that was given is wrong.
            RunError: where the run can't go on; the last checkpoint stands.
            KeyboardInterrupt: it was stopped; a checkpoint of the last step stands.
        """
        with processes(self.resolved.recipe.runtime.device) as (world, device):
            self._world = world
            return self._execute_on(device)

    def _execute_on(self, device: torch.device) -> dict[str, Any]:
        recipe, world = self.resolved.recipe, self._world
        check_stages(self.resolved)
        name = recipe.name or "run"
        summary = world.first(lambda: self._begun_before(name))
        self.out = world.told(self.out)
        if summary is not None:
            self.was_done = True
            return summary
        if recipe.runtime.threads is not None:
            torch.set_num_threads(recipe.runtime.threads)
        with deterministic(device):
            # Whatever is wrong with the parts or the weights to start from is found before the folder is touched.
            parts = world.together(self._built)
            folder = RunFolder(world.first(lambda: self._begin(name)))
            self.out = folder.root
            world.together(lambda: folder.check_shared(world.rank))
            return self._execute(parts, folder, device)

    def _begun_before(self, name: str) -> dict[str, Any] | None:
        """Find the folder to resume and check the one that is given; the summary of a run that is done already."""
        if self.out is None and self.resume:
            self.out = last_folder(name)
        if self.out is None:
            return None
        RunFolder(self.out).check(self.resolved, self.resume)
        return RunFolder(self.out).ended() if self.resume else None

    def _built(self) -> Parts:
        parts = build_parts(self.resolved, self.cache)
        if self.out is None or not RunFolder(self.out).initial_weights().is_file():
            load_init(self.resolved, parts)
        return parts

    def _begin(self, name: str) -> Path:
        """The run's folder, with what is run in it."""
        out = self.out or next_folder(name)
        RunFolder(out).begin(self.resolved)
        return out

    def _execute(self, parts: Parts, folder: RunFolder, device: torch.device) -> dict[str, Any]:
        names = [part.name for part in self.resolved.observers]
        named = zip(names, parts.observers, strict=True)
        self._keeper = Keeper(self.resolved, parts, folder, self._world)
        watch = Watchers(self.observers, named) if self._world.writes else Watchers([])
        try:
            watch.tell("run_started", folder.root, self.resolved.document())
            self._prepare(parts, folder)
            parts.to(device)
            self._start_weights(parts, folder, watch, device)
            for plan in self.resolved.stages:
                self._stage(plan, parts, folder, device, watch)
            return self._world.first(lambda: self._finish(parts, folder, watch))
        except BaseException as error:
            watch.tell("run_failed", folder.root, error)
            raise

    def _prepare(self, parts: Parts, folder: RunFolder) -> None:
        """Make the caches, and find out before the training whether the data have what it and its end will ask for."""
        world = self._world
        try:
            world.in_turn(lambda: parts.prepare_data(self.progress))
            for plan in self.resolved.stages:
                if plan.draw_real:
                    frames = world.together(partial(train_frames, parts, plan))
                    world.together(partial(self._check_same, frames))
            asked = self.resolved.recipe.evaluate
            if asked is not None and asked.data == "real":
                split = asked.split
                world.first(lambda: evaluate.check(parts, split))
            world.in_turn(lambda: parts.prepare_terms(self.progress))
        except (InputError, SaidElsewhere):
            if not self.resume and world.writes:
                folder.forget()
            raise

    def _check_same(self, frames: int) -> None:
        """Raises DataError where this process' dataset isn't rank 0's."""
        wanted = self._world.told(frames)
        if frames != wanted:
            raise DataError(
                f"rank {self._world.rank} finds {frames} training frames, but rank 0 finds {wanted}: every machine "
                "needs the same data"
            )

    # ------------------------------------------------------------------------------------------------------- stages

    def _start_weights(self, parts: Parts, folder: RunFolder, watch: Watchers, device: torch.device) -> None:
        """Weights before the first stage: the backbone's own, or those that `init` names."""
        path = folder.initial_weights()
        self._world.first(lambda: None if path.is_file() else self._keeper.save(path, INIT, 0))
        if self.resolved.recipe.init is not None:
            self._keeper.load(path)
            self._evaluate(INIT, parts, folder, watch, device)

    def _stage(self, plan: StagePlan, parts: Parts, folder: RunFolder, device: torch.device, watch: Watchers) -> None:
        end = folder.stage_weights(plan.name)
        if not self._world.first(end.is_file):
            self._train(plan, parts, folder, device, watch)
        about = self._world.together(lambda: self._keeper.load(end)).about
        self._stages.append(
            {
                "name": plan.name,
                "steps": plan.steps,
                "control_of": plan.control_of,
                "seconds": about.get("seconds", 0.0),
                "images_per_second": about.get("images_per_second", 0.0),
            }
        )
        self._evaluate(plan.name, parts, folder, watch, device)
        if self._world.writes:
            folder.clear_checkpoints(plan.name)

    def _train(self, plan: StagePlan, parts: Parts, folder: RunFolder, device: torch.device, watch: Watchers) -> None:
        world, runtime = self._world, self.resolved.recipe.runtime
        seed = self.resolved.recipe.seed
        trainer = StageTrainer(parts, plan, seed, device, world, runtime.precision, runtime.compile)
        if plan.draw_real and centring.is_asked_for(parts):
            self._centre(plan, parts, folder, device)
        if plan.draw_real and parts.renderer.measures_radius_scale:
            self._keeper.load(folder.stage_weights(self._start_of(plan)))
            trainer.radius_scale = world.first(
                lambda: radius_scale.measure(parts, TRAIN_SPLIT, device, self.progress).cpu()
            )
        done, clock = self._keeper.restore(trainer, folder.stage_weights(self._start_of(plan)))
        pictures = StagePictures(folder.figures, plan.name, parts, self.resolved.recipe.log.pictures_every)
        watch.tell("stage_started", plan.name, plan.steps, done)
        asked = 0
        with Interrupt(patient=not world.alone) as interrupt:
            for report in trainer.steps(done, self.resolved.recipe.log.gradients_every):
                # One process may be stopped: all stop after the same step.
                images, asked = world.count(report.images, interrupt.asked)
                clock.count(images)
                self._record(report, trainer, folder, clock, watch)
                picture = pictures.look(report) if world.writes else None
                if picture is not None:
                    watch.tell("picture_drawn", plan.name, report.step, picture)
                asked = asked or (world.alone and interrupt.asked)  # meanwhile
                if report.step < plan.steps and (self._is_due(report.step) or asked):
                    trainer.check_finite(report.step - 1)
                    if world.writes:
                        kept = self._keeper.checkpoint(trainer, report.step, clock)
                        watch.tell("checkpoint_written", plan.name, report.step, kept)
                    if asked:
                        raise KeyboardInterrupt
            trainer.check_finite(plan.steps - 1)
            if world.writes:
                self._keeper.save(folder.stage_weights(plan.name), plan.name, plan.steps, clock)
            world.first(lambda: None)  # until they stand
            watch.tell("stage_ended", plan.name, plan.steps, folder.stage_weights(plan.name))
            if asked:  # in the last step
                raise KeyboardInterrupt

    def _centre(self, plan: StagePlan, parts: Parts, folder: RunFolder, device: torch.device) -> None:
        """Crop the stage's frames where the weights that it starts from see the hand: found once, then kept."""
        self._keeper.load(folder.stage_weights(self._start_of(plan)))
        path = folder.centres(plan.name)

        def found() -> None:
            if path.is_file() and centring.put_back(parts, TRAIN_SPLIT, path):
                return
            centres = centring.refine(parts, TRAIN_SPLIT, device, progress=self.progress)
            centring.keep(path, centres, plan.name, TRAIN_SPLIT)

        self._world.first(found)
        self._world.together(lambda: None if self._world.writes else self._centre_as_kept(parts, path))

    @staticmethod
    def _centre_as_kept(parts: Parts, path: Path) -> None:
        if not centring.put_back(parts, TRAIN_SPLIT, path):
            raise RunError(f"{path} isn't what rank 0 wrote: all processes need to see the same folder")

    def _is_due(self, step: int) -> bool:
        return step % self.resolved.recipe.log.checkpoint_every == 0

    def _record(
        self, report: StepReport, trainer: StageTrainer, folder: RunFolder, clock: Clock, watch: Watchers
    ) -> None:
        """A row of metrics.jsonl, now and then: reading values back makes a GPU wait."""
        plan, log = trainer.plan, self.resolved.recipe.log
        looks = log.unseen_every is not None and report.step % log.unseen_every == 0
        if report.step % log.every and report.gradients is None and not looks and report.step < plan.steps:
            return
        trainer.check_finite(report.step - 1)
        if not self._world.writes:
            return
        row = read(report, trainer.energy.names, trainer.energy.weight, trainer.rate(report.step - 1))
        row = {"stage": plan.name, **row, "images_per_second": clock.rate(), "images": clock.images}
        if looks:
            row["unseen_mm"] = unseen.evaluate(trainer.parts, trainer.device, _LOOK_SAMPLES).measured.mean
        folder.append_metrics(row)
        watch.tell("step_done", plan.name, report.step, row)

    def _start_of(self, plan: StagePlan) -> str:
        """The stage whose weights a stage starts from; a control starts where its partner did, and feeds no one."""
        chain = INIT
        for other in self.resolved.stages:
            if other.name == (plan.control_of or plan.name):
                return chain
            if other.control_of is None:
                chain = other.name
        raise AssertionError(f"stage {plan.name} isn't in the recipe")

    # -------------------------------------------------------------------------------------------------- evaluation

    def _evaluate(self, stage: str, parts: Parts, folder: RunFolder, watch: Watchers, device: torch.device) -> None:
        """Measure on rank 0, in float32 and all of it: what is measured doesn't depend on how many processes train."""
        self._world.first(lambda: self._evaluate_here(stage, parts, folder, watch, device))

    def _evaluate_here(
        self, stage: str, parts: Parts, folder: RunFolder, watch: Watchers, device: torch.device
    ) -> None:
        plan = self.resolved.recipe.evaluate
        if plan is None:
            return
        document = folder.evaluated(stage)
        if document is None:
            watch.tell("evaluation_started", stage)
            found, about = self._measure(plan, parts, device)
            document = {"after": stage, **about, **found.document()}
            if plan.data == "real" and document["left_out"]:
                document["left_out_list"] = self._list_left_out(plan, parts, folder)
            files.save(folder.predictions(stage), found.tensors(), {"after": stage})
            folder.write_json(folder.evaluation(stage), document)
            folder.frames(stage).unlink(missing_ok=True)  # of what was measured before
        self._evaluations.append(document)
        self._keep_frames(stage, plan, parts, folder)
        watch.tell("evaluated", stage, document)

    def _list_left_out(self, plan: Evaluate, parts: Parts, folder: RunFolder) -> str:
        """Write which frames aren't measured, and why; returns the name of the list in the run's folder."""
        assert parts.real is not None
        reasons = list(parts.real.left_out(plan.split))
        folder.write_json(folder.left_out, {"split": plan.split, "left_out": reasons})
        return folder.left_out.name

    def _keep_frames(self, stage: str, plan: Evaluate, parts: Parts, folder: RunFolder) -> None:
        """What the report will show of a stage that is no control. Without it, the run is as good."""
        controls = {s.name for s in self.resolved.stages if s.control_of is not None}
        if stage in controls or folder.frames(stage).is_file():
            return
        with spared("frames for the report"):
            split = plan.split if plan.data == "real" else None
            shown_frames.keep(folder, parts, split, str(self._evaluations[0]["after"]), stage)

    def _measure(self, plan: Evaluate, parts: Parts, device: torch.device) -> tuple[evaluate.Evaluated, dict[str, Any]]:
        """What the recipe says is measured, and of what it is."""
        if plan.data == "synthetic":
            assert self.resolved.synthetic is not None
            found = unseen.evaluate(parts, device, plan.limit or unseen.SAMPLES, self.progress)
            name = self.resolved.synthetic.name
            return found, {"data": name, "simulated": True, "split": unseen.SPLIT, "centre": unseen.CENTRE}
        assert self.resolved.real is not None
        assert parts.real is not None
        found = evaluate.evaluate(parts, plan.split, device, plan.limit, plan.batch, self.progress)
        return found, {
            "data": self.resolved.real.name,
            "simulated": parts.real.simulated,
            "split": plan.split,
            "centre": parts.real.protocol.centre,
            "left_out": len(parts.real.left_out(plan.split)),
        }

    def _finish(self, parts: Parts, folder: RunFolder, watch: Watchers) -> dict[str, Any]:
        last = files.read(folder.stage_weights([s.name for s in self.resolved.stages if s.control_of is None][-1]))
        # Without the times, so that the same weights are the same file.
        about = {k: v for k, v in last.about.items() if k not in ("seconds", "images_per_second")}
        files.save(folder.weights, last.tensors, about)
        summary = {
            "recipe": self.resolved.recipe.name,
            "seed": self.resolved.recipe.seed,
            "changes": folder.changes(),
            "stages": self._stages,
            "evaluation": self._evaluations,
        }
        run_figures(folder, parts, self.resolved, self._evaluations)
        folder.write_json(folder.summary, summary)
        with spared("report"):
            # Here, for the report reads what a run leaves and so stands on this package.
            from hpf_core.report import write_report

            write_report(folder.root)
        watch.tell("run_ended", folder.root, summary)
        return summary
