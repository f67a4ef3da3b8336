"""The metrics of each stage as a table for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpf_core.files.cache import write_atomic
from hpf_core.interfaces import Build, Config, Observer, PluginSpec

FOLDER = "metrics"
COLUMNS = ("step", "images", "images_per_second", "lr", "loss", "gradient_norm", "peak", "unseen_mm")
"""The first columns of every file; the columns of each term follow."""
OF_A_TERM = ("raw", "weighted", "gradient")


class MetricsFileConfig(Config):
    """`metrics_file` has no options."""


class MetricsFile(Observer):
    """Writes RUN/metrics/STAGE.csv with a row for each logged step.

    The columns are those of the stage's terms. A value without a measurement is an empty cell. A resumed run removes
    the rows after its checkpoint, as its metrics.jsonl does.
    """

    def __init__(self) -> None:
        self._folder = Path()
        self._terms: dict[str, Sequence[str]] = {}
        self._path = Path()
        self._columns: list[str] = []

    def run_started(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """Remember the run's folder and the terms of each stage."""
        self._folder = folder / FOLDER
        self._terms = {name: stage["terms"] for name, stage in recipe["stages"].items()}

    def stage_started(self, stage: str, steps: int, done: int) -> None:
        """Write the header and the earlier rows up to the checkpoint."""
        self._path = self._folder / f"{stage}.csv"
        self._columns = [*COLUMNS, *(f"{kind}.{term}" for term in self._terms[stage] for kind in OF_A_TERM)]
        kept = _rows_until(self._path, done)

        def write(path: Path) -> None:
            with path.open("w", encoding="utf-8", newline="") as file:
                table = csv.DictWriter(file, self._columns, restval="", extrasaction="ignore")
                table.writeheader()
                table.writerows(kept)

        write_atomic(self._path, write)

    def step_done(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Append a row."""
        row = {name: metrics[name] for name in COLUMNS if name in metrics}
        for kind in OF_A_TERM:
            row |= {f"{kind}.{term}": value for term, value in metrics.get(kind, {}).items()}
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)


def _rows_until(path: Path, done: int) -> list[dict[str, str]]:
    """The complete rows of a file up to a step; an empty list without a file."""
    if not done or not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]  # a killed job may leave an incomplete last line
    table = csv.DictReader(whole.splitlines())
    return [row for row in table if (row.get("step") or "").isdecimal() and int(row["step"]) <= done]


def build(config: MetricsFileConfig, build: Build) -> MetricsFile:
    """Build the observer from a recipe's options."""
    return MetricsFile()


SPEC = PluginSpec(
    kind="observer",
    name="metrics_file",
    config=MetricsFileConfig,
    factory=build,
    summary="The metrics of each stage as CSV in the run's folder, for spreadsheets.",
    source="own work",
)
