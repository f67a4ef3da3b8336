"""What a plugin package registers: a specification with options and a factory, and what the factory receives."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from hpf_core.grid import Grid
from hpf_core.interfaces.hand import HandModel
from hpf_core.interfaces.renderer import Renderer

INTERFACE_VERSION = (2, 0)
"""Version of these interfaces. The first number changes when existing plugins could break. `docs/plugins-1-to-2.md`
describes the last change."""

Kind = Literal["hand", "renderer", "backbone", "data_term", "prior", "dataset", "transform", "refiner", "observer"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Config(BaseModel):
    """Base of every plugin's options: unknown keys are errors, values are immutable. Each field has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Build:
    """The parts that a factory may use. A field is None until the plugin of that kind is built (order: hand, renderer,
    backbone, then the others).

    Attributes:
        grid: grid of the crops.
        seed: the recipe's seed.
        cache: folder of the cache.
        hand: the hand model.
        renderer: the renderer.
        calibrator: finds the cameras' poses from hands (`hpf_core.data.calibration.HandCalibrator`); None where no
            network is at hand.
    """

    grid: Grid
    seed: int
    cache: Path
    hand: HandModel | None = None
    renderer: Renderer | None = None
    calibrator: Any = None

    def need_hand(self) -> HandModel:
        """The hand model; for plugins of every kind but `hand`."""
        assert self.hand is not None, "the hand model is built first"
        return self.hand

    def need_renderer(self) -> Renderer:
        """The renderer; for plugins built after it."""
        assert self.renderer is not None, "the renderer is built before terms and datasets"
        return self.renderer


@dataclass(frozen=True)
class PublicData:
    """What `hpf data list` shows of a public dataset.

    Attributes:
        views: number of cameras.
        licence: the licence of the data.
        page: where to get the data: an address, or what to search for.
        size: size of the data, in words.
        unpack: the files that must be in the folder.
        checked: the files on which the reader was tested.
        terms: what `hpf data prepare` says about the licence, as a sentence; empty if the licence permits
            redistribution.
        layout: for calibrated depth cameras, called with a folder; returns its `hpf_core.data.layouts.base.Layout`, or
            None if the folder isn't of this dataset. `hpf data check` asks every registered dataset.
        recipe: the recipe that fits to the dataset.
    """

    views: int
    licence: str
    page: str
    size: str
    unpack: str
    checked: str
    terms: str = ""
    layout: Callable[[Path], Any] | None = None
    recipe: str = "recipes/mvhand.yaml"

    def described(self) -> dict[str, Any]:
        """The fields of `hpf data list --json`."""
        fields = ("views", "licence", "page", "size", "unpack", "checked", "terms")
        return {name: getattr(self, name) for name in fields}

    def command(self, name: str, root: Path) -> str:
        """The command that fits to the dataset `name` in a folder."""
        use = "" if self.recipe.endswith(f"/{name}.yaml") else f" --set data.real.use={name}"
        return f"hpf run {self.recipe}{use} --set data.real.root={shlex.quote(str(root))}"


@dataclass(frozen=True)
class PluginSpec:
    """The specification that a plugin package yields from a hook for each plugin that it offers.

    Attributes:
        kind: one of `KINDS`.
        name: lowercase, as recipes write it; `-` and `_` are the same.
        config: pydantic model of its options (subclass of `Config`).
        factory: called as `factory(config, build)`; returns an instance of the kind's interface.
        summary: one line that `hpf plugins list` shows.
        source: origin of the plugin: a paper with equation and page, a repository, or "own work".
        aliases: other names, each with its preset options, e.g. {"multiview-median": {"average": "median"}}.
        needs: inputs that the plugin requires: fields of `Estimate` ("heatmaps", "latent_depth", "variance", "pose",
            "shape"), "real" or "synthetic" (images in the batch).
        provides: fields of `Estimate` that a backbone fills beyond `points`.
        default_weight: for data terms and priors, the weight in the total loss if a recipe gives none.
        weights: for backbones, the trained weights that the package ships: folders of weights, as `hpf export --folder`
            writes them, or files weights.safetensors of runs. `init: shipped` uses the first that was trained with the
            recipe's options.
        interface: version of the interface that the plugin targets, such as (2, 0), or the oldest and the newest tested
            version, ((2, 0), (3, 1)). Later minor versions only add features and remain compatible.
        public: for a reader of a public dataset, what `hpf data list` shows of it.
        deprecated: the replacement of a deprecated plugin; recipes that use the plugin get a warning.
    """

    kind: Kind
    name: str
    config: type[Config]
    factory: Callable[[Any, Build], Any]
    summary: str
    source: str
    aliases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    provides: frozenset[str] = frozenset()
    default_weight: float = 1.0
    weights: tuple[Path, ...] = ()
    interface: tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] = INTERFACE_VERSION
    public: PublicData | None = None
    deprecated: str = ""
