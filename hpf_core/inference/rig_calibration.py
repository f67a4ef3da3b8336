"""Calibrates a rig from the hands that its cameras see, with a network's estimates and without labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from hpf_core.data.cameras import Camera
from hpf_core.data.crop import Crop, crop, inside_volume
from hpf_core.data.hand_calibration.calibrate import HandCalibration, calibrate_from_hands
from hpf_core.data.hand_calibration.seen_hands import SeenHands, Surface
from hpf_core.data.hand_calibration.surface_points import surface_points
from hpf_core.data.hand_centre import mass_centre
from hpf_core.data.layouts.base import Layout, Mirrored
from hpf_core.errors import DataError
from hpf_core.files.cache import bytes_key
from hpf_core.inference.hand_network import HandNetwork, load_network, shipped_weights
from hpf_core.progress import Progress, no_progress

FRAMES = 300
"""Frames that a calibration uses, by default."""

_STRETCH = 15  # consecutive frames in a row, which show time lags
_ROUNDS = 2  # crops follow the estimated palm this often
_BATCH = 8  # frames
_LEAST_Z_MM = 50.0


def calibrate_rig(
    layout: Layout,
    views: Sequence[int],
    *,
    split: str | None = None,
    frames: int = FRAMES,
    network: HandNetwork | None = None,
    progress: Progress = no_progress,
) -> HandCalibration:
    """Find where the cameras of a capture stand.

    Args:
        layout: reads the capture. Left hands are mirrored, because the network knows right hands.
        views: the cameras, counted from 0; the first one gives the rig's frame.
        split: whose frames to use; None for the first split.
        frames: at most so many frames, in stretches spread over the split.
        network: estimates hands; None for the shipped one.
        progress: receives the number of finished frames.

    Raises:
        DataError: the cameras can't be tied together.
    """
    split = split or layout.splits()[0]
    if layout.rig.hand == "left":
        found = calibrate_rig(Mirrored(layout), views, split=split, frames=frames, network=network, progress=progress)
        return found.mirrored()
    numbers = stretches(layout.frames(split), frames)
    hands = see_hands(layout, split, views, numbers, network or load_network(), progress)
    rig = layout.rig.take(views)
    return calibrate_from_hands(hands, rig.names, rig.to_rig, layout.rig.volume_mm if views[0] == 0 else None)


class ShippedCalibrator:
    """Calibrates rigs with the shipped network, for datasets with `calibration: hand`."""

    @cached_property
    def key(self) -> str:
        """A hash of the shipped weights."""
        return bytes_key(shipped_weights().read_bytes())[:16]

    def calibrate(self, layout: Layout, views: Sequence[int], progress: Progress = no_progress) -> HandCalibration:
        """Calibrate with up to `FRAMES` frames of the first split; errors as for `calibrate_rig`."""
        return calibrate_rig(layout, views, progress=progress)


def stretches(total: int, frames: int) -> np.ndarray:
    """(F,) int64, the numbers of at most `frames` of `total` frames: short stretches, evenly spaced."""
    if total <= frames:
        return np.arange(total)
    starts = np.linspace(0, total - _STRETCH, max(frames // _STRETCH, 1)).astype(np.int64)
    return np.unique((starts[:, None] + np.arange(_STRETCH)).clip(0, total - 1))


def see_hands(
    layout: Layout,
    split: str,
    views: Sequence[int],
    numbers: np.ndarray,
    network: HandNetwork,
    progress: Progress = no_progress,
) -> SeenHands:
    """Estimate the hand in every camera of some frames, and take its surface.

    Damaged and missing images count as images without a hand.

    Raises:
        DataError: no camera sees anything in any frame.
    """
    joints = len(network.hand.names)
    points = np.full((len(views), len(numbers), joints, 3), np.nan)
    variance = np.full((len(views), len(numbers), joints), np.inf)
    surfaces = [[Surface.none() for _ in numbers] for _ in views]
    beside = layout.rig.volume_mm is not None and views[0] == 0
    for first in range(0, len(numbers), _BATCH):
        images = {}
        for row in range(first, min(first + _BATCH, len(numbers))):
            for k, view in enumerate(views):
                depth = _image(layout, split, view, int(numbers[row]), first=k == 0)
                if depth is not None:
                    images[k, row] = depth
        cameras = {(k, row): layout.rig.cameras[views[k]] for k, row in images}
        for key, (found, spread) in estimate(network, images, cameras).items():
            points[key], variance[key] = found, spread
            surfaces[key[0]][key[1]] = surface_points(images[key], cameras[key], found, beside)
        progress(min(first + _BATCH, len(numbers)), len(numbers), f"looking at the hands of {split}")
    if not np.isfinite(points).any():
        raise DataError(f"{layout.root}: no image of {split} shows anything that could be a hand.")
    return SeenHands(points, variance, network.hand.palm_centre, tuple(map(tuple, surfaces)), numbers)


Key = tuple[int, int]
"""A view and the row of a frame."""


def estimate(
    network: HandNetwork, images: dict[Key, np.ndarray], cameras: dict[Key, Camera]
) -> dict[Key, tuple[np.ndarray, np.ndarray]]:
    """The points (J, 3) mm in each image's camera, and their variance (J,) mm^2; images without a surface are left out.

    The first crop lies around the nearest object; the others follow the estimated palm.
    """
    centres = {}
    for key, image in images.items():
        centre = mass_centre(image, image > 0, cameras[key], network.grid.cube_mm)
        if centre is not None and centre[2] > _LEAST_Z_MM:
            centres[key] = centre
    found: dict[Key, tuple[np.ndarray, np.ndarray]] = {}
    for _ in range(_ROUNDS + 1):
        if not centres:
            break
        crops: dict[Key, Crop] = {
            key: crop(images[key], images[key] > 0, cameras[key], centre, network.grid, network.ray_aligned)
            for key, centre in centres.items()
        }
        said = network.estimate(torch.from_numpy(np.stack([one.depth for one in crops.values()])))
        for row, (key, one) in enumerate(crops.items()):
            points = said.points[row].double().numpy() @ one.to_camera[:3, :3].T + one.to_camera[:3, 3]
            spread = np.zeros(len(points)) if said.variance is None else said.variance[row].double().numpy()
            if not np.isfinite(points).all() or points[network.hand.palm_centre, 2] <= _LEAST_Z_MM:
                del centres[key]
                found.pop(key, None)
                continue
            centres[key] = points[network.hand.palm_centre]
            found[key] = (points, spread)
    return found


def _image(layout: Layout, split: str, view: int, frame: int, first: bool) -> np.ndarray | None:
    """Depth (H, W) mm; None for a missing or damaged image. The box of the rig is known in the first camera alone."""
    if layout.path(split, view, frame) is None:
        return None
    try:
        depth = layout.read_depth(split, view, frame)
    except DataError:
        return None
    if first and view == 0 and layout.rig.volume_mm is not None:
        inside = inside_volume(depth, layout.rig.cameras[view], np.eye(4), layout.rig.volume_mm)
        depth = np.where(inside, depth, np.zeros((), depth.dtype))
    return depth
