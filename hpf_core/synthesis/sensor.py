"""What a structured-light depth sensor does to a true depth map: each effect a function, each strength an option.

All functions take maps (N, H, W) of depth z in mm, +inf where nothing is met, columns rightwards, and draw from the
given `torch.Generator` alone, on its device. `pitch_mm` is the width of a pixel at the surface: a number for an
orthographic map, z / f for a camera's. Two models are made of them: `Sensor` for a camera's image, `CropNoise` for an
orthographic crop.

Sources: Handa et al. 2014 (ICRA, "A benchmark for RGB-D visual odometry, 3D reconstruction and SLAM", Sec. III-D) for
the ragged edges and the noise in disparity; Nguyen, Izadi, Lovell 2012 (3DIMPVT, "Modeling Kinect sensor noise") for
grazing angles; steps of depth, shadow and edges were also measured on a real PrimeSense frame of NYU's test set; the
crop's default noise is that of the initial network of Wan et al. 2019 as their code has it.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from hpf_core.geometry import Grid
from hpf_core.interfaces import Config


class _Losses(Config):
    """What a depth sensor loses and smears, wherever its maps are made."""

    baseline_mm: float = Field(
        default=75.0,
        ge=0,
        description="Projector to camera, mm: how wide shadows are; 0 for none.",
    )
    grazing_deg: float = Field(
        default=80.0,
        gt=0,
        le=90,
        description="Surfaces turned away further than this return nothing, degrees.",
    )
    flying: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of edge pixels between both depths (time of flight).",
    )


class Sensor(_Losses):
    """A PrimeSense-like depth camera."""

    step_per_mm: float = Field(
        default=2.9e-6,
        ge=0,
        description="Depth comes in steps of this x z^2 mm, 1.6 mm at 750 mm; 0 for none.",
    )
    noise_steps: float = Field(default=0.3, ge=0, description="Standard deviation of the noise in depth, in steps.")
    ragged_px: float = Field(default=0.5, ge=0, description="Standard deviation of pixels' sideways shift, pixels.")
    blobs: float = Field(default=1.0, ge=0, description="Mean number of missing patches on and around the hand.")
    blob_px: float = Field(default=4.0, gt=0, description="Mean radius of a missing patch, pixels.")

    def measure(
        self,
        depth: Tensor,
        focal_px: float,
        generator: torch.Generator,
        window: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> Tensor:
        """(N, H, W) mm as the sensor returns it: quantised, 0 where nothing returns.

        Args:
            depth: (N, H, W) mm, the true z of each pixel, +inf for none.
            focal_px: the camera's focal length, pixels.
            generator: on the maps' device.
            window: the rows and columns around the hand, where patches go missing.
        """
        missing = ~torch.isfinite(depth)
        if self.baseline_mm:
            missing |= shadowed(_columns(depth) + focal_px * self.baseline_mm / depth)
        if self.grazing_deg < 90:
            missing |= grazing(depth, depth / focal_px, self.grazing_deg)
        if self.blobs:
            near = (slice(None), *window)
            missing[near] |= patches(depth[near], self.blobs, self.blob_px, generator)
        seen = depth.masked_fill(missing, 0.0)
        if self.flying:
            seen = flying(seen, self.flying, 20.0, generator)
        if self.ragged_px:
            seen = ragged(seen, self.ragged_px, generator)
        return quantised(seen, self.step_per_mm, self.noise_steps, generator) if self.step_per_mm else seen


class CropNoise(_Losses):
    """What is done to the orthographic maps that a network is trained on: plain noise, and what sensors leave out."""

    shift_px: float = Field(default=0.5, ge=0, description="Standard deviation of pixels' sideways shift, pixels.")
    depth_mm: float = Field(default=5.0, ge=0, description="Standard deviation of the noise in depth, mm.")
    distance_mm: float = Field(default=900.0, gt=0, description="Distance of the hand that shadows are cast at, mm.")
    blobs: float = Field(default=0.5, ge=0, description="Mean number of missing patches in each image.")
    blob_mm: float = Field(default=6.0, gt=0, description="Mean radius of a missing patch, mm.")

    def apply(self, depth: Tensor, grid: Grid, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noisy depth (N, H, W) mm, +inf where nothing is met, and the pixels (N, H, W) bool that return nothing."""
        missing = torch.zeros_like(depth, dtype=torch.bool)
        if self.baseline_mm:
            # Beyond the crop stands something half a metre behind the hand, for the hand to throw its shadow on.
            solid = depth.nan_to_num(posinf=500.0)
            slope = self.baseline_mm / self.distance_mm / grid.pixel_mm
            missing |= shadowed(_columns(depth) - slope * solid)
        if self.grazing_deg < 90:
            missing |= grazing(depth, grid.pixel_mm, self.grazing_deg)
        if self.blobs:
            missing |= patches(depth, self.blobs, self.blob_mm / grid.pixel_mm, generator)
        if self.flying:
            depth = flying(depth, self.flying, 20.0, generator)
        if self.shift_px:
            # A pixel takes its neighbour's depth, and its lack of one: both travel in one map.
            marked = ragged(depth.masked_fill(missing, -math.inf), self.shift_px, generator)
            missing = marked == -math.inf
            depth = marked.masked_fill(missing, math.inf)
        if self.depth_mm:
            noise = torch.randn(depth.shape, generator=generator, device=depth.device, dtype=depth.dtype)
            depth = depth.add(noise, alpha=self.depth_mm)
        return depth, missing


