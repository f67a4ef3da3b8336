"""The evaluated frames of a run, for the page of `hpf view`: all views, estimate, labels and errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.errors import DataError, HPFError, PluginError
from hpf_core.inference import shown_frames
from hpf_core.inference.build import Parts, build_parts
from hpf_core.inference.shown_frames import SeenFrames
from hpf_core.inference.viewer import grey_image
from hpf_core.interfaces import HandModel
from hpf_core.plugins import PluginHost
from hpf_core.progress import Progress, no_progress
from hpf_core.recipe import load
from hpf_core.runs import checkpoint
from hpf_core.runs.folder import RunFolder
from hpf_core.runs.predictions import read_run

_BATCH = 32
_SYNTHETIC = 512  # samples are drawn in order, so a late one costs all samples before it


@dataclass(frozen=True)
class RunView:
    """The frames of a run's evaluation for the page.

    Attributes:
        frames: as from `view_frame`, with `error_mm`, `joint_errors` (K) mm, `truth` (K, 3) mm, and views that are
            crops. Points are in the evaluated view's crop.
        joints: the K scored joints' names.
        hand: the run's hand model.
        stage: the stage after which the run was evaluated.
        total: number of all evaluated frames.
        missing: the reason why only the frames that the run keeps are shown; empty if all could be.
    """

    frames: list[dict[str, Any]]
    joints: tuple[str, ...]
    hand: HandModel
    stage: str
    total: int
    missing: str = ""


def is_run(place: Path) -> bool:
    """Whether a folder is that of a run, finished or not."""
    return (place / "recipe.yaml").is_file()


def view_run(
    run: Path,
    after: str | None = None,
    every: int = 1,
    progress: Progress = no_progress,
    host: PluginHost | None = None,
) -> RunView:
    """The evaluated frames of a run, or those that it keeps for its report if the dataset isn't on this machine.

    Args:
        run: the run's folder.
        after: the evaluation after this stage; by default the last one that is no control's.
        every: only each `every`-th frame.
        progress: receives the number of frames.
        host: the plugin host; by default with all installed plugins.

    Raises:
        InputError: the run was not evaluated, or not after this stage.
        DataError: the folder is damaged, or isn't a finished run.
    """
    found = read_run(run, after)
    stage, folder = str(found.document["after"]), RunFolder(run)
    resolved = load(run / "recipe.yaml", host=host or PluginHost.load())
    kept = replace(resolved, stages=(), transforms=(), observers=(), refiners=())
    total, missing = len(found.joints), ""
    errors = np.linalg.norm(found.joints - found.truth, axis=-1)
    split = None if found.document["split"] == shown_frames.unseen.SPLIT else str(found.document["split"])
    try:
        parts = build_parts(kept)
        parts.prepare_data(progress)
        tensors = checkpoint.read(folder.predictions(stage)).tensors
        frames = _all(parts, split, {stage: tensors}, stage, errors, every, progress)
    except PluginError:
        raise
    except HPFError as error:
        if not folder.frames(stage).is_file():
            raise
        missing = str(error)
        parts = build_parts(replace(kept, real=None, synthetic=None))
        frames = _of_file(folder.frames(stage), parts, stage, errors)
    return RunView(frames, found.joint_names, parts.hand, stage, total, missing)


def _all(
    parts: Parts,
    split: str | None,
    found: shown_frames.Found,
    stage: str,
    errors: np.ndarray,
    every: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    limit = min(len(errors), _SYNTHETIC) if split is None else len(errors)
    numbers, frames = np.arange(0, limit, every), []
    view = 0 if split is None or parts.real is None else parts.real.protocol.view
    # Unseen samples are drawn from the first one on: in one batch, so that they are drawn once.
    batch = len(numbers) if split is None else _BATCH
    for first in range(0, len(numbers), batch):
        chosen = numbers[first : first + batch]
        seen = shown_frames.see(parts, split, found, stage, chosen)
        frames += [_frame(seen, k, stage, view, parts, errors) for k in range(len(chosen))]
        progress(first + len(chosen), len(numbers), "drawing frames")
    return frames


def _of_file(path: Path, parts: Parts, stage: str, errors: np.ndarray) -> list[dict[str, Any]]:
    """The frames that a run keeps for its report."""
    kept = checkpoint.read(path)
    shown_frames.check(kept, path)
    t = kept.tensors
    if int(t["numbers"].max()) >= len(errors):
        raise DataError(f"{path}: its frames aren't those of the run's evaluation")
    seen = SeenFrames(
        numbers=t["numbers"],
        depth=t["depth"],
        present=t["present"],
        rendered=t["rendered"],
        points={stage: t["points.after"]},
        joints={stage: t["joints.after"]},
        truth=t["truth"],
        to_first=t["to_first"],
        ignored=t["present"],
    )
    view = int(kept.about["view"])
    return [_frame(seen, k, stage, view, parts, errors) for k in range(len(seen.numbers))]


def _frame(seen: SeenFrames, k: int, stage: str, view: int, parts: Parts, errors: np.ndarray) -> dict[str, Any]:
    """The k-th frame for the page; the evaluated view comes first."""
    number = int(seen.numbers[k])
    points, truth = seen.points[stage][k].numpy(), seen.truth[k].numpy()
    present = [other for other in range(seen.depth.shape[1]) if bool(seen.present[k, other]) and other != view]
    return {
        "name": f"frame {number + 1}",
        "time": None,
        "error": "",
        "hands": [
            {
                "side": "right",
                "confidence": None,
                "fit_mm": None,
                "iou": None,
                "centre": points[view, parts.hand.palm_centre].round(1).tolist(),
                "points": points[view].round(1).tolist(),
            }
        ],
        "views": [_view(seen, k, other, points[other], truth[other], parts) for other in (view, *present)],
        "truth": truth[view].round(1).tolist(),
        "error_mm": round(float(errors[number].mean()), 2),
        "joint_errors": errors[number].round(2).tolist(),
    }


def _view(seen: SeenFrames, k: int, view: int, points: np.ndarray, truth: np.ndarray, parts: Parts) -> dict[str, Any]:
    """A crop for the page: orthographic, so that a point's pixel depends on its x and y alone."""
    grid, depth = parts.grid, seen.depth[k, view].numpy()
    return {
        "size": [grid.size, grid.size],
        "pixel_mm": grid.pixel_mm,
        "image": grey_image(depth, depth < grid.far_mm, -grid.far_mm, grid.cube_mm),
        "near_mm": -grid.far_mm,
        "range_mm": grid.cube_mm,
        "to_space": seen.to_first[k, view].double().numpy().round(6).ravel().tolist(),
        "pixels": [_pixels(points, grid.pixel_mm, grid.size)],
        "truth": _pixels(truth, grid.pixel_mm, grid.size),
    }


def _pixels(points: np.ndarray, pixel_mm: float, size: int) -> list[list[float]]:
    """(J, 2) columns and rows; whole numbers are pixel centres."""
    return (points[:, :2] / pixel_mm + size / 2 - 0.5).round(2).tolist()
