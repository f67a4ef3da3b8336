"""The backbone `regression` for HPF: residual blocks and a fully connected head that regresses the points.

This is the other of the two kinds of network for depth-based methods. It has no maps of the points and no measure of
uncertainty. Its estimates have only points. So recipes can't combine it with inputs beyond points (`multiview` by least
variance, the supervised loss on maps); HPF reports this before any work. Blocks are those of He, Zhang, Ren and Sun,
"Deep residual learning for image recognition", CVPR 2016, Fig. 2. Group normalisation replaces batch normalisation: an
image's estimate then doesn't depend on the rest of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hpf.plugin import Backbone, Build, Config, Estimate, PluginSpec, hookimpl

_GROUPS = 8


class RegressionConfig(Config):
    """Options of `regression`."""

    width: int = Field(32, ge=8, le=512, multiple_of=8, description="Features at the full size; doubled at each half.")
    halvings: int = Field(4, ge=1, le=6, description="How often the map is halved, a level of blocks after each.")
    blocks: int = Field(2, ge=1, le=16, description="Residual blocks of each level.")
    hidden: int = Field(512, ge=8, le=8192, description="Features of the fully connected layer before the last.")


class Block(nn.Module):
    """Two 3 x 3 convolutions with a skip connection.

    The skip is the identity. If sizes change, it is the mean of four pixels and a 1 x 1 convolution: a 1 x 1
    convolution with stride 2 would ignore three of four pixels.

    Args:
        inputs, outputs: features.
        stride: 2 halves the map.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.first_norm, self.second_norm = nn.GroupNorm(_GROUPS, outputs), nn.GroupNorm(_GROUPS, outputs)
        self.beside: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            mean = nn.AvgPool2d(stride, ceil_mode=True)
            self.beside = nn.Sequential(mean, nn.Conv2d(inputs, outputs, 1, bias=False))
        nn.init.zeros_(self.second_norm.weight)  # initially a block is the identity

    def forward(self, features: Tensor) -> Tensor:
        """(N, outputs, h, w) of features (N, inputs, H, W)."""
        inner = functional.relu(self.first_norm(self.first(features)))
        return functional.relu(self.second_norm(self.second(inner)) + self.beside(features))


class Regression(Backbone):
    """Depth maps to points, in one step.

    Args:
        config: the options.
        points: J.
        half_cube_mm: unit of the network's inputs and outputs, mm.
        size: side of the depth maps, pixels.
    """

    def __init__(self, config: RegressionConfig, points: int, half_cube_mm: float, size: int) -> None:
        super().__init__()
        self.points, self.half_cube_mm = points, half_cube_mm
        layers: list[nn.Module] = [nn.Conv2d(1, config.width, 5, padding=2), nn.ReLU()]
        features = config.width
        for _ in range(config.halvings):
            wider = min(2 * features, 8 * config.width)
            layers += [Block(features, wider, 2), *(Block(wider, wider, 1) for _ in range(config.blocks - 1))]
            features, size = wider, (size + 1) // 2
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Linear(features * size**2, config.hidden)
        self.head = nn.Linear(config.hidden, 3 * points)

    def forward(self, depth: Tensor) -> Sequence[Estimate]:
        """One estimate of depth maps (N, H, W) mm; points in float32 also under autocast."""
        found = self.head(functional.relu(self.hidden(self.features(depth[:, None] / self.half_cube_mm))))
        return (Estimate(self.half_cube_mm * found.float().unflatten(-1, (self.points, 3))),)

    def labels(self, points: Tensor) -> Estimate:
        """The points themselves, because the network has no maps to compare."""
        return Estimate(points)


def build(config: RegressionConfig, build: Build) -> Regression:
    """Build the network from a recipe's options. The weights depend only on the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(build.seed)
        return Regression(config, len(build.need_hand().names), build.grid.far_mm, build.grid.size)


SPEC = PluginSpec(
    kind="backbone",
    name="regression",
    config=RegressionConfig,
    factory=build,
    summary="Residual blocks and a fully connected head that regresses the points.",
    source="blocks of He et al., CVPR 2016, Fig. 2; own work",
    interface=(2, 0),
)


@hookimpl
def hpf_backbones():
    """The plugins of this package."""
    return (SPEC,)
