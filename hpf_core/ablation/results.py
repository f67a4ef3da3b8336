"""Reads the results of an ablation's runs from their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.ablation import controls
from hpf_core.ablation.paper import PublishedRow
from hpf_core.ablation.plan import Failure, Job, Plan
from hpf_core.ablation.variants import FULL, Variant
from hpf_core.errors import DataError
from hpf_core.evaluation.metrics import CURVE_MM, success_curve
from hpf_core.runs.documents import read_json
from hpf_core.runs.folder import RunFolder
from hpf_core.runs.lineage import Lineage
from hpf_core.runs.predictions import read_joints

SUCCESS_MM = 20

_SAME_START_MM = 0.01  # tolerance for the same weights and frames: devices and threads round differently, by less


@dataclass(frozen=True)
class RunResult:
    """The figures of one run after its last stage.

    Attributes:
        seed: of the run.
        after: the last stage that isn't a control.
        mean_mm: mean error over all joints and frames.
        success: share of frames with all joints within 20 mm.
        before_mm: mean error at the start of the last stage, or None if unmeasured.
        control_mm: mean error after the last stage's control, or None without a control.
        control_of: the other variant that supplies the control, else None.
        curve: (81,) share of frames whose worst joint is within each of `CURVE_MM`, or None without saved predictions.
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
    control_of: str | None = None

    @property
    def gain(self) -> float | None:
        """Error divided by the error at the last stage's start. Below 1, the stage helps, with or without its terms."""
        return self.mean_mm / self.before_mm if self.before_mm else None

    @property
    def ratio(self) -> float | None:
        """Error divided by the control's error. Below 1, the stage's terms help."""
        return self.mean_mm / self.control_mm if self.control_mm else None

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "seed": self.seed,
            "after": self.after,
            "mean_error_mm": self.mean_mm,
            "success_20": self.success,
            "before_mm": self.before_mm,
            "after_by_before": self.gain,
            "control_mm": self.control_mm,
            "control_of": self.control_of,
            "fitted_by_control": self.ratio,
        }


