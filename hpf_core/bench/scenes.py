"""Inputs of the benchmarks: sampled hands, points on their surfaces, and one raw frame on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpf_core.data.layouts import nyu
from hpf_core.files.cache import content_key
from hpf_core.interfaces import HandModel
from hpf_core.progress import Progress, no_progress
from hpf_core.simulation.simulate import CaptureConfig, simulate

BATCH = 48
"""Number of maps in the rows on rendering and distances, and in a batch of predictions."""

QUERIES = 768
"""Number of surface points per map: as many as a fit uses."""


def hands(hand: HandModel, count: int) -> Tensor:
    """(count, J, 3) float32 mm, sampled hands with the palm at the crop's centre, on the hand model's device."""
    drawn = hand.sample(count, torch.Generator(hand.radii.device).manual_seed(0))
    points = hand.points(drawn.pose, drawn.shape)
    return (points - points[:, hand.palm_centre : hand.palm_centre + 1]).float()


def surface_points(points: Tensor, radii: Tensor, count: int) -> Tensor:
    """(N, count, 3) mm, points within about 4 mm of the surface of spheres at points (N, J, 3) with radii (J,)."""
    generator = torch.Generator().manual_seed(1)
    sphere = torch.randint(points.shape[1], (points.shape[0], count), generator=generator)
    way = torch.nn.functional.normalize(torch.randn(points.shape[0], count, 3, generator=generator), dim=-1)
    off = 4 * torch.randn(points.shape[0], count, 1, generator=generator)
    centre = points.cpu().gather(1, sphere[..., None].expand(-1, -1, 3))
    return (centre + way * (radii.cpu()[sphere][..., None] + off)).to(points.device)


@dataclass(frozen=True)
class RawFrame:
    """A depth image on disk in NYU's layout, and its hand's centre.

    Attributes:
        path: the PNG file, 640 x 480.
        centre: (3,) float64 mm in the camera's frame, the palm's true centre.
    """

    path: Path
    centre: np.ndarray


def raw_frame(hand: HandModel, cache: Path, progress: Progress = no_progress) -> RawFrame:
    """Return a frame of a simulated capture. The first call makes the capture."""
    config = CaptureConfig.model_validate({"train": 1, "validation": 1, "test": 1, "views": 1})
    key = content_key({"hand": hand.fingerprint(), "config": config.model_dump(mode="json")})
    folder = cache / "bench" / f"capture-{key[:16]}"
    simulate(folder, hand, config, progress)
    split = folder / "train"
    centre = nyu.read_annotation(split).xyz[0, 0, nyu.PALM_CENTRE]
    return RawFrame(nyu.image_path(split, 0, 0), centre)
