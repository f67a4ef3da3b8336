"""The soft-argmax: points from heatmaps (Eq. 1-2), ideal maps from points (Eq. 3), and a check that the two agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from hpf_core.errors import PluginError
from hpf_core.frames import Estimate
from hpf_core.grid import Grid

LABEL_FLOOR = 0.05
"""A label has latent depth where its heatmap is above this (the authors' code; Eq. 3 says "> 0")."""

TOLERANCE_MM = 1.0
"""The largest permitted error of the soft-argmax on an ideal label, mm."""

_LEAST_MASS = 1e-6
"""Added to the sum of a rectified map: a map without positive values then has depth 0 and finite gradients."""

_FALLBACK = 1e-4
"""Share of the plain softmax in the `subtract` weights. It defines the soft-argmax of a map without positive values."""


class _Options(Protocol):
    @property
    def heatmap_size(self) -> int: ...
    @property
    def margin(self) -> int: ...
    @property
    def sigma(self) -> float: ...
    @property
    def alpha(self) -> float: ...
    @property
    def background(self) -> Literal["subtract", "keep"]: ...
    @property
    def pixel(self) -> Literal["centre", "corner"]: ...
    @property
    def depth_by(self) -> Literal["softmax", "relu"]: ...


@dataclass(frozen=True)
class SoftArgmax:
    """Maps of `size + 2 margin` pixels a side; the inner `size` pixels cover the cube.

    Attributes:
        size: pixels over the cube.
        margin: pixels beyond it on each side.
        sigma: standard deviation of the label's Gaussian, pixels.
        alpha: annealing factor of Eq. 1-2.
        subtract: whether the background's weight is subtracted.
        cube_mm: side of the cube.
        corner: whether a pixel's coordinate is its corner, (u - W/2), instead of its centre, (u + 0.5 - W/2).
        relu: whether the rectified, normalised heatmap weights the latent depth, instead of the softmax.
    """

    size: int
    margin: int
    sigma: float
    alpha: float
    subtract: bool
    cube_mm: float
    corner: bool = False
    relu: bool = False

    @staticmethod
    def of(options: _Options, grid: Grid) -> SoftArgmax:
        """Build the soft-argmax from a backbone's options."""
        return SoftArgmax(
            options.heatmap_size, options.margin, options.sigma, options.alpha,
            options.background == "subtract", grid.cube_mm, options.pixel == "corner", options.depth_by == "relu",
        )  # fmt: skip

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel of the map, mm."""
        return self.cube_mm / self.size

    def axis(self, like: Tensor) -> Tensor:
        """(h,) mm, x of each column: the crop's grid with the margin, shifted half a pixel up and left with
        `corner`."""
        side = self.size + 2 * self.margin
        steps = torch.arange(side, device=like.device, dtype=like.dtype)
        return (steps + (0.0 if self.corner else 0.5) - side / 2) * self.pixel_mm

    def weights(self, heatmaps: Tensor) -> Tensor:
        """Soft-argmax weights of maps (..., h, w), summing to 1 over each map."""
        flat = self.alpha * heatmaps.flatten(-2)
        # The shift cancels and keeps exp in range. It must also keep the background's exp(0) from overflowing.
        shift = flat.detach().amax(-1, keepdim=True).clamp(min=0.0)
        exp = (flat - shift).exp()
        if self.subtract:
            exp = (exp - (-shift).exp()).clamp(min=0.0) + _FALLBACK * exp
        return (exp / exp.sum(-1, keepdim=True)).unflatten(-1, heatmaps.shape[-2:])

    def __call__(self, heatmaps: Tensor, latent_depth: Tensor) -> Estimate:
        """Eq. 1-2: heatmaps (N, J, h, w), latent depth (N, J, h, w) in half cubes, to points mm."""
        weights = self.weights(heatmaps)
        axis = self.axis(weights)
        columns, rows = weights.sum(-2), weights.sum(-1)
        # Sums of products, not matrix products: autocast would turn those into bfloat16.
        x, y = (columns * axis).sum(-1), (rows * axis).sum(-1)  # Eq. 1
        depth_mm = latent_depth * (self.cube_mm / 2)
        z = (self._depth_weights(heatmaps, weights) * depth_mm).flatten(-2).sum(-1)  # Eq. 2
        square = axis.square()
        variance = (columns * square).sum(-1) - x.square() + (rows * square).sum(-1) - y.square()
        # Rounding can make the variance of a sharp map slightly negative.
        return Estimate(torch.stack([x, y, z], -1), heatmaps, depth_mm, variance.clamp(min=0.0))

    def _depth_weights(self, heatmaps: Tensor, weights: Tensor) -> Tensor:
        """Weights of the latent depth: the soft-argmax's own, or the normalised rectified map."""
        if not self.relu:
            return weights
        above = heatmaps.clamp(min=0.0)
        return above / (above.sum((-2, -1), keepdim=True) + _LEAST_MASS)

    def labels(self, points: Tensor) -> Estimate:
        """Ideal maps of points (N, J, 3) mm: Gaussians of peak 1, and the latent depth of Eq. 3.

        The latent depth is z where the heatmap is above the floor, else 0.
        """
        axis = self.axis(points)
        scale = -0.5 / (self.sigma * self.pixel_mm) ** 2
        across = (scale * (axis - points[..., 0:1]).square()).exp()
        down = (scale * (axis - points[..., 1:2]).square()).exp()
        heatmaps = down[..., :, None] * across[..., None, :]
        depth_mm = torch.where(heatmaps > LABEL_FLOOR, points[..., 2, None, None], torch.zeros_like(heatmaps))  # Eq. 3
        return Estimate(points, heatmaps, depth_mm)

    def error_mm(self) -> float:
        """The largest error in mm of the soft-argmax on an ideal label anywhere in the cube."""
        half = self.cube_mm / 2
        # The samples cover sub-pixel phases along a line through the middle, and the rim, where the maps are cut off.
        middle = torch.linspace(-0.5, 0.5, 9, dtype=torch.float64) * self.pixel_mm + self.pixel_mm / 2
        rim = half - torch.linspace(0.0, min(3.0, self.size / 2), 25, dtype=torch.float64) * self.pixel_mm
        line = torch.cat([middle, rim, -rim])
        x, y = torch.meshgrid(line, line, indexing="ij")
        points = torch.stack([x, y, torch.full_like(x, half)], -1).reshape(-1, 1, 3)
        ideal = self.labels(points)
        assert ideal.heatmaps is not None
        assert ideal.latent_depth is not None
        read = self(ideal.heatmaps, ideal.latent_depth / half)
        return float((read.points - points).norm(dim=-1).max())

    def check(self, tolerance_mm: float = TOLERANCE_MM) -> None:
        """Raise PluginError with the error where `error_mm` exceeds the tolerance."""
        error = self.error_mm()
        if error > tolerance_mm:
            background = "subtract" if self.subtract else "keep"
            raise PluginError(
                f"hourglass: with heatmap_size {self.size}, margin {self.margin}, sigma {self.sigma:g}, "
                f"alpha {self.alpha:g} and background '{background}' an ideal label is read back up to {error:.1f} mm "
                f"off (at most {tolerance_mm:g} mm is allowed). A larger sigma, a larger heatmap_size, a margin of 2 "
                "or more, or background: subtract brings it down; tolerance_mm allows it."
            )
