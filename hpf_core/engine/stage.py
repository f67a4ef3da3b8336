"""One stage of a run: trains the stage unless its weights exist, then evaluates it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpf_core.engine.checkpointer import Clock
from hpf_core.engine.context import Context
from hpf_core.engine.interrupt import Interrupt
from hpf_core.engine.measure import evaluate_after
from hpf_core.engine.memory import allocations, check_memory
from hpf_core.engine.pictures import StagePictures
from hpf_core.engine.train import TRAIN_SPLIT, StageTrainer, StepReport, read
from hpf_core.errors import RunError
from hpf_core.inference import centring, radius_scale, unseen
from hpf_core.recipe import StagePlan

_UNSEEN_SAMPLES = 1000  # synthetic samples for the measurements during a stage


def run_stage(run: Context, plan: StagePlan) -> None:
    """Train and evaluate a stage, or read its results from before the resume."""
    weights = run.folder.stage_weights(plan.name)
    if not run.world.on_rank_zero(weights.is_file):
        _Training(run, plan).execute()
    about = run.world.together(lambda: run.keeper.load(weights)).about
    run.stages.append(
        {
            "name": plan.name,
            "steps": plan.steps,
            "control_of": plan.control_of,
            "seconds": about.get("seconds", 0.0),
            "images_per_second": about.get("images_per_second", 0.0),
        }
    )
    evaluate_after(run, plan.name)
    if run.world.writes:
        run.folder.clear_checkpoints(plan.name)


@dataclass(frozen=True)
class _Training:
    """The steps of a stage.

    Attributes:
        run: the run.
        plan: the stage.
    """

    run: Context
    plan: StagePlan

    def execute(self) -> None:
        """Make the remaining steps, from the last checkpoint; the stage's weights exist afterwards.

        Raises:
            InputError: a step can't fit in memory.
            RunError: a loss isn't finite, memory ran out, or a file can't be written.
            KeyboardInterrupt: the user stopped the run; a checkpoint of the last step exists.
        """
        run, plan, recipe = self.run, self.plan, self.run.resolved.recipe
        start = run.folder.stage_weights(run.start_of(plan))
        trainer = StageTrainer(
            run.parts, plan, recipe.seed, run.device, run.world, recipe.runtime.precision, recipe.runtime.compile
        )
        precision = recipe.runtime.precision
        run.world.together(lambda: check_memory(plan, run.parts, run.device, run.world.size, precision))
        if plan.draw_real:
            self._fit_to_hands(trainer, start)
        done, clock = run.keeper.restore(trainer, start)
        run.watch.tell("stage_started", plan.name, plan.steps, done)
        with allocations(plan), Interrupt(patient=not run.world.alone) as interrupt:
            stopped = self._steps(trainer, done, clock, interrupt)
            trainer.check_finite(plan.steps - 1)
            if run.world.writes:
                with trainer.averaged():
                    run.keeper.save(run.folder.stage_weights(plan.name), plan.name, plan.steps, clock)
            run.world.on_rank_zero(lambda: None)  # all wait for the file
            run.watch.tell("stage_ended", plan.name, plan.steps, run.folder.stage_weights(plan.name))
            if stopped:
                raise KeyboardInterrupt

    def _steps(self, trainer: StageTrainer, done: int, clock: Clock, interrupt: Interrupt) -> bool:
        """Make the steps after `done`; returns whether the run was stopped in the last step."""
        run, plan, log = self.run, self.plan, self.run.resolved.recipe.log
        pictures = StagePictures(run.folder.figures, plan.name, run.parts, log.pictures_every)
        asked = 0
        for report in trainer.steps(done, log.gradients_every):
            # A signal may reach only one process: all stop after the same step.
            images, asked = run.world.count(report.images, interrupt.asked)
            clock.count(images)
            if run.world.writes:
                run.progress(report.step, plan.steps, plan.name)
            self._record(report, trainer, clock)
            picture = pictures.draw_if_due(report) if run.world.writes else None
            if picture is not None:
                run.watch.tell("picture_drawn", plan.name, report.step, picture)
            asked = asked or (run.world.alone and interrupt.asked)  # a signal may arrive while the step is recorded
            due = report.step % log.checkpoint_every == 0
            if report.step < plan.steps and (due or asked):
                self._checkpoint(trainer, report.step, clock)
                if asked:
                    raise KeyboardInterrupt
        return bool(asked)

    def _checkpoint(self, trainer: StageTrainer, step: int, clock: Clock) -> None:
        trainer.check_finite(step - 1)
        if self.run.world.writes:
            kept = self.run.keeper.checkpoint(trainer, step, clock)
            self.run.watch.tell("checkpoint_written", self.plan.name, step, kept)

    def _record(self, report: StepReport, trainer: StageTrainer, clock: Clock) -> None:
        """Write a row of metrics.jsonl if due: reading values synchronises with a GPU."""
        run, plan, log = self.run, self.plan, self.run.resolved.recipe.log
        measures_unseen = log.unseen_every is not None and report.step % log.unseen_every == 0
        due = report.step % log.every == 0 or report.gradients is not None or report.step == plan.steps
        if not due and not measures_unseen:
            return
        trainer.check_finite(report.step - 1)
        if not run.world.writes:
            return
        row = read(report, trainer.energy.names, trainer.energy.weight, trainer.rate(report.step - 1))
        row = {"stage": plan.name, **row, "images_per_second": clock.rate(), "images": clock.images}
        if measures_unseen:
            with trainer.averaged():
                row["unseen_mm"] = unseen.evaluate(run.parts, run.device, _UNSEEN_SAMPLES).measured.mean
        run.folder.append_metrics(row)
        run.watch.tell("step_done", plan.name, report.step, row)

    # ------------------------------------------------------------------------------- what the stage takes of its start

    def _fit_to_hands(self, trainer: StageTrainer, start: Path) -> None:
        """Centre the stage's crops and measure the hands' radius scale with the stage's initial weights."""
        run = self.run
        if centring.is_asked_for(run.parts):
            run.keeper.load(start)
            self._centre()
        if run.parts.renderer.measures_radius_scale:
            run.keeper.load(start)
            trainer.radius_scale = run.world.on_rank_zero(
                lambda: radius_scale.measure(run.parts, TRAIN_SPLIT, run.device, run.progress).cpu()
            )

    def _centre(self) -> None:
        """Crop the frames around the network's estimate of the hand; the estimated centres are kept."""
        run, path = self.run, self.run.folder.centres(self.plan.name)

        def centre_and_keep() -> None:
            if path.is_file() and centring.put_back(run.parts, TRAIN_SPLIT, path):
                return
            centres = centring.refine(run.parts, TRAIN_SPLIT, run.device, progress=run.progress)
            centring.keep(path, centres, self.plan.name, TRAIN_SPLIT)

        def centre_as_kept() -> None:
            if not run.world.writes and not centring.put_back(run.parts, TRAIN_SPLIT, path):
                raise RunError(f"{path} isn't what rank 0 wrote: all processes need to see the same folder")

        run.world.on_rank_zero(centre_and_keep)
        run.world.together(centre_as_kept)
