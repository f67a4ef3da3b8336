"""`synthetic`: unlimited labelled depth maps of the hand model's own skin, generated on the training device."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, field_validator
from torch import Tensor

from hpf_core.data.crop import classify
from hpf_core.frames import SyntheticSamples
from hpf_core.geometry.rotations import rotation_vector, sample_view
from hpf_core.grid import Grid
from hpf_core.interfaces import Build, Config, HandModel, Mesh, PluginSpec, SyntheticDataset
from hpf_core.simulation import clutter
from hpf_core.simulation.forearm import forearm, random_bend
from hpf_core.simulation.rasteriser import listed, orthographic
from hpf_core.simulation.sensor import CropNoise
from hpf_core.simulation.tessellate import joined

_ROOM = 3  # factor on the size of the first draw's largest hand, for each map of later draws
_LARGEST_BALL_MM = 37.0  # as in the public code of Ren et al., TIP 2022
_NO_NOISE = CropNoise(shift_px=0, depth_mm=0, baseline_mm=0, grazing_deg=90, step_per_mm=0, flying=0, blobs=0)


def _noise(value: Any) -> Any:
    """`off` or false means rendered maps without noise."""
    if isinstance(value, dict):
        # After this validator pydantic treats a recipe's lists as Python's own, where a list isn't a tuple.
        return {name: tuple(option) if isinstance(option, list) else option for name, option in value.items()}
    return _NO_NOISE if value is False or value == "off" else value


class SyntheticConfig(Config):
    """The content of the samples."""

    cone_deg: float = Field(
        180.0,
        ge=0,
        le=180,
        description="How far the palm turns away from the camera at most, degrees; 180 for all views (as in authors' "
        "code).",
    )
    roll_deg: float = Field(
        180.0,
        ge=0,
        le=180,
        description="How far the hand is turned in the image at most, degrees; 180 for all turns (as in authors' "
        "code).",
    )
    sideways_mm: float = Field(
        15.0,
        ge=0,
        le=100,
        description="The palm's centre lies within +- this of the crop's along x and y, mm (authors' code).",
    )
    depth_mm: tuple[float, float] = Field(
        (-15.0, 35.0),
        description="The palm's centre lies this far behind the crop's, along z, away from the camera, from and to, mm "
        "(our choice: a surface, which crops are centred on without labels, lies before the palm's centre; authors' "
        "code: [-35, 15]).",
    )
    forearm: float = Field(
        0.9, ge=0, le=1, description="Share of the samples that have a stub of forearm (our choice)."
    )
    forearm_mm: tuple[float, float] = Field(
        (30.0, 200.0), description="Shortest and longest stub of forearm, mm; the crop's cube cuts it too (our choice)."
    )
    stretch: tuple[float, float] = Field(
        (1.0, 1.0),
        description="Width, height and depth of each sample are stretched by factors of their own between these two, "
        "about the palm's centre (our choice: none; authors' code: [0.85, 0.95]).",
    )
    noise: Annotated[CropNoise, BeforeValidator(_noise, json_schema_input_type=CropNoise | Literal["off", False])] = (
        Field(CropNoise(), description="Noise of the sensor; `off` for none.")
    )
    other_noise: list[Annotated[CropNoise, BeforeValidator(_noise, json_schema_input_type=CropNoise)]] = Field(
        default=[],
        description="Noise of other sensors. Each draw of samples is divided evenly between `noise` and these, in this "
        "order.",
    )
    stray: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the samples whose palm's centre lies within +- `stray_mm` of the crop's along each axis: "
        "crops that a centre without a label puts far off.",
    )
    stray_mm: float = Field(80.0, ge=0, le=150, description="How far off those crops are at most, mm (our choice).")
    erased: int = Field(
        0,
        ge=0,
        le=64,
        description="Balls around points of the hand from which nothing returns, at most; each number up to it is as "
        "likely.",
    )
    plane: float = Field(
        0.0, ge=0, le=1, description="Share of the samples with a plane of random slope behind the hand."
    )
    plane_mm: float = Field(
        100.0, ge=0, le=300, description="Largest distance of such a plane behind the hand, mm (our choice)."
    )

    @field_validator("stretch")
    @classmethod
    def _factors(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.2 <= value[0] <= value[1] <= 5:
            raise ValueError(f"needs 0.2 <= smallest <= largest <= 5, but is {value[0]:g} to {value[1]:g}")
        return value

    @field_validator("depth_mm", "forearm_mm")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not -150 <= value[0] <= value[1] <= 300:
            raise ValueError(f"needs two lengths in order, in mm, but is {value[0]:g} to {value[1]:g}")
        return value


class Synthetic(SyntheticDataset):
    """Renders the posed skin over the crop's grid, with a forearm and noise."""

    def __init__(self, config: SyntheticConfig, hand: HandModel, grid: Grid) -> None:
        self.config, self.hand, self.grid = config, hand, grid
        self._pairs_per_map: int | None = None
        self.annotation = "nyu14"  # as in the paper, Sec. 4.1

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> SyntheticSamples:
        """Draw `count` samples on the generator's device. The hand model must be on the same device.

        Points are the true ones, also for a hand partly outside of the cube. A pixel is UNKNOWN if its ray meets a
        surface before the cube, as in crops of real images (`hpf_core.data.crop`). `pose` and `shape` exclude the
        stretching, if any.
        """
        config, grid = self.config, self.grid
        pose, shape = self.hand.sample(count, generator)
        rotation = sample_view(count, generator, config.cone_deg, config.roll_deg)
        pose = pose.clone()
        pose[:, :3] = rotation_vector(rotation)
        pose[:, 3:6].zero_()
        points, skin = self.hand.points(pose, shape), self.hand.mesh(pose, shape)
        shift = self._centre(count, generator) - points[:, self.hand.palm_centre]
        pose[:, 3:6] = shift
        points = points + shift[:, None]
        skin = skin._replace(vertices=skin.vertices + shift[:, None])
        shown = joined(skin, self._forearm(points, skin, generator))
        if config.stretch != (1.0, 1.0):
            points, shown = self._stretched(points, shown, generator)
        depth = self._drawn(shown)
        if config.plane:
            behind = clutter.plane_behind(skin.vertices, grid, config.plane, config.plane_mm, generator)
            depth = torch.minimum(depth, behind)
        depth, missing = self._noisy(depth, generator)
        if config.erased:
            missing |= clutter.erased(depth, points, grid, config.erased, _LARGEST_BALL_MM, generator)
        depth, state = classify(depth, missing, grid)
        return SyntheticSamples(depth, state, points, pose, shape, cube_mm=grid.cube_mm)

    def _centre(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, 3) mm, position of the palm's centre in the crop."""
        draw = torch.rand(count, 3, generator=generator, device=generator.device)
        low, extent = _place(self.config.sideways_mm, self.config.depth_mm, draw.device)
        centre = low + draw * extent
        if self.config.stray:
            far = torch.rand(count, 4, generator=generator, device=generator.device)
            strays = self.config.stray_mm * (2 * far[:, :3] - 1)
            centre = torch.where(far[:, 3:] < self.config.stray, strays, centre)
        return centre

    def _noisy(self, depth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Depth (N, H, W) mm with sensor noise, and the mask of pixels without a measurement."""
        sensors = [self.config.noise, *self.config.other_noise]
        if len(sensors) == 1:
            return sensors[0].apply(depth, self.grid, generator)
        pieces = zip(sensors, depth.tensor_split(len(sensors)), strict=True)
        made = [sensor.apply(piece, self.grid, generator) for sensor, piece in pieces if len(piece)]
        return torch.cat([noisy for noisy, _ in made]), torch.cat([missing for _, missing in made])

    def _stretched(self, points: Tensor, mesh: Mesh, generator: torch.Generator) -> tuple[Tensor, Mesh]:
        """Points and mesh, stretched along the crop's axes by random factors for each sample about the palm's
        centre."""
        draw = torch.rand(len(points), 1, 3, generator=generator, device=generator.device)
        smallest, largest = self.config.stretch
        factor = smallest + draw * (largest - smallest)
        centre = points[:, self.hand.palm_centre, None]
        vertices = centre + (mesh.vertices - centre) * factor
        return centre + (points - centre) * factor, mesh._replace(vertices=vertices)

    def _forearm(self, points: Tensor, skin: Mesh, generator: torch.Generator) -> Mesh:
        draw = torch.rand(3, len(points), generator=generator, device=generator.device)
        shortest, longest = self.config.forearm_mm
        length = (shortest + draw[0] * (longest - shortest)) * (draw[1] < self.config.forearm)
        bend = random_bend(len(points), generator)
        return forearm(self.hand, points, skin.vertices, length, bend, thickness=0.85 + 0.3 * draw[2])

    def _drawn(self, mesh: Mesh) -> Tensor:
        """(N, H, W) mm, the depth maps."""
        on_host = mesh.vertices.device.type == "cpu"
        return orthographic(mesh, self.grid, most=None if on_host else self._room(mesh))

    def _room(self, mesh: Mesh) -> int:
        """Length of the rasteriser's list. Only the first draw on a GPU synchronises, to measure the size of the
        faces."""
        if self._pairs_per_map is None:
            self._pairs_per_map = _ROOM * int(listed(mesh, self.grid).amax())
        return self._pairs_per_map * len(mesh.vertices)


@functools.lru_cache(maxsize=8)
def _place(sideways_mm: float, depth_mm: tuple[float, float], device: torch.device) -> tuple[Tensor, Tensor]:
    """Nearest corner and extent (3,) mm of the region of the palm's centre. Cached: each copy to a GPU synchronises."""
    near, far = depth_mm
    low, high = torch.tensor([[-sideways_mm, -sideways_mm, near], [sideways_mm, sideways_mm, far]])
    return low.to(device), (high - low).to(device)


def _make(config: SyntheticConfig, build: Build) -> Synthetic:
    return Synthetic(config, build.need_hand(), build.grid)


SPEC = PluginSpec(
    kind="dataset",
    name="synthetic",
    config=SyntheticConfig,
    factory=_make,
    summary="labelled depth maps of the hand model's skin, with forearm and noise, generated online",
    source="Wan et al., CVPR 2019, Sec. 4.1; noise, views and sideways jitter as in their code, depth jitter our own",
)
