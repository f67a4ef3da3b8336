"""Reads a camera's calibration from the files that people have: `rig.yaml`, ROS, OpenCV, Kalibr and Open3D.

The content decides which format a file has, not its name. A file that fits none, or a lens model other than OpenCV's,
is an error: nothing is guessed. Of a file with several cameras, the first one counts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hpf_core.data.cameras import DISTORTION_LENGTHS, Camera
from hpf_core.data.rig_file import read_rig, rig_path
from hpf_core.errors import DataError, InputError

_LARGEST_BYTES = 1_000_000
_SIZES = (("image_width", "image_height"), ("width", "height"))
_MATRICES = ("camera_matrix", "K", "k", "cameraMatrix", "intrinsic_matrix")
_DISTORTIONS = ("distortion_coefficients", "D", "d", "distCoeffs", "dist_coeffs", "distortion_coeffs")
_OPENCV_MODELS = ("plumb_bob", "rational_polynomial", "radtan", "none", "")
_EXPECTED = (
    "a rig.yaml, a camera of ROS or OpenCV (image_width, image_height, camera_matrix), of Kalibr (cam0 with intrinsics "
    "and resolution), or of Open3D (width, height, intrinsic_matrix)"
)


@dataclass(frozen=True)
class CameraFile:
    """A camera read from a file.

    Attributes:
        camera: the camera.
        unit_mm: millimetres per step of the depth images; 1 if the format doesn't say.
    """

    camera: Camera
    unit_mm: float = 1.0


def read_camera(place: Path) -> CameraFile:
    """Read a camera from a calibration file, or from a folder with a `rig.yaml`.

    Raises:
        DataError: the file is missing or damaged, has none of the formats, or its values can't be a camera's.
    """
    path = rig_path(place)
    content = _content(path)
    if "cameras" in content or "format" in content:
        rig = read_rig(path).rig
        return CameraFile(rig.cameras[0], rig.unit_mm)
    try:
        return CameraFile(_kalibr(content["cam0"]) if isinstance(content.get("cam0"), Mapping) else _camera(content))
    except (InputError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error


def _content(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise DataError(f"{path} is too large for a camera's calibration: {_EXPECTED} was expected.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Give {_EXPECTED}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as a camera's calibration: {error}.") from error
    try:
        content = json.loads(text) if text.lstrip().startswith("{") else _yaml(text)
    except (ValueError, YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is damaged: {reason}. Expected: {_EXPECTED}.") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{path} is no camera's calibration. Expected: {_EXPECTED}.")
    return content


def _yaml(text: str) -> Any:
    """The first document. OpenCV's first line and its tags aren't YAML."""
    text = re.sub(r"\A%YAML:[\d.]+\s*\n", "", text)
    text = re.sub(r"!!opencv-[\w-]+", "", text)
    return next(iter(YAML(typ="safe", pure=True).load_all(text)), None)


def _camera(content: Mapping[str, Any]) -> Camera:
    """A camera of ROS, OpenCV or Open3D."""
    sizes = [pair for pair in _SIZES if all(name in content for name in pair)]
    matrices = [name for name in _MATRICES if name in content]
    if not sizes or not matrices:
        known = ", ".join(map(str, list(content)[:8])) or "nothing"
        raise InputError(f"it is no camera's calibration; it has {known}. Expected: {_EXPECTED}.")
    width, height = (_whole(content[name], name) for name in sizes[0])
    fx, fy, cx, cy = _intrinsics(_numbers(content[matrices[0]], matrices[0]), matrices[0])
    given = next((name for name in _DISTORTIONS if content.get(name) is not None), None)
    model = str(content.get("distortion_model") or "")
    distortion = _distortion(_numbers(content[given], given) if given else [], model)
    return Camera(width, height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=distortion)


def _kalibr(content: Mapping[str, Any]) -> Camera:
    """The first camera of a camchain."""
    missing = [name for name in ("intrinsics", "resolution") if name not in content]
    if missing:
        raise InputError(f"cam0 has no {missing[0]}.")
    if (kind := content.get("camera_model", "pinhole")) != "pinhole":
        raise InputError(f"cam0 has the camera model {kind}, but pinhole was expected.")
    found = _numbers(content["intrinsics"], "intrinsics")
    size = _numbers(content["resolution"], "resolution")
    if len(found) != 4 or len(size) != 2:
        raise InputError("cam0 needs four numbers as intrinsics (fx, fy, cx, cy), and two as resolution.")
    fx, fy, cx, cy = found
    model = str(content.get("distortion_model") or "")
    distortion = _distortion(_numbers(content.get("distortion_coeffs") or [], "distortion_coeffs"), model)
    width, height = (_whole(value, "resolution") for value in size)
    return Camera(width, height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=distortion)


def _numbers(value: Any, name: str) -> list[float]:
    """The numbers of a list, of rows, or of a matrix with `data`."""
    if isinstance(value, Mapping):
        value = value.get("data")
    if isinstance(value, Sequence) and not isinstance(value, str):
        flat = [number for row in value for number in (row if isinstance(row, list) else [row])]
        if all(isinstance(number, int | float) and not isinstance(number, bool) for number in flat):
            return [float(number) for number in flat]
    raise InputError(f"{name} is {str(value)[:60]}, but a list of numbers was expected.")


def _whole(value: Any, name: str) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value == int(value):
        return int(value)
    raise InputError(f"{name} is {value}, but a whole number of pixels was expected.")


def _intrinsics(values: list[float], name: str) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of a matrix row by row, or column by column as Open3D writes it; the zeros tell them apart."""
    if len(values) != 9:
        raise InputError(f"{name} has {len(values)} numbers, but 9 were expected.")
    rows = [values[0:3], values[3:6], values[6:9]]
    if rows[0][2] == 0 and rows[1][2] == 0:
        rows = [list(column) for column in zip(*rows, strict=True)]
    (fx, skew, cx), (below, fy, cy), last = rows
    if skew != 0 or below != 0 or last != [0, 0, 1]:
        raise InputError(f"{name} is {values}, but fx 0 cx, 0 fy cy, 0 0 1 was expected (without skew).")
    return fx, fy, cx, cy


def _distortion(values: list[float], model: str) -> tuple[float, ...]:
    """Coefficients in OpenCV's order, without zeros at the end that OpenCV's longer models add."""
    if model not in _OPENCV_MODELS:  # also with zeros: a fisheye without coefficients is no pinhole
        raise InputError(
            f"the distortion model is {model}, but HPF has only OpenCV's (plumb_bob, rational_polynomial, radtan). "
            "Undistort the images, and leave out model and coefficients."
        )
    if not any(values):
        return ()
    while len(values) > max(DISTORTION_LENGTHS) and values[-1] == 0:
        values = values[:-1]
    return tuple(values)
