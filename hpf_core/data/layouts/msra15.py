"""The MSRA15 Hand Gesture Dataset on disk (Sun et al., "Cascaded Hand Pose Regression", CVPR 2015, and its readme).

`P0` to `P8` are nine people, and the folders in each are 17 gestures. `%06d_depth.bin` holds six 32-bit integers, the
image's width and height and the left, top, right and bottom of a patch, then the patch's depths, 32-bit floats, mm, by
rows; 0 where nothing returned. `joint.txt` holds the number of frames, then x y z of 21 joints in each line: mm, +y UP
and z NEGATIVE in front of the camera. Here y points down and z away. Papers leave one person out, train on the others
and centre crops of about 200 mm on the middle finger's knuckle (DeepPrior++). Right hands.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpf_core.data.cameras import Camera
from hpf_core.data.joints21 import THUMB_LAST
from hpf_core.data.layouts.single_view import Recording, SingleViewLayout, numbers, text_rows
from hpf_core.errors import DataError

SUBJECTS = tuple(f"P{k}" for k in range(9))
CAMERA = Camera(320, 240, fx=241.42, fy=241.42, cx=160, cy=120)
_HEADER = struct.Struct("<6i")


class Msra15Layout(SingleViewLayout):
    """One person is the split `test`; the other eight are `train`.

    Args:
        root: folder with `P0` to `P8`.
        test_subject: number of the person who is left out, 0 to 8.
    """

    name = "msra15"
    format = "MSRA15 has P0/1/000000_depth.bin, ..., P0/1/joint.txt, and the same for other people and gestures"

    def __init__(self, root: Path, test_subject: int = 0) -> None:
        self._test = SUBJECTS[test_subject]
        super().__init__(root, CAMERA, THUMB_LAST)

    def recordings(self) -> Mapping[str, Sequence[Recording]]:
        found: dict[str, list[Recording]] = {"train": [], "test": []}
        for subject in SUBJECTS:
            for labels in sorted((self.root / subject).glob("*/joint.txt")):
                folder = f"{subject}/{labels.parent.name}"
                images = tuple(f"{folder}/{k:06d}_depth.bin" for k in range(_lines(labels)[0]))
                split = "test" if subject == self._test else "train"
                found[split].append(Recording(images, f"{folder}/joint.txt", subject))
        return found

    def read_joints(self, recording: Recording) -> np.ndarray:
        path = self.root / recording.labels
        joints = numbers(path, _lines(path)[1], 0, 63, line=2).reshape(-1, 21, 3) * [1.0, -1.0, -1.0]
        known = joints[np.isfinite(joints).all(axis=(1, 2))]
        if len(known) and (known[..., 2] < 0).all():
            raise DataError(f"{path}: z is positive, but MSRA15 has z negative in front of the camera.")
        return joints

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        path = self.path(split, view, frame)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise DataError(f"{path} is missing.") from None
        except OSError as error:
            raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
        if len(content) < _HEADER.size:
            raise DataError(f"{path} is damaged: {len(content)} bytes, fewer than its header has.")
        width, height, left, top, right, bottom = _HEADER.unpack_from(content)
        if (width, height) != (320, 240):
            raise DataError(f"{path} is an image of {width} x {height}, but MSRA15 has images of 320 x 240.")
        if not (0 <= left <= right <= width and 0 <= top <= bottom <= height):
            raise DataError(f"{path} is damaged: its patch lies outside of its image.")
        size = _HEADER.size + 4 * (right - left) * (bottom - top)
        if len(content) != size:
            raise DataError(f"{path} is damaged: {len(content):,} bytes, but {size:,} were expected.")
        depth = np.zeros((height, width), dtype=np.float32)
        patch = np.frombuffer(content, dtype="<f4", offset=_HEADER.size)
        depth[top:bottom, left:right] = patch.reshape(bottom - top, right - left)
        depth[~np.isfinite(depth)] = 0
        return depth


def _lines(path: Path) -> tuple[int, list[list[str]]]:
    """The number of frames in the first line of a `joint.txt`, and the joints' lines after it."""
    rows = text_rows(path)
    if not rows or len(rows[0]) != 1 or not rows[0][0].isdigit():
        raise DataError(f"{path}:1: the number of frames was expected.")
    if int(rows[0][0]) < len(rows) - 1:
        raise DataError(f"{path} has {len(rows) - 1} lines of joints, but its first line says {rows[0][0]}.")
    return int(rows[0][0]), rows[1:]
