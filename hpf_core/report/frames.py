"""Frames from best to worst: pictures of all views, and the data of the 3D view."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from hpf_core.errors import skip_on_failure
from hpf_core.report.pictures import drawn
from hpf_core.runs.checkpoint import Checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hpf_core.figures.fit_sheet import FitRow

_CLOUD = 1200
"""Largest number of points of a view's depth map in the 3D view: enough for a hand, at a few kilobytes."""


@dataclass(frozen=True)
class View:
    """The picture of one view of a frame, and its caption; None if drawing failed."""

    title: str
    picture: Markup | None


@dataclass(frozen=True)
class Frame:
    """One frame of the gallery.

    Attributes:
        number: counted from 1, as in image names and lines of predictions.
        rank: "best", "worst" or nothing.
        mean, worst: mm, over the frame's joints.
        worst_joint: readable name of the joint.
        before: mm, the mean after the stage before; None without such a stage.
        views: the present views.
    """

    number: int
    rank: str
    mean: float
    worst: float
    worst_joint: str
    before: float | None
    views: tuple[View, ...]


@dataclass(frozen=True)
class Gallery:
    """All frames, the displayed stage, the stage before, and the 3D view's data as plain JSON values."""

    frames: tuple[Frame, ...]
    legend: Markup | None
    after: str
    before: str | None
    of: int
    space: Mapping[str, Any]


def gallery(kept: Checkpoint, joint_names: Sequence[str], simulated: bool) -> Gallery:
    """Make the pictures and the 3D view's data from the saved frames (`hpf_core.inference.shown_frames.keep`)."""
    about: Mapping[str, Any] = kept.about
    t = {name: tensor.numpy() for name, tensor in kept.tensors.items()}
    errors = np.linalg.norm(t["joints.after"] - t["truth"], axis=-1)[:, 0]
    earlier = None
    if "joints.before" in t:
        earlier = np.linalg.norm(t["joints.before"] - t["truth"], axis=-1)[:, 0].mean(axis=1)
    names = joint_names if len(joint_names) == errors.shape[1] else [f"joint {k + 1}" for k in range(errors.shape[1])]
    pictures: tuple[list[tuple[View, ...]], Markup | None] = [() for _ in errors], None
    with skip_on_failure("pictures of frames in the report"):
        pictures = _pictures(t, about, simulated)
    views, legend = pictures
    frames = []
    for b in range(len(errors)):
        frames.append(
            Frame(
                number=int(t["numbers"][b]) + 1,
                rank="best" if b == 0 else "worst" if b == len(errors) - 1 else "",
                mean=float(errors[b].mean()),
                worst=float(errors[b].max()),
                worst_joint=str(names[int(errors[b].argmax())]),
                before=float(earlier[b]) if earlier is not None else None,
                views=views[b],
            )
        )
    return Gallery(
        frames=tuple(frames),
        legend=legend,
        after=str(about["after"]),
        before=str(about["before"]) if about["before"] else None,
        of=int(about["of"]),
        space=_space(t, frames, about),
    )


# -------------------------------------------------------------------------------------------------------- pictures


