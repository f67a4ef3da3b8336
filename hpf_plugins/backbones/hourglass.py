"""Backbone `hourglass`: a stacked hourglass predicts heatmaps and latent depth maps; Eq. 1-2 turn them into points.

The body follows Newell, Yang and Deng, "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016. It has
bottleneck residual blocks, nearest upsampling and, by default, recursion over two poolings. GroupNorm replaces batch
statistics: synthetic images in a batch then don't affect the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from hpf_core.errors import PluginError
from hpf_core.frames import Estimate
from hpf_core.grid import Grid
from hpf_core.interfaces import Backbone, Build, Config, PluginSpec
from hpf_plugins.backbones.soft_argmax import TOLERANCE_MM, SoftArgmax


class HourglassConfig(Config):
    """Options of `hourglass`."""

    stacks: int = Field(1, ge=1, le=8, description="hourglasses one after the other; each is supervised")
    width: int = Field(128, ge=8, le=1024, multiple_of=8, description="features in an hourglass")
    stem: int = Field(64, ge=8, le=512, multiple_of=8, description="features of the first convolution (5x5, stride 2)")
    depth: int = Field(2, ge=1, le=5, description="poolings inside an hourglass")
    growth: int = Field(
        0,
        ge=0,
        le=512,
        multiple_of=8,
        description="features more after each pooling inside an hourglass, where they cost little (Newell, Huang and "
        "Deng, NeurIPS 2017: 128)",
    )
    block: Literal["bottleneck", "basic"] = Field(
        "bottleneck",
        description="bottleneck: convolutions of 1x1, 3x3 at half the width, 1x1, each after a norm; basic: two of 3x3 "
        "at the full width after one norm, which a processor computes at a higher rate",
    )
    entry: Literal["pooled", "patches"] = Field(
        "pooled",
        description="how the input becomes features on the maps' grid: pooled, a 5x5 convolution of stride 2, then "
        "blocks and poolings; patches, one convolution of overlapping patches, twice as wide as their stride",
    )
    heatmap_size: int = Field(
        16, ge=8, le=256, description="side of the maps over the cube, pixels; divides the input's size"
    )
    margin: int = Field(
        2,
        ge=0,
        le=8,
        description="pixels that the maps reach beyond the cube, for points at its rim",
    )
    sigma: float = Field(2.0, gt=0, le=16, description="sigma of the label heatmaps, pixels; authors' code: 1")
    alpha: float = Field(10.0, gt=0, le=40, description="annealing factor of the softmax, Eq. 1-2; authors' code: 20")
    background: Literal["subtract", "keep"] = Field(
        "subtract",
        description="subtract: the weights are exp(alpha h) - 1, so that pixels where a map is 0 have no effect; keep: "
        "the softmax over the whole map as Eq. 1 prints it, which moves uncertain points to the crop's centre",
    )

    pixel: Literal["centre", "corner"] = Field(
        "centre",
        description="what a pixel of a map stands for: centre, x = (u + 0.5 - W/2) pixels, as the input's; corner, "
        "x = (u - W/2), as the authors' code, half a pixel (9.4 mm on 16 x 16) beside what the input shows there",
    )
    depth_by: Literal["softmax", "relu"] = Field(
        "softmax",
        description="what weights the latent depth: softmax, the weights of x and y (Eq. 2); relu, the heatmap above "
        "0, normalised (authors' code)",
    )
    tolerance_mm: float = Field(
        TOLERANCE_MM,
        gt=0,
        le=100,
        description="largest allowed error of the point that is read from an ideal label, anywhere in the cube, "
        "mm; HPF refuses options with a larger error",
    )

    @model_validator(mode="after")
    def _enough_pixels(self) -> HourglassConfig:
        if self.heatmap_size % (2**self.depth):
            raise ValueError(f"heatmap_size {self.heatmap_size} can't be halved {self.depth} times (depth)")
        return self


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, 8), channels)


class _Residual(nn.Module):
    """Pre-activation bottleneck: 1x1, 3x3 at half the width, 1x1, and the skip."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        middle = outside // 2
        self.body = nn.Sequential(
            _norm(inside), nn.ReLU(), nn.Conv2d(inside, middle, 1, bias=False),
            _norm(middle), nn.ReLU(), nn.Conv2d(middle, middle, 3, padding=1, bias=False),
            _norm(middle), nn.ReLU(), nn.Conv2d(middle, outside, 1),
        )  # fmt: skip
        self.skip: nn.Module = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class _Basic(nn.Module):
    """Pre-activation: two 3x3 convolutions after one norm, and the skip."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _norm(inside), nn.ReLU(), nn.Conv2d(inside, outside, 3, padding=1),
            nn.ReLU(), nn.Conv2d(outside, outside, 3, padding=1),
        )  # fmt: skip
        self.skip: nn.Module = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


_Block = Callable[[int, int], nn.Module]
_BLOCKS: dict[str, _Block] = {"bottleneck": _Residual, "basic": _Basic}


class _Hourglass(nn.Module):
    """Pools, recurses at the lower resolution and upsamples again; a skip branch stays at this resolution."""

    def __init__(self, width: int, depth: int, growth: int, block: _Block) -> None:
        super().__init__()
        below = width + growth
        self.stay = block(width, width)
        self.down = block(width, below)
        self.inner: nn.Module = _Hourglass(below, depth - 1, growth, block) if depth > 1 else block(below, below)
        self.up = block(below, width)

    def forward(self, x: Tensor) -> Tensor:
        low = self.up(self.inner(self.down(functional.max_pool2d(x, 2))))
        return self.stay(x) + functional.interpolate(low, scale_factor=2.0, mode="nearest")


class _Head(nn.Module):
    """Predicts the maps of all points from features, over the cube and a border of `margin` pixels around it."""

    def __init__(self, width: int, points: int, margin: int, block: _Block) -> None:
        super().__init__()
        self.margin = margin
        self.body = nn.Sequential(block(width, width), _norm(width), nn.ReLU(), nn.Conv2d(width, 2 * points, 1))

    def forward(self, features: Tensor) -> Tensor:
        return self.body(functional.pad(features, [self.margin] * 4))


def _pooled(config: HourglassConfig, grid: Grid, block: _Block) -> nn.Sequential:
    """A convolution of stride 2, then a block before and after each pooling down to the maps' size."""
    width = config.width
    layers: list[nn.Module] = [
        nn.Conv2d(1, config.stem, 5, stride=2, padding=2), _norm(config.stem), nn.ReLU(),
        block(config.stem, width // 2 if config.heatmap_size * 2 < grid.size else width),
    ]  # fmt: skip
    for k in range(round(math.log2(grid.size / config.heatmap_size)) - 1):
        layers += [nn.MaxPool2d(2), block(width // 2 if k == 0 else width, width)]
    return nn.Sequential(*layers)


def _patches(config: HourglassConfig, grid: Grid) -> nn.Sequential:
    """One convolution of overlapping patches, straight to the maps' size."""
    stride = grid.size // config.heatmap_size
    return nn.Sequential(
        nn.Conv2d(1, config.width, 2 * stride, stride=stride, padding=stride // 2),
        _norm(config.width), nn.ReLU(), nn.Conv2d(config.width, config.width, 1),
    )  # fmt: skip


class Hourglass(Backbone):
    """The network. Input (N, H, W) mm; one `Estimate` per stack with points, heatmaps, latent depth and variance."""

    def __init__(self, config: HourglassConfig, points: int, grid: Grid) -> None:
        super().__init__()
        self.points = points
        self.soft_argmax = SoftArgmax.of(config, grid)
        self.half_cube = grid.far_mm
        width = config.width
        block = _BLOCKS[config.block]
        self.stem = _patches(config, grid) if config.entry == "patches" else _pooled(config, grid, block)
        self.glasses = nn.ModuleList(
            _Hourglass(width, config.depth, config.growth, block) for _ in range(config.stacks)
        )
        self.heads = nn.ModuleList(_Head(width, points, config.margin, block) for _ in range(config.stacks))
        between = config.stacks - 1
        self.merge_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(between))
        self.merge_maps = nn.ModuleList(nn.Conv2d(2 * points, width, 1) for _ in range(between))
        for head in self.heads:
            # Initial maps are empty, so that the background is correct from the first step on.
            last = list(head.modules())[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)

    def forward(self, depth: Tensor) -> list[Estimate]:
        """(N, H, W) mm to an `Estimate` for each stack."""
        features = self.stem((depth / self.half_cube).clamp(-1, 1).unsqueeze(1))
        estimates = []
        for k, (glass, head) in enumerate(zip(self.glasses, self.heads, strict=True)):
            inner = glass(features)
            maps = head(inner)
            # The soft-argmax is geometry: it runs in float32 or better also under autocast.
            exact = maps if maps.dtype == torch.float64 else maps.float()
            estimates.append(self.soft_argmax(exact[:, : self.points], exact[:, self.points :]))
            if k + 1 < len(self.glasses):
                m = head.margin
                inside = maps[..., m : maps.shape[-2] - m, m : maps.shape[-1] - m]
                features = features + self.merge_features[k](inner) + self.merge_maps[k](inside)
        return estimates

    def labels(self, points: Tensor) -> Estimate:
        """The ideal maps of points (N, J, 3) mm; see `SoftArgmax.labels`."""
        return self.soft_argmax.labels(points)


def build(config: HourglassConfig, build: Build) -> Hourglass:
    """Build the network; refuse sizes that don't fit the grid, and a soft-argmax with too large an error.

    Raises:
        PluginError: the soft-argmax reads an ideal label somewhere in the cube with an error above `tolerance_mm`. The
            message gives the error.
    """
    grid = build.grid
    ratio = grid.size / config.heatmap_size
    if ratio not in (2, 4, 8, 16):
        valid = [grid.size // r for r in (2, 4, 8, 16) if grid.size // r >= 8]
        raise PluginError(
            f"hourglass: heatmap_size {config.heatmap_size} doesn't fit an input of {grid.size} pixels; "
            f"choose one of {', '.join(map(str, valid))}"
        )
    SoftArgmax.of(config, grid).check(config.tolerance_mm)
    torch_state = torch.random.get_rng_state()
    try:
        torch.random.default_generator.manual_seed(build.seed)
        network = Hourglass(config, len(build.need_hand().names), grid)
    finally:
        torch.random.set_rng_state(torch_state)
    # Channels last is 10% faster on two CPU cores, and tensor cores prefer it.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


SPEC = PluginSpec(
    kind="backbone",
    name="hourglass",
    config=HourglassConfig,
    factory=build,
    summary="stacked hourglass with heatmaps and latent depth maps (Eq. 1-2)",
    source="Wan et al., CVPR 2019, Sec. 3.2, Eq. 1-3, p. 10855; body: Newell et al., ECCV 2016",
    provides=frozenset({"heatmaps", "latent_depth", "variance"}),
    weights=(Path(__file__).parent.parent / "weights" / "hourglass48",),
)
