"""Data terms that break the contract."""

from __future__ import annotations

import torch

from broken.faults import Faults
from hpf.plugin import StepData, TermValue

DATA_TERM = Faults("data_term", lambda plugin, config, build: plugin(config.cross_view))
Mine = DATA_TERM.module.Mine
breaks = DATA_TERM.breaks

DATA_TERM.breaks_with("needs", "synthetic images and points alone", needs=frozenset())


@breaks("shapes", "beyond the 3 frames")
class OtherFrames(Mine):
    def forward(self, step: StepData) -> TermValue:
        value = super().forward(step)
        return value._replace(frame=value.frame + 9)


@breaks("shapes", "values is (27, 3), not (27,)")
class ValuePerAxis(Mine):
    def forward(self, step: StepData) -> TermValue:
        value = super().forward(step)
        return value._replace(values=value.values[:, None].expand(-1, 3))


@breaks("no mutation", "real.points")
class ScalesPointsInPlace(Mine):
    def forward(self, step: StepData) -> TermValue:
        step.real.points.mul_(1)
        return super().forward(step)


@breaks("finite", "finite with empty depth maps")
class DividesByWeights(Mine):
    def forward(self, step: StepData) -> TermValue:
        value = super().forward(step)
        return value._replace(values=value.values / value.weights)


@breaks("batch order", "each frame's value")
class FramesInReverse(Mine):
    def forward(self, step: StepData) -> TermValue:
        value = super().forward(step)
        return value._replace(frame=value.frame.flip(0))


@breaks("batch order", "another order")
class DependsOnPlace(Mine):
    def forward(self, step: StepData) -> TermValue:
        value = super().forward(step)
        return value._replace(values=value.values * torch.arange(len(value.values)))


@breaks("batch order", "in another order value differs")
class DependsOnAcceleration(Mine):
    """Accelerations are the same when time runs backwards."""

    def forward(self, step: StepData) -> TermValue:
        value = super().forward(step)
        moment = step.real.points.unflatten(0, (3, 3)).mean((1, 2))
        acceleration = moment[0] - 2 * moment[1] + moment[2]
        return value._replace(values=value.values + acceleration.square().sum())


@breaks("batch order", "seen apart, the sum of values x weights differs")
class SubtractsTheMean(Mine):
    def forward(self, step: StepData) -> TermValue:
        value = super().forward(step)
        return value._replace(values=value.values - value.values.mean())


@breaks("needs", "real images and points alone")
class NeedsMoreThanDeclared(Mine):
    def forward(self, step: StepData) -> TermValue:
        step.real.variance.sum()
        return super().forward(step)


@breaks("weight 0", "even at weight 0: on real.heatmaps differs by up to inf")
class RootOfZero(Mine):
    def forward(self, step: StepData) -> TermValue:
        value = super().forward(step)
        return value._replace(values=value.values + (0 * step.real.heatmaps).sqrt().sum())


@breaks("weight 0", "the loss is")
class ChangesDepthMaps(Mine):
    def forward(self, step: StepData) -> TermValue:
        with torch.no_grad():
            step.depth_maps.add_(1)
        return super().forward(step)


@breaks("invariances", "known: rotation, translation")
class InvariantToMirrors(Mine):
    invariances = frozenset({"mirror"})