def _pictures(
    t: Mapping[str, np.ndarray], about: Mapping[str, Any], simulated: bool
) -> tuple[list[tuple[View, ...]], Markup | None]:
    """The views of each frame, and a common legend."""
    from hpf_core.figures.drawing import depth_scale
    from hpf_core.figures.fit_sheet import SheetLook, one_view, sheet_legend

    far = float(about["far_mm"])
    look = SheetLook(
        links=[(int(a), int(b)) for a, b in about["links"]],
        far_mm=far,
        names=(str(about["before"] or ""), str(about["after"])),
        truth_name="true joints" if simulated else "annotated joints",
        scale=depth_scale(t["depth"], far),
    )
    rows = [_row(t, b, about) for b in range(len(t["depth"]))]
    last: Figure | None = None

    def draw(row: FitRow, view: int) -> Figure:
        nonlocal last
        last = one_view(row, view, look, last)
        return last

    shown = []
    for b, row in enumerate(rows):
        number, views = int(t["numbers"][b]) + 1, np.flatnonzero(t["present"][b]).tolist()
        pictures = []
        for v in views:
            title = f"view {v + 1}" + (" (evaluated)" if v == about["view"] and len(views) > 1 else "")
            words = f"Depth map of frame {number}, {title}, with the estimates and the {look.truth_name}; "
            words += f"the render; the difference. Mean error {_mean_error(t, b, v):.1f} mm"
            pictures.append(View(title, drawn(f"frame{b}-{v}", partial(draw, row, v), words)))
        shown.append(tuple(pictures))
    legend = drawn("frames-legend", lambda: sheet_legend(rows, look), "Legend of the pictures of frames")
    return shown, legend


def _mean_error(t: Mapping[str, np.ndarray], b: int, v: int) -> float:
    return float(np.linalg.norm(t["joints.after"][b, v] - t["truth"][b, v], axis=-1).mean())


def _row(t: Mapping[str, np.ndarray], b: int, about: Mapping[str, Any]) -> FitRow:
    from hpf_core.figures.drawing import to_pixels
    from hpf_core.figures.fit_sheet import FitRow

    def pixels(name: str) -> np.ndarray:
        return to_pixels(t[name][b], t["depth"].shape[-1], float(about["cube_mm"]))

    return FitRow(
        title="",
        depth=t["depth"][b],
        rendered=t["rendered"][b],
        points=pixels("points.after"),
        before=pixels("points.before") if "points.before" in t else None,
        truth=pixels("truth"),
        ignored=t["ignored"][b].astype(bool) if "ignored" in t else None,  # Older runs lack them.
        present=t["present"][b],
    )


# --------------------------------------------------------------------------------------------------------- 3D view


def _space(t: Mapping[str, np.ndarray], frames: Sequence[Frame], about: Mapping[str, Any]) -> dict[str, Any]:
    """The 3D data in mm in the evaluated view's crop; clouds are base64 of int16 x, y, z in tenths of a millimetre."""
    view = int(about["view"])
    shown = []
    for b, frame in enumerate(frames):
        clouds = []
        for v in range(t["depth"].shape[1]):
            clouds.append(_cloud(t["depth"][b, v], t["to_first"][b, v], about) if t["present"][b, v] else "")
        scene: dict[str, Any] = {
            "title": f"frame {frame.number}: {frame.mean:.1f} mm",
            "clouds": clouds,
            "after": _rounded(t["points.after"][b, view]),
            "truth": _rounded(t["truth"][b, view]),
            "joints": _rounded(t["joints.after"][b, view]),
        }
        if "points.before" in t:
            scene["before"] = _rounded(t["points.before"][b, view])
        shown.append(scene)
    return {"frames": shown, "links": about["links"], "radii": t["radii"].astype(float).round(1).tolist()}


def _cloud(depth: np.ndarray, to_first: np.ndarray, about: Mapping[str, Any]) -> str:
    size = depth.shape[-1]
    pixel = float(about["cube_mm"]) / size
    v, u = np.nonzero(depth < float(about["far_mm"]))
    if len(v) > _CLOUD:
        some = np.linspace(0, len(v) - 1, _CLOUD).astype(int)
        v, u = v[some], u[some]
    points = np.stack([(u + 0.5 - size / 2) * pixel, (v + 0.5 - size / 2) * pixel, depth[v, u]], axis=-1)
    taken = points @ to_first[:3, :3].T + to_first[:3, 3]
    tenths = np.clip((taken * 10).round(), -32000, 32000).astype("<i2")
    return base64.b64encode(tenths.tobytes()).decode()


def _rounded(points: np.ndarray) -> list[list[float]]:
    return [[round(float(x), 1) for x in p] for p in points]