@dataclass(frozen=True)
class VariantResult:
    """A variant as one row of the table.

    Attributes:
        variant: the variant.
        runs: the finished runs, by seed.
        errors: the failed runs' errors, by seed.
        pending: seeds of the unfinished runs.
        published: the paper's figures, or None.
        no_control: by seed, why a finished run has no control for comparison.
    """

    variant: Variant
    runs: tuple[RunResult, ...] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    pending: tuple[int, ...] = ()
    published: PublishedRow | None = None
    no_control: Mapping[int, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The row's name in the table."""
        return self.variant.name

    @property
    def measured_on(self) -> str:
        """Dataset and split, marked as simulated if they are; empty without measurements."""
        return data_of(self.runs[0].evaluation) if self.runs else ""

    def values(self, name: str) -> np.ndarray:
        """(S,) a figure of all runs that have the figure."""
        found = [getattr(run, name) for run in self.runs]
        return np.array([value for value in found if value is not None], dtype=np.float64)

    def beyond(self, other: VariantResult) -> np.ndarray:
        """(S,) mm, mean error minus the other row's, for each seed that both rows have. Negative values are better."""
        theirs = {run.seed: run.mean_mm for run in other.runs}
        return np.array([run.mean_mm - theirs[run.seed] for run in self.runs if run.seed in theirs], dtype=np.float64)

    def curves(self) -> np.ndarray:
        """(S, 81) success curves."""
        return np.array([run.curve for run in self.runs if run.curve is not None]).reshape(-1, len(CURVE_MM))

    @property
    def control_of(self) -> str | None:
        """The variant whose control this row uses, if it is another variant's."""
        return next((run.control_of for run in self.runs if run.control_of), None)

    def state(self) -> str:
        """The missing results, in words; empty if all exist."""
        said = [f"not run yet: seed {', '.join(map(str, self.pending))}"] if self.pending else []
        said += [f"seed {seeds} failed: {reason}" for seeds, reason in _by_reason(self.errors)]
        return "; ".join(said)

    def without_control(self) -> str:
        """The reasons why runs have no control, in words; empty if all have one."""
        return "; ".join(f"seed {seeds}: {reason}" for seeds, reason in _by_reason(self.no_control))


def _by_reason(reasons: Mapping[int, str]) -> list[tuple[str, str]]:
    """Each reason with its seeds, as `0, 2`."""
    found: dict[str, list[int]] = {}
    for seed, reason in reasons.items():
        found.setdefault(reason, []).append(seed)
    return [(", ".join(map(str, seeds)), reason) for reason, seeds in found.items()]


def data_of(evaluation: Mapping[str, Any]) -> str:
    """`nyu/test`, `simulated/test (simulated)`, ..."""
    where = f"{evaluation['data']}/{evaluation['split']}"
    return f"{where} (simulated)" if evaluation.get("simulated") else where


def spread(values: np.ndarray) -> float | None:
    """The standard deviation over seeds (with n - 1), or None for fewer than two."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def collect(plan: Plan, published: Mapping[str, PublishedRow]) -> list[VariantResult]:
    """Return the table's rows in the plan's order. Rows state their missing results."""
    variants = [_variant(plan, variant, published.get(variant.name)) for variant in plan.variants]
    full = full_of(variants)
    return [_with_control(plan, variant, full) for variant in variants]


def _variant(plan: Plan, variant: Variant, published: PublishedRow | None) -> VariantResult:
    runs, errors, pending = [], {}, []
    for seed in plan.seeds:
        job = Job(variant, seed)
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
    return VariantResult(variant, tuple(runs), errors, tuple(pending), published)


def _with_control(plan: Plan, result: VariantResult, full: VariantResult | None) -> VariantResult:
    """Runs without a control of their own get the control of `full`, if it serves them."""
    runs, reasons = [], {}
    lenders = {} if full is None else {run.seed: run for run in full.runs}
    for run in result.runs:
        if run.control_mm is None:
            lender = None if result is full else lenders.get(run.seed)
            reason = _why_not(plan, result.variant, run, full, lender)
            if reason:
                reasons[run.seed] = reason
            elif lender is not None:
                run = replace(run, control_mm=lender.control_mm, control_of=FULL)
        runs.append(run)
    return replace(result, runs=tuple(runs), no_control=reasons)


def _why_not(plan: Plan, variant: Variant, run: RunResult, full: VariantResult | None, lender: RunResult | None) -> str:
    """Why the control of `full` doesn't serve a run; empty if it does."""
    folder = plan.run_folder(Job(variant, run.seed))
    if not controls.draws_real(folder, run.after):
        return f"{run.after} draws no real frames, so it has no control"
    if full is None or variant.name == FULL:
        return "it has no control" + ("" if variant.name == FULL else ", and there is no row full")
    if lender is None:
        return "it has no control of its own, and full isn't done"
    if lender.control_mm is None:
        return "neither it nor full has a control"
    if lender.after != run.after:
        return f"full's control is of {lender.after}, but its last stage is {run.after}"
    if run.before_mm is None or lender.before_mm is None:
        return "its start wasn't measured, so the control of full may have had another start"
    found = controls.differences(plan.run_folder(Job(full.variant, run.seed)), folder, run.after)
    if found is None:
        return "it has no control of its own, and its recipe or that of full can't be read"
    if found:
        return f"full's control differs from it in {', '.join(found)}"
    if abs(run.before_mm - lender.before_mm) > _SAME_START_MM:
        return f"its start was measured at {run.before_mm:.2f} mm, that of full at {lender.before_mm:.2f} mm"
    return ""


def read_run(run: Path, seed: int) -> RunResult | None:
    """Read a run's figures; None if the run isn't finished.

    Raises:
        DataError: the run is finished but has no evaluation.
    """
    folder = RunFolder(run)
    summary = folder.ended()
    if summary is None:
        return None
    if not summary.get("stages"):
        raise DataError(f"{folder.summary} is damaged: it lists no stages")
    measured = {entry["after"]: entry for entry in summary["evaluation"]}
    last = next(stage["name"] for stage in reversed(summary["stages"]) if not stage.get("control_of"))
    if last not in measured:
        raise DataError(f"{run} wasn't evaluated: its recipe has `evaluate: null`")
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
        joints, truth = read_joints(path)
    except DataError:
        return None
    errors = (joints - truth).norm(dim=-1)
    return success_curve(errors.amax(dim=1).double().numpy())


def _failure(path: Path) -> str:
    try:
        return str(read_json(path, Failure)["reason"]) if path.is_file() else ""
    except DataError as error:
        return f"it failed, and the reason can't be read: {error}"


def simulated(results: Sequence[VariantResult]) -> bool:
    """Whether any result is from simulated data."""
    return any(run.evaluation.get("simulated") for result in results for run in result.runs)


def full_of(results: Sequence[VariantResult]) -> VariantResult | None:
    """The reference variant of the comparison."""
    return next((result for result in results if result.variant.name == FULL), None)
