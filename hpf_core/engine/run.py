"""A run: trains, evaluates and records its stages in order; can be resumed at any time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hpf_core.engine.checkpointer import Keeper
from hpf_core.engine.context import Context
from hpf_core.engine.deterministic import deterministic
from hpf_core.engine.distributed import World, processes
from hpf_core.engine.interrupt import terminable
from hpf_core.engine.measure import evaluate_after
from hpf_core.engine.pictures import run_figures
from hpf_core.engine.stage import run_stage
from hpf_core.engine.threads import fastest_threads
from hpf_core.engine.train import train_frames
from hpf_core.engine.watch import Watchers
from hpf_core.errors import DataError, InputError, SaidElsewhere
from hpf_core.guests import blamed
from hpf_core.inference import evaluate
from hpf_core.inference.build import Parts, build_parts, load_init
from hpf_core.interfaces import Observer
from hpf_core.progress import Progress, no_progress
from hpf_core.recipe import Resolved
from hpf_core.runs import checkpoint as files
from hpf_core.runs.folder import INIT, RunFolder, check_stages, last_folder, next_folder


@dataclass
class Run:
    """One run of a recipe in a folder, by all processes of torchrun or by one.

    The caller writes the run's report: `hpf_core.report.run_and_report`.

    Args:
        resolved: the recipe, from `hpf_core.recipe.load`.
        out: the run's folder; None for a new runs/NAME-1, -2, ..., or for the last of them on resume. `execute` sets
            `out` to the actual folder.
        resume: continue the run in the folder.
        observers: observers besides those of the recipe.
        progress: called during work outside of the stages (caches, priors, evaluation), and after each step.
        cache: folder of the cache; default the user's.

    Attributes:
        was_done: after `execute`, whether the run was already complete.
        writes: after `execute`, whether this process wrote the run's folder: the only process, or rank 0.
    """

    resolved: Resolved
    out: Path | None = None
    resume: bool = False
    observers: Sequence[Observer] = ()
    progress: Progress = no_progress
    cache: Path | None = None
    was_done: bool = field(default=False, init=False)
    writes: bool = field(default=True, init=False)

    def execute(self) -> dict[str, Any]:
        """Run all stages; returns the content of summary.json. For a finished run it returns the summary at once.

        Raises:
            InputError: before any work starts, if an input is wrong or another process uses the folder.
            RunError: if the run can't continue; its last checkpoint exists.
            KeyboardInterrupt: the user stopped the run; a checkpoint of the last step exists.
        """
        recipe = self.resolved.recipe
        with terminable(), processes(recipe.runtime.device) as (world, device):
            self.writes = world.writes
            check_stages(self.resolved)
            summary = world.on_rank_zero(self._find_folder)
            self.out = world.broadcast(self.out)
            if summary is not None:
                self.was_done = True
                return summary
            threads = recipe.runtime.threads or world.broadcast(self._threads_so_far())
            if threads is not None:
                torch.set_num_threads(threads)
            with deterministic(device):
                # This reveals wrong parts or initial weights before any change to the folder.
                parts = world.together(self._build)
                if threads is None and world.alone and device.type == "cpu":
                    torch.set_num_threads(fastest_threads(parts))
                with self._opened_folder(world) as folder:
                    return self._execute_in(folder, parts, world, device)

    # ------------------------------------------------------------------------------------------------ before the stages

    def _find_folder(self) -> dict[str, Any] | None:
        """Find the folder to resume, or check the given one; returns the summary of a finished run."""
        name = self.resolved.recipe.name or "run"
        if self.out is None and self.resume:
            self.out = last_folder(name)
        if self.out is None:
            return None
        folder = RunFolder(self.out)
        folder.check_free()
        folder.check(self.resolved, self.resume)
        return folder.ended() if self.resume else None

    def _threads_so_far(self) -> int | None:
        """The last number of threads of the resumed run: with another number, sums round differently."""
        starts = RunFolder(self.out).read_about().get("starts") if self.resume and self.out is not None else None
        return max(1, starts[-1]["threads"]) if starts else None

    def _build(self) -> Parts:
        parts = build_parts(self.resolved, self.cache)
        if self.out is None or not RunFolder(self.out).initial_weights().is_file():
            load_init(self.resolved, parts)
        return parts

    @contextmanager
    def _opened_folder(self, world: World) -> Iterator[RunFolder]:
        """The run's folder with its recipe; locked against other runs."""
        locks = []

        def start() -> Path:
            folder = RunFolder(self.out or next_folder(self.resolved.recipe.name or "run"))
            locks.append(folder.lock())
            folder.check(self.resolved, self.resume)
            if self.resume:
                folder.remove_temporary_files()
            folder.begin(self.resolved)
            return folder.root

        try:
            folder = RunFolder(world.on_rank_zero(start))
            self.out = folder.root
            world.together(lambda: folder.check_shared(world.rank))
            yield folder
        finally:
            for lock in locks:
                lock.release()

    def _execute_in(self, folder: RunFolder, parts: Parts, world: World, device: torch.device) -> dict[str, Any]:
        names = [part.name for part in self.resolved.observers]
        named = zip(names, parts.observers, strict=True)
        run = Context(
            resolved=self.resolved,
            parts=parts,
            folder=folder,
            world=world,
            device=device,
            watch=Watchers(self.observers, named) if world.writes else Watchers([]),
            progress=self.progress,
            keeper=Keeper(self.resolved, parts, folder, world),
        )
        try:
            run.watch.tell("run_started", folder.root, self.resolved.document())
            with blamed(parts.owners):
                self._prepare(run)
                parts.to(device)
                _start_weights(run)
                for plan in self.resolved.stages:
                    run_stage(run, plan)
                return world.on_rank_zero(lambda: _finish(run))
        except BaseException as error:
            run.watch.tell("run_failed", folder.root, error)
            raise

    def _prepare(self, run: Context) -> None:
        """Fill the caches, and check the data's requirements for training and evaluation before the training."""
        world, parts = run.world, run.parts
        try:
            world.in_turn(lambda: parts.prepare_data(self.progress))
            for plan in self.resolved.stages:
                if plan.draw_real:
                    frames = world.together(partial(train_frames, parts, plan))
                    world.together(partial(_check_same, world, frames))
            asked = self.resolved.recipe.evaluate
            if asked is not None and asked.data == "real":
                split = asked.split
                world.on_rank_zero(lambda: evaluate.check(parts, split))
            world.in_turn(lambda: parts.prepare_terms(self.progress))
        except (InputError, SaidElsewhere):
            if not self.resume and world.writes:
                run.folder.forget()
            raise


