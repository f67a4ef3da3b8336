"""Samples of a recipe's synthetic dataset for inspection, built without a network and real data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from hpf_core.errors import InputError
from hpf_core.files.cache import cache_folder
from hpf_core.frames import SyntheticSamples
from hpf_core.grid import Grid
from hpf_core.interfaces import Build, Config, HandModel, Kind, PluginSpec, Renderer, SyntheticDataset
from hpf_core.plugins import PluginHost
from hpf_core.plugins.building import build_plugin
from hpf_core.progress import Progress, no_progress
from hpf_core.random_streams import generator
from hpf_core.recipe import Part, Resolved
from hpf_core.recipe.models import GridOptions

_BATCH = 64
_KINDS: tuple[Kind, ...] = ("hand", "renderer", "dataset")


@dataclass(frozen=True)
class SampleSource:
    """A source of samples.

    Attributes:
        grid: grid of the depth maps.
        hand: the hand model.
        dataset: draws the samples.
    """

    grid: Grid
    hand: HandModel
    dataset: SyntheticDataset

    def draw(
        self, count: int, seed: int, device: torch.device | str = "cpu", progress: Progress = no_progress
    ) -> list[SyntheticSamples]:
        """`count` samples in batches of 64 and a remainder; the first ones don't depend on `count`."""
        batches = []
        for first in range(0, count, _BATCH):
            batch = self.dataset.sample(_BATCH, generator(device, seed, "samples", first))
            batches.append(batch.take(slice(0, min(_BATCH, count - first))))
            progress(min(first + _BATCH, count), count, "samples")
        return batches


def source(host: PluginHost, resolved: Resolved | None = None, device: torch.device | str = "cpu") -> SampleSource:
    """The hand and the synthetic dataset of a recipe, or the defaults.

    Raises:
        InputError: the recipe has no synthetic dataset.
        PluginError: a plugin is missing, or has the wrong kind.
    """
    if resolved is None:
        options, seed = GridOptions(), 0
        hand_made, renderer_made, dataset_made = (_default(host, kind) for kind in _KINDS)
    elif resolved.synthetic is None:
        raise InputError(
            "the recipe has no data.synthetic to draw from; add "
            f"`data: {{synthetic: {host.default('dataset').spec.name}}}`"
        )
    else:
        options, seed = resolved.recipe.grid, resolved.recipe.seed
        hand_made, renderer_made, dataset_made = map(_of, (resolved.hand, resolved.renderer, resolved.synthetic))
    grid = Grid(options.size, options.cube_mm)
    bare = Build(grid=grid, seed=seed, cache=cache_folder())
    hand: HandModel = build_plugin(*hand_made, bare, HandModel)
    renderer: Renderer = build_plugin(*renderer_made, replace(bare, hand=hand), Renderer)
    dataset: SyntheticDataset = build_plugin(
        *dataset_made, replace(bare, hand=hand, renderer=renderer), SyntheticDataset
    )
    for module in (hand, renderer):
        module.to(device)
    return SampleSource(grid, hand, dataset)


def _of(part: Part) -> tuple[PluginSpec, Config]:
    return part.spec, part.config


def _default(host: PluginHost, kind: Kind) -> tuple[PluginSpec, Config]:
    spec = host.default(kind).spec
    return spec, spec.config()
