"""Progress of `hpf run`: bars on a terminal, one line per stage elsewhere, and the tables at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hpf_cli import show
from hpf_core.interfaces import Observer

if TYPE_CHECKING:
    from hpf_core.engine.dry_run import StageEstimate


class _Bars(Progress):
    """One line for each task, and below them the weighted value of each term."""

    terms: Sequence[str] = ()

    def get_renderables(self) -> Iterator[RenderableType]:
        """The lines, from the top."""
        yield self.make_tasks_table(self.tasks)
        if self.terms:
            yield Columns([Text(term, style="dim", no_wrap=True) for term in self.terms], padding=(0, 3))


class Live(Observer):
    """Progress of a run. On a terminal a bar with the loss, each term, images/s and the time left; quiet elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = _Bars(
            TextColumn("{task.description}", markup=False),
            # Gives way first where the terminal is narrow.
            BarColumn(bar_width=None if console.width < 100 else 24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._tenths: dict[str, int] = {}
        self._stage: str | None = None
        self._steps = 0

    def __enter__(self) -> Live:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.terms = ()
        if self._console.is_terminal:  # elsewhere, older versions of rich print an empty line
            self._bar.stop()

    def progress(self, done: int, total: int, what: str, text: str = "") -> None:
        """Work outside of the stages, with a text beside its bar; under `--verbose`, a line for each tenth of it.

        Each step of a stage moves the stage's bar, so that it has a remaining time before the first row of metrics.
        """
        if what == self._stage:
            self._bar.update(self._tasks[what], completed=done)
            return
        self._update(what, done, total, text)
        if what not in self._began:
            self._began[what], self._tenths[what] = time.monotonic(), 10 * done // max(total, 1)
            self._line(what)
        if show.is_verbose() and (tenth := 10 * done // max(total, 1)) > self._tenths[what]:
            self._tenths[what] = tenth
            seconds = time.monotonic() - self._began[what]
            self._print(f"{what}: {done:,} of {total:,} after {seconds:.1f} s{'; ' if text else ''}{text}")
        if done >= total:
            self._bar.remove_task(self._tasks.pop(what))
            del self._began[what], self._tenths[what]

    def run_started(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """Print the run's folder, and the number of threads that a measurement chose."""
        self._print(f"run folder: {folder}")
        if recipe.get("runtime", {}).get("threads") is None:
            import torch

            self._print(f"CPU threads: {torch.get_num_threads()}")

    def stage_started(self, stage: str, steps: int, done: int) -> None:
        """A bar for the stage."""
        self._bar.terms = ()
        self._update(stage, done, steps, "")
        self._line(f"stage {stage}: {steps} steps" + (f", from step {done}" if done else ""))
        self._stage, self._steps = stage, steps

    def stage_ended(self, stage: str, steps: int, weights: Path) -> None:
        """Later work of this name is not a step."""
        self._stage = None

    def step_done(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """The loss, each weighted term, and the rate."""
        self._bar.terms = [f"{name} {value:.3g}" for name, value in metrics["weighted"].items()]
        text = f"loss {metrics['loss']:.4g}  {metrics['images_per_second']:.0f} img/s"
        self._update(stage, step, self._steps, text)
        if show.is_verbose():
            self._print(f"{stage} step {step:,} of {self._steps:,}: {text}  {'  '.join(self._bar.terms)}")

    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        """The mean error after a stage."""
        simulated = " (simulated)" if result.get("simulated") else ""
        count = result.get("left_out", 0)
        left_out = f"; {count} left out because of missing or damaged images" if count else ""
        self._print(
            f"after {stage}: mean error {result['mean_error_mm']:.2f} mm on {result['frames']} frames of "
            f"{result['data']}/{result['split']}{simulated}{left_out}"
        )

    def _update(self, name: str, done: int, total: int, text: str) -> None:
        if name not in self._tasks:
            # With the steps already done: the remaining time follows from the new ones.
            self._tasks[name] = self._bar.add_task(name, total=total, completed=done, text=text)
        self._bar.update(self._tasks[name], completed=done, total=total, text=text)

    def _line(self, text: str) -> None:
        if not self._console.is_terminal:
            self._print(text)

    def _print(self, text: str) -> None:
        # A path that is broken into lines can't be copied.
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """The table that ends a run, on standard output."""
    rows = summary["evaluation"]
    if rows:
        first = rows[0]
        simulated = ", simulated data" if first.get("simulated") else ""
        heading = f"{first['data']}/{first['split']}: {first['frames']} frames, {first['joints']} joints{simulated}"
        table = Table(title=Text(heading), title_justify="left")
        table.add_column("after")
        for name in ("mean mm", "median mm", "fingertips mm", "20 mm", "30 mm", "40 mm"):
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(Text(row["after"]), *_cells(row))
            for name, subject in row.get("subjects", {}).items():
                table.add_row(Text(f"  {name}", style="dim"), *_cells(subject))
        show.result(table)
        show.result("20, 30, 40 mm: share of frames with all joints within that distance")
        for line in effects(summary):
            show.result(line)
    else:
        for stage in summary["stages"]:
            show.result(f"{stage['name']}: {stage['steps']} steps; not evaluated")
    for change in summary["changes"]:
        show.result(f"changed: {change}")
    show.result(f"figures: {folder / 'figures'}   summary: {folder / 'summary.json'}")
    if (folder / "report.html").is_file():
        show.result(f"report: {folder / 'report.html'}")


def _cells(figures: Mapping[str, Any]) -> list[str]:
    tips = figures["fingertip_error_mm"]
    return [
        f"{figures['mean_error_mm']:.2f}",
        f"{figures['median_error_mm']:.2f}",
        "" if tips is None else f"{tips:.2f}",
        *(f"{figures['success'][k]:.1%}" for k in ("20", "30", "40")),
    ]


def effects(summary: Mapping[str, Any]) -> list[str]:
    """The effect of fitting on the mean error, compared with the start and with the control."""
    from hpf_core.runs.lineage import Lineage

    found = {row["after"]: row["mean_error_mm"] for row in summary["evaluation"]}
    lineage = Lineage.of_summary(summary)
    lines = []
    for stage in lineage.chain:
        control, before = lineage.control(stage), lineage.before(stage)
        if control is None or not found[control]:
            continue
        if before is not None and found[before]:
            lines.append(f"mean error after {stage}: {found[stage] / found[before]:.2f} x that after {before}")
            lines.append(f"mean error after {control}: {found[control] / found[before]:.2f} x that after {before}")
        ratio = found[stage] / found[control]
        lines.append(f"{stage} compared with its control ({control}): {ratio:.2f} x; below 1, what {stage} adds helps")
    return lines


def print_estimate(rows: Sequence[StageEstimate]) -> None:
    """The table of a dry run, on standard output."""
    from hpf_core.engine.dry_run import VIEWS

    table = Table(title="dry run: no training", title_justify="left")
    table.add_column("stage")
    for name in ("steps", "images a step", "images", "images/s", "hours", "peak MiB"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            Text(row.stage),
            f"{row.steps:,}",
            f"{row.images_per_step:,}",
            f"{row.steps * row.images_per_step:,}",
            f"{row.images_per_second:,.0f}",
            f"{row.hours:,.2f}",
            "unknown" if math.isnan(row.memory_mib) else f"{row.memory_mib:,.0f}",
        )
    show.result(table)
    for row in rows:
        fits = "" if row.largest_batch is None else f"; the largest step that fits: about {row.largest_batch:,} images"
        show.result(f"{row.stage}: {' + '.join(row.terms)}{fits}")
    total = sum(row.hours for row in rows)
    show.result(
        f"{total:,.2f} hours in total, estimated from a few steps on this machine (with artificial frames of {VIEWS} "
        "views instead of real ones), without caches, pictures and evaluation."
    )