def ragged(depth: Tensor, sigma_px: float, generator: torch.Generator) -> Tensor:
    """Maps (N, H, W) whose pixels are taken from a place shifted by N(0, sigma) in both axes, to the nearest pixel."""
    _, height, width = depth.shape
    shift = torch.randn((2, *depth.shape), generator=generator, device=depth.device).mul_(sigma_px).round_()
    rows = torch.arange(height, device=depth.device)[:, None]
    column = shift[0].add_(_columns(shift[0])).clamp_(0, width - 1)
    row = shift[1].add_(rows).clamp_(0, height - 1)
    index = row.mul_(width).add_(column).long()
    return depth.flatten(1).gather(1, index.flatten(1)).view_as(depth)


def shadowed(projected: Tensor) -> Tensor:
    """Which pixels (N, H, W) the projector's light doesn't reach, from the projector's column of what each one sees.

    Along a row without occlusion the projector's columns only grow. A pixel whose column was passed before lies
    behind the surface that passed it: a band right of a nearer surface, f * baseline * (1/z near - 1/z far) wide.
    """
    return projected < projected.cummax(dim=-1).values - 0.5  # half a pixel of tolerance for noise and steps


def grazing(depth: Tensor, pitch_mm: Tensor | float, limit_deg: float) -> Tensor:
    """Which pixels (N, H, W) see a surface at more than `limit_deg` from head-on.

    The slope along each axis is the smaller of the two differences to the neighbours, so that a step in depth between
    two surfaces isn't taken for a steep one.
    """
    squared: Tensor | float = 0.0
    for dim in (-1, -2):
        step = depth.diff(dim=dim).abs().nan_to_num(nan=math.inf)
        edge = step.narrow(dim, 0, 1)
        before, after = torch.cat([edge, step], dim), torch.cat([step, step.narrow(dim, step.shape[dim] - 1, 1)], dim)
        squared = squared + torch.minimum(before, after).square()
    limit = math.tan(math.radians(limit_deg))
    return (squared > (pitch_mm * limit) ** 2) & torch.isfinite(depth)


def patches(depth: Tensor, mean_count: float, mean_radius_px: float, generator: torch.Generator) -> Tensor:
    """Discs (N, H, W) bool, Poisson in number, exponential in radius, scattered around the middle of each map."""
    count, height, width = depth.shape
    device = depth.device
    most = max(1, math.ceil(mean_count + 2 * math.sqrt(mean_count)))
    wanted = torch.poisson(torch.full((count, 1), mean_count, device=device), generator=generator)
    spot = torch.randn((count, most, 2), generator=generator, device=device) * 0.2 + 0.5
    radius = -mean_radius_px * torch.rand((count, most), generator=generator, device=device).clamp(min=1e-6).log()
    radius = radius.masked_fill(torch.arange(most, device=device) >= wanted, -1.0)
    x = (_columns(depth) - spot[..., 0, None] * width).square()  # (N, K, W)
    y = (torch.arange(height, device=device, dtype=depth.dtype) - spot[..., 1, None] * height).square()
    inside = x[:, :, None, :] + y[:, :, :, None] < (radius.sign() * radius.square())[..., None, None]
    return inside.any(dim=1)


def flying(depth: Tensor, share: float, step_mm: float, generator: torch.Generator) -> Tensor:
    """Some pixels (N, H, W) before a drop of more than `step_mm` to the right take a depth between both sides."""
    right = torch.cat([depth[..., 1:], depth[..., -1:]], dim=-1)
    solid = torch.isfinite(depth) & torch.isfinite(right) & (depth > 0) & (right > 0)
    draw = torch.rand((2, *depth.shape), generator=generator, device=depth.device, dtype=depth.dtype)
    hangs = solid & ((right - depth).abs() > step_mm) & (draw[0] < share)
    return torch.where(hangs, torch.lerp(depth, right, draw[1]), depth)


def quantised(depth: Tensor, step_per_mm: float, noise_steps: float, generator: torch.Generator) -> Tensor:
    """Maps (N, H, W) mm > 0 whose disparity, of which a step is `step_per_mm` z^2 mm, is noisy and whole; 0 stays."""
    noise = torch.randn(depth.shape, generator=generator, device=depth.device, dtype=depth.dtype)
    disparity = (1 / (step_per_mm * depth)).add(noise, alpha=noise_steps).round().clamp(min=1)
    return (1 / (step_per_mm * disparity)).masked_fill(depth <= 0, 0.0)


def _columns(depth: Tensor) -> Tensor:
    return torch.arange(depth.shape[-1], device=depth.device, dtype=depth.dtype)
