"""Test inputs for plugins of each kind, made of the scenes: ordinary and degenerate ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpf_core.frames import State
from hpf_core.testing import scene
from hpf_core.testing.built import Built


def ordinary(built: Built) -> Any:
    """Ordinary inputs for a plugin of its kind, in a tree of tensors on the host."""
    hand, renderer = built.hand, built.renderer
    kind = built.kind
    if kind == "hand":
        pose, shape = hand.sample(4, scene.generator())
        pose = pose.clone()
        pose[:, :6] = torch.randn(4, 6, generator=scene.generator(1))
        return {"pose": pose, "shape": shape}
    if kind == "data_term":
        return term_inputs(built, built.needs)
    points = scene.hands(hand, 5)
    if kind == "renderer":
        return {"points": points, "queries": 60 * torch.randn(5, 50, 3, generator=scene.generator(1))}
    if kind in ("backbone", "transform"):
        samples, _, _ = scene.synthetic_inputs(hand, renderer)
        return {"depth": samples.depth, "points": scene.hands(hand, len(samples.depth))}
    if kind == "prior":  # a prior may be constant on valid hands
        points = points * torch.tensor([1.0, 0.3, 1.0, 2.5, 0.7])[:, None, None]
    return {"points": points}


def term_inputs(built: Built, needs: frozenset[str], present: np.ndarray | None = None) -> scene.Inputs:
    """A data term's inputs: the images that it needs, or both kinds if it needs none."""
    hand, renderer = built.hand, built.renderer
    images = needs & {"real", "synthetic"} or {"real", "synthetic"}
    frames, real = scene.real_inputs(hand, renderer, present) if "real" in images else (None, None)
    samples, synthetic, target = scene.synthetic_inputs(hand, renderer) if "synthetic" in images else (None, None, None)
    return scene.Inputs(frames, samples, real, synthetic, target)


def degenerate(built: Built, inputs: Any) -> dict[str, Any]:
    """The inputs with degenerate poses, points and maps, each by its name."""
    hand, kind = built.hand, built.kind
    points = scene.degenerate_points(hand)
    if kind == "hand":
        half = inputs["pose"].clone()
        half[:, :3] = torch.eye(3)[[0, 1, 2, 0]] * torch.pi
        behind = inputs["pose"].clone()
        behind[:, 3:6] = torch.tensor([0.0, 0.0, -2000.0])
        rest = torch.zeros_like(half)
        found = {"a pose of zeros": rest, "half a turn": half, "a hand behind the camera": behind}
        return {name: inputs | {"pose": pose} for name, pose in found.items()}
    if kind == "renderer":
        return {name: {"points": p, "queries": p.clone()} for name, p in points.items()}
    if kind in ("backbone", "transform"):
        empty = torch.full_like(inputs["depth"], scene.GRID.far_mm)
        return {
            "empty depth maps": inputs | {"depth": empty},
            "depth maps in front of the cube": inputs | {"depth": -10 * empty},
            "a single depth map": {name: value[:1] for name, value in inputs.items()},
        }
    if kind == "data_term":
        return _degenerate_terms(built, inputs, points)
    return {name: {"points": p} for name, p in points.items()} | {"a single hand": {"points": inputs["points"][:1]}}


def _degenerate_terms(built: Built, inputs: scene.Inputs, points: dict[str, Tensor]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, two in points.items():
        placed = {}
        for what in ("real", "synthetic"):
            estimate = getattr(inputs, what)
            if estimate is not None:
                rows = two.repeat(len(estimate.points), 1, 1)[: len(estimate.points)]
                placed[what] = dataclasses.replace(estimate, points=rows)
        found[name] = dataclasses.replace(inputs, **placed)
    frames, samples = inputs.frames, inputs.samples
    for state in (State.EMPTY, State.UNKNOWN):
        maps: dict[str, Any] = {}
        for what, images in (("frames", frames), ("samples", samples)):
            if images is not None:
                depth, states = torch.full_like(images.depth, scene.GRID.far_mm), torch.full_like(images.state, state)
                maps[what] = dataclasses.replace(images, depth=depth, state=states)
        found["empty depth maps" if state == State.EMPTY else "depth maps that the sensor lost"] = dataclasses.replace(
            inputs, **maps
        )
    if frames is not None:
        single, mixed = np.zeros((2, scene.FRAMES, scene.VIEWS), dtype=bool)
        single[:, 0] = mixed[:, 1] = mixed[0] = True
        found["a single view"] = term_inputs(built, built.needs, single)
        found["one view here, three there"] = term_inputs(built, built.needs, mixed)
    return found
