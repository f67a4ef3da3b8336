"""Plain lines of text at intervals, for the logs of clusters, where nobody sees a progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import Field

from hpf_core.interfaces import Build, Config, Observer, PluginSpec


class ConsoleConfig(Config):
    """Options of `console`."""

    every: int = Field(
        100,
        ge=1,
        description="Steps between lines. Only steps that the run logs are known (the recipe's `log.every`).",
    )


class Console(Observer):
    """Writes steps, ends of stages and failures to standard error, one line each with the time.

    `hpf run` itself prints the run's folder, the start of each stage and the measurements; this observer doesn't repeat
    them.

    Args:
        every: steps between lines.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._steps = 0
        self._first = 0
        self._said = 0
        self._began = 0.0
        self._at = ""

    def stage_started(self, stage: str, steps: int, done: int) -> None:
        """Start the clock for the remaining time."""
        self._steps, self._first, self._said = steps, done, done
        self._began = time.monotonic()
        self._at = f" in stage {stage}, after step {done}"

    def step_done(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Write a line at the first logged step at or after each multiple of `every`, and at the last step."""
        self._at = f" in stage {stage}, after step {step}"
        if step // self.every == self._said // self.every and step < self._steps:
            return
        self._said = step
        terms = "  ".join(f"{name} {value:.3g}" for name, value in metrics["weighted"].items())
        seconds = (time.monotonic() - self._began) / (step - self._first) * (self._steps - step)
        _say(
            f"{stage} {step}/{self._steps}  loss {metrics['loss']:.4g} = {terms}  lr {metrics['lr']:.3g}  "
            f"{metrics['images_per_second']:.0f} img/s  {timedelta(seconds=round(seconds))} left"
        )

    def stage_ended(self, stage: str, steps: int, weights: Path) -> None:
        """Write the duration of the stage."""
        seconds = round(time.monotonic() - self._began)
        _say(f"{stage} ended: {steps - self._first} steps in {timedelta(seconds=seconds)}; weights: {weights}")
        self._at = f" after stage {stage}"

    def run_failed(self, folder: Path, error: BaseException) -> None:
        """Write the run's folder and the reason of the failure."""
        if isinstance(error, KeyboardInterrupt):
            _say(f"stopped{self._at}")
        else:
            _say(f"failed{self._at}: {type(error).__name__}: {error}")


def _say(text: str) -> None:
    """Write a line and flush it: a killed job loses the contents of its buffer."""
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    print(f"{now}  {text}", file=sys.stderr, flush=True)


def build(config: ConsoleConfig, build: Build) -> Console:
    """Build the observer from a recipe's options."""
    return Console(config.every)


SPEC = PluginSpec(
    kind="observer",
    name="console",
    config=ConsoleConfig,
    factory=build,
    summary="A plain line on standard error every N steps, for logs of clusters.",
    source="own work",
)
