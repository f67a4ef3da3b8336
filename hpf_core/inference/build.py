"""Builds the parts of a resolved recipe in the order of their dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpf_core import guests
from hpf_core.errors import InputError, PluginError, RecipeError
from hpf_core.files.cache import cache_folder
from hpf_core.files.hub import fetch_weights, is_hub
from hpf_core.grid import Grid
from hpf_core.interfaces import (
    Backbone,
    Build,
    HandModel,
    Observer,
    RealDataset,
    Refiner,
    Renderer,
    SyntheticDataset,
    Term,
    Transform,
)
from hpf_core.objective.energy import Energy, WeightedTerm
from hpf_core.plugins.building import build_plugin
from hpf_core.progress import Progress, no_progress
from hpf_core.recipe import Part, Resolved, StagePlan, TermPart
from hpf_core.runs import checkpoint as files
from hpf_core.runs.weights import check_description, weights_file, weights_name


@dataclass(frozen=True)
class Parts:
    """The built parts of a recipe.

    `terms` holds the terms of all chosen stages by their names in the recipe; a term that no stage uses is not built.
    """

    grid: Grid
    hand: HandModel
    renderer: Renderer
    backbone: Backbone
    terms: dict[str, Term]
    real: RealDataset | None
    synthetic: SyntheticDataset | None
    transforms: tuple[Transform, ...]
    refiners: tuple[Refiner, ...]
    observers: tuple[Observer, ...]
    refiner_names: tuple[str, ...] = ()
    owners: tuple[tuple[str, Any], ...] = ()
    """Each plugin with its name for error messages, for `guests.blamed`."""

    def energy(self, stage: StagePlan, over_all: Callable[[Tensor], Tensor] | None = None) -> Energy:
        """The weighted terms of a stage; `over_all` as in `Energy`."""
        return Energy([WeightedTerm(t.name, t.weight, self.terms[t.name]) for t in stage.terms], over_all)

    def to(self, device: torch.device | str) -> None:
        """Move all parts with tensors."""
        for module in (self.hand, self.renderer, self.backbone, *self.terms.values(), *self.transforms, *self.refiners):
            module.to(device)

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make the caches of datasets and the frozen priors before the first step."""
        self.prepare_data(progress)
        self.prepare_terms(progress)

    def prepare_data(self, progress: Progress = no_progress) -> None:
        """Make or check the datasets' caches."""
        for data in (self.real, self.synthetic):
            prepare = getattr(data, "prepare", None)
            if prepare is not None:
                prepare(progress)

    def prepare_terms(self, progress: Progress = no_progress) -> None:
        """Train or fetch the data of the terms, and of the refiners of the evaluation."""
        needing: list[Term | Refiner] = [*self.terms.values(), *self.refiners]
        for part in needing:
            part.prepare(progress)


def _make(part: Part | TermPart, build: Build, expected: type | tuple[type, ...]) -> Any:
    made: Any = build_plugin(part.spec, part.config, build, name=_name(part))
    if isinstance(made, RealDataset | SyntheticDataset) and not isinstance(made, expected):
        real = isinstance(made, RealDataset)
        what = "holds real, unlabelled frames" if real else "generates labelled samples"
        raise PluginError(
            f"data.{'synthetic' if real else 'real'}: the dataset '{part.name}' {what}; it belongs under "
            f"data.{'real' if real else 'synthetic'}"
        )
    if not isinstance(made, expected):
        names = " or ".join(t.__name__ for t in (expected if isinstance(expected, tuple) else (expected,)))
        raise PluginError(
            f"{part.spec.kind} '{part.name}' (package {part.package} {part.version}) built a {type(made).__name__}, "
            f"not a {names}"
        )
    return made


def _name(part: Part | TermPart) -> str:
    return guests.name_of(part.spec.kind, part.name, part.package, part.version)


def _check_needs(part: TermPart, term: Term, backbone: Part) -> None:
    missing = sorted(term.needs - backbone.spec.provides)
    if missing:
        have = ", ".join(sorted(backbone.spec.provides)) or "points alone"
        raise RecipeError(
            f"term '{part.name}' with these options needs {', '.join(missing)} of the network's estimates, which "
            f"backbone '{backbone.name}' doesn't provide (it provides {have}); choose another backbone, other options "
            "of the term, or --without it"
        )


