"""A rig's cameras and their sensors observe a person in a room."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hpf_core.data.cameras import Camera, Rig
from hpf_core.data.layouts import nyu
from hpf_core.geometry.rigid import apply_rigid, invert_rigid
from hpf_core.simulation import rasteriser
from hpf_core.simulation.sensor import Sensor

_ROOM_MM = 1050.0  # from the middle of the hand's place to the wall
_AROUND_PX = 24  # margin around the hand in which the sensor's blobs fall


class Scene:
    """A rig of cameras around a place, their sensor model, and the room behind."""

    def __init__(self, rig: Rig, distance_mm: float, sensor: Sensor) -> None:
        self.cameras, self.sensor = rig.cameras, sensor
        self.from_rig = invert_rigid(torch.from_numpy(rig.poses)).float()
        self._rooms = [
            _room(camera, pose, distance_mm)
            for camera, pose in zip(rig.cameras, torch.from_numpy(rig.poses), strict=True)
        ]

    def image(
        self, vertices: Tensor, faces: Tensor, around: Tensor, view: int, generator: torch.Generator
    ) -> np.ndarray:
        """Return the sensor's image of a view, (H, W) uint16 mm, 2001 where nothing returns.

        Args:
            vertices: (V, 3) mm in the rig's frame, of all moving surfaces.
            faces: (F, 3), wound outwards.
            around: (K, 3) mm in the rig's frame, points of the hand. The sensor's blobs fall on and around the points.
            view: index of the camera, from 0.
            generator: on the host.
        """
        pose, camera = self.from_rig[view], self.cameras[view]
        depth = rasteriser.perspective(apply_rigid(pose, vertices), faces, camera)
        depth = torch.minimum(depth, self._rooms[view])
        depth[depth >= nyu.NO_RETURN_FROM] = torch.inf  # beyond the sensor's range
        window = _window(camera, apply_rigid(pose, around))
        seen = self.sensor.measure(depth[None], camera.fx, generator, window)[0].round()
        lost = (seen <= 0) | (seen >= nyu.NO_RETURN)
        return seen.masked_fill(lost, nyu.NO_RETURN).to(torch.int32).numpy().astype(np.uint16)


def _window(camera: Camera, points: Tensor) -> tuple[slice, slice]:
    """Rows and columns around the hand within the image; the whole image if no point is in front of the camera."""
    seen = camera.project(points[points[:, 2] > 1].double().numpy())
    if not len(seen):
        return slice(0, camera.height), slice(0, camera.width)
    low, high = seen[:, :2].min(axis=0) - _AROUND_PX, seen[:, :2].max(axis=0) + _AROUND_PX
    ends = []
    for first, last, size in zip(low, high, (camera.width, camera.height), strict=True):
        start = int(np.clip(first, 0, size - 1))
        ends.append(slice(start, max(start + 1, int(np.clip(last, 0, size)))))
    return ends[1], ends[0]


def _room(camera: Camera, to_rig: Tensor, distance_mm: float) -> Tensor:
    """Depth (H, W) mm of the room: the inside of a sphere around the hand, within range of all cameras."""
    u = (torch.arange(camera.width, dtype=torch.float64) - camera.cx) / camera.fx
    v = (torch.arange(camera.height, dtype=torch.float64) - camera.cy) / camera.fy
    middle = torch.tensor([0.0, 0.0, distance_mm], dtype=torch.float64)
    x, y, z = (to_rig[:3, :3].T @ (middle - to_rig[:3, 3])).tolist()  # in the camera's frame
    a, b = u.square() + v[:, None].square() + 1, u * x + v[:, None] * y + z
    c = x * x + y * y + z * z - _ROOM_MM**2
    return ((b + (b.square() - a * c).clamp(min=0).sqrt()) / a).float()