def _check_same(world: World, frames: int) -> None:
    """Raise DataError if this process' dataset differs from rank 0's."""
    wanted = world.broadcast(frames)
    if frames != wanted:
        raise DataError(
            f"rank {world.rank} finds {frames} training frames, but rank 0 finds {wanted}: every machine "
            "needs the same data"
        )


# ----------------------------------------------------------------------------------------------- first and last weights


def _start_weights(run: Context) -> None:
    """Keep the weights before the first stage: the backbone's own, or those of `init`."""
    path = run.folder.initial_weights()
    run.world.on_rank_zero(lambda: None if path.is_file() else run.keeper.save(path, INIT, 0))
    if run.resolved.recipe.init is not None:
        run.keeper.load(path)
        evaluate_after(run, INIT)


def _finish(run: Context) -> dict[str, Any]:
    """Write the run's weights, figures and summary."""
    folder, recipe = run.folder, run.resolved.recipe
    last = files.read(folder.stage_weights([s.name for s in run.resolved.stages if s.control_of is None][-1]))
    # Without times, the same weights give the same file.
    about = {k: v for k, v in last.about.items() if k not in ("seconds", "images_per_second")}
    files.save(folder.weights, last.tensors, about)
    summary = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "changes": folder.changes(),
        "stages": run.stages,
        "evaluation": run.evaluations,
    }
    run_figures(folder, run.parts, run.resolved, run.evaluations)
    folder.write_json(folder.summary, summary)
    run.watch.tell("run_ended", folder.root, summary)
    return summary