def build_parts(resolved: Resolved, cache: Path | None = None, device: torch.device | str = "cpu") -> Parts:
    """Build all parts of the recipe. Training, downloads and caches follow later (see `Parts.prepare`).

    Args:
        resolved: from `hpf_core.recipe.load`.
        cache: folder of the cache; default `cache_folder()`.
        device: device of the parts.

    Raises:
        PluginError, DataError: a plugin refuses its options, or its data are missing.
    """
    recipe = resolved.recipe
    grid = Grid(recipe.grid.size, recipe.grid.cube_mm)
    bare = Build(grid=grid, seed=recipe.seed, cache=cache or cache_folder())
    hand: HandModel = _make(resolved.hand, bare, HandModel)
    with_hand = Build(grid=grid, seed=recipe.seed, cache=bare.cache, hand=hand)
    renderer: Renderer = _make(resolved.renderer, with_hand, Renderer)
    from hpf_core.inference.rig_calibration import ShippedCalibrator  # it imports this module through the network

    full = replace(with_hand, renderer=renderer, calibrator=ShippedCalibrator())
    real = _make(resolved.real, full, RealDataset) if resolved.real else None
    synthetic = _make(resolved.synthetic, full, SyntheticDataset) if resolved.synthetic else None
    terms: dict[str, Term] = {}
    for stage in resolved.stages:
        for term in stage.terms:
            if term.name not in terms:
                terms[term.name] = _make(term, full, Term)
                _check_needs(term, terms[term.name], resolved.backbone)
    parts = Parts(
        grid=grid,
        hand=hand,
        renderer=renderer,
        backbone=_make(resolved.backbone, full, Backbone),
        terms=terms,
        real=real,
        synthetic=synthetic,
        transforms=tuple(_make(p, full, Transform) for p in resolved.transforms),
        refiners=tuple(_make(p, full, Refiner) for p in resolved.refiners),
        observers=tuple(_make(p, full, Observer) for p in resolved.observers),
        refiner_names=tuple(p.name for p in resolved.refiners),
    )
    parts.to(device)
    return replace(parts, owners=tuple(_owners(resolved, parts)))


def _owners(resolved: Resolved, parts: Parts) -> Iterator[tuple[str, Any]]:
    """Each built plugin, with its name for error messages."""
    one = ("hand", "renderer", "backbone", "real", "synthetic")
    pairs = [(getattr(resolved, what), getattr(parts, what)) for what in one]
    for several in ("transforms", "refiners", "observers"):
        pairs += zip(getattr(resolved, several), getattr(parts, several), strict=True)
    pairs += [(term, parts.terms[term.name]) for stage in resolved.stages for term in stage.terms]
    yield from ((_name(part), made) for part, made in pairs if part is not None)


def load_init(resolved: Resolved, parts: Parts) -> None:
    """Load the weights of the recipe's `init` into the network, if given.

    Raises:
        InputError: there are none, or they belong to another network, hand model or cube.
    """
    path = initial_weights(resolved)
    if path is not None:
        kept = files.read(path)
        check_description(kept.about, path, resolved.hand.spec.name, parts.grid.cube_mm)
        files.load_model(parts.backbone, kept, path)


def initial_weights(resolved: Resolved) -> Path | None:
    """The file of the recipe's `init`, or None; weights on a model hub are fetched.

    Raises:
        InputError: there are no such weights, or they can't be fetched.
    """
    init = resolved.recipe.init
    if init is None:
        return None
    if init == "shipped":
        return shipped_weights(resolved)
    return weights_file(fetch_weights(init)) if is_hub(init) else Path(init)


def shipped_weights(resolved: Resolved) -> Path:
    """The weights that the backbone's package ships for the recipe's options and grid.

    Raises:
        InputError: there are none; the message lists the options of the existing weights.
    """
    part, grid = resolved.backbone, resolved.recipe.grid
    reasons = []
    for path in map(weights_file, part.spec.weights):
        about = files.read(path).about
        trained = {"backbone": about.get("backbone"), "grid": about.get("grid")}
        wanted = {"backbone": files.options_of(part.spec.name, part.config), "grid": grid.model_dump()}
        different = _differences(_filled(trained, part), wanted)
        if not different:
            return path
        reasons.append(f"{weights_name(path)} was trained with {', '.join(different)}")
    if not reasons:
        raise InputError(
            f"init: shipped: no weights are shipped for the backbone '{part.spec.name}'. Write init: null to start "
            "from scratch, or give a file, such as the weights.safetensors of a run"
        )
    raise InputError(
        f"init: shipped: no shipped weights are of the recipe's network: {'; '.join(reasons)}. Give the recipe these "
        "options, or write init: null"
    )


def _filled(trained: dict[str, Any], part: Part) -> dict[str, Any]:
    """Options of the weights' training, with defaults for options introduced later."""
    try:
        options = {k: v for k, v in dict(trained["backbone"]).items() if k != "use"}
        return trained | {"backbone": files.options_of(part.spec.name, part.spec.config.model_validate(options))}
    except (TypeError, ValueError):
        return trained


def _differences(trained: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """In words, the differences between the weights' options and the requested ones."""
    found = []
    for section, options in wanted.items():
        theirs = trained.get(section)
        if not isinstance(theirs, dict):
            found.append(f"an unknown {section}")
            continue
        found += [
            f"{section}.{name} {theirs.get(name)} (the recipe: {value})"
            for name, value in options.items()
            if theirs.get(name) != value
        ]
    return found


def choose_device(wanted: str) -> torch.device:
    """The device for a recipe's name or `--device`; `auto` is a GPU if present.

    Raises:
        InputError: this machine doesn't have the device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
        if device.type == "meta":
            raise RuntimeError("it has no numbers")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        have = "cpu, cuda" if torch.cuda.is_available() else "cpu (no CUDA device is seen here)"
        raise InputError(f"device '{wanted}' can't be used: {reason}. This machine has: {have}.") from error
    return device
