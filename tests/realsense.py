"""Stands in for pyrealsense2: as much of its interface as HPF calls, with a camera that shows given depth images."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

NAMES = {
    "pipeline": ("start", "stop", "wait_for_frames"),
    "config": ("enable_device", "enable_stream"),
    "pipeline_profile": ("get_device", "get_stream"),
    "device": ("get_info", "first_depth_sensor"),
    "depth_sensor": ("get_depth_scale",),
    "stream_profile": ("as_video_stream_profile",),
    "video_stream_profile": ("get_intrinsics",),
    "intrinsics": ("width", "height", "fx", "fy", "ppx", "ppy", "model", "coeffs"),
    "composite_frame": ("get_depth_frame",),
    "depth_frame": ("get_data", "get_frame_number", "get_timestamp"),
    "stream": ("depth",),
    "format": ("z16",),
    "camera_info": ("name", "serial_number"),
    "distortion": ("brown_conrady", "inverse_brown_conrady"),
}
"""Names of the package that the stand-in has, by class."""


class StandIn:
    """The module.

    Args:
        images: (H, W) uint16, what the camera sees; then it raises `end`.
        numbers: the frames' numbers, as the camera counts them.
        end: raised after the last image.
        scale: metres per step of depth.
        intrinsics: changes to the intrinsics.
    """

    stream = SimpleNamespace(depth="depth")
    format = SimpleNamespace(z16="z16")
    distortion = SimpleNamespace(brown_conrady="brown_conrady", inverse_brown_conrady="inverse_brown_conrady")
    camera_info = SimpleNamespace(name="name", serial_number="serial_number")

    def __init__(
        self,
        images: Sequence[np.ndarray],
        numbers: Sequence[int] | None = None,
        end: BaseException | None = None,
        scale: float = 0.001,
        **intrinsics: Any,
    ) -> None:
        self._left = list(zip(numbers or range(1, len(images) + 1), images, strict=True))
        self._end = end or RuntimeError("Frame didn't arrive within 5000")
        self._scale, self.running, self.asked = scale, False, []
        about = {"width": 640, "height": 480, "fx": 588.03, "fy": 587.07, "ppx": 320.0, "ppy": 240.0}
        about |= {"model": self.distortion.brown_conrady, "coeffs": [0.0] * 5}
        self._intrinsics = SimpleNamespace(**(about | intrinsics))
        self._buffer = np.zeros((480, 640), np.uint16)

    def config(self) -> StandIn:
        return self

    def pipeline(self) -> StandIn:
        return self

    def enable_device(self, serial: str) -> None:
        self.asked.append(serial)

    def enable_stream(self, kind: str, width: int, height: int, format: str, rate: int) -> None:
        assert (kind, format) == ("depth", "z16")
        self.asked.append((width, height, rate))

    def start(self, config: StandIn) -> SimpleNamespace:
        if "none" in self.asked:
            raise RuntimeError("No device connected")
        self.running = True
        sensor = SimpleNamespace(get_depth_scale=lambda: self._scale)
        device = SimpleNamespace(
            get_info={"name": "Intel RealSense D435", "serial_number": "0123"}.__getitem__,
            first_depth_sensor=lambda: sensor,
        )
        video = SimpleNamespace(get_intrinsics=lambda: self._intrinsics)
        profile = SimpleNamespace(as_video_stream_profile=lambda: video)
        return SimpleNamespace(get_device=lambda: device, get_stream=lambda kind: profile)

    def stop(self) -> None:
        assert self.running
        self.running = False

    def wait_for_frames(self, timeout_ms: int) -> SimpleNamespace:
        assert self.running
        if not self._left:
            raise self._end
        number, image = self._left.pop(0)
        self._buffer[:] = image  # the camera's memory is used again for the next frame
        frame = SimpleNamespace(
            get_data=lambda: self._buffer,
            get_frame_number=lambda: number,
            get_timestamp=lambda: 1000.0 + number * 100 / 3,
        )
        return SimpleNamespace(get_depth_frame=lambda: frame)
