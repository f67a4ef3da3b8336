"""What `hpf run` shows: live progress on a terminal, a line for each stage elsewhere, and the tables at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from hpf_core.interfaces import Observer

if TYPE_CHECKING:
    from hpf_core.engine.estimate import StageEstimate


class Live(Observer):
    """Progress of a run. On a terminal a bar with the loss, each term, images/s and the time left; quiet elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: set[str] = set()

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def progress(self, done: int, total: int, what: str) -> None:
        """Work outside of the stages."""
        self._update(what, done, total, "")
        if what not in self._said:
            self._said.add(what)
            self._line(what)
        if done >= total:
            self._bar.remove_task(self._tasks.pop(what))
            self._said.discard(what)

    def run_started(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """Say where the run is written."""
        self._console.print(f"run folder: {folder}", markup=False, highlight=False)

    def stage_started(self, stage: str, steps: int, done: int) -> None:
        """A bar for the stage."""
        self._update(stage, done, steps, "")
        self._line(f"stage {stage}: {steps} steps" + (f", from step {done}" if done else ""))
        self._steps = steps

    def step_done(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """The loss, each weighted term, and the rate."""
        terms = "  ".join(f"{name} {value:.3g}" for name, value in metrics["weighted"].items())
        self._update(
            stage, step, self._steps, f"loss {metrics['loss']:.4g}  {terms}  {metrics['images_per_second']:.0f} img/s"
        )

    def evaluated(self, stage: str, result: Mapping[str, Any]) -> None:
        """The mean error after a stage."""
        simulated = " (simulated)" if result.get("simulated") else ""
        self._console.print(
            f"after {stage}: mean error {result['mean_error_mm']:.2f} mm on {result['frames']} frames of "
            f"{result['data']}/{result['split']}{simulated}",
            markup=False,
            highlight=False,
        )

    def _update(self, name: str, done: int, total: int, text: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total, text=text)
        self._bar.update(self._tasks[name], completed=done, total=total, text=text)

    def _line(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False)


def print_summary(console: Console, folder: Path, summary: Mapping[str, Any]) -> None:
    """The table that ends a run."""
    rows = summary["evaluation"]
    if rows:
        first = rows[0]
        simulated = ", simulated data" if first.get("simulated") else ""
        heading = f"{first['data']}/{first['split']}: {first['frames']} frames, {first['joints']} joints{simulated}"
        table = Table(title=heading, title_justify="left")
        table.add_column("after")
        for name in ("mean mm", "median mm", "fingertips mm", "20 mm", "30 mm", "40 mm"):
            table.add_column(name, justify="right")
        for row in rows:
            tips = row["fingertip_error_mm"]
            shares = [f"{row['success'][k]:.1%}" for k in ("20", "30", "40")]
            table.add_row(
                row["after"],
                f"{row['mean_error_mm']:.2f}",
                f"{row['median_error_mm']:.2f}",
                "" if tips is None else f"{tips:.2f}",
                *shares,
            )
        console.print(table)
        for line in effects(summary):
            console.print(line, markup=False, highlight=False)
    for change in summary["changes"]:
        console.print(f"changed: {change}", markup=False, highlight=False)
    console.print(f"figures: {folder / 'figures'}   summary: {folder / 'summary.json'}", markup=False, highlight=False)


def effects(summary: Mapping[str, Any]) -> list[str]:
    """What fitting did to the mean error: against the start and against the control."""
    found = {row["after"]: row["mean_error_mm"] for row in summary["evaluation"]}
    order = list(found)
    lines = []
    for stage in summary["stages"]:
        partner = stage.get("control_of")
        if partner is None or partner not in found or stage["name"] not in found:
            continue
        before = order[order.index(partner) - 1] if order.index(partner) else None
        fitted, control = found[partner], found[stage["name"]]
        if before is not None:
            lines.append(f"{partner} / {before}: x {fitted / found[before]:.2f}")
            lines.append(f"{stage['name']} / {before}: x {control / found[before]:.2f} (same steps and synthetic draw)")
        lines.append(f"{partner} / {stage['name']}: x {fitted / control:.2f}, what the fitting terms add")
    return lines


def print_estimate(console: Console, rows: Sequence[StageEstimate]) -> None:
    """The table of a dry run."""
    table = Table(title="dry run: nothing was trained", title_justify="left")
    table.add_column("stage")
    for name in ("steps", "images a step", "images", "images/s", "hours", "memory MiB"):
        table.add_column(name, justify="right")
    table.add_column("terms")
    for row in rows:
        table.add_row(
            row.stage,
            f"{row.steps:,}",
            f"{row.images_per_step:,}",
            f"{row.steps * row.images_per_step:,}",
            f"{row.images_per_second:,.0f}",
            f"{row.hours:,.2f}",
            f"{row.memory_mib:,.0f}",
            ", ".join(row.terms),
        )
    console.print(table)
