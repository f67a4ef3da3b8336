"""Priors that break the contract, and faults that any kind can have."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from broken.faults import Faults
from hpf.plugin import Build, Config, TermValue

PRIOR = Faults("prior", lambda plugin, config, build: plugin(build.grid.cube_mm / 2 - config.margin_mm))
Mine, MineConfig = PRIOR.module.Mine, PRIOR.module.MineConfig
breaks = PRIOR.breaks

# ------------------------------------------------------------------------------------- the specification and options

PRIOR.breaks_with("specification", "source must be one line", source="")


@PRIOR.breaks_with_options("options", "no description")
class NoDescription(Config):
    margin_mm: float = Field(0.0, ge=0)


@PRIOR.breaks_with_options("options", "accepts an unknown option")
class TakesAnyOption(MineConfig, extra="ignore"):
    pass


@PRIOR.breaks_with_options("options", "isn't frozen")
class OptionsChange(MineConfig, frozen=False):
    pass


# ---------------------------------------------------------------------------------------------------- the factory


@PRIOR.breaks_when_built("interface", "built a NoneType, not a Prior")
def builds_nothing(config: Config, build: Build) -> None:
    return None


def _kept_draw(build: Build, generator: torch.Generator | None = None) -> float:
    """A random number that the cache keeps."""
    path = build.cache / "kept.txt"
    if not path.exists():
        path.write_text(str(float(torch.rand((), generator=generator))))
    return float(path.read_text())


@PRIOR.breaks_when_built("determinism", "a cache that another seed filled, value differs")
def keeps_what_depends_on_the_seed(config: Config, build: Build) -> Mine:
    return Mine(build.grid.cube_mm / 2 + _kept_draw(build, torch.Generator().manual_seed(build.seed)))


@PRIOR.breaks_when_built("determinism", "random state of torch")
def draws_from_the_global_state(config: Config, build: Build) -> Mine:
    return Mine(build.grid.cube_mm / 2 + _kept_draw(build))


# --------------------------------------------------------------------------------- what the process and batch share


@breaks("settings", "the default type")
class ChangesTheDefaultType(Mine):
    def __init__(self, limit_mm: float) -> None:
        super().__init__(limit_mm)
        torch.set_default_dtype(torch.float64)


@breaks("settings", "whether gradients are made")
class SwitchesGradientsOff(Mine):
    def forward(self, points: Tensor) -> TermValue:
        torch.set_grad_enabled(False)
        return super().forward(points)


@breaks("no mutation", "changes its input points")
class ClampsInPlace(Mine):
    def forward(self, points: Tensor) -> TermValue:
        return super().forward(points.clamp_(-50, 50))


@breaks("batch order", "another order")
class DependsOnPlace(Mine):
    def forward(self, points: Tensor) -> TermValue:
        value = super().forward(points)
        return value._replace(values=value.values * torch.arange(1, len(points) + 1))


@breaks("batch order", "depends on its batch")
class DependsOnOthers(Mine):
    def forward(self, points: Tensor) -> TermValue:
        value = super().forward(points)
        return value._replace(values=value.values + points.abs().mean())


@breaks("save and load", "some state isn't saved")
class CountsItsCalls(Mine):
    def forward(self, points: Tensor) -> TermValue:
        self.limit_mm -= 1
        return super().forward(points)


# ------------------------------------------------------------------------------------------------ shapes and types


@breaks("shapes", "1 values of 5 estimates")
class OneValueForAll(Mine):
    def forward(self, points: Tensor) -> TermValue:
        values = super().forward(points).values.mean()[None]
        return TermValue(values, torch.ones_like(values))


@breaks("shapes", "weights have a gradient")
class WeightsFollowPoints(Mine):
    def forward(self, points: Tensor) -> TermValue:
        values, _, _ = super().forward(points)
        return TermValue(values, 1 + values)


@breaks("shapes", "weight is negative")
class NegativeWeights(Mine):
    def forward(self, points: Tensor) -> TermValue:
        values, weights, _ = super().forward(points)
        return TermValue(values, -weights)


@breaks("shapes", "weights is torch.bool")
class WeightsAreAMask(Mine):
    def forward(self, points: Tensor) -> TermValue:
        values, _, _ = super().forward(points)
        return TermValue(values, values > 0)


@breaks("shapes", "no unit")
class NoUnit(Mine):
    unit = ""


# ----------------------------------------------------------------------------------------------------- tensor code


@breaks("meta device", "item")
class ReadsAValue(Mine):
    def forward(self, points: Tensor) -> TermValue:
        points.sum().item()
        return super().forward(points)


@breaks("meta device", "the tensor first stays behind on the CPU: make it a buffer")
class TensorIsNoBuffer(Mine):
    def __init__(self, limit_mm: float) -> None:
        super().__init__(limit_mm)
        self.first = torch.tensor([0])


@breaks("finite", "gradient on points isn't finite")
class RootOfZero(Mine):
    def forward(self, points: Tensor) -> TermValue:
        values = points.square().sum((-1, -2)).sqrt()
        return TermValue(values, torch.ones_like(values))


@breaks("finite", "value isn't finite with coincident points")
class DividesByLength(Mine):
    def forward(self, points: Tensor) -> TermValue:
        values = 1 / points.norm(dim=-1).mean(-1)
        return TermValue(values, torch.ones_like(values))


@breaks("finite", "gradient on points isn't finite with points on a line")
class AngleOfAStraightLine(Mine):
    def forward(self, points: Tensor) -> TermValue:
        bones = points[:, [0, 1, 3]].diff(dim=1)
        cosine = torch.cosine_similarity(bones[:, 1:], bones[:, :-1], dim=-1)
        values = torch.acos(cosine.clamp(-1, 1)).mean(-1)
        return TermValue(values, torch.ones_like(values))


@breaks("gradient", "no output has a gradient on points")
class Detached(Mine):
    def forward(self, points: Tensor) -> TermValue:
        return super().forward(points.detach())


@breaks("compile", "fullgraph")
class BranchesOnAValue(Mine):
    def forward(self, points: Tensor) -> TermValue:
        if points.sum() > 0:
            points = points + 0
        return super().forward(points)


@breaks("compile", "compiled, the gradient on points differs")
class OtherGradientWhenCompiled(Mine):
    def forward(self, points: Tensor) -> TermValue:
        values, weights, _ = super().forward(points)
        if torch.compiler.is_compiling():
            values = 1.01 * values - 0.01 * values.detach()
        return TermValue(values, weights)


@breaks("autocast", "float32")
class MultipliesMatrices(Mine):
    def forward(self, points: Tensor) -> TermValue:
        beyond = (points.abs() - self.limit_mm).clamp_min(0).flatten(1)
        values = (beyond @ beyond.T).diagonal()
        return TermValue(values, torch.ones_like(values))


# ----------------------------------------------------------------------------------------------------------- terms


@breaks("weight 0", "gradient of the other")
class DoublesTheGradientOfAll(Mine):
    def forward(self, points: Tensor) -> TermValue:
        points.register_hook(lambda gradient: 2 * gradient)
        return super().forward(points)


@breaks("weight 0", "even at weight 0: on real.points differs")
class AltersTheGradientOfAll(Mine):
    def forward(self, points: Tensor) -> TermValue:
        points.register_hook(lambda gradient: 1.00005 * gradient)
        return super().forward(points)


@breaks("weight 0", "the loss is nan")
class DividesByZero(Mine):
    def forward(self, points: Tensor) -> TermValue:
        values, weights, _ = super().forward(points)
        return TermValue(values / 0, weights)


@breaks("invariances", "invariant to translation, which changes")
class NotInvariantToTranslation(Mine):
    invariances = frozenset({"mirror", "translation"})


@breaks("invariances", "known: mirror, rotation, translation")
class UnknownInvariance(Mine):
    invariances = frozenset({"mirrors"})
