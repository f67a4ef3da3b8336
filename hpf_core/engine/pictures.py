"""Pictures during the stages of a run, and the figures at its end.

Figures are imported on use. A figure that fails is a warning, and the run continues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hpf_core.engine.train import StepReport
from hpf_core.errors import skip_on_failure
from hpf_core.inference.build import Parts
from hpf_core.inference.evaluate import some_frames
from hpf_core.inference.shown_frames import best_to_worst, ignored_pixels, see
from hpf_core.objective.fit import Fit
from hpf_core.recipe import Resolved
from hpf_core.runs import checkpoint as files
from hpf_core.runs.folder import INIT, RunFolder
from hpf_core.runs.lineage import Lineage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hpf_core.figures.fit_sheet import FitRow

_FRAMES_IN_A_PICTURE = 3
_FRAMES_IN_A_SHEET = 6


@dataclass(frozen=True)
class StagePictures:
    """Every N steps, draws a few of the step's images: input, render and points, in all views.

    Attributes:
        folder: destination of the pictures.
        stage: name of the stage.
        parts: the built recipe.
        every: steps between pictures.
    """

    folder: Path
    stage: str
    parts: Parts
    every: int

    def draw_if_due(self, report: StepReport) -> Path | None:
        """Draw if due; returns the picture's path, or None."""
        if report.step % self.every:
            return None
        path = self.folder / "steps" / f"{self.stage}-{report.step:07d}.png"
        with skip_on_failure(f"picture {path.name}"):
            self._draw(path, report)
            return path
        return None

    def _draw(self, path: Path, report: StepReport) -> None:
        from hpf_core.figures.fit_sheet import SheetLook, fit_sheet
        from hpf_core.figures.style import write_figure

        fit = report.value.fits[-1]
        real = fit.frames is not None
        rows = self._real(fit) if real else self._synthetic(fit)
        look = SheetLook(
            links=self.parts.hand.links,
            far_mm=self.parts.grid.far_mm,
            names=("before", "estimate"),
            # Synthetic samples use the layout of views, but each shows another hand.
            view_names=None if real else [f"sample {k + 1}" for k in range(len(rows[0].depth))],
            truth_name="true points",
        )
        title = f"Stage {self.stage}, step {report.step:,}"
        about = "training frames" if real else "synthetic samples"
        simulated = self.parts.real is None or self.parts.real.simulated or not real
        write_figure(path, fit_sheet(rows, look, title, about + (" (simulated data)" if simulated else "")))

    def _real(self, fit: Fit) -> list[FitRow]:
        from hpf_core.figures.fit_sheet import FitRow

        frames = fit.need_frames()
        count, views = min(_FRAMES_IN_A_PICTURE, len(frames.depth)), frames.views.views
        depth = _numpy(fit.rendered(False).depth)
        points = _pixels(self.parts, _numpy(fit.points_across(False)))
        ignored = _numpy(ignored_pixels(self.parts, fit))
        place = {int(row): n for n, row in enumerate(frames.views.rows.tolist())}
        rows = []
        for b in range(count):
            found = [place.get(b * views + v) for v in range(views)]
            rows.append(
                FitRow(
                    title=f"frame {int(frames.index[b]) + 1}",
                    depth=_numpy(frames.depth[b]),
                    rendered=np.stack([depth[n] if n is not None else np.full_like(depth[0], 1e3) for n in found]),
                    points=np.stack([points[n] if n is not None else np.zeros_like(points[0]) for n in found]),
                    ignored=np.stack([ignored[n] if n is not None else np.zeros_like(ignored[0]) for n in found]),
                    present=np.array([n is not None for n in found]),
                )
            )
        return rows

    def _synthetic(self, fit: Fit) -> list[FitRow]:
        from hpf_core.figures.fit_sheet import FitRow

        samples, estimate, _ = fit.need_synthetic()
        some = estimate.points[: 3 * _FRAMES_IN_A_PICTURE].detach()
        rendered = _numpy(self.parts.renderer.depth(some, self.parts.grid).depth)
        points, truth = (_pixels(self.parts, _numpy(p)) for p in (some, samples.points[: len(some)]))
        # Three samples per row, in the place of views; all samples if there are fewer.
        wide = min(3, len(some))
        return [
            FitRow(
                f"samples {k + 1} to {k + wide}",
                _numpy(samples.depth[k : k + wide]),
                rendered[k : k + wide],
                points[k : k + wide],
                truth=truth[k : k + wide],
            )
            for k in range(0, len(some) - len(some) % wide, wide)
        ]


def run_figures(folder: RunFolder, parts: Parts, resolved: Resolved, evaluations: list[dict[str, Any]]) -> None:
    """The figures at a run's end: training curves, success curves, joints, before and after, and sheets of frames.

    Warns:
        ReportWarning: for each figure that fails.
    """
    with skip_on_failure("figures"):
        _write_figures(folder, parts, resolved, evaluations)


