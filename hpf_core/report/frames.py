"""Frames from best to worst: pictures of all views, and what the 3D view turns."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from hpf_core.runs.checkpoint import Checkpoint

_CLOUD = 1200
"""Most points of a view's depth map in the 3D view: enough to see a hand, and a few kilobytes."""


@dataclass(frozen=True)
class Panel:
    """One picture of a frame: an `svg` element and the words under it."""

    caption: str
    picture: Markup


@dataclass(frozen=True)
class Frame:
    """One frame of the gallery. Errors are in mm; `before` is None where nothing came before."""

    number: int
    rank: str
    mean: float
    worst: float
    worst_joint: str
    before: float | None
    views: tuple[tuple[Panel, ...], ...]


@dataclass(frozen=True)
class Gallery:
    """All frames, the stage that is shown, the one before it, and the 3D view's data, plain JSON values."""

    frames: tuple[Frame, ...]
    after: str
    before: str | None
    of: int
    space: Mapping[str, Any]


def gallery(kept: Checkpoint, joint_names: Sequence[str]) -> Gallery:
    """The pictures and the 3D view's data from the kept frames (`hpf_core.inference.shown_frames.keep`)."""
    about: Mapping[str, Any] = kept.about
    t = {name: tensor.numpy() for name, tensor in kept.tensors.items()}
    errors = np.linalg.norm(t["joints.after"] - t["truth"], axis=-1)[:, 0]
    earlier = None
    if "joints.before" in t:
        earlier = np.linalg.norm(t["joints.before"] - t["truth"], axis=-1)[:, 0].mean(axis=1)
    names = joint_names if len(joint_names) == errors.shape[1] else [f"joint {k}" for k in range(errors.shape[1])]
    shade = _shades(t["depth"], float(about["far_mm"]))
    frames = []
    for b in range(len(errors)):
        frames.append(
            Frame(
                number=int(t["numbers"][b]),
                rank="best" if b == 0 else "worst" if b == len(errors) - 1 else "",
                mean=float(errors[b].mean()),
                worst=float(errors[b].max()),
                worst_joint=str(names[int(errors[b].argmax())]),
                before=float(earlier[b]) if earlier is not None else None,
                views=_views(t, b, errors[b], names, about, shade),
            )
        )
    return Gallery(
        tuple(frames), str(about["after"]), str(about["before"]) if about["before"] else None, int(about["of"]),
        _space(t, frames, about),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- pictures


def _views(
    t: Mapping[str, np.ndarray],
    b: int,
    errors: np.ndarray,
    names: Sequence[str],
    about: Mapping[str, Any],
    shade: tuple[float, float],
) -> tuple[tuple[Panel, ...], ...]:
    size = t["depth"].shape[-1]
    far = float(about["far_mm"])
    scale = size / float(about["cube_mm"])
    pixels = {name: t[name][b][..., :2] * scale + size / 2 for name in ("points.after", "joints.after", "truth")}
    there = np.flatnonzero(t["present"][b])
    window = _window(
        [*(t[k][b, there] < far for k in ("depth", "rendered"))], [p[there] for p in pixels.values()], size
    )
    shown = []
    for v in there.tolist():
        where = " (evaluated)" if v == about["view"] and len(there) > 1 else ""
        title = f"view {v + 1}{where}"
        said = f"frame {int(t['numbers'][b])}, {title}"
        over = _skeleton(pixels["points.after"][v], about["links"])
        over += _errors(pixels["joints.after"][v], pixels["truth"][v], errors, names)
        shown.append(
            (
                Panel(title, _panel(t["depth"][b, v], far, shade, window, over,
                      f"Depth map of {said}, with the estimated skeleton and the annotated joints; "
                      f"mean error {errors.mean():.1f} mm")),
                Panel("render", _panel(t["rendered"][b, v], far, shade, window, Markup(""),
                      f"What the estimate renders to: {said}")),
            )
        )  # fmt: skip
    return tuple(shown)


def _panel(
    depth: np.ndarray,
    far: float,
    shade: tuple[float, float],
    window: tuple[float, float, float],
    over: Markup,
    said: str,
) -> Markup:
    left, top, side = window
    size = len(depth)
    return Markup(
        '<svg class="map" viewBox="{:.1f} {:.1f} {:.1f} {:.1f}" role="img" aria-label="{}">'
        '<image href="{}" width="{}" height="{}"/>{}</svg>'
    ).format(left, top, side, side, said, _png(depth, far, shade), size, size, over)


def _skeleton(points: np.ndarray, links: Sequence[Sequence[int]]) -> Markup:
    path = "".join(f"M{_at(points[a])}L{_at(points[b])}" for a, b in links)
    dots = "".join(f"M{_at(p)}h0" for p in points)
    return Markup('<path class="halo" d="{0}"/><path class="bone" d="{0}"/><path class="knot" d="{1}"/>').format(
        path, dots
    )


def _errors(found: np.ndarray, truth: np.ndarray, errors: np.ndarray, names: Sequence[str]) -> Markup:
    """Annotated joints, each with a line from where the estimate has it."""
    gaps = "".join(f"M{_at(a)}L{_at(b)}" for a, b in zip(found, truth, strict=True))
    path = Markup('<path class="gap" d="{}"/>').format(gaps)
    for place, error, name in zip(truth, errors, names, strict=True):
        path += Markup('<path class="truth" d="M{}h0"><title>{}: {:.1f} mm</title></path>').format(
            _at(place), name, float(error)
        )
    return path


def _at(place: np.ndarray) -> str:
    return f"{float(place[0]):.1f} {float(place[1]):.1f}"


def _shades(depth: np.ndarray, far: float) -> tuple[float, float]:
    """Near and far end of the grey scale that all pictures share, mm."""
    hit = depth[depth < far]
    if not len(hit):
        return -far, far
    low, high = np.quantile(hit, [0.01, 0.99])
    return float(low), float(max(high, low + 1.0))


def _window(hits: Sequence[np.ndarray], points: Sequence[np.ndarray], size: int) -> tuple[float, float, float]:
    """Left, top and side in pixels of a square around all that is seen in any view, within the maps."""
    inside = np.zeros((size, size), dtype=bool)
    for hit in hits:
        inside |= hit.any(axis=0)
    for place in points:
        u, v = np.clip(np.nan_to_num(place), 0, size - 1).astype(int).reshape(-1, 2).T
        inside[v, u] = True
    if not inside.any():
        return 0.0, 0.0, float(size)
    v, u = np.nonzero(inside)
    side = min(max(np.ptp(u), np.ptp(v)) + 1 + 0.06 * size, size)
    left, top = (float(np.clip((k.min() + k.max() + 1 - side) / 2, 0, size - side)) for k in (u, v))
    return left, top, float(side)


def _png(depth: np.ndarray, far: float, shade: tuple[float, float]) -> str:
    """A data URI: near is light, far is dark, nothing is transparent."""
    near, deep = shade
    share = np.clip((depth - near) / (deep - near), 0, 1)
    values = np.where(depth < far, 1 + (254 * share).round(), 0).astype(np.uint8)
    picture = Image.frombytes("P", values.shape[::-1], values.tobytes())
    greys = np.repeat(np.linspace(214, 62, 255).round().astype(np.uint8), 3)
    picture.putpalette([0, 0, 0, *greys.tolist()])
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=0, optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


# --------------------------------------------------------------------------------------------------------- 3D view


def _space(t: Mapping[str, np.ndarray], frames: Sequence[Frame], about: Mapping[str, Any]) -> dict[str, Any]:
    """All in the evaluated view's crop, mm; clouds are base64 of int16 x, y, z in tenths of a millimetre."""
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
