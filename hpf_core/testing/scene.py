"""Small scenes for tests of plugins: random hands in the cameras of a rig, with typical faults of data.

The depth maps are the renderer's own, with holes: small simulated data.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpf_core.frames import Estimate, RealFrames, State, SyntheticSamples, ViewIndex
from hpf_core.geometry.rigid import apply_rigid, invert_rigid
from hpf_core.geometry.rotations import rotation_matrix
from hpf_core.grid import Grid
from hpf_core.interfaces import HandModel, Renderer

GRID = Grid(size=32, cube_mm=300.0)
FRAMES, VIEWS, SAMPLES = 3, 3, 3
MAPS = 16
"""Side of the maps of random estimates, pixels."""
SYNTHETIC_SEED = 3
"""Number of hands of the synthetic samples."""


class _OnMeta(torch.Generator):
    """A generator with the device `meta`, which torch doesn't have: its draws have a shape and no values."""

    device = torch.device("meta")


def generator(seed: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on a device, which may be `meta`."""
    device = torch.device(device)
    made = _OnMeta() if device.type == "meta" else torch.Generator(device)
    return made.manual_seed(seed)


def hands(hand: HandModel, count: int, seed: int = 0) -> Tensor:
    """(count, J, 3) float32 mm: hands in random poses, rotated by up to a radian about each axis, near the origin."""
    draw = generator(seed)
    pose, shape = hand.sample(count, draw)
    pose = pose.clone()
    pose[:, :3] = 2 * torch.rand(count, 3, generator=draw) - 1
    pose[:, 3:6] = 20 * torch.rand(count, 3, generator=draw) - 10
    with torch.no_grad():
        points = hand.points(pose, shape).float()
    return points - points[:, hand.palm_centre, None] + pose[:, None, 3:6]


@dataclass(frozen=True)
class Inputs:
    """Inputs of a data term's `Fit`; see `hpf_core.objective.fit.Fit`."""

    frames: RealFrames | None
    samples: SyntheticSamples | None
    real: Estimate | None
    synthetic: Estimate | None
    target: Estimate | None


def real_inputs(hand: HandModel, renderer: Renderer, present: np.ndarray | None = None) -> tuple[RealFrames, Estimate]:
    """Frames of `FRAMES` moments, and estimates of their present views with errors of some mm."""
    present = np.ones((FRAMES, VIEWS), dtype=bool) if present is None else present
    frames, views = present.shape
    draw = generator(1)
    in_rig = hands(hand, frames, seed=2) + torch.tensor([0.0, 0.0, 850.0])
    to_rig = torch.eye(4).repeat(frames, views, 1, 1)
    to_rig[..., :3, :3] = rotation_matrix(0.8 * (2 * torch.rand(frames, views, 3, generator=draw) - 1))
    to_rig[..., :3, 3] = torch.tensor([0.0, 0.0, 850.0])
    seen = apply_rigid(invert_rigid(to_rig), in_rig[:, None].expand(-1, views, -1, -1)).flatten(0, 1)
    depth, state = _maps(renderer, seen, holes=0.03)
    index = ViewIndex.of(present)
    absent = torch.from_numpy(~present)
    found = RealFrames(
        depth=depth.view(frames, views, GRID.size, GRID.size).masked_fill(absent[..., None, None], GRID.far_mm),
        state=state.view(frames, views, GRID.size, GRID.size).masked_fill(absent[..., None, None], int(State.EMPTY)),
        present=torch.from_numpy(present),
        to_rig=torch.where(absent[..., None, None], torch.eye(4), to_rig),
        views=index,
        sequence=torch.zeros(frames, dtype=torch.int64),
        time=torch.arange(frames, dtype=torch.float64) / 30,
        index=torch.arange(frames),
        cube_mm=GRID.cube_mm,
    )
    off = 5 * torch.randn(seen.shape, generator=draw)
    return found, estimate((seen + off)[index.rows], hand)


def synthetic_inputs(hand: HandModel, renderer: Renderer) -> tuple[SyntheticSamples, Estimate, Estimate]:
    """Samples, their estimates with errors of some mm, and an ideal output."""
    points = hands(hand, SAMPLES, seed=SYNTHETIC_SEED)
    pose, shape = hand.sample(SAMPLES, generator(3))
    depth, state = _maps(renderer, points)
    off = 5 * torch.randn(points.shape, generator=generator(4))
    samples = SyntheticSamples(depth, state, points, pose, shape, GRID.cube_mm)
    return samples, estimate(points + off, hand), estimate(points, hand, seed=6)


def estimate(points: Tensor, hand: HandModel, seed: int = 5) -> Estimate:
    """An estimate with all fields and random maps."""
    count, joints = points.shape[:2]
    draw = generator(seed)
    pose, shape = hand.sample(count, draw)
    maps = torch.rand(2, count, joints, MAPS, MAPS, generator=draw)
    variance = 10 + 90 * torch.rand(count, joints, generator=draw)
    return Estimate(points, maps[0], 50 * maps[1], variance, pose, shape)


def permuted(frames: RealFrames, real: Estimate, order: list[int]) -> tuple[RealFrames, Estimate]:
    """The same frames and their estimates in another order."""
    number = torch.tensor(order)
    views = frames.views
    index = ViewIndex.of(frames.present[number].numpy())
    place = torch.full((views.frames * views.views,), -1).index_put((views.rows,), torch.arange(len(views.rows)))
    rows = place[number[index.frame] * views.views + index.rows % views.views]
    moved: dict[str, Any] = {
        field.name: value[number]
        for field in dataclasses.fields(frames)
        if isinstance(value := getattr(frames, field.name), Tensor)
    }
    return dataclasses.replace(frames, views=index, **moved), taken(real, rows)


def shares(inputs: Inputs) -> tuple[Inputs, Inputs]:
    """The first frame and sample, and the rest."""
    parts = []
    for rows in (slice(0, 1), slice(1, None)):
        frames, real = inputs.frames, inputs.real
        if frames is not None and real is not None:
            mine = torch.arange(len(frames.present))[rows]
            of_mine = torch.isin(frames.views.frame, mine)
            moved: dict[str, Any] = {
                field.name: value[rows]
                for field in dataclasses.fields(frames)
                if isinstance(value := getattr(frames, field.name), Tensor)
            }
            frames = dataclasses.replace(frames, views=ViewIndex.of(frames.present[rows].numpy()), **moved)
            real = taken(real, of_mine)
        samples = None if inputs.samples is None else inputs.samples.take(rows)
        synthetic = None if inputs.synthetic is None else inputs.synthetic.take(rows)
        target = None if inputs.target is None else inputs.target.take(rows)
        parts.append(Inputs(frames, samples, real, synthetic, target))
    return parts[0], parts[1]


def taken(found: Estimate, rows: Tensor) -> Estimate:
    """The estimates of some images."""
    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    there: dict[str, Any] = {name: None if value is None else value[rows] for name, value in fields.items()}
    return Estimate(**there)


def degenerate_points(hand: HandModel) -> dict[str, Tensor]:
    """(2, J, 3) mm each: degenerate poses."""
    ordinary = hands(hand, 2, seed=7)
    # Integers in mm make links exactly parallel: the arc cosine has an infinite gradient there.
    line = torch.zeros_like(ordinary)
    line[..., 0] = 4.0 * (torch.arange(ordinary.shape[1], dtype=ordinary.dtype) - ordinary.shape[1] // 2)
    return {
        "coincident points": torch.zeros_like(ordinary),
        "points on a line": line,
        "a point behind the camera": ordinary.index_add(
            1, torch.tensor([0]), torch.tensor([[0.0, 0.0, -2000.0]]).expand(2, 1, 3)
        ),
        "a hand outside of the cube": ordinary + 1000.0,
    }


def _maps(renderer: Renderer, points: Tensor, holes: float = 0.0) -> tuple[Tensor, Tensor]:
    """Depth and state (N, H, W) of hands (N, J, 3)."""
    with torch.no_grad():
        rendered = renderer.depth(points, GRID)
    hit = rendered.hit & (rendered.depth < GRID.far_mm)
    state = torch.where(hit, int(State.HIT), int(State.EMPTY))
    lost = torch.rand(state.shape, generator=generator(8)) < holes
    state = torch.where(lost, int(State.UNKNOWN), state).to(torch.uint8)
    depth = torch.where(state == int(State.HIT), rendered.depth.float(), GRID.far_mm)
    return depth, state
