"""What an ablation's runs measured, read from their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.ablation.paper import PublishedRow
from hpf_core.ablation.plan import Job, Plan
from hpf_core.ablation.rows import FULL, Row
from hpf_core.engine import checkpoint as files
from hpf_core.engine.folder import RunFolder
from hpf_core.errors import DataError
from hpf_core.evaluation.lineage import Lineage
from hpf_core.evaluation.metrics import CURVE_MM, success_curve

SUCCESS_MM = 20


@dataclass(frozen=True)
class RunResult:
    """What one run measured after its last stage.

    Attributes:
        seed: of the run.
        after: the last stage that is no control.
        mean_mm: mean error over all joints and frames.
        success: share of frames with all joints within 20 mm.
        before_mm: mean error of what the last stage started from, or None where that wasn't measured.
        control_mm: mean error after the last stage's control, or None where it has none.
        curve: (81,) share of frames whose worst joint is within each of `CURVE_MM`, or None where predictions are gone.
        evaluation: the entry of `summary.json`.
    """

    seed: int
    after: str
    mean_mm: float
    success: float
    before_mm: float | None
    control_mm: float | None
    curve: np.ndarray | None
    evaluation: Mapping[str, Any]

    @property
    def ratio(self) -> float | None:
        """Error by the control's: below 1, what the stage adds helps."""
        return self.mean_mm / self.control_mm if self.control_mm else None

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "seed": self.seed,
            "after": self.after,
            "mean_error_mm": self.mean_mm,
            "success_20": self.success,
            "before_mm": self.before_mm,
            "control_mm": self.control_mm,
            "fitted_by_control": self.ratio,
        }


@dataclass(frozen=True)
class RowResult:
    """A row of the table.

    Attributes:
        row: the row.
        runs: those that are done, by seed.
        errors: why others failed, by seed.
        pending: seeds whose runs aren't done.
        published: what the paper reports, or None.
    """

    row: Row
    runs: tuple[RunResult, ...] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    pending: tuple[int, ...] = ()
    published: PublishedRow | None = None

    @property
    def label(self) -> str:
        """What the row is called in the table."""
        return self.row.name

    @property
    def measured_on(self) -> str:
        """Dataset and split, and that they are simulated where they are; empty where nothing is measured."""
        return data_of(self.runs[0].evaluation) if self.runs else ""

    def values(self, name: str) -> np.ndarray:
        """(S,) a figure of the runs that have it."""
        found = [getattr(run, name) for run in self.runs]
        return np.array([value for value in found if value is not None], dtype=np.float64)

    def beyond(self, other: RowResult) -> np.ndarray:
        """(S,) mm by which its mean error is above the other row's, for each seed that both have: below 0 is better."""
        theirs = {run.seed: run.mean_mm for run in other.runs}
        return np.array([run.mean_mm - theirs[run.seed] for run in self.runs if run.seed in theirs], dtype=np.float64)

    def curves(self) -> np.ndarray:
        """(S, 81) success curves."""
        return np.array([run.curve for run in self.runs if run.curve is not None]).reshape(-1, len(CURVE_MM))

    def state(self) -> str:
        """What is missing, in words; empty where nothing is."""
        said = [f"not run yet: seed {', '.join(map(str, self.pending))}"] if self.pending else []
        reasons: dict[str, list[int]] = {}
        for seed, reason in self.errors.items():
            reasons.setdefault(reason, []).append(seed)
        said += [f"seed {', '.join(map(str, seeds))} failed: {reason}" for reason, seeds in reasons.items()]
        return "; ".join(said)


def data_of(evaluation: Mapping[str, Any]) -> str:
    """`nyu/test`, `simulated/test (simulated)`, ..."""
    where = f"{evaluation['data']}/{evaluation['split']}"
    return f"{where} (simulated)" if evaluation.get("simulated") else where


def spread(values: np.ndarray) -> float | None:
    """The standard deviation over seeds (with n - 1), or None of fewer than two."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def collect(plan: Plan, published: Mapping[str, PublishedRow]) -> list[RowResult]:
    """The table's rows, in the plan's order; whatever isn't there is said to be missing."""
    return [_row(plan, row, published.get(row.name)) for row in plan.rows]


def _row(plan: Plan, row: Row, published: PublishedRow | None) -> RowResult:
    runs, errors, pending = [], {}, []
    for seed in plan.seeds:
        job = Job(row, seed)
        reason = _failure(plan.failure(job))
        try:
            found = read_run(plan.run_folder(job), seed)
        except DataError as error:
            reason, found = str(error), None
        if found is not None:
            runs.append(found)
        elif reason:
            errors[seed] = reason
        else:
            pending.append(seed)
    return RowResult(row, tuple(runs), errors, tuple(pending), published)


def read_run(run: Path, seed: int) -> RunResult | None:
    """What a run measured; None where it isn't done.

    Raises:
        DataError: it is done and measured nothing.
    """
    folder = RunFolder(run)
    summary = folder.ended()
    if summary is None:
        return None
    measured = {entry["after"]: entry for entry in summary["evaluation"]}
    last = next(stage["name"] for stage in reversed(summary["stages"]) if not stage.get("control_of"))
    if last not in measured:
        raise DataError(f"{run} wasn't measured: its recipe says `evaluate: null`")
    lineage = Lineage.of_summary(summary)
    before, control = lineage.before(last), lineage.control(last)
    entry = measured[last]
    return RunResult(
        seed=seed,
        after=last,
        mean_mm=float(entry["mean_error_mm"]),
        success=float(entry["success"][str(SUCCESS_MM)]),
        before_mm=None if before is None else float(measured[before]["mean_error_mm"]),
        control_mm=None if control is None else float(measured[control]["mean_error_mm"]),
        curve=_curve(folder.predictions(last)),
        evaluation=entry,
    )


def _curve(path: Path) -> np.ndarray | None:
    try:
        kept = files.read(path).tensors
        errors = (kept["joints"] - kept["truth"]).norm(dim=-1)
    except (DataError, KeyError):
        return None
    return success_curve(errors.amax(dim=1).double().numpy())


def _failure(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def simulated(results: Sequence[RowResult]) -> bool:
    """Whether any of it was measured on simulated data."""
    return any(run.evaluation.get("simulated") for result in results for run in result.runs)


def full_of(results: Sequence[RowResult]) -> RowResult | None:
    """The row that the others are held against."""
    return next((result for result in results if result.row.name == FULL), None)
