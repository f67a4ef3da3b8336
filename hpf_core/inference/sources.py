"""Sources of depth images: files, folders, captures and rigs, frame by frame with time.

A frame with a missing or damaged image has an error: a caller with thousands of frames lists it and continues.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpf_core.data.cameras import Camera, Rig
from hpf_core.data.images import decode, other_image, read_header
from hpf_core.data.layouts import nyu
from hpf_core.data.layouts.base import Layout
from hpf_core.data.layouts.capture import CaptureLayout
from hpf_core.data.layouts.nyu import NyuLayout
from hpf_core.data.rig_file import RIG_FILE
from hpf_core.data.stored_arrays import UNREADABLE
from hpf_core.errors import DataError, InputError

SUFFIXES = (".png", ".npy")
DEFAULT_RATE_HZ = 30.0

_DIGITS = re.compile(r"(\d+)")
_SECONDS = re.compile(r"\d{5,}\.\d+\Z")  # TUM: the name is a time in seconds
_MICROSECONDS = re.compile(r"\d+_(\d{5,})\Z")  # k4a_mkv2image: number, then microseconds
_NYU_IMAGE = re.compile(r"depth_1_\d{7}\.png\Z")


Moment = tuple[Layout, str, int]
"""A frame of a capture: its layout, the split, and the number in it, counted from 0."""


@dataclass(frozen=True)
class CameraOptions:
    """Properties that images don't contain.

    Attributes:
        camera: camera of all images; None if the source has its own.
        intrinsics: fx, fy, cx, cy of all images; their size gives the camera's. None with a camera.
        unit_mm: millimetres per step of the stored depth.
        rate_hz: frames per second, if the files' names contain no time.
    """

    camera: Camera | None = None
    intrinsics: tuple[float, float, float, float] | None = None
    unit_mm: float = 1.0
    rate_hz: float = DEFAULT_RATE_HZ

    def camera_of(self, depth: np.ndarray, path: Path) -> Camera:
        """The camera of an image (H, W).

        Raises:
            InputError: no camera was given.
        """
        if self.camera is not None:
            return self.camera
        if self.intrinsics is None:
            raise InputError(
                f"The camera of {path} isn't known. Give --K fx,fy,cx,cy, or --camera FILE with a rig.yaml or a camera "
                "of ROS, OpenCV, Kalibr or Open3D."
            )
        fx, fy, cx, cy = self.intrinsics
        return Camera(depth.shape[1], depth.shape[0], fx=fx, fy=fy, cx=cx, cy=cy)


@dataclass(frozen=True)
class DepthFrame:
    """A moment of a source.

    Attributes:
        name: name of the file or frame.
        time: seconds from an arbitrary start.
        depth: (H, W) mm, or one such image for each view of a rig; None if unreadable.
        camera: camera of the image, or the rig; None if unreadable.
        error: reason of an unreadable frame, or an empty text.
    """

    name: str
    time: float
    depth: np.ndarray | list[np.ndarray] | None
    camera: Camera | Rig | None
    error: str = ""


class FrameSource:
    """The frames of one input. `len` is their number; iteration reads them.

    Attributes:
        name: name for messages.
        is_sequence: whether the frames are consecutive in time.
    """

    def __init__(self, name: str, is_sequence: bool, frames: Sequence[_Reader]) -> None:
        self.name, self.is_sequence = name, is_sequence
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[DepthFrame]:
        return (frame.read() for frame in self._frames)

    def __getitem__(self, number: int) -> DepthFrame:
        return self._frames[number].read()

    @property
    def times(self) -> list[float]:
        """Seconds of all frames."""
        return [frame.time for frame in self._frames]

    def every(self, step: int) -> FrameSource:
        """Only each `step`-th frame."""
        return FrameSource(self.name, self.is_sequence, self._frames[::step])

    @property
    def moments(self) -> list[Moment | None]:
        """The place of each frame in its capture; None for images of no capture."""
        return [frame.moment for frame in self._frames]

    @property
    def names(self) -> list[str]:
        """Names of all frames."""
        return [frame.name for frame in self._frames]


class _Reader(abc.ABC):
    """Reads one frame on request."""

    def __init__(self, name: str, time: float) -> None:
        self.name, self.time = name, time

    @property
    def moment(self) -> Moment | None:
        """The frame's place in its capture, if it belongs to one."""
        return None

    def read(self) -> DepthFrame:
        try:
            depth, camera = self.load()
        except DataError as error:
            return DepthFrame(self.name, self.time, None, None, str(error))
        return DepthFrame(self.name, self.time, depth, camera)

    @abc.abstractmethod
    def load(self) -> tuple[np.ndarray | list[np.ndarray], Camera | Rig]:
        """The depth images in mm, and their camera or rig. Raises DataError for a damaged image."""


class _File(_Reader):
    def __init__(self, path: Path, time: float, options: CameraOptions, nyu_layout: bool = False) -> None:
        super().__init__(str(path), time)
        self.path, self.options, self.nyu_layout = path, options, nyu_layout

    @property
    def moment(self) -> Moment | None:
        if not self.nyu_layout:
            return None
        frame = int(self.path.stem.rpartition("_")[2]) - 1
        return NyuLayout(self.path.parent.parent, (0,)), self.path.parent.name, frame

    def load(self) -> tuple[np.ndarray, Camera]:
        if self.nyu_layout:
            depth = nyu.read_depth(self.path)
            camera = self.options.camera or nyu.CAMERA
            return np.where(nyu.returned(depth), depth, 0).astype(np.uint16), camera
        depth = read_depth_file(self.path, self.options.unit_mm)
        return depth, self.options.camera_of(depth, self.path)