def _write_figures(folder: RunFolder, parts: Parts, resolved: Resolved, evaluations: list[dict[str, Any]]) -> None:
    from hpf_core.figures.of_run import RunData, figures_of_run
    from hpf_core.figures.words import about_training

    found = {e["after"]: files.read(folder.predictions(e["after"])).tensors for e in evaluations}
    errors = {name: (t["joints"] - t["truth"]).norm(dim=-1).numpy() for name, t in found.items()}
    lineage = Lineage.of(errors, ((stage.name, stage.control_of) for stage in resolved.stages))
    data = RunData(
        name=resolved.recipe.name or "run",
        stages=[INIT, *(stage.name for stage in resolved.stages)],
        chain=lineage.chain,
        controls=lineage.controls,
        metrics=folder.read_metrics(),
        trained_on=about_training(simulated=parts.real is None or parts.real.simulated),
        evaluations={e["after"]: e for e in evaluations},
        errors=errors,
    )
    for name, draw in figures_of_run(data).items():
        _write(folder, name, draw)
    if not evaluations:
        return
    before, after = lineage.chain[0], lineage.chain[-1]
    plan = resolved.recipe.evaluate
    split = None if plan is not None and plan.data == "synthetic" else str(evaluations[0]["split"])
    sheet = Sheet(parts, split, {n: found[n] for n in (before, after)}, errors, before, after)
    _write(folder, "fit", lambda: sheet.figure(sheet.spread(), f"{data.name}: frames from first to last", data.about))
    if split is not None:
        worst = best_to_worst(errors[after].mean(axis=1))[-_FRAMES_IN_A_SHEET:]
        title = f"{data.name}: the {len(worst)} worst frames after {after}"
        _write(folder, "worst", lambda: sheet.figure(worst, title, data.about))


def _write(folder: RunFolder, name: str, draw: Callable[[], Figure | None]) -> None:
    from hpf_core.figures.style import write_figure

    path = folder.figures / f"{name}.png"
    with skip_on_failure(f"figure {path.name}"):
        figure = draw()
        if figure is not None:
            write_figure(path, figure)


@dataclass(frozen=True)
class Sheet:
    """Held-out frames in all views, with the evaluated view's estimate.

    Synthetic samples have one view: a row shows three of them in the place of views.

    Attributes:
        parts: the built recipe.
        split: of the real data, or None for unseen synthetic samples.
        found: the evaluations of `before` and `after`.
        errors: by stage, (F, K) mm.
        before, after: the two stages in the figure; they may be the same.
    """

    parts: Parts
    split: str | None
    found: dict[str, dict[str, torch.Tensor]]
    errors: dict[str, np.ndarray]
    before: str
    after: str

    def spread(self) -> np.ndarray:
        """Indices of a few frames from the first to the last; the first ones of synthetic samples."""
        frames = len(self.errors[self.after])
        if self.split is None:
            count = min(3 * _FRAMES_IN_A_SHEET, frames)
            return np.arange(count - count % self._wide())
        return np.array(list(some_frames(frames, _FRAMES_IN_A_SHEET)))

    def figure(self, numbers: np.ndarray, title: str, about: str) -> Figure:
        """The frames with these indices, counted from 0."""
        from hpf_core.figures.fit_sheet import FitRow, SheetLook, fit_sheet

        parts, before, after, wide = self.parts, self.before, self.after, self._wide()
        synthetic = self.split is None
        seen = see(parts, self.split, self.found, after, numbers)

        def row(first: int) -> FitRow:
            several = slice(first, first + wide)
            of = "" if synthetic else f"frame {numbers[first] + 1}: "

            def pixels(points: torch.Tensor) -> np.ndarray:
                return _pixels(parts, _numpy(points[several].flatten(0, 1)))

            return FitRow(
                title=_title(self.errors, before, after, numbers[several], of),
                depth=_numpy(seen.depth[several].flatten(0, 1)),
                rendered=_numpy(seen.rendered[several].flatten(0, 1)),
                points=pixels(seen.points[after]),
                before=pixels(seen.points[before]) if before != after else None,
                truth=pixels(seen.truth),
                ignored=_numpy(seen.ignored[several].flatten(0, 1)),
                present=_numpy(seen.present[several].flatten(0, 1)),
            )

        look = SheetLook(
            links=parts.hand.links,
            far_mm=parts.grid.far_mm,
            names=(before if before != after else "", after),
            view_names=[f"sample {k + 1}" for k in range(wide)] if synthetic else None,
            truth_name="true joints" if synthetic or (parts.real and parts.real.simulated) else "annotated joints",
        )
        return fit_sheet([row(first) for first in range(0, len(numbers), wide)], look, title, about)

    def _wide(self) -> int:
        """Frames per row."""
        return min(3, len(self.errors[self.after])) if self.split is None else 1


def _title(errors: dict[str, np.ndarray], before: str, after: str, numbers: np.ndarray, of: str) -> str:
    """The mean errors of a row's frames, before and after."""

    def words(name: str) -> str:
        return ", ".join(f"{error:.1f}" for error in errors[name][numbers].mean(axis=1)) + f" mm after {name}"

    return of + (f"{words(before)}, " if before != after else "") + words(after)


def _pixels(parts: Parts, points: np.ndarray) -> np.ndarray:
    from hpf_core.figures.drawing import to_pixels

    return to_pixels(points, parts.grid.size, parts.grid.cube_mm)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
