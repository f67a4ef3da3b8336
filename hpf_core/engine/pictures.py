"""What a run leaves to look at: pictures during its stages, and the figures at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpf_core.engine.train import StepReport
from hpf_core.evaluation.metrics import CURVE_MM, success_curve
from hpf_core.figures.evaluation import error_before_after, per_joint_bars, success_curves, training_curves
from hpf_core.figures.fit_sheet import FitRow, fit_sheet, to_pixels
from hpf_core.inference.build import Parts
from hpf_core.inference.evaluate import some_frames
from hpf_core.inference.shown_frames import best_to_worst, see
from hpf_core.objective.fit import Fit
from hpf_core.recipe import Resolved
from hpf_core.runs import checkpoint as files
from hpf_core.runs.folder import RunFolder
from hpf_core.runs.lineage import Lineage

_FRAMES_IN_A_PICTURE = 3
_FRAMES_IN_A_SHEET = 6


@dataclass(frozen=True)
class StagePictures:
    """Every N steps, a few of the step's images: input, render, points, in all views.

    Attributes:
        folder: where the pictures go.
        stage: name of the stage.
        parts: the built recipe.
        every: steps between pictures.
    """

    folder: Path
    stage: str
    parts: Parts
    every: int

    def draw_if_due(self, report: StepReport) -> Path | None:
        """Draw if it is time; returns the picture's place, if it was."""
        if report.step % self.every:
            return None
        fit = report.value.fits[-1]
        rows = self._real(fit, report.step) if fit.frames is not None else self._synthetic(fit, report.step)
        path = self.folder / "steps" / f"{self.stage}-{report.step:07d}.png"
        # Synthetic samples are laid out like views, but each is another hand.
        columns = None if fit.frames is not None else [f"sample {k + 1}" for k in range(len(rows[0].depth))]
        fit_sheet(path, rows, links=self.parts.hand.links, far_mm=self.parts.grid.far_mm, view_names=columns)
        return path

    def _real(self, fit: Fit, step: int) -> list[FitRow]:
        frames = fit.need_frames()
        count, views = min(_FRAMES_IN_A_PICTURE, len(frames.depth)), frames.views.views
        depth = _numpy(fit.rendered(False).depth)
        points = _pixels(self.parts, _numpy(fit.points_across(False)))
        place = {int(row): n for n, row in enumerate(frames.views.rows.tolist())}
        rows = []
        for b in range(count):
            found = [place.get(b * views + v) for v in range(views)]
            rows.append(
                FitRow(
                    title=f"{self.stage}, step {step}, frame {int(frames.index[b])}",
                    depth=_numpy(frames.depth[b]),
                    rendered=np.stack([depth[n] if n is not None else np.full_like(depth[0], 1e3) for n in found]),
                    points=np.stack([points[n] if n is not None else np.zeros_like(points[0]) for n in found]),
                    present=np.array([n is not None for n in found]),
                )
            )
        return rows

    def _synthetic(self, fit: Fit, step: int) -> list[FitRow]:
        samples, estimate, _ = fit.need_synthetic()
        some = estimate.points[: 3 * _FRAMES_IN_A_PICTURE].detach()
        rendered = _numpy(self.parts.renderer.depth(some, self.parts.grid).depth)
        points = _pixels(self.parts, _numpy(some))
        # Three samples a row, as if they were views; all of them where there are fewer.
        wide = min(3, len(some))
        return [
            FitRow(
                f"{self.stage}, step {step}, synthetic",
                _numpy(samples.depth[k : k + wide]),
                rendered[k : k + wide],
                points[k : k + wide],
            )
            for k in range(0, len(some) - len(some) % wide, wide)
        ]


