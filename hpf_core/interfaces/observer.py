"""Observers: they watch a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Observer:
    """Watches a run and never influences it. Override the methods of interest.

    Events arrive in this order. With several training processes only one sends them:

        run_started
        evaluation_started, evaluated     with `init`, of the weights before the first stage: the stage "init"
        for each stage:
            stage_started
            step_done, picture_drawn, checkpoint_written     over and over, each when it is due, in this order in a step
            stage_ended
            evaluation_started, evaluated     where the recipe evaluates
        run_ended, or run_failed at any moment after run_started

    A resumed run begins with run_started again. Completed stages send no start, step or end. Their evaluations are sent
    again (`evaluated`), without a start. Steps after the last checkpoint are repeated, with their events.

    An exception in an observer becomes one warning with its name and location. The observer receives no further events,
    and the run continues. Only KeyboardInterrupt stops the run. Each observer has its own copy of documents. Calls
    happen between steps, and the run waits for them.
    """

    def run_started(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """A run begins or resumes in a folder; `recipe` is the content of its recipe.yaml."""

    def stage_started(self, stage: str, steps: int, done: int) -> None:
        """A stage begins; of its `steps`, the checkpoint of a resumed run contains `done`."""

    def step_done(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Step `step`, counted from 1, was made and logged.

        Logged steps are every `log.every`-th, those with more measurements, and the last. `metrics` is a row of
        metrics.jsonl: `stage`, `step`, `loss`, `gradient_norm` (of the loss on the weights, before `clip_norm`), `lr`,
        `raw` and `weighted` (for each term that counts in this step: its own value, and its part of the loss),
        `images_per_second` and `images` (of the stage so far). Steps that measure them also have `gradient` (for each
        term the norm of its gradient on the points, None without one) and `unseen_mm` (error on unseen samples, mm);
        for heatmaps also `peak`.
        """

    def picture_drawn(self, stage: str, step: int, path: Path) -> None:
        """A picture of a step, a PNG, is on disk: every `log.pictures_every` steps."""

    def checkpoint_written(self, stage: str, step: int, path: Path) -> None:
        """A checkpoint is on disk. Later ones replace it."""

    def stage_ended(self, stage: str, steps: int, weights: Path) -> None:
        """All steps of a stage are made, and its weights are on disk."""

    def evaluation_started(self, stage: str) -> None:
        """The evaluation of a stage's network begins."""

    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        """The evaluation after a stage has ended; `result` is the content of evaluation/STAGE.json."""

    def run_ended(self, folder: Path, summary: Mapping[str, Any]) -> None:
        """The run is complete, with its figures; `summary` is the content of its summary.json."""

    def run_failed(self, folder: Path, error: BaseException) -> None:
        """The run failed with an error, or the user interrupted it (KeyboardInterrupt)."""
