"""What a run leaves to look at: pictures during its stages, and the figures at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpf_core.engine import checkpoint as files
from hpf_core.engine import unseen
from hpf_core.engine.build import Parts
from hpf_core.engine.folder import RunFolder
from hpf_core.engine.measure import some_frames
from hpf_core.engine.train import StepReport
from hpf_core.evaluation.figures import error_before_after, per_joint_bars, success_curves, training_curves
from hpf_core.evaluation.fit_sheet import FitRow, fit_sheet, to_pixels
from hpf_core.evaluation.metrics import CURVE_MM, success_curve
from hpf_core.fit import Fit
from hpf_core.geometry import apply_rigid, invert_rigid
from hpf_core.recipe import Resolved

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

    def look(self, report: StepReport) -> None:
        """Draw if it is time."""
        if report.step % self.every:
            return
        fit = report.value.fits[-1]
        rows = self._real(fit, report.step) if fit.frames is not None else self._synthetic(fit, report.step)
        path = self.folder / "steps" / f"{self.stage}-{report.step:07d}.png"
        # Synthetic samples are laid out like views, but each is another hand.
        columns = None if fit.frames is not None else [f"sample {k + 1}" for k in range(len(rows[0].depth))]
        fit_sheet(path, rows, links=self.parts.hand.links, far_mm=self.parts.grid.far_mm, view_names=columns)

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
    """The figures at a run's end: training curves, success curves, joints, before and after, and a fit sheet."""
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
    controls = {s.name: s.control_of for s in resolved.stages if s.control_of is not None}
    order = [name for name in errors if name not in controls]
    before, after = order[0], order[-1]
    if before != after:
        control = next((name for name, partner in controls.items() if partner == after and name in errors), None)
        error_before_after(
            folder.figures / "before_after.png",
            errors[before].mean(axis=1),
            errors[after].mean(axis=1),
            errors[control].mean(axis=1) if control else None,
            names=(before, after, control or "control"),
        )
    if resolved.recipe.evaluate is not None and resolved.recipe.evaluate.data == "synthetic":
        _synthetic_sheet(folder, parts, found, errors, before, after)
    else:
        _sheet(folder, parts, str(evaluations[0]["split"]), found, errors, before, after)


def _training(folder: RunFolder) -> None:
    rows = [
        {"stage": r["stage"], "step": r["step"], "loss": r["loss"], **r["raw"]}
        | {name: r.get(name) for name in ("peak", "unseen_mm")}
        for r in folder.read_metrics()
    ]
    if rows:
        training_curves(folder.figures / "training.png", rows)


def _sheet(
    folder: RunFolder,
    parts: Parts,
    split: str,
    found: dict[str, dict[str, torch.Tensor]],
    errors: dict[str, np.ndarray],
    before: str,
    after: str,
) -> None:
    """A few held-out frames from all views: what the evaluated view's estimate says of each."""
    assert parts.real is not None
    if "centres" in found[after]:
        parts.real.recentre(split, found[after]["centres"].numpy())
    rows = []
    for number in some_frames(len(errors[after]), _FRAMES_IN_A_SHEET):
        frame = parts.real.frames(split, np.array([number]))
        # Crops may have been centred elsewhere in another evaluation: each has its own way to the rig.
        points = {}
        for name in (before, after):
            into = invert_rigid(frame.to_rig[0]) @ found[name]["to_rig"][number]
            points[name] = apply_rigid(into, found[name]["points"][number].expand(len(into), -1, -1))
        device = next(parts.backbone.parameters()).device
        with torch.no_grad():
            rendered = parts.renderer.depth(points[after].to(device), parts.grid).depth
        title = f"frame {number}: {errors[after][number].mean():.1f} mm after {after}"
        if before != after:
            title = f"frame {number}: {errors[before][number].mean():.1f} mm after {before}, " + title.split(": ")[1]
        rows.append(
            FitRow(
                title=title,
                depth=_numpy(frame.depth[0]),
                rendered=_numpy(rendered),
                points=_pixels(parts, _numpy(points[after])),
                before=_pixels(parts, _numpy(points[before])) if before != after else None,
                present=_numpy(frame.present[0]),
            )
        )
    fit_sheet(
        folder.figures / "fit.png", rows, links=parts.hand.links, far_mm=parts.grid.far_mm, names=(before, after)
    )  # fmt: skip


def _synthetic_sheet(
    folder: RunFolder,
    parts: Parts,
    found: dict[str, dict[str, torch.Tensor]],
    errors: dict[str, np.ndarray],
    before: str,
    after: str,
) -> None:
    """The first unseen samples, three in a row."""
    device = next(parts.backbone.parameters()).device
    count = min(3 * _FRAMES_IN_A_SHEET, len(errors[after]))
    batch = next(unseen.samples(parts, device, count))
    points = {name: found[name]["points"][:count] for name in (before, after)}
    with torch.no_grad():
        rendered = _numpy(parts.renderer.depth(points[after].to(device), parts.grid).depth)
    pixels = {name: _pixels(parts, _numpy(value)) for name, value in points.items()}
    wide = min(3, count)
    rows = [
        FitRow(
            title=", ".join(f"{error:.1f}" for error in errors[after][k : k + wide].mean(axis=1))
            + f" mm after {after}",
            depth=_numpy(batch.depth[k : k + wide]),
            rendered=rendered[k : k + wide],
            points=pixels[after][k : k + wide],
            before=pixels[before][k : k + wide] if before != after else None,
        )
        for k in range(0, count - count % wide, wide)
    ]
    columns = [f"sample {k + 1}" for k in range(wide)]
    fit_sheet(
        folder.figures / "fit.png",
        rows,
        links=parts.hand.links,
        far_mm=parts.grid.far_mm,
        names=(before, after),
        view_names=columns,
    )


def _pixels(parts: Parts, points: np.ndarray) -> np.ndarray:
    return to_pixels(points, parts.grid.size, parts.grid.cube_mm)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
