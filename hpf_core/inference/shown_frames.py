"""Some evaluated frames in all of their views, with the networks' estimates, for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from hpf_core.errors import DataError
from hpf_core.frames import Estimate, RealFrames, SyntheticSamples
from hpf_core.geometry.rigid import apply_rigid, invert_rigid
from hpf_core.inference import unseen
from hpf_core.inference.build import Parts
from hpf_core.objective.fit import Fit
from hpf_core.runs import checkpoint as files
from hpf_core.runs.folder import RunFolder

Found = Mapping[str, Mapping[str, Tensor]]
"""By stage, the tensors of its evaluation (`RunFolder.predictions`)."""

_TENSORS = ("numbers", "depth", "present", "rendered", "truth", "to_first", "ignored")
"""Content of the file of kept frames besides the networks' estimates."""

KEPT = 12
"""Number of frames kept for the report; half of them are the worst."""

_SYNTHETIC = 256  # samples are drawn in order, so a late one costs all samples before it


@dataclass(frozen=True)
class SeenFrames:
    """B frames; synthetic samples have V = 1. Everything is in the view's crop, in mm.

    Attributes:
        numbers: (B,) int64, indices of the frames in the split.
        depth: (B, V, H, W) float32, the far value in pixels without a surface.
        present: (B, V) bool.
        rendered: (B, V, H, W) float32, the last estimate's depth maps.
        points: by stage, (B, V, J, 3) float32, the evaluated view's estimate mapped to all views.
        joints: by stage, (B, V, K, 3) float32, the annotation's joints of this estimate.
        truth: (B, V, K, 3) float32, the annotated joints.
        to_first: (B, V, 4, 4) float32, from each view's crop to the evaluated view's.
        ignored: (B, V, H, W) bool, pixels that the loss ignores with the last estimate: the forearm.
    """

    numbers: Tensor
    depth: Tensor
    present: Tensor
    rendered: Tensor
    points: dict[str, Tensor]
    joints: dict[str, Tensor]
    truth: Tensor
    to_first: Tensor
    ignored: Tensor


def ignored_pixels(parts: Parts, fit: Fit) -> Tensor:
    """(N, H, W) bool: pixels of the own views beyond the estimated wrist, which no term of the recipe compares.

    The mask is empty if a term keeps the forearm, or no term has the option `forearm`.
    """
    options = {getattr(getattr(term, "config", None), "forearm", None) for term in parts.terms.values()} - {None}
    if options != {"wrist_plane"}:
        return torch.zeros_like(fit.hit)
    return fit.forearm(False, *fit.surface_points(None)).view_as(fit.hit)


def see(parts: Parts, split: str | None, found: Found, after: str, numbers: np.ndarray) -> SeenFrames:
    """Collect some frames and the estimates for them.

    Args:
        split: of the real data, or None for the unseen synthetic samples.
        numbers: (B,) indices of the frames.
        found: the evaluations to show; the crops are those of `after`'s.
        after: the stage of the rendered estimate.
    """
    chosen = torch.from_numpy(np.asarray(numbers, dtype=np.int64))
    if split is None:
        return _synthetic(parts, found, after, chosen)
    assert parts.real is not None
    if "centres" in found[after]:
        parts.real.recentre(split, found[after]["centres"].numpy())
    frames = parts.real.frames(split, chosen.numpy())
    view = parts.real.protocol.view
    to_rig = frames.to_rig.double()
    from_rig = invert_rigid(to_rig)
    # Another evaluation may have other centres of the crops: each has its own map to the rig.
    points = {
        name: apply_rigid(_chain(from_rig, t["to_rig"][chosen].double()), t["points"][chosen].double()[:, None])
        for name, t in found.items()
    }
    camera = invert_rigid(torch.from_numpy(parts.real.to_camera(split)[chosen.numpy()]))
    into = _chain(_chain(from_rig, to_rig[:, view]), camera)
    return SeenFrames(
        numbers=chosen,
        depth=frames.depth,
        present=frames.present,
        rendered=_render(parts, points[after].float()),
        points={name: value.float() for name, value in points.items()},
        joints={name: apply_rigid(into, t["joints"][chosen][:, None]).float() for name, t in found.items()},
        truth=apply_rigid(into, found[after]["truth"][chosen][:, None]).float(),
        to_first=_chain(from_rig[:, view : view + 1], to_rig).float(),
        ignored=_ignored(parts, frames, points[after].float()),
    )


def _ignored(parts: Parts, frames: RealFrames, points: Tensor) -> Tensor:
    """(B, V, H, W) bool of frames on the host and points (B, V, J, 3) mm in each view's crop."""
    ignored = torch.zeros(frames.depth.shape, dtype=torch.bool)
    rows = frames.views.rows
    fit = Fit(
        hand=parts.hand,
        renderer=parts.renderer,
        grid=parts.grid,
        frames=frames,
        real=Estimate(points=points.flatten(0, 1)[rows]),
    )
    ignored.flatten(0, 1)[rows] = ignored_pixels(parts, fit)
    return ignored


