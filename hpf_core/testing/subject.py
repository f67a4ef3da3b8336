"""The plugin that is tried, what it is built with, and how each kind is called."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from hpf_core.energy import reduce
from hpf_core.fit import Fit
from hpf_core.frames import State
from hpf_core.interfaces import (
    Backbone,
    Build,
    DataTerm,
    HandModel,
    Observer,
    PluginSpec,
    Prior,
    RealDataset,
    Refiner,
    Renderer,
    SyntheticDataset,
    TermValue,
    Transform,
)  # fmt: skip
from hpf_core.plugins import PluginHost
from hpf_core.recipe.models import DEFAULT_PLUGINS
from hpf_core.testing import scene
from hpf_core.testing.clause import Broken, changed

INTERFACES: dict[str, type | tuple[type, ...]] = {
    "hand": HandModel,
    "renderer": Renderer,
    "backbone": Backbone,
    "data_term": DataTerm,
    "prior": Prior,
    "dataset": (RealDataset, SyntheticDataset),
    "transform": Transform,
    "refiner": Refiner,
    "observer": Observer,
}
"""What each kind's factory must return."""

Options = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""A plugin's options as in a recipe, or a function that makes them (and files that they name) when a test runs."""


@dataclass(frozen=True)
class Built:
    """A plugin and the parts that it was built with; of a hand or a renderer, `plugin` is one of them."""

    hand: HandModel
    renderer: Renderer
    plugin: Any

    def to(self, device: str) -> Built:
        """All that holds tensors on another device."""
        for part in (self.hand, self.renderer, self.plugin):
            if isinstance(part, nn.Module):
                part.to(device)
        return self


class Subject:
    """One plugin with some options, and scenes of the size that its contract is checked on.

    Args:
        spec: the plugin.
        options: its options, as a recipe has them, or what makes them when they are first asked for.
        hand, renderer: what it is built with, at default options; by default what recipes have.
    """

    def __init__(
        self,
        spec: PluginSpec,
        options: Options | None = None,
        hand: PluginSpec | None = None,
        renderer: PluginSpec | None = None,
    ) -> None:
        self.spec = spec
        self._options = options
        self._hand = spec if spec.kind == "hand" else hand
        self._renderer = spec if spec.kind == "renderer" else renderer

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """The options that are given; the others are at their defaults."""
        return dict(self._options() if callable(self._options) else self._options or {})

    @functools.cached_property
    def config(self) -> Any:
        """Its checked options. Raises `Broken` where they are wrong."""
        try:
            return self.spec.config(**self.options)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the options"
            raise Broken(
                f"its options {self.options} are refused: {where}: {first['msg']}. Options that have no default are "
                "given to the contract: contract(SPEC, {...}); on the command line, --options"
            ) from error

    @functools.cached_property
    def folder(self) -> Path:
        """A folder that vanishes with the subject; plugins' caches are in it."""
        path = tempfile.mkdtemp(prefix="hpf-contract-")
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        return Path(path)

    def fresh(self) -> Built:
        """The plugin, built and prepared anew, with a hand and a renderer of its own."""
        bare = Build(grid=scene.GRID, seed=0, cache=self.folder)
        hand = self._part("hand", self._hand, bare)
        with_hand = dataclasses.replace(bare, hand=hand)
        renderer = self._part("renderer", self._renderer, with_hand)
        if self.spec.kind in ("hand", "renderer"):
            return Built(hand, renderer, hand if self.spec.kind == "hand" else renderer)
        plugin = self.spec.factory(self.config, dataclasses.replace(with_hand, renderer=renderer))
        prepare = getattr(plugin, "prepare", None)
        if prepare is not None:
            prepare()
        return Built(hand, renderer, plugin)

    @functools.cached_property
    def built(self) -> Built:
        """One that clauses share; who changes it takes a `fresh` one."""
        return self.fresh()

    def run(self, built: Built, inputs: Any) -> dict[str, Tensor]:
        """What the plugin says of inputs: its floating-point outputs by name."""
        return _RUNS[self.spec.kind](self, built, inputs)

    def run_in_step(self, built: Built, inputs: Any) -> dict[str, Tensor]:
        """What of it a training step runs: a hand's mesh belongs to synthesis, which is outside of it."""
        if self.spec.kind == "hand":
            return {"points": built.plugin.points(inputs["pose"], inputs["shape"])}
        return self.run(built, inputs)

    @functools.cached_property
    def inputs(self) -> Any:
        """Ordinary inputs of its kind, in a tree of tensors on the host."""
        return _inputs(self)

    @functools.cached_property
    def degenerate(self) -> dict[str, Any]:
        """Inputs that real data and wrong estimates come to, each by its name."""
        return _degenerate(self)

    def followed(self, built: Built, inputs: Any) -> tuple[Any, dict[str, Tensor]]:
        """The inputs again, those that a gradient must reach as leaves of the graph, and these by name."""
        found: dict[str, Tensor] = {}
        if self.spec.kind == "backbone":
            return inputs, {name: p for name, p in built.plugin.named_parameters() if p.requires_grad}

        def leaf(name: str, value: Tensor) -> Tensor:
            found[name] = value.detach().clone().requires_grad_()
            return found[name]

        if self.spec.kind == "data_term":
            followed = {}
            for what in ("real", "synthetic"):
                estimate = getattr(inputs, what)
                if estimate is not None:
                    fields = {f.name: getattr(estimate, f.name) for f in dataclasses.fields(estimate)}
                    named = {k: None if v is None else leaf(f"{what}.{k}", v) for k, v in fields.items()}
                    followed[what] = type(estimate)(**named)
            return dataclasses.replace(inputs, **followed), found
        names = {"hand": ("pose", "shape"), "renderer": ("points",), "prior": ("points",), "transform": ("points",)}
        return inputs | {name: leaf(name, inputs[name]) for name in names.get(self.spec.kind, ())}, found

    def _part(self, kind: Any, spec: PluginSpec | None, build: Build) -> Any:
        if spec is None:
            spec = _default(kind)
        return spec.factory(self.config if spec is self.spec else spec.config(), build)


