"""A plugin as it should be: a prior with options of many types, and a refiner without any."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.hookspecs import hookimpl
from hpf_core.interfaces import Build, Config, PluginSpec, Prior, Refiner, TermValue


class Gauss(Config):
    use: Literal["gauss"] = Field("gauss", description="Normal noise.")
    sigma_mm: float = Field(5.0, gt=0, description="Its standard deviation, mm.")


class Uniform(Config):
    use: Literal["uniform"] = Field("uniform", description="Even noise.")
    reach_mm: float = Field(2.0, ge=0, description="Its greatest value, mm.")


class FlatHandConfig(Config):
    margin_mm: float = Field(3.0, ge=0, le=50, description="Depth range that costs nothing, mm.")
    mode: Literal["square", "absolute"] = Field("square", description="How the rest is counted [per point].")
    steps: int | None = Field(None, gt=0, description="Steps until it acts; null for at once.")
    table: Path = Field(description="File of allowed depths.")
    scale: tuple[float, float] = Field((0.8, 1.05), description="Least and greatest scale.")
    names: tuple[str, ...] = Field((), description="Points that it leaves alone.")
    noise: Annotated[Gauss | Uniform, Field(discriminator="use")] = Field(Gauss(), description="Added to points.")


class FlatHand(Prior):
    unit = "mm^2"

    def __init__(self, config: FlatHandConfig) -> None:
        super().__init__()
        self.margin_mm = config.margin_mm

    def forward(self, points: Tensor) -> TermValue:
        depth = points[..., 2]
        beyond = (depth.amax(-1) - depth.amin(-1) - self.margin_mm).clamp_min(0)
        return TermValue(beyond.square(), torch.ones_like(beyond))


class NoConfig(Config):
    pass


class Identity(Refiner):
    def forward(self, points: Tensor) -> Tensor:
        return points


def flat_hand(config: FlatHandConfig, build: Build) -> FlatHand:
    return FlatHand(config)


@hookimpl
def hpf_priors() -> Iterator[PluginSpec]:
    yield PluginSpec(
        kind="prior",
        name="flat-hand",
        config=FlatHandConfig,
        factory=flat_hand,
        summary="Squared depth range beyond a margin.",
        source="own work [test]",
        aliases={"flat_hand_strict": {"margin_mm": 0.0}},
        needs=frozenset({"real"}),
        default_weight=0.25,
        interface=(2, 0),
    )


@hookimpl
def hpf_refiners() -> Iterator[PluginSpec]:
    yield PluginSpec(
        kind="refiner",
        name="leave-it",
        config=NoConfig,
        factory=lambda config, build: Identity(),
        summary="Gives points back as they are.",
        source="own work",
        interface=(2, 0),
    )
