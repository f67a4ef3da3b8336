"""A structured-light depth sensor's effects on a true depth map. Each effect is a function, each strength an option.

All functions take maps (N, H, W) of depth z in mm; +inf marks a ray without surface, and columns run rightwards. Random
numbers come only from the given `torch.Generator`, on its device. `pitch_mm` is the width of a pixel at the surface: a
number for an orthographic map, z / f for a camera. Two models combine the effects: `Sensor` for a camera's image,
`CropNoise` for an orthographic crop.

Sources: Handa et al. 2014 (ICRA, "A benchmark for RGB-D visual odometry, 3D reconstruction and SLAM", Sec. III-D) for
the ragged edges and the noise in disparity; Nguyen, Izadi, Lovell 2012 (3DIMPVT, "Modeling Kinect sensor noise") for
grazing angles. We also measured steps of depth, shadow and edges on a real PrimeSense frame of NYU's test set. The
crop's default noise is the noise of Wan et al. 2019's initial network, according to their code.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field, field_validator
from torch import Tensor

from hpf_core.grid import Grid
from hpf_core.interfaces import Config

_BEHIND_MM = 350.0  # from the cube's far side to the background
_NEAREST_MM = 50.0


class _Losses(Config):
    """What a depth sensor loses and smears, wherever its maps are made."""

    baseline_mm: float = Field(
        default=75.0,
        ge=0,
        description="Projector to camera, mm: how wide shadows are; 0 for none (a Kinect's, as in the code of Handa et "
        "al. 2014).",
    )
    grazing_deg: float = Field(
        default=80.0,
        gt=0,
        le=90,
        description="Surfaces turned away further than this return nothing, degrees; 90 for none (our choice: in "
        "Nguyen et al. 2012 noise grows without bound towards 90).",
    )
    flying: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of edge pixels between both depths (our choice: none with structured light; most with time "
        "of flight).",
    )


class Sensor(_Losses):
    """A PrimeSense-like depth camera."""

    step_per_mm: float = Field(
        default=2.9e-6,
        ge=0,
        description="Depth comes in steps of this x z^2 mm, 1.6 mm at 750 mm (measured, PrimeSense); 0 for none.",
    )
    noise_steps: float = Field(
        default=0.3,
        ge=0,
        description="Standard deviation of the noise in depth before it is rounded to steps, in steps (our choice; "
        "measured inside of a flat palm of NYU, steps and all: 0.5-0.7 mm).",
    )
    ragged_px: float = Field(
        default=0.5,
        ge=0,
        description="Standard deviation of pixels' sideways shift, pixels (as in the code of Handa et al. 2014).",
    )
    blobs: float = Field(
        default=1.0, ge=0, description="Mean number of missing patches on and around the hand (our choice)."
    )
    blob_px: float = Field(default=4.0, gt=0, description="Mean radius of a missing patch, pixels (our choice).")

    def measure(
        self,
        depth: Tensor,
        focal_px: float,
        generator: torch.Generator,
        window: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> Tensor:
        """Return the sensor's image (N, H, W) mm: quantised, 0 where nothing returns.

        Args:
            depth: (N, H, W) mm, the true z of each pixel, +inf for none.
            focal_px: the camera's focal length, pixels.
            generator: on the maps' device.
            window: rows and columns around the hand in which patches go missing.
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
    """What is done to the orthographic maps that a network is trained on: plain noise, and what sensors do.

    Cameras differ, and one network is to serve them: each map has a distance and strengths of noise of its own.
    """

    shift_px: float = Field(
        default=0.5,
        ge=0,
        description="Standard deviation of pixels' sideways shift, pixels (authors' code); 0 for none.",
    )
    depth_mm: float = Field(
        default=5.0, ge=0, description="Standard deviation of the noise in depth, mm (authors' code); 0 for none."
    )
    weakest: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Each map's two noises are between this share and all of their strength (our choice, so that one "
        "network serves clean cameras, too; authors' code: 1).",
    )
    distance_mm: tuple[float, float] = Field(
        default=(500.0, 1100.0),
        description="The hand's distance from the camera, nearest and farthest, mm (hands of NYU: 550-1,100).",
    )
    step_per_mm: float = Field(
        default=2.9e-6,
        ge=0,
        description="Depth comes in steps of this x z^2 mm, 1.6 mm at 750 mm (measured, PrimeSense); 0 for none.",
    )
    flying: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of edge pixels between both depths: few with structured light, most with time of flight "
        "(our choice).",
    )
    fattened: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Largest share of a map's pixels that take the nearest depth of the 3 x 3 pixels around them, each "
        "map by a share of its own: stereo cameras widen what is near (our choice: none).",
    )
    blobs: float = Field(default=0.5, ge=0, description="Mean number of missing patches in each image (our choice).")
    blob_mm: float = Field(default=6.0, gt=0, description="Mean radius of a missing patch, mm (our choice).")

    @field_validator("distance_mm")
    @classmethod
    def _before_the_camera(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 200 <= value[0] <= value[1] <= 10_000:
            raise ValueError(f"needs two distances in order, 200 to 10000 mm, but is {value[0]:g} to {value[1]:g}")
        return value

    def apply(self, depth: Tensor, grid: Grid, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noisy depth and the pixels (N, H, W) bool that return nothing.

        Args:
            depth: (N, H, W) mm from the crop's centre, +inf for rays without surface. The noisy depth of these rays is
                finite and beyond the cube. The noisy depth of pixels without return is meaningless.
            grid: of the crop.
            generator: on the maps' device.
        """
        draw = torch.rand((3, len(depth), 1, 1), generator=generator, device=depth.device, dtype=depth.dtype)
        nearest, farthest = self.distance_mm
        distance = draw[0].mul_(farthest - nearest).add_(nearest)
        strength = draw[1:].mul_(1 - self.weakest).add_(self.weakest)
        missing = torch.zeros_like(depth, dtype=torch.bool)
        if self.grazing_deg < 90:
            missing |= grazing(depth, grid.pixel_mm, self.grazing_deg)
        # A background half a metre behind the hand receives shadows and flying edges. A sensor measures nothing nearer
        # than a hand's breadth.
        z = depth.clamp(max=grid.far_mm + _BEHIND_MM).add_(distance).clamp_(min=_NEAREST_MM)
        if self.baseline_mm:
            # In the grid's pixels, which equal the camera's pixels at the hand's distance.
            missing |= shadowed(_columns(z) + (self.baseline_mm / grid.pixel_mm * distance) / z)
        if self.blobs:
            missing |= patches(z, self.blobs, self.blob_mm / grid.pixel_mm, generator)
        if self.fattened:
            z = fattened(z, self.fattened, generator)
        if self.flying:
            z = flying(z, self.flying, 20.0, generator)
        if self.shift_px:
            # A pixel copies its neighbour's depth or the neighbour's lack of depth: one map carries both.
            z = ragged(z.masked_fill(missing, 0.0), self.shift_px * strength[0], generator)
            missing = z == 0
        if self.depth_mm:
            noise = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
            z = noise.mul_(self.depth_mm * strength[1]).add_(z).clamp_(min=_NEAREST_MM)
        if self.step_per_mm:
            z = quantised(z, self.step_per_mm, 0.0, generator)
        return z.sub_(distance), missing


def ragged(depth: Tensor, sigma_px: Tensor | float, generator: torch.Generator) -> Tensor:
    """Replace each pixel of maps (N, H, W) by the nearest pixel at a random offset, N(0, sigma) in both axes.

    `sigma_px` is a number or (N, 1, 1).
    """
    count, height, width = depth.shape
    device = depth.device
    shift = torch.randn((2, *depth.shape), generator=generator, device=device).mul_(sigma_px).round_().int()
    column, row, image = (torch.arange(size, device=device, dtype=torch.int32) for size in (width, height, count))
    index = shift[1].add_(row[:, None]).clamp_(0, height - 1).add_((image * height)[:, None, None]).mul_(width)
    index.add_(shift[0].add_(column).clamp_(0, width - 1))
    return depth.reshape(-1).index_select(0, index.view(-1)).view_as(depth)


def shadowed(projected: Tensor) -> Tensor:
    """Return the pixels (N, H, W) in the projector's shadow, from the projector's column at each pixel.

    Along a row without occlusion the projector's columns only grow. If an earlier pixel has a larger column, the later
    pixel lies behind that pixel's surface. So a band is missing right of a nearer surface, of width
    f * baseline * (1/z near - 1/z far).
    """
    return projected < projected.cummax(dim=-1).values - 0.5  # half a pixel of tolerance for noise and steps


def grazing(depth: Tensor, pitch_mm: Tensor | float, limit_deg: float) -> Tensor:
    """Return the pixels (N, H, W) whose surface normal is more than `limit_deg` from the viewing ray.

    The slope along each axis is the smaller of the two differences to the neighbours. So a step in depth between two
    surfaces doesn't count as a steep surface.
    """
    slope = torch.zeros_like(depth)
    for dim in (-1, -2):
        step = depth.diff(dim=dim).abs_().nan_to_num_(nan=math.inf)
        last = step.shape[dim] - 1
        least = torch.empty_like(depth)
        least.narrow(dim, 1, last).copy_(torch.minimum(step.narrow(dim, 0, last), step.narrow(dim, 1, last)))
        least.narrow(dim, 0, 1).copy_(step.narrow(dim, 0, 1))
        least.narrow(dim, last + 1, 1).copy_(step.narrow(dim, last, 1))
        slope.addcmul_(least, least)
    limit = pitch_mm * math.tan(math.radians(limit_deg))
    return (slope > limit**2) & (depth < math.inf)


def patches(depth: Tensor, mean_count: float, mean_radius_px: float, generator: torch.Generator) -> Tensor:
    """Discs (N, H, W) bool around the middle of each map: the number is Poisson, the radii are exponential."""
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
    """Some pixels (N, H, W) left of a drop of more than `step_mm` take a depth between both sides of the drop."""
    gap = torch.zeros_like(depth)
    torch.sub(depth[..., 1:], depth[..., :-1], out=gap[..., :-1])
    draw = torch.rand(depth.shape, generator=generator, device=depth.device, dtype=depth.dtype)
    drop = gap.abs()
    hangs = (drop > step_mm) & (drop < math.inf) & (draw < share) & (depth > 0) & (depth + gap > 0)
    # Draws below the share are uniform, so the same number also selects the depth across the drop.
    return torch.where(hangs, torch.addcmul(depth, gap, draw.div_(max(share, 1e-12))), depth)


def fattened(depth: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """A share of the pixels of maps (N, H, W), up to `most` per map, copies the nearest depth of its 3 x 3 pixels."""
    nearest = -torch.nn.functional.max_pool2d(-depth[:, None], 3, stride=1, padding=1)[:, 0]
    draw = torch.rand(depth.shape, generator=generator, device=depth.device, dtype=depth.dtype)
    share = most * torch.rand((len(depth), 1, 1), generator=generator, device=depth.device, dtype=depth.dtype)
    return torch.where(draw < share, nearest, depth)


def quantised(depth: Tensor, step_per_mm: float, noise_steps: float, generator: torch.Generator) -> Tensor:
    """Add noise to the disparity of maps (N, H, W) mm > 0 and round it. A step is `step_per_mm` z^2 mm; 0 stays 0."""
    disparity = (depth * step_per_mm).reciprocal_()
    if noise_steps:
        noise = torch.randn(depth.shape, generator=generator, device=depth.device, dtype=depth.dtype)
        disparity.add_(noise, alpha=noise_steps)
    return disparity.round_().clamp_(min=1).mul_(step_per_mm).reciprocal_().masked_fill_(depth <= 0, 0.0)


def _columns(depth: Tensor) -> Tensor:
    return torch.arange(depth.shape[-1], device=depth.device, dtype=depth.dtype)