@functools.cache
def _default(kind: Any) -> PluginSpec:
    """What a recipe has that names none; found without importing anyone else's plugins."""
    return PluginHost.load(only=[]).get(kind, DEFAULT_PLUGINS[kind]).spec


# ------------------------------------------------------------------------------------------------------------- inputs


def _inputs(subject: Subject) -> Any:
    hand, renderer = subject.built.hand, subject.built.renderer
    kind = subject.spec.kind
    if kind == "hand":
        pose, shape = hand.sample(4, scene.generator())
        pose = pose.clone()
        pose[:, :6] = torch.randn(4, 6, generator=scene.generator(1))
        return {"pose": pose, "shape": shape}
    if kind == "data_term":
        return term_inputs(subject, subject.spec.needs | subject.built.plugin.needs)
    points = scene.hands(hand, 5)
    if kind == "renderer":
        return {"points": points, "queries": 60 * torch.randn(5, 50, 3, generator=scene.generator(1))}
    if kind in ("backbone", "transform"):
        samples, _, _ = scene.synthetic_inputs(hand, renderer)
        return {"depth": samples.depth, "points": scene.hands(hand, len(samples.depth))}
    if kind == "prior":  # of hands as they are a prior may have nothing to say
        points = points * torch.tensor([1.0, 0.3, 1.0, 2.5, 0.7])[:, None, None]
    return {"points": points}


def term_inputs(subject: Subject, needs: frozenset[str], present: np.ndarray | None = None) -> scene.Inputs:
    """A data term's inputs: the images that it asks for, both where it asks for none."""
    hand, renderer = subject.built.hand, subject.built.renderer
    images = needs & {"real", "synthetic"} or {"real", "synthetic"}
    frames, real = scene.real_inputs(hand, renderer, present) if "real" in images else (None, None)
    samples, synthetic, target = scene.synthetic_inputs(hand, renderer) if "synthetic" in images else (None, None, None)
    return scene.Inputs(frames, samples, real, synthetic, target)