def run_figures(folder: RunFolder, parts: Parts, resolved: Resolved, evaluations: list[dict[str, Any]]) -> None:
    """The figures at a run's end: training curves, success curves, joints, before and after, and sheets of frames."""
    _training(folder)
    if not evaluations:
        return
    found = {e["after"]: files.read(folder.predictions(e["after"])).tensors for e in evaluations}
    errors = {name: (t["joints"] - t["truth"]).norm(dim=-1).numpy() for name, t in found.items()}
    simulated = ", simulated data" if evaluations[0]["simulated"] else ""
    heading = f"{evaluations[0]['data']}/{evaluations[0]['split']}{simulated}"
    success_curves(
        folder.figures / "success.png",
        {name: success_curve(e.max(axis=1)) for name, e in errors.items()},
        CURVE_MM,
        heading,
    )
    per_joint = {name: e.mean(axis=0) for name, e in errors.items()}
    per_joint_bars(folder.figures / "joints.png", per_joint, list(evaluations[0]["per_joint_mm"]))
    lineage = Lineage.of(errors, ((stage.name, stage.control_of) for stage in resolved.stages))
    before, after = lineage.chain[0], lineage.chain[-1]
    if before != after:
        control = lineage.control(after)
        error_before_after(
            folder.figures / "before_after.png",
            errors[before].mean(axis=1),
            errors[after].mean(axis=1),
            errors[control].mean(axis=1) if control else None,
            names=(before, after, control or "control"),
        )
    plan = resolved.recipe.evaluate
    split = None if plan is not None and plan.data == "synthetic" else str(evaluations[0]["split"])
    sheet = Sheet(parts, split, {n: found[n] for n in (before, after)}, errors, before, after)
    sheet.draw(folder.figures / "fit.png", sheet.spread())
    if split is not None:
        sheet.draw(folder.figures / "worst.png", best_to_worst(errors[after].mean(axis=1))[-_FRAMES_IN_A_SHEET:])


def _training(folder: RunFolder) -> None:
    rows = [
        {"stage": r["stage"], "step": r["step"], "loss": r["loss"], **r["raw"]}
        | {name: r.get(name) for name in ("peak", "unseen_mm")}
        for r in folder.read_metrics()
    ]
    if rows:
        training_curves(folder.figures / "training.png", rows)


@dataclass(frozen=True)
class Sheet:
    """Held-out frames from all views, and what the evaluated view's estimate says of each; of synthetic samples, which
    have one view, three in a row as if they were views.

    Attributes:
        parts: the built recipe.
        split: of the real data, or None for unseen synthetic samples.
        found: the evaluations of `before` and `after`.
        errors: by stage, (F, K) mm.
        before, after: the stages that are shown; they may be the same.
    """

    parts: Parts
    split: str | None
    found: dict[str, dict[str, torch.Tensor]]
    errors: dict[str, np.ndarray]
    before: str
    after: str

    def spread(self) -> np.ndarray:
        """Numbers of a few frames from the first to the last; of synthetic samples, the first ones."""
        frames = len(self.errors[self.after])
        if self.split is None:
            count = min(3 * _FRAMES_IN_A_SHEET, frames)
            return np.arange(count - count % self._wide())
        return np.array(list(some_frames(frames, _FRAMES_IN_A_SHEET)))

    def draw(self, path: Path, numbers: np.ndarray) -> None:
        """Draw the frames of these numbers."""
        parts, before, after, wide = self.parts, self.before, self.after, self._wide()
        synthetic = self.split is None
        seen = see(parts, self.split, self.found, after, numbers)

        def row(first: int) -> FitRow:
            several = slice(first, first + wide)
            of = "" if synthetic else f"frame {numbers[first]}: "
            return FitRow(
                title=_title(self.errors, before, after, numbers[several], of),
                depth=_numpy(seen.depth[several].flatten(0, 1)),
                rendered=_numpy(seen.rendered[several].flatten(0, 1)),
                points=_pixels(parts, _numpy(seen.points[after][several].flatten(0, 1))),
                before=_pixels(parts, _numpy(seen.points[before][several].flatten(0, 1))) if before != after else None,
                present=_numpy(seen.present[several].flatten(0, 1)),
            )

        fit_sheet(
            path,
            [row(first) for first in range(0, len(numbers), wide)],
            links=parts.hand.links,
            far_mm=parts.grid.far_mm,
            names=(before, after),
            view_names=[f"sample {k + 1}" for k in range(wide)] if synthetic else None,
        )

    def _wide(self) -> int:
        """Frames in a row."""
        return min(3, len(self.errors[self.after])) if self.split is None else 1


def _title(errors: dict[str, np.ndarray], before: str, after: str, numbers: np.ndarray, of: str) -> str:
    """The mean errors of a row's frames, before and after."""

    def told(name: str) -> str:
        return ", ".join(f"{error:.1f}" for error in errors[name][numbers].mean(axis=1)) + f" mm after {name}"

    return of + (f"{told(before)}, " if before != after else "") + told(after)


def _pixels(parts: Parts, points: np.ndarray) -> np.ndarray:
    return to_pixels(points, parts.grid.size, parts.grid.cube_mm)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