def _synthetic(parts: Parts, found: Found, after: str, chosen: Tensor) -> SeenFrames:
    count = int(chosen.max()) + 1
    device = next(parts.backbone.parameters()).device
    depth = torch.cat([batch.depth.cpu() for batch in _drawn(parts, device, count)])[chosen, None]
    points = {name: t["points"][chosen, None].float() for name, t in found.items()}
    return SeenFrames(
        numbers=chosen,
        depth=depth,
        present=torch.ones(len(chosen), 1, dtype=torch.bool),
        rendered=_render(parts, points[after]),
        points=points,
        joints={name: t["joints"][chosen, None].float() for name, t in found.items()},
        truth=found[after]["truth"][chosen, None].float(),
        to_first=torch.eye(4).expand(len(chosen), 1, 4, 4),
        ignored=torch.zeros_like(depth, dtype=torch.bool),
    )


def _drawn(parts: Parts, device: torch.device, count: int) -> list[SyntheticSamples]:
    return list(unseen.samples(parts, device, count))


def _chain(outer: Tensor, inner: Tensor) -> Tensor:
    """Rigid maps (B, V, 4, 4) after maps (B, 4, 4) or (B, V, 4, 4), or in the other order."""
    outer = outer if outer.ndim == 4 else outer[:, None]
    inner = inner if inner.ndim == 4 else inner[:, None]
    return outer @ inner


def _render(parts: Parts, points: Tensor) -> Tensor:
    """(B, V, H, W) mm of points (B, V, J, 3) mm."""
    device = next(parts.backbone.parameters()).device
    with torch.no_grad():
        depth = parts.renderer.depth(points.flatten(0, 1).to(device), parts.grid).depth
    return depth.unflatten(0, points.shape[:2]).cpu()


def best_to_worst(errors: np.ndarray, count: int = KEPT) -> np.ndarray:
    """Indices of `count` frames by their errors (F,): the worst half without gaps, the rest spread over all others."""
    order = np.argsort(errors, kind="stable")
    if len(order) <= count:
        return order
    worst = count // 2
    rest = order[:-worst]
    return np.concatenate([rest[np.linspace(0, len(rest) - 1, count - worst).round().astype(int)], order[-worst:]])


def keep(folder: RunFolder, parts: Parts, split: str | None, before: str, after: str) -> None:
    """Write frames from best to worst to the run's folder, for its report, without running the network again.

    `split` is as in `see`.
    """
    found = {name: files.read(folder.predictions(name)).tensors for name in dict.fromkeys((before, after))}
    errors = (found[after]["joints"] - found[after]["truth"]).norm(dim=-1).mean(dim=1).numpy()
    shown_of = min(len(errors), _SYNTHETIC) if split is None else len(errors)
    seen = see(parts, split, found, after, best_to_worst(errors[:shown_of]))
    tensors = {name: getattr(seen, name) for name in _TENSORS}
    for name in found:
        role = "after" if name == after else "before"
        tensors |= {f"points.{role}": seen.points[name], f"joints.{role}": seen.joints[name]}
    about: dict[str, Any] = {
        "after": after,
        "before": before if before != after else None,
        "split": unseen.SPLIT if split is None else split,
        "of": shown_of,
        "view": 0 if split is None or parts.real is None else parts.real.protocol.view,
        "far_mm": parts.grid.far_mm,
        "cube_mm": parts.grid.cube_mm,
        "links": [list(link) for link in parts.hand.links],
        "points": list(parts.hand.names),
    }
    files.save(folder.frames(after), {**tensors, "radii": parts.hand.radii}, about)


class FramesAbout(BaseModel):
    """Metadata of a file of shown frames."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")

    after: str
    before: str | None
    split: str
    of: Annotated[int, Field(ge=1)]
    view: Annotated[int, Field(ge=0)]
    far_mm: Annotated[float, Field(gt=0)]
    cube_mm: Annotated[float, Field(gt=0)]
    links: list[Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]]
    points: list[str]


def check(kept: files.Checkpoint, path: Path) -> None:
    """Raise DataError for a file that isn't from `keep`."""
    try:
        about = FramesAbout.model_validate(kept.about)
        shape = tuple(kept.tensors["depth"].shape)
        if len(shape) != 4 or not all(shape) or about.view >= shape[1]:
            raise ValueError(f"depth is {shape}")
        pair, joints, points = shape[:2], kept.tensors["truth"].shape[2], len(about.points)
        wanted: dict[str, tuple[int, ...]] = {
            "numbers": shape[:1],
            "depth": shape,
            "rendered": shape,
            "present": pair,
            "truth": (*pair, joints, 3),
            "to_first": (*pair, 4, 4),
            "radii": (points,),
        }
        for role in ("after", *(["before"] if about.before is not None else [])):
            wanted |= {f"points.{role}": (*pair, points, 3), f"joints.{role}": (*pair, joints, 3)}
        if "ignored" in kept.tensors:  # older runs lack this tensor
            wanted["ignored"] = shape
        for name, size in wanted.items():
            tensor = kept.tensors[name]
            if tuple(tensor.shape) != size or tensor.is_complex() or not bool(tensor.isfinite().all()):
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, or not finite")
        if any(max(link) >= points for link in about.links) or not bool(kept.tensors["present"][:, about.view].all()):
            raise ValueError("its links or its views don't fit")
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(f"{path}: not the frames that a run keeps ({error})") from error
