"""The clause on shapes and types of tensor code, in the terms of each kind's interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hpf_core.frames import Estimate
from hpf_core.grid import Grid
from hpf_core.interfaces import Kind, Term
from hpf_core.testing import scene
from hpf_core.testing.calls import value_of
from hpf_core.testing.clause import clause
from hpf_core.testing.outcome import need
from hpf_core.testing.subject import Subject

_FLOATS = (torch.float32, torch.float64)
_KINDS: tuple[Kind, ...] = ("hand", "renderer", "backbone", "data_term", "prior", "transform", "refiner")


@clause("shapes", "results have the shapes and types of the kind's interface, one item or many", *_KINDS)
def shapes(subject: Subject) -> None:
    with torch.no_grad():
        _CHECKS[subject.spec.kind](subject, subject.inputs)
        if subject.spec.kind != "data_term":
            _CHECKS[subject.spec.kind](subject, {name: value[:1] for name, value in subject.inputs.items()})


def shaped(name: str, value: Any, shape: tuple[int, ...], *types: torch.dtype) -> None:
    """Raise `Broken` unless the value is a tensor of this shape and one of these types."""
    need(isinstance(value, Tensor), f"{name} is a {type(value).__name__}, not a tensor")
    need(tuple(value.shape) == shape, f"{name} is {tuple(value.shape)}, not {shape}")
    known = " or ".join(str(t).removeprefix("torch.") for t in types)
    need(value.dtype in types, f"{name} is {value.dtype}, not {known}")


def _hand(subject: Subject, inputs: dict[str, Tensor]) -> None:
    hand, pose, shape = subject.built.hand, inputs["pose"], inputs["shape"]
    count, points = len(pose), len(hand.names)
    drawn = hand.sample(count, scene.generator())
    shaped("the sampled pose", drawn.pose, (count, len(hand.pose_names)), *_FLOATS)
    shaped("the sampled shape", drawn.shape, (count, len(hand.shape_names)), *_FLOATS)
    for dtype in _FLOATS:
        found = hand.points(pose.to(dtype), shape.to(dtype))
        shaped(f"points() of {dtype} poses", found, (count, points, 3), dtype)
    mesh = hand.mesh(pose, shape)
    shaped("mesh().vertices", mesh.vertices, (count, mesh.vertices.shape[1], 3), *_FLOATS)
    shaped("mesh().faces", mesh.faces, (len(mesh.faces), 3), torch.int64)


def _renderer(subject: Subject, inputs: dict[str, Tensor]) -> None:
    count, size, queries = len(inputs["points"]), scene.GRID.size, inputs["queries"].shape[1]
    maps = (count, size, size)
    for dtype in _FLOATS:
        points = inputs["points"].to(dtype)
        rendered = subject.built.plugin.depth(points, scene.GRID)
        shaped("depth().depth", rendered.depth, maps, dtype)
        shaped("depth().hit", rendered.hit, maps, torch.bool)
        shaped("depth().primitive", rendered.primitive, maps, torch.int64)
        shaped("depth().anchor", rendered.anchor, (*maps, 2), dtype)
        found = subject.built.plugin.distance(points, inputs["queries"].to(dtype))
        shaped("distance().distance", found.distance, (count, queries), dtype)
        shaped("distance().primitive", found.primitive, (count, queries), torch.int64)
    other = Grid(size=20, cube_mm=240.0)
    rendered = subject.built.plugin.depth(inputs["points"], other)
    shaped("depth().depth over another grid", rendered.depth, (count, 20, 20), torch.float32)
    missed = rendered.depth[~rendered.hit]
    need((missed == other.far_mm).all(), f"where nothing is hit, depth isn't the grid's far value, {other.far_mm:g} mm")


def _backbone(subject: Subject, inputs: dict[str, Tensor]) -> None:
    stacks = list(subject.built.plugin(inputs["depth"]))
    need(stacks, "forward() gives no estimate: one for each stack is expected")
    labels = subject.built.plugin.labels(inputs["points"])
    for stack, estimate in enumerate(stacks):
        estimate_shaped(f"stack {stack}'s", estimate, subject, len(inputs["depth"]))
    estimate_shaped("labels()'s", labels, subject, len(inputs["points"]))
    for name in ("heatmaps", "latent_depth"):
        found, wanted = getattr(stacks[-1], name), getattr(labels, name)
        if found is not None and wanted is not None:
            need(
                found.shape == wanted.shape, f"{name} are {tuple(found.shape)}, and their labels {tuple(wanted.shape)}"
            )


def estimate_shaped(whose: str, estimate: Any, subject: Subject, count: int) -> None:
    """Raise `Broken` unless the value is an estimate of `count` images."""
    need(isinstance(estimate, Estimate), f"{whose} estimate is a {type(estimate).__name__}, not an Estimate")
    joints = len(subject.built.hand.names)
    shaped(f"{whose} points", estimate.points, (count, joints, 3), *_FLOATS)
    for field in dataclasses.fields(estimate):
        value = getattr(estimate, field.name)
        if value is None or field.name == "points":
            continue
        leading = (count,) if field.name in ("pose", "shape") else (count, joints)
        trailing = {"variance": 2, "pose": 2, "shape": 2}.get(field.name, 4)
        right = tuple(value.shape[: len(leading)]) == leading and value.ndim == trailing
        need(right, f"{whose} {field.name} are {tuple(value.shape)}: see hpf_core.frames.Estimate")


def _term(subject: Subject, inputs: Any) -> None:
    value = value_of(subject.built, inputs)
    term: Term = subject.built.plugin
    shaped("values", value.values, tuple(value.values.shape[:1]), *_FLOATS)
    count = len(value.values)
    shaped("weights", value.weights, (count,), *_FLOATS)
    need((value.weights >= 0).all() and torch.isfinite(value.weights).all(), "a weight is negative, or not finite")
    need(isinstance(term.unit, str) and term.unit.strip(), "it has no unit; write e.g. unit = 'mm'")
    if subject.spec.kind == "prior":
        need(
            count == len(inputs["points"]), f"{count} values of {len(inputs['points'])} estimates: it must be one each"
        )
    if value.frame is not None:
        shaped("frame", value.frame, (count,), torch.int64)
        frames = inputs.frames.views.frames if subject.spec.kind == "data_term" and inputs.frames is not None else count
        need(((value.frame >= 0) & (value.frame < frames)).all(), f"frame has numbers beyond the {frames} frames")


def _term_without_gradient(subject: Subject, inputs: Any) -> None:
    _term(subject, inputs)
    with torch.enable_grad():
        followed, _ = subject.followed(subject.built, inputs)
        weights = value_of(subject.built, followed).weights
    need(
        not weights.requires_grad,
        "weights have a gradient: add .detach(), because a term could otherwise decrease its own weight",
    )


def _transform(subject: Subject, inputs: dict[str, Tensor]) -> None:
    depth, back = subject.built.plugin(inputs["depth"], scene.generator())
    shaped("the depth maps", depth, tuple(inputs["depth"].shape), inputs["depth"].dtype)
    shaped("the points taken back", back(inputs["points"]), tuple(inputs["points"].shape), *_FLOATS)


def _refiner(subject: Subject, inputs: dict[str, Tensor]) -> None:
    shaped("the points", subject.built.plugin(inputs["points"]), tuple(inputs["points"].shape), *_FLOATS)


_CHECKS: dict[str, Callable[[Subject, Any], None]] = {
    "hand": _hand,
    "renderer": _renderer,
    "backbone": _backbone,
    "data_term": _term_without_gradient,
    "prior": _term_without_gradient,
    "transform": _transform,
    "refiner": _refiner,
}

CLAUSES = (shapes,)