def _degenerate(subject: Subject) -> dict[str, Any]:
    inputs, hand, kind = subject.inputs, subject.built.hand, subject.spec.kind
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
        return _degenerate_terms(subject, inputs, points)
    return {name: {"points": p} for name, p in points.items()} | {"a single hand": {"points": inputs["points"][:1]}}


def _degenerate_terms(subject: Subject, inputs: scene.Inputs, points: dict[str, Tensor]) -> dict[str, Any]:
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
        needs = subject.spec.needs | subject.built.plugin.needs
        single, mixed = np.zeros((2, scene.FRAMES, scene.VIEWS), dtype=bool)
        single[:, 0] = mixed[:, 1] = mixed[0] = True
        found["a single view"] = term_inputs(subject, needs, single)
        found["one view here, three there"] = term_inputs(subject, needs, mixed)
    return found


# -------------------------------------------------------------------------------------------------------------- calls


def fit_of(built: Built, inputs: scene.Inputs) -> Fit:
    """The fit that a data term is given."""
    fields = {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}
    return Fit(hand=built.hand, renderer=built.renderer, grid=scene.GRID, **fields)


def value_of(subject: Subject, built: Built, inputs: Any) -> TermValue:
    """What a data term or a prior says."""
    return built.plugin(fit_of(built, inputs) if subject.spec.kind == "data_term" else inputs["points"])


def _hand(subject: Subject, built: Built, inputs: Any) -> dict[str, Tensor]:
    mesh = built.plugin.mesh(inputs["pose"], inputs["shape"])
    return {"points": built.plugin.points(inputs["pose"], inputs["shape"]), "mesh.vertices": mesh.vertices}


def _renderer(subject: Subject, built: Built, inputs: Any) -> dict[str, Tensor]:
    rendered = built.plugin.depth(inputs["points"], scene.GRID)
    distance = built.plugin.distance(inputs["points"], inputs["queries"])
    return {"depth": rendered.depth, "anchor": rendered.anchor, "distance": distance.distance}


def _backbone(subject: Subject, built: Built, inputs: Any) -> dict[str, Tensor]:
    found = {}
    for stack, estimate in enumerate(built.plugin(inputs["depth"])):
        for field in dataclasses.fields(estimate):
            value = getattr(estimate, field.name)
            if value is not None:
                found[f"{field.name} of stack {stack}"] = value
    return found


def _term(subject: Subject, built: Built, inputs: Any) -> dict[str, Tensor]:
    value = value_of(subject, built, inputs)
    # What a weight of 0 hides may be anything, so the values count through their sum.
    return {"value": reduce(value), "weights": value.weights}


def _transform(subject: Subject, built: Built, inputs: Any) -> dict[str, Tensor]:
    depth, back = built.plugin(inputs["depth"], scene.generator(11))
    return {"depth": depth, "points": back(inputs["points"])}


def _refiner(subject: Subject, built: Built, inputs: Any) -> dict[str, Tensor]:
    return {"points": built.plugin(inputs["points"])}


def _dataset(subject: Subject, built: Built, inputs: Any) -> dict[str, Tensor]:
    data = built.plugin
    if isinstance(data, SyntheticDataset):
        samples = data.sample(2, scene.generator(11))
        return {"depth": samples.depth, "points": samples.points, "pose": samples.pose, "shape": samples.shape}
    split = max(data.splits(), key=lambda name: data.splits()[name])
    frames = data.frames(split, np.arange(min(3, data.splits()[split])))
    return {"depth": frames.depth, "to_rig": frames.to_rig}


def _observer(subject: Subject, built: Built, inputs: Any) -> dict[str, Tensor]:
    return {}


_RUNS: dict[str, Callable[[Subject, Built, Any], dict[str, Tensor]]] = {
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


def on(device: str, inputs: Any) -> Any:
    """The inputs on another device."""
    return changed(inputs, lambda value: value.to(device))
