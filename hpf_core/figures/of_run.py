"""The figures of a run, from plain data. The run writes them as PNG files, and its report shows them as SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hpf_core.evaluation.metrics import CURVE_MM, success_curve
from hpf_core.figures.colours import LineLook, stage_looks
from hpf_core.figures.errors import before_after_figure, joint_errors_figure
from hpf_core.figures.success import Curve, success_figure
from hpf_core.figures.training import Rows, terms_figure, training_figure
from hpf_core.figures.words import about_evaluation


@dataclass(frozen=True)
class RunData:
    """The data for the figures of a run.

    Attributes:
        name: of the run's recipe.
        stages: "init" and all stages, in order.
        chain: the evaluated stages that feed each other. The first is the start, the last the fit.
        controls: for each control, the stage that it controls.
        metrics: rows of metrics.jsonl.
        trained_on: description of the training data.
        evaluations: by stage, as in `summary.json`.
        errors: by stage, (F, K) mm, of the stages with readable predictions.
    """

    name: str
    stages: Sequence[str]
    chain: Sequence[str]
    controls: Mapping[str, str]
    metrics: Rows
    trained_on: str
    evaluations: Mapping[str, Mapping[str, Any]]
    errors: Mapping[str, np.ndarray]

    @property
    def looks(self) -> dict[str, LineLook]:
        """Colour and dashes of each stage."""
        return stage_looks(self.stages, self.chain, self.controls)

    @property
    def about(self) -> str:
        """Description of the evaluated data."""
        return about_evaluation(next(iter(self.evaluations.values())))

    @property
    def ends(self) -> tuple[str, str] | None:
        """The start and the fit, if both have errors of the same frames."""
        chain = [name for name in self.chain if name in self.errors]
        if len(chain) < 2 or self.errors[chain[0]].shape != self.errors[chain[-1]].shape:
            return None
        return chain[0], chain[-1]


def figures_of_run(run: RunData) -> dict[str, Callable[[], Figure | None]]:
    """Return a drawing function for each figure by name. A function returns None without data."""
    found: dict[str, Callable[[], Figure | None]] = {}
    if run.errors:
        found["success"] = lambda: _success(run)
    if run.evaluations:
        found["joints"] = lambda: _joints(run)
    if run.ends is not None:
        found["before_after"] = lambda: _before_after(run)
    if run.metrics:
        title = f"{run.name}: training"
        found["training"] = lambda: training_figure(run.metrics, run.controls, run.looks, title, run.trained_on)
        found["terms"] = lambda: terms_figure(
            run.metrics, "weighted", run.controls, f"{run.name}: terms, each with its weight", run.trained_on
        )
        found["gradients"] = lambda: terms_figure(
            run.metrics, "gradient", run.controls, f"{run.name}: gradient norms of the terms", run.trained_on
        )
    return found


def _success(run: RunData) -> Figure:
    curves = [Curve(name, success_curve(errors.max(axis=1)), run.looks[name]) for name, errors in run.errors.items()]
    return success_figure(curves, CURVE_MM, f"{run.name}: success", run.about)


def _joints(run: RunData) -> Figure:
    """Skip evaluations with other joints than the first one. They only differ if a file was changed."""
    names = list(next(iter(run.evaluations.values()))["per_joint_mm"])
    results = {
        stage: [float(document["per_joint_mm"][name] or 0.0) for name in names]
        for stage, document in run.evaluations.items()
        if list(document["per_joint_mm"]) == names
    }
    return joint_errors_figure(results, names, f"{run.name}: error by joint", run.about, run.looks)


def _before_after(run: RunData) -> Figure | None:
    if run.ends is None:
        return None
    before, after = run.ends
    means = {name: errors.mean(axis=1) for name, errors in run.errors.items()}
    others = {
        name: means[name]
        for name, stage in run.controls.items()
        if stage == after and name in means and len(means[name]) == len(means[after])
    }
    title = f"{run.name}: frame by frame"
    return before_after_figure(means[before], means[after], run.ends, title, run.about, others, run.looks)
