"""Keeps a run's training state: weights before and after each stage, and checkpoints of the current stage."""

from __future__ import annotations

import shutil
import time
import warnings
from pathlib import Path

from pydantic import ValidationError

from hpf_core.engine.distributed import World
from hpf_core.engine.train import StageTrainer
from hpf_core.errors import DataError, RunError
from hpf_core.inference.build import Parts
from hpf_core.recipe import Resolved
from hpf_core.runs import checkpoint as files
from hpf_core.runs.folder import RunFolder

_KEPT_CHECKPOINTS = 2


class ResumeWarning(UserWarning):
    """The run doesn't resume from its last checkpoint."""


class Clock:
    """Seconds and images of a stage, summed over all its resumes."""

    def __init__(self, seconds: float = 0.0, images: int = 0) -> None:
        self._before = seconds
        self._began = time.perf_counter()
        self.images = images

    def count(self, images: int) -> None:
        """Add a number of images."""
        self.images += images

    def seconds(self) -> float:
        """Seconds so far."""
        return round(self._before + time.perf_counter() - self._began, 3)

    def rate(self) -> float:
        """Images per second."""
        return round(self.images / max(self.seconds(), 1e-9), 2)


class Keeper:
    """Writes and reads a run's weights. With several processes rank 0 writes, and all read.

    Args:
        resolved: the recipe.
        parts: its parts; `parts.backbone` is read and written in place.
        folder: the folder of the run.
        world: the processes.
    """

    def __init__(self, resolved: Resolved, parts: Parts, folder: RunFolder, world: World) -> None:
        self._resolved, self._parts, self._folder, self._world = resolved, parts, folder, world

    def load(self, path: Path) -> files.Checkpoint:
        """Put the run's own weights into the network.

        Raises:
            RunError: the weights are damaged.
        """
        try:
            checkpoint = files.read(path)
            files.load_model(self._parts.backbone, checkpoint, path)
        except DataError as error:
            raise RunError(f"{error}. Delete it and resume: its stage is trained again") from error
        return checkpoint

    def save(self, path: Path, stage: str, step: int, clock: Clock | None = None) -> None:
        """Write the network's weights with their metadata."""
        recipe, backbone = self._resolved.recipe, self._resolved.backbone
        about = {
            "kind": "weights",
            "stage": stage,
            "step": step,
            "recipe": recipe.name,
            "seed": recipe.seed,
            "backbone": files.options_of(backbone.spec.name, backbone.config),
            "grid": recipe.grid.model_dump(),
            "hand": self._resolved.hand.spec.name,
            "seconds": clock.seconds() if clock else 0.0,
            "images_per_second": clock.rate() if clock else 0.0,
        }
        files.save(path, files.model_tensors(self._parts.backbone), about)

    def checkpoint(self, trainer: StageTrainer, step: int, clock: Clock) -> Path:
        """Write a checkpoint for `restore`, and delete older ones. Returns the path."""
        stage = trainer.plan.name
        path = self._folder.checkpoint(stage, step)
        about = {
            "kind": "checkpoint",
            "stage": stage,
            "step": step,
            "seconds": clock.seconds(),
            "images": clock.images,
            "optimised": files.optimised(trainer.optimiser),
        }
        files.save(path, trainer.tensors(), about)
        for old in self._folder.checkpoints(stage)[:-_KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)
        return path

    def restore(self, trainer: StageTrainer, start: Path) -> tuple[int, Clock]:
        """Continue from the stage's last readable checkpoint, or from the weights in `start`.

        Returns the steps so far, and the clock.
        """
        path = self._world.on_rank_zero(lambda: self._last(trainer))
        if path is None:
            self._world.together(lambda: self.load(start))
            trainer.begin()
            return 0, Clock()
        return self._world.together(lambda: _restored(path, trainer))

    def _last(self, trainer: StageTrainer) -> Path | None:
        """The last readable checkpoint; cuts off the metrics after it."""
        stage = trainer.plan.name
        for path in reversed(self._folder.checkpoints(stage)):
            try:
                step, _ = _restored(path, trainer)
            except DataError as error:
                text = f"{error}: the run resumes from an earlier checkpoint"
                warnings.warn(text, ResumeWarning, stacklevel=2)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
                continue
            self._folder.cut_metrics(stage, step)
            return path
        self._folder.cut_metrics(stage, 0)
        return None


def _restored(path: Path, trainer: StageTrainer) -> tuple[int, Clock]:
    """Load a checkpoint into the trainer; on a mismatch (DataError) the trainer stays unchanged."""
    checkpoint = files.read(path)
    plan = trainer.plan
    try:
        about = files.CheckpointAbout.model_validate(checkpoint.about)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DataError(f"{path}: not a checkpoint: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if not checkpoint.has_checksum:
        raise DataError(f"{path}: this checkpoint has no checksum")
    if about.stage != plan.name or not 1 <= about.step < plan.steps:
        raise DataError(
            f"{path}: this checkpoint is of step {about.step} of stage {about.stage!r}; one of steps 1 to "
            f"{plan.steps - 1} of '{plan.name}' was expected"
        )
    trainer.restore(checkpoint, path, about.optimised)
    return about.step, Clock(about.seconds, about.images)
