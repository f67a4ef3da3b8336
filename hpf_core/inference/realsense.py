"""Depth images of an Intel RealSense camera, by the optional package pyrealsense2.

The package keeps the newest frame only, so a slow caller gets recent frames and never a queue of old ones.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hpf_core.data.cameras import Camera
from hpf_core.errors import InputError, RunError
from hpf_core.inference.live import Arrived
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.sources import DepthFrame
from hpf_core.inference.streams import PredictedFrame
from hpf_core.inference.tracking import HandTracker

WIDTH, HEIGHT = 640, 480
_PATIENCE_MS = 5000  # a camera that sends nothing for so long is disconnected, or used by another program
_EXTRA = "pip install 'hand-pose-fitting[realsense]'"


def need_realsense() -> Any:
    """The package pyrealsense2.

    Raises:
        InputError: it isn't installed.
    """
    try:
        return importlib.import_module("pyrealsense2")
    except ImportError as error:
        raise InputError(
            f"RealSense cameras need the package pyrealsense2, which isn't installed: {_EXTRA}."
        ) from error


class RealSense:
    """The depth stream of a camera.

        with RealSense() as camera:
            for arrived in camera.frames():
                ...

    Attributes:
        name: the camera's name and serial number.
        camera: its intrinsics.
        unit_mm: millimetres per step of its depth.

    Args:
        serial: serial number of the camera; empty for any.
        rate_hz: frames per second.

    Raises:
        InputError: the package isn't installed, or there is no such camera.
    """

    def __init__(self, serial: str = "", rate_hz: int = 30) -> None:
        rs = need_realsense()
        config = rs.config()
        if serial:
            config.enable_device(serial)
        config.enable_stream(rs.stream.depth, WIDTH, HEIGHT, rs.format.z16, rate_hz)
        self._pipeline = rs.pipeline()
        try:
            profile = self._pipeline.start(config)
        except RuntimeError as error:
            which = f"The RealSense camera {serial}" if serial else "A RealSense camera"
            raise InputError(
                f"{which} can't be started: {error}. It must be connected, no other program may use it, and it must "
                f"offer depth of {WIDTH} x {HEIGHT} at {rate_hz} Hz."
            ) from error
        try:
            device = profile.get_device()
            self.name = " ".join(
                device.get_info(about) for about in (rs.camera_info.name, rs.camera_info.serial_number)
            )
            self.unit_mm = 1000.0 * float(device.first_depth_sensor().get_depth_scale())
            stream = profile.get_stream(rs.stream.depth).as_video_stream_profile()
            self.camera = _camera(stream.get_intrinsics(), rs)
        except BaseException:
            self._pipeline.stop()
            raise

    def __enter__(self) -> RealSense:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipeline.stop()

    def frames(self, clock: Callable[[], float] = time.monotonic) -> Iterator[Arrived]:
        """The newest frame at each request, without an end.

        Raises:
            RunError: the camera sends nothing any more.
        """
        last, dropped = 0, 0
        while True:
            try:
                depth = self._pipeline.wait_for_frames(_PATIENCE_MS).get_depth_frame()
            except RuntimeError as error:
                raise RunError(f"{self.name} sends no frames: {error}.") from error
            if not depth:
                continue
            due, number = clock(), int(depth.get_frame_number())
            dropped += max(0, number - last - 1) if last else 0
            last = number
            # The camera reuses the memory of a frame, so this copies it.
            stored = np.array(depth.get_data(), dtype=np.uint16)
            image = stored if abs(self.unit_mm - 1) < 1e-6 else stored.astype(np.float32) * np.float32(self.unit_mm)
            frame = DepthFrame(f"frame {number}", depth.get_timestamp() / 1000.0, image, self.camera)
            yield Arrived(frame, due, dropped)


def is_realsense(stream: str) -> bool:
    """Whether a text names a RealSense camera: "realsense", or "realsense:SERIAL"."""
    return stream.partition(":")[0] == "realsense"


def predict_realsense(predictor: HandPredictor, stream: str, rate_hz: int, track: bool) -> Iterator[PredictedFrame]:
    """The hands of a camera's newest frames; the camera stops when the iterator is closed.

    Args:
        predictor: finds the hands.
        stream: "realsense", or "realsense:SERIAL".
        rate_hz: the camera's frames per second.
        track: whether to track and smooth hands.
    """
    tracker = HandTracker(predictor) if track else None
    with RealSense(stream.partition(":")[2], rate_hz) as sensor:
        for arrived in sensor.frames():
            frame = arrived.frame
            assert isinstance(frame.depth, np.ndarray)
            if tracker is None:
                hands = predictor(frame.depth, sensor.camera)
            else:
                hands = tracker.update(frame.depth, sensor.camera, frame.time)
            yield PredictedFrame(frame.name, frame.time, hands, frame.depth, sensor.camera)


def _camera(found: Any, rs: Any) -> Camera:
    """The camera of the package's intrinsics; both count pixels from the centre of the first one."""
    coefficients = tuple(float(value) for value in found.coeffs)
    if any(coefficients) and found.model != rs.distortion.brown_conrady:
        # These models map distorted pixels to rays: their inverse isn't OpenCV's model. The coefficients are small.
        warnings.warn(f"the lens distortion of the camera is ignored: its model is {found.model}", stacklevel=2)
        coefficients = ()
    return Camera(
        int(found.width), int(found.height), fx=found.fx, fy=found.fy, cx=found.ppx, cy=found.ppy,
        distortion=coefficients if any(coefficients) else (),
    )  # fmt: skip
