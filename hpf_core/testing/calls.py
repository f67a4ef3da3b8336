"""Calls a plugin of each kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from hpf_core.interfaces import SyntheticDataset, TermValue
from hpf_core.objective.energy import reduce
from hpf_core.objective.fit import Fit
from hpf_core.testing import scene
from hpf_core.testing.built import Built
from hpf_core.testing.trees import changed


def fit_of(built: Built, inputs: scene.Inputs) -> Fit:
    """The fit for a data term."""
    fields = {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}
    return Fit(hand=built.hand, renderer=built.renderer, grid=scene.GRID, **fields)


def value_of(built: Built, inputs: Any) -> TermValue:
    """The value of a data term or a prior."""
    return built.plugin(fit_of(built, inputs) if built.kind == "data_term" else inputs["points"])


def _hand(built: Built, inputs: Any) -> dict[str, Tensor]:
    mesh = built.plugin.mesh(inputs["pose"], inputs["shape"])
    return {"points": built.plugin.points(inputs["pose"], inputs["shape"]), "mesh.vertices": mesh.vertices}


def _renderer(built: Built, inputs: Any) -> dict[str, Tensor]:
    rendered = built.plugin.depth(inputs["points"], scene.GRID)
    distance = built.plugin.distance(inputs["points"], inputs["queries"])
    return {"depth": rendered.depth, "anchor": rendered.anchor, "distance": distance.distance}


def _backbone(built: Built, inputs: Any) -> dict[str, Tensor]:
    found = {}
    for stack, estimate in enumerate(built.plugin(inputs["depth"])):
        for field in dataclasses.fields(estimate):
            value = getattr(estimate, field.name)
            if value is not None:
                found[f"{field.name} of stack {stack}"] = value
    return found


def _term(built: Built, inputs: Any) -> dict[str, Tensor]:
    value = value_of(built, inputs)
    # Values with weight 0 may be anything, so the sum represents the values.
    return {"value": reduce(value), "weights": value.weights}


def _transform(built: Built, inputs: Any) -> dict[str, Tensor]:
    depth, back = built.plugin(inputs["depth"], scene.generator(11, inputs["depth"].device))
    return {"depth": depth, "points": back(inputs["points"])}


def _refiner(built: Built, inputs: Any) -> dict[str, Tensor]:
    return {"points": built.plugin(inputs["points"])}


def _dataset(built: Built, inputs: Any) -> dict[str, Tensor]:
    data = built.plugin
    if isinstance(data, SyntheticDataset):
        samples = data.sample(2, scene.generator(11))
        return {"depth": samples.depth, "points": samples.points, "pose": samples.pose, "shape": samples.shape}
    split = max(data.splits(), key=lambda name: data.splits()[name])
    frames = data.frames(split, np.arange(min(3, data.splits()[split])))
    return {"depth": frames.depth, "to_rig": frames.to_rig}


def _observer(built: Built, inputs: Any) -> dict[str, Tensor]:
    return {}


RUNS: dict[str, Callable[[Built, Any], dict[str, Tensor]]] = {
    "hand": _hand,
    "renderer": _renderer,
    "backbone": _backbone,
    "data_term": _term,
    "prior": _term,
    "dataset": _dataset,
    "transform": _transform,
    "refiner": _refiner,
    "observer": _observer,
}
"""The call of each kind: its floating-point outputs by name."""


def on(device: str, inputs: Any) -> Any:
    """The inputs, on another device."""
    return changed(inputs, lambda value: value.to(device))
