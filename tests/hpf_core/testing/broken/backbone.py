"""Backbones that break the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from broken.faults import Faults
from hpf.plugin import Backbone, Build, Estimate


def _unseeded(plugin: type, config: Any, build: Build) -> Any:
    return plugin(config.width, len(build.need_hand().names), build.grid.far_mm)


def _seeded(plugin: type, config: Any, build: Build) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(build.seed)
        return _unseeded(plugin, config, build)


BACKBONE = Faults("backbone", _seeded)
Mine = BACKBONE.module.Mine
breaks = BACKBONE.breaks

BACKBONE.breaks_with("provides", "doesn't fill", provides=frozenset({"heatmaps"}))


@BACKBONE.breaks_when_built("determinism", "differs")
def ignores_the_seed(config: Any, build: Build) -> Mine:
    with torch.random.fork_rng(devices=[]):
        return _unseeded(Mine, config, build)


@BACKBONE.breaks_when_built("determinism", "global random state of torch")
def seeds_the_global_state(config: Any, build: Build) -> Mine:
    torch.manual_seed(build.seed)
    return _unseeded(Mine, config, build)


# ----------------------------------------------------------------------------------------------------------- labels


@breaks("interface", "abstract")
class NoLabels(Mine):
    labels = Backbone.labels


@breaks("no mutation", "changes its input points")
class LabelsChangePoints(Mine):
    def labels(self, points: Tensor) -> Estimate:
        return Estimate(points.mul_(1))


@breaks("labels", "mm off")
class LabelsMixUpAxes(Mine):
    def labels(self, points: Tensor) -> Estimate:
        return Estimate(points.flip(-1))


# --------------------------------------------------------------------------------------------------------- estimates


@breaks("shapes", "points is (3, 123), not (3, 41, 3)")
class PointsInOneRow(Mine):
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        (estimate,) = super().forward(depth)
        return (Estimate(estimate.points.flatten(1)),)


@breaks("shapes", "error", "not an Estimate")
class TupleOfTuples(Mine):
    def forward(self, depth: Tensor) -> Sequence[Any]:
        (estimate,) = super().forward(depth)
        return (tuple(estimate.points),)


@breaks("provides", "doesn't declare")
class FillsMoreThanDeclared(Mine):
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        (estimate,) = super().forward(depth)
        return (replace(estimate, variance=depth.new_ones(len(depth), self.points)),)


@breaks("gradient", "detached")
class Detached(Mine):
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        (estimate,) = super().forward(depth)
        return (Estimate(estimate.points.detach()),)


@breaks("batch order", "depends on its batch")
class SubtractsTheMeanImage(Mine):
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        return super().forward(depth - depth.mean(0))


@breaks("export", "torch.export fails")
class DecidesByItsInput(Mine):
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        (estimate,) = super().forward(depth)
        return (estimate,) if float(depth.mean()) > 0 else (Estimate(-estimate.points),)


@breaks("export", "torch.export fails", "mm off")
class NeedsTwoMaps(Mine):
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        (estimate,) = super().forward(depth)
        weight = depth.new_tensor([1.0, 1.0]) if len(depth) == 2 else depth.new_ones(len(depth))
        return (Estimate(estimate.points * weight[:, None, None]),)


@breaks("export", "exported, its points are 1 mm off")
class OtherPointsWhenExported(Mine):
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        (estimate,) = super().forward(depth)
        return (Estimate(estimate.points + 1.0),) if torch.compiler.is_exporting() else (estimate,)


@breaks("compile", "compiled, the gradient on")
class OtherGradientWhenCompiled(Mine):
    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        (estimate,) = super().forward(depth)
        if torch.compiler.is_compiling():
            return (Estimate(estimate.points.detach() + 0 * estimate.points),)
        return (estimate,)
