"""A trained network with its hand model, its renderer, and the grid of its crops, for prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from hpf_core.errors import InputError, PluginError
from hpf_core.files.cache import cache_folder
from hpf_core.files.hub import fetch_weights, is_hub
from hpf_core.frames import Estimate
from hpf_core.grid import Grid
from hpf_core.guests import name_of
from hpf_core.inference.build import Parts, build_parts, choose_device
from hpf_core.inference.estimate import last_estimate, refine
from hpf_core.interfaces import Backbone, Build, Config, HandModel, Kind, PluginSpec, Refiner, Renderer
from hpf_core.plugins import PluginHost
from hpf_core.plugins.building import build_plugin
from hpf_core.recipe import load
from hpf_core.runs import checkpoint
from hpf_core.runs.weights import check_config, check_description, weights_file

SHIPPED = "shipped"


@dataclass(frozen=True)
class HandNetwork:
    """A network that estimates hands in crops.

    Attributes:
        hand: the hand model, on the host.
        renderer: renderer of its surface, on the host.
        grid: grid of the crops.
        network: depth maps (N, H, W) mm on the host to an `Estimate` there, float32.
        refiners: applied to the points after the network.
        ray_aligned: whether the crops' z runs along the ray through their centres.
        source: origin of the weights, for users.
        about: metadata of the weights.
        backbone: the network as a module; None for an ONNX file.
    """

    hand: HandModel
    renderer: Renderer
    grid: Grid
    network: Callable[[Tensor], Estimate]
    refiners: tuple[Refiner, ...]
    ray_aligned: bool
    source: str
    about: dict[str, Any]
    backbone: Backbone | None = None

    @staticmethod
    def of_parts(
        parts: Parts,
        device: torch.device | str = "cpu",
        *,
        ray_aligned: bool = True,
        source: str = "a recipe",
        about: Mapping[str, Any] | None = None,
        refiners: Sequence[Refiner] = (),
    ) -> HandNetwork:
        """A network from the parts of a recipe, with their current weights, their refiners and then the given ones.

        The backbone moves to the device; the hand and the renderer stay on the host.
        """
        backbone = parts.backbone.to(device).eval()

        @torch.no_grad()
        def network(depth: Tensor) -> Estimate:
            found = last_estimate(backbone, depth.to(device))
            variance = None if found.variance is None else found.variance.float().cpu()
            return Estimate(points=found.points.float().cpu(), variance=variance)

        every = (*parts.refiners, *refiners)
        about = dict(about or {})
        return HandNetwork(parts.hand, parts.renderer, parts.grid, network, every, ray_aligned, source, about, backbone)

    @torch.inference_mode()
    def estimate(self, depth: Tensor) -> Estimate:
        """The refined estimate of depth maps (N, H, W) mm: points (N, J, 3) mm and, if available, variance."""
        found = self.network(depth)
        return Estimate(points=refine(self.refiners, found.points)[-1], variance=found.variance)


def load_network(
    source: Path | str = SHIPPED,
    *,
    refiners: Sequence[str] = (),
    device: str = "cpu",
    host: PluginHost | None = None,
) -> HandNetwork:
    """Load a network for prediction.

    Args:
        source: "shipped", the folder of a run, a folder of weights, a file of weights, an ONNX file, or
            hf://OWNER/NAME@COMMIT on a model hub.
        refiners: names of refiner plugins, in the order of application, after those of a run's recipe.
        device: device of the network.
        host: the plugin host; by default with all installed plugins.

    Raises:
        InputError: the weights are missing, damaged, or belong to another network.
    """
    host = host or PluginHost.load()
    where = choose_device(device)
    path = _path_of(source, host)
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return _of_run(path, refiners, where, host)
    if path.is_dir():
        if not (path / "weights.safetensors").is_file():
            raise InputError(
                f"{path} is neither the folder of a run (it has no recipe.yaml) nor a folder of weights (it has no "
                "weights.safetensors)."
            )
        check_config(path)
        path = weights_file(path)
    if path.is_file() and path.suffix.lower() == ".onnx":
        return _of_onnx(path, refiners, host)
    if not path.is_file():
        raise InputError(f"{path} doesn't exist. Give 'shipped', the folder of a run, or a file weights.safetensors.")
    return _of_file(path, refiners, where, host)


def _path_of(source: Path | str, host: PluginHost) -> Path:
    if is_hub(source):
        return fetch_weights(str(source))
    return _shipped(host) if str(source) == SHIPPED else Path(source)


def shipped_weights() -> Path:
    """The file of the shipped weights."""
    path = _shipped(PluginHost.load())
    return path / "weights.safetensors" if path.is_dir() else path


def _shipped(host: PluginHost) -> Path:
    spec = host.default("backbone").spec
    if not spec.weights:
        raise InputError(f"The backbone '{spec.name}' ships no weights: give a file of weights or the folder of a run.")
    return spec.weights[0]


def _of_run(folder: Path, refiners: Sequence[str], device: torch.device, host: PluginHost) -> HandNetwork:
    weights = folder / "weights.safetensors"
    if not weights.is_file():
        raise InputError(f"{folder} is an unfinished run: it has no weights.safetensors yet.")
    resolved = load(folder / "recipe.yaml", host=host)
    real = resolved.real
    aligned = bool(getattr(real.config, "turned", True)) if real is not None else True
    parts = build_parts(replace(resolved, real=None, synthetic=None, stages=(), transforms=(), observers=()))
    kept = checkpoint.read(weights)
    check_description(kept.about, weights, resolved.hand.spec.name, parts.grid.cube_mm)
    checkpoint.load_model(parts.backbone, kept, weights)
    for refiner in parts.refiners:
        refiner.prepare()
    build = Build(grid=parts.grid, seed=0, cache=cache_folder(), hand=parts.hand, renderer=parts.renderer)
    added = _refiners(refiners, build, host)
    return HandNetwork.of_parts(
        parts, device, ray_aligned=aligned, source=str(folder), about=kept.about, refiners=added
    )


def _of_file(path: Path, refiners: Sequence[str], device: torch.device, host: PluginHost) -> HandNetwork:
    kept = checkpoint.read(path)
    about = dict(kept.about)
    options, grid = about.get("backbone"), about.get("grid")
    if not isinstance(options, dict) or not isinstance(grid, dict) or "use" not in options:
        raise InputError(
            f"{path} doesn't describe its network. Give a weights.safetensors that HPF wrote at the end of a run."
        )
    grid_made = Grid(int(grid["size"]), float(grid["cube_mm"]))
    hand, renderer, build = _hand_and_renderer(str(about.get("hand", "")), grid_made, host)
    network = {name: value for name, value in options.items() if name != "use"}
    backbone: Backbone = _made(host, "backbone", str(options["use"]), network, build)
    checkpoint.load_model(backbone, kept, path)
    parts = Parts(
        grid=grid_made, hand=hand, renderer=renderer, backbone=backbone, terms={}, real=None, synthetic=None,
        transforms=(), refiners=_refiners(refiners, build, host), observers=(),
    )  # fmt: skip
    return HandNetwork.of_parts(
        parts, device, ray_aligned=bool(about.get("ray_aligned", True)), source=str(path), about=about
    )


def _of_onnx(path: Path, refiners: Sequence[str], host: PluginHost) -> HandNetwork:
    from hpf_core.inference.onnx_file import read_onnx  # beside the path that needs it: it imports this module

    file = read_onnx(path)
    grid = Grid(int(file.about["grid"]["size"]), float(file.about["grid"]["cube_mm"]))
    hand, renderer, build = _hand_and_renderer(str(file.about["hand_model"]), grid, host)
    if list(hand.names) != file.about.get("points"):
        raise InputError(
            f"{path} belongs to another hand model: its points differ from those of the installed "
            f"'{file.about['hand_model']}'."
        )
    aligned = bool(file.about["ray_aligned"])
    made = _refiners(refiners, build, host)
    return HandNetwork(hand, renderer, grid, file.run, made, aligned, str(path), dict(file.about))


def _hand_and_renderer(name: str, grid: Grid, host: PluginHost) -> tuple[HandModel, Renderer, Build]:
    """A hand model by its name, with the default renderer; and the build state for other parts."""
    build = Build(grid=grid, seed=0, cache=cache_folder())
    hand: HandModel = _made(host, "hand", name or host.default("hand").spec.name, {}, build)
    build = replace(build, hand=hand)
    renderer: Renderer = _made(host, "renderer", host.default("renderer").spec.name, {}, build)
    return hand, renderer, replace(build, renderer=renderer)


def _refiners(names: Sequence[str], build: Build, host: PluginHost) -> tuple[Refiner, ...]:
    made = tuple(_made(host, "refiner", name, {}, build) for name in names)
    for refiner in made:
        refiner.prepare()
    return made


def _made(host: PluginHost, kind: Kind, name: str, options: dict[str, Any], build: Build) -> Any:
    offer = host.get(kind, name)
    spec: PluginSpec = offer.spec
    try:
        config: Config = spec.config.model_validate(options)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise PluginError(f"The {kind} '{name}' refuses the options beside the weights: {reasons}.") from error
    return build_plugin(spec, config, build, name=name_of(kind, name, offer.package, offer.version))
