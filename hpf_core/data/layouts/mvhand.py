"""One session of MVHand on disk (Yu et al., "Local and Global Point Cloud Reconstruction for 3D Hand Pose Estimation",
BMVC 2021; github.com/ShichengChen/multiviewDataset).

`depth/%05d_%d.png` (frame and camera, from 0) is a 640 x 480 8-bit RGB image whose depth in mm is G * 256 + B.
`calib.pkl` is a pickled dictionary from serial number to (4, 4), from that camera to the root camera, mm; the root
camera's own is the identity. `mlresults/SESSION-joints.npy` is (N, 21, 4), homogeneous mm in the root camera's frame.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.data.cameras import Camera, Rig
from hpf_core.data.images import read_stored
from hpf_core.data.joints21 import THUMB_LAST
from hpf_core.data.layouts.base import Annotation, Layout, unannotated
from hpf_core.data.pickled_arrays import read_pickled_arrays
from hpf_core.data.stored_arrays import UNREADABLE
from hpf_core.errors import DataError

# Serial numbers in the order of the cameras in the images' names, and their fx, fy, cx, cy, from the dataset's toolkit.
_INTRINSICS = {
    "840412062035": (619.598, 619.116, 325.345, 245.441),
    "840412062037": (615.85, 615.477, 316.062, 247.156),
    "840412062038": (619.475, 619.189, 313.715, 223.921),
    "840412062076": (615.665, 615.09, 306.514, 240.344),
}
SERIALS = tuple(_INTRINSICS)
_IMAGE = re.compile(r"(\d{5,})_([0-3])\.png\Z")
_LEAST_BASELINE_MM = 20.0  # cameras of a rig are farther apart; less means metres
_LEAST_HAND_MM = 5.0  # likewise for the joints of a hand


def is_session(root: Path) -> bool:
    """Whether a folder looks like a session of MVHand, and isn't a capture with a `rig.yaml`."""
    return (root / "calib.pkl").exists() and (root / "depth").is_dir() and not (root / "rig.yaml").exists()


class MvhandLayout(Layout):
    """A session of MVHand. Its last frames are the split `test`: the authors name no split of a session.

    Args:
        root: the session's folder.
        test_share: share of its frames in the split `test`.

    Raises:
        DataError: `calib.pkl` is missing or wrong.
    """

    name = "mvhand"
    palm = "middle_mcp"
    format = "a session of MVHand has depth/00000_0.png, ..., calib.pkl and mlresults/SESSION-joints.npy"

    def __init__(self, root: Path, test_share: float = 0.2) -> None:
        self.root, self.test_share = root, test_share
        path = root / "calib.pkl"
        poses = read_pickled_arrays(path)
        if missing := [serial for serial in SERIALS if serial not in poses]:
            raise DataError(f"{path} has no camera {missing[0]}; it has {', '.join(poses) or 'none'}.")
        if wrong := [serial for serial in SERIALS if poses[serial].shape != (4, 4)]:
            raise DataError(f"{path}: {wrong[0]} has the shape {poses[wrong[0]].shape}, but (4, 4) was expected.")
        to_root = np.stack([poses[serial] for serial in SERIALS])
        if not any(np.allclose(pose, np.eye(4)) for pose in to_root):
            raise DataError(f"{path}: no camera's map is the identity, but the root camera's was expected to be.")
        apart = np.linalg.norm(to_root[:, None, :3, 3] - to_root[None, :, :3, 3], axis=-1).max()
        if apart < _LEAST_BASELINE_MM:
            raise DataError(f"{path}: all cameras lie within {apart:.3g} mm. Millimetres were expected, not metres.")
        # This checks that each map is rigid before we invert any.
        Rig((Camera(640, 480, fx=1, fy=1, cx=0, cy=0),) * 4, to_root, names=SERIALS, where=str(path))
        self._from_root = np.linalg.inv(to_root)
        to_first = self._from_root[0] @ to_root
        to_first[0] = np.eye(4)
        cameras = tuple(Camera(640, 480, fx=fx, fy=fy, cx=cx, cy=cy) for fx, fy, cx, cy in _INTRINSICS.values())
        self.rig = Rig(cameras, to_first, names=SERIALS, where=str(path))

    @cached_property
    def _ends(self) -> dict[str, tuple[int, int]]:
        """First frame of each split, and the frame after its last."""
        folder = self.root / "depth"
        if not folder.is_dir():
            raise DataError(f"{folder} is missing: {self.format}.")
        with os.scandir(folder) as entries:
            total = 1 + max((int(m[1]) for entry in entries if (m := _IMAGE.match(entry.name))), default=-1)
        cut = total - round(total * self.test_share)
        return {name: ends for name, ends in {"train": (0, cut), "test": (cut, total)}.items() if ends[1] > ends[0]}

    def splits(self) -> tuple[str, ...]:
        return tuple(self._ends)

    def frames(self, split: str) -> int:
        first, end = self._ends[split]
        return end - first

    def path(self, split: str, view: int, frame: int) -> Path:
        return self.root / "depth" / f"{self._ends[split][0] + frame:05d}_{view}.png"

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        return read_stored(self.path(split, view, frame), "g256b", (640, 480), "MVHand has")

    def frame_name(self, split: str, frame: int) -> str:
        return f"frame {self._ends[split][0] + frame:05d} of {self.root.name}"

    def labels_path(self, split: str) -> Path:
        return self.root / "mlresults" / f"{self.root.absolute().name}-joints.npy"

    def annotation(self, split: str) -> Annotation | None:
        path = self.labels_path(split)
        if not path.exists():
            return None
        joints = _read_joints(path)
        first, end = self._ends[split]
        placed = np.full((end - first, 21, 3), np.nan)
        rows = joints[first:end]
        placed[: len(rows)] = rows
        each = np.stack([placed @ pose[:3, :3].T + pose[:3, 3] for pose in self._from_root])
        return Annotation(each, THUMB_LAST, path).without_blanks()

    def fingerprint(self) -> Mapping[str, Any]:
        return {**super().fingerprint(), "test_share": self.test_share}


def _read_joints(path: Path) -> np.ndarray:
    """Joints (N, 21, 3) mm in the root camera's frame; NaN for frames that aren't annotated."""
    try:
        stored = np.load(path, allow_pickle=False)
    except UNREADABLE as error:
        raise DataError(f"{path} can't be read as an array: {error}.") from error
    shape = getattr(stored, "shape", ())
    if len(shape) not in (3, 4) or shape[1:] not in ((21, 4), (21, 4, 1)) or stored.dtype.kind not in "fiu":
        raise DataError(f"{path} has the shape {shape}, but numbers (frames, 21, 4), mm, were expected.")
    points = stored.reshape(-1, 21, 4).astype(np.float64)
    spread = np.ptp(points[..., :3], axis=1).max(axis=-1)
    varied = spread > 0
    if varied.any() and np.median(spread[varied]) < _LEAST_HAND_MM:
        raise DataError(
            f"{path}: its hands are {np.median(spread[varied]):.3g} mm wide. Millimetres were expected, not metres."
        )
    blank = unannotated(points[..., :3])
    if (np.abs(points[~blank, :, 3] - 1) > 1e-3).any():
        raise DataError(f"{path}: the fourth number of a joint isn't 1, but homogeneous points were expected.")
    points[blank] = np.nan
    return points[..., :3]