class _Moment(_Reader):
    """A frame of a capture: its first view, or all of its views."""

    def __init__(
        self, layout: CaptureLayout | NyuLayout, split: str, frame: int, time: float, every_view: bool
    ) -> None:
        super().__init__(layout.frame_name(split, frame), time)
        self.layout, self.split, self.frame, self.every_view = layout, split, frame, every_view

    @property
    def moment(self) -> Moment | None:
        return self.layout, self.split, self.frame

    def load(self) -> tuple[np.ndarray | list[np.ndarray], Camera | Rig]:
        rig = self.layout.rig
        if not self.every_view:
            return self.layout.read_depth(self.split, 0, self.frame), rig.cameras[0]
        views = [view for view in range(len(rig.cameras)) if self.layout.path(self.split, view, self.frame) is not None]
        depths = [self.layout.read_depth(self.split, view, self.frame) for view in views]
        return depths, rig if len(views) == len(rig.cameras) else rig.take(views)


def open_source(place: Path | str, options: CameraOptions, every_view: bool = False) -> FrameSource:
    """The frames of a depth image (PNG, npy), a folder of them, or a capture.

    Args:
        place: the file or folder.
        options: camera, unit and rate, if the source lacks them.
        every_view: for captures, whether to read all views together; else the first one.

    Raises:
        InputError: nothing to read, or the camera is unknown.
    """
    path = Path(place)
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path} is neither a PNG image nor an array of NumPy (.npy).")
        return FrameSource(str(path), False, [_File(path, 0.0, options, _is_nyu(path, options))])
    if not path.is_dir():
        raise InputError(f"{path} doesn't exist. Give depth images (.png, .npy), folders of them, or captures.")
    capture, split = (path, None) if (path / RIG_FILE).is_file() else (path.parent, path.name)
    if (capture / RIG_FILE).is_file():
        return _of_capture(CaptureLayout(capture), split, options, every_view)
    splits = [path / name for name in ("train", "validation", "test") if _has_nyu(path / name)]
    folders = splits or [path]
    found = [file for folder in folders for file in _images(folder)]
    if not found:
        raise InputError(f"{path} contains no depth images (.png or .npy) and no {RIG_FILE}.")
    readers = [
        _File(file, _time_of(file, number, options.rate_hz), options, _is_nyu(file, options))
        for number, file in enumerate(found)
    ]
    return FrameSource(str(path), True, readers)


def _of_capture(layout: CaptureLayout, split: str | None, options: CameraOptions, every_view: bool) -> FrameSource:
    splits = layout.splits() if split is None else (split,)
    if split is not None and split not in layout.splits():
        raise InputError(f"{layout.root} has no split '{split}'. It has {', '.join(layout.splits())}.")
    readers: list[_Reader] = []
    for name in splits:
        for frame in range(layout.frames(name)):
            readers.append(_Moment(layout, name, frame, len(readers) / options.rate_hz, every_view))
    if not readers:
        raise InputError(f"{layout.root} holds no frames.")
    return FrameSource(str(layout.root if split is None else layout.root / split), True, readers)


def read_depth_file(path: Path, unit_mm: float = 1.0) -> np.ndarray:
    """Depth (H, W) mm of a 16-bit grey PNG image or a NumPy array; integers stay integers for a unit of 1 mm.

    Raises:
        DataError: the file is missing, damaged, or not a depth image.
    """
    try:
        content = path.read_bytes()
        stored = _array(path) if path.suffix.lower() == ".npy" else _png(path, content)
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except UNREADABLE as error:
        raise DataError(f"{path} is damaged: {error}.") from error
    return stored if unit_mm == 1 else stored.astype(np.float32) * np.float32(unit_mm)


def _png(path: Path, content: bytes) -> np.ndarray:
    if other := other_image(content):
        raise DataError(f"{path} is {other}, but a depth image is a 16-bit grey PNG image or an array (.npy).")
    header = read_header(content)
    if (header.bits, header.colour) != (16, 0):
        raise DataError(
            f"{path} is {header}, but a depth image has 16-bit grey. A colourised picture has lost its depth. "
            "If the depth is encoded in the colours, give a rig.yaml with its encoding."
        )
    return decode(content, header)


def _array(path: Path) -> np.ndarray:
    stored = np.load(path, allow_pickle=False)
    if not isinstance(stored, np.ndarray) or stored.ndim != 2 or stored.dtype.kind not in "uif":
        raise DataError(f"{path} is no depth image: an array (H, W) of numbers was expected.")
    return stored


def _images(folder: Path) -> list[Path]:
    """The depth images of a folder in the order of the numbers in their names; for NYU's layout, those of view 1."""
    found = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    first_view = [file for file in found if _NYU_IMAGE.match(file.name)]
    return sorted(
        first_view or found, key=lambda file: [int(p) if p.isdigit() else p for p in _DIGITS.split(file.name)]
    )


def _has_nyu(folder: Path) -> bool:
    return folder.is_dir() and any(_NYU_IMAGE.match(file.name) for file in folder.iterdir())


def _is_nyu(path: Path, options: CameraOptions) -> bool:
    """Whether a file is an image of NYU's layout, with known camera and encoding."""
    return options.intrinsics is None and bool(re.match(r"depth_\d+_\d{7}\.png\Z", path.name))


def _time_of(path: Path, number: int, rate_hz: float) -> float:
    """Seconds: from the file's name if it contains a time, else from its number."""
    if _SECONDS.match(path.stem):
        return float(path.stem)
    if found := _MICROSECONDS.match(path.stem):
        return int(found[1]) / 1e6
    return number / rate_hz
