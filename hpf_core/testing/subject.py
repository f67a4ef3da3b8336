"""The plugin under test, and the parts that it uses."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

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
    Transform,
)
from hpf_core.plugins import PluginHost
from hpf_core.plugins.building import build_plugin
from hpf_core.testing import calls, scene
from hpf_core.testing.built import Built
from hpf_core.testing.inputs import degenerate, ordinary
from hpf_core.testing.outcome import Broken
from hpf_core.testing.settings import Settings

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
"""Return type of each kind's factory."""

Options = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""A plugin's options as in a recipe, or a function that returns them (and creates their files) at test time."""


class Subject:
    """One plugin with some options, and scenes of the size for its contract.

    Args:
        spec: the plugin.
        options: its options, as in a recipe, or a function that returns them on first use.
        hand, renderer: the parts to build it with, at default options; by default those of recipes.
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
        """The given options; the others have their defaults."""
        return dict(self._options() if callable(self._options) else self._options or {})

    @functools.cached_property
    def config(self) -> Any:
        """The validated options. Raises `Broken` if invalid."""
        try:
            return self.spec.config(**self.options)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the options"
            raise Broken(
                f"its options {self.options} are refused: {where}: {first['msg']}. Give options without a "
                "default to the contract: contract(SPEC, {...}), or --set on the command line"
            ) from error

    @functools.cached_property
    def settings(self) -> Settings:
        """Changes that the plugin made to the process while it was built or tested."""
        return Settings()

    @functools.cached_property
    def folder(self) -> Path:
        """A temporary folder, deleted with the subject; it holds the plugins' caches."""
        path = tempfile.mkdtemp(prefix="hpf-contract-")
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        return Path(path)

    def fresh(self, cache: Path | None = None, seed: int = 0) -> Built:
        """A new plugin, built and prepared, with its own hand and renderer; the cache is the subject's."""
        with self.settings.kept():
            return self._build(Build(grid=scene.GRID, seed=seed, cache=cache or self.folder))

    def _build(self, bare: Build) -> Built:
        hand = self._part("hand", self._hand, bare)
        with_hand = dataclasses.replace(bare, hand=hand)
        renderer = self._part("renderer", self._renderer, with_hand)
        if self.spec.kind in ("hand", "renderer"):
            return Built(self.spec, hand, renderer, hand if self.spec.kind == "hand" else renderer)
        plugin: Any = build_plugin(self.spec, self.config, dataclasses.replace(with_hand, renderer=renderer))
        prepare = getattr(plugin, "prepare", None)
        if prepare is not None:
            prepare()
        return Built(self.spec, hand, renderer, plugin)

    @functools.cached_property
    def built(self) -> Built:
        """The plugin that clauses share; a clause that changes it must use a `fresh` one."""
        return self.fresh()

    def run(self, built: Built, inputs: Any) -> dict[str, Tensor]:
        """The plugin's outputs on inputs: floating-point tensors by name."""
        return calls.RUNS[self.spec.kind](built, inputs)

    def run_in_step(self, built: Built, inputs: Any) -> dict[str, Tensor]:
        """The outputs within a training step: a hand's mesh belongs to synthesis, outside of the step."""
        if self.spec.kind == "hand":
            return {"points": built.plugin.points(inputs["pose"], inputs["shape"])}
        return self.run(built, inputs)

    @functools.cached_property
    def inputs(self) -> Any:
        """Ordinary inputs of its kind, in a tree of tensors on the host."""
        return ordinary(self.built)

    @functools.cached_property
    def degenerate(self) -> dict[str, Any]:
        """Degenerate inputs, as from real data and wrong estimates, each by its name."""
        return degenerate(self.built, self.inputs)

    def followed(self, built: Built, inputs: Any) -> tuple[Any, dict[str, Tensor]]:
        """The inputs again, with those that need a gradient as leaves of the graph, and these leaves by name."""
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
        return build_plugin(spec, self.config if spec is self.spec else spec.config(), build)


@functools.cache
def _default(kind: Any) -> PluginSpec:
    """The default of a recipe; found without importing third-party plugins."""
    return PluginHost.load(only=[]).default(kind).spec
