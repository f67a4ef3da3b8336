"""The raw layout of the NYU Hand Pose Dataset on disk, read and written (Tompson et al. 2014, ACM TOG 33(5)).

A capture is a folder with one folder for each split (`train`, `test`). In it, `depth_{view}_{frame:07d}.png`, both
counted from 1, is a 640 x 480 8-bit RGB image whose depth in mm is G * 256 + B, and `joint_data.mat` holds `joint_xyz`
(V, N, 36, 3), mm in each view's camera frame with +y UP, `joint_uvd` (V, N, 36, 3), pixels and mm, and `joint_names`.
Reading and writing flip y, so that +y is down everywhere outside this module.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from hpf_core.data.cameras import PRIMESENSE, Camera, Rig
from hpf_core.data.images import read_stored, write_whole
from hpf_core.data.layouts.base import SPLITS, Annotation, Layout
from hpf_core.data.matlab_arrays import read_matlab_arrays
from hpf_core.errors import DataError

CAMERA: Camera = PRIMESENSE

_FINGER = ("KNU3_A", "KNU3_B", "KNU2_A", "KNU2_B", "KNU1_A", "KNU1_B")
JOINTS: tuple[str, ...] = (
    *(f"{finger}_{joint}" for finger in ("F1", "F2", "F3", "F4", "TH") for joint in _FINGER),
    *(f"PALM_{n}" for n in range(1, 7)),
)
"""The 36 annotated joints in order: little finger to thumb from the tip, then the palm."""

EVALUATED: tuple[int, ...] = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
"""The 14 joints of the usual evaluation."""

PALM_CENTRE = 32
"""The joint at the centre of crops: PALM_3."""

NO_RETURN = 2001
"""Value of pixels without return in NYU's images and in ours, mm."""

NO_RETURN_FROM = NO_RETURN
"""Depths from here on count as no return. 0, which other sensors write, counts too."""

_HDF5, _HDF5_AT = b"\x89HDF\r\n\x1a\n", 512  # HDF5's signature, and its place behind MATLAB's header

_NUMBERS = "fiu"  # kinds of NumPy's types: real ones

_HEADER_BYTES = 116
_HEADER = b"MATLAB 5.0 MAT-file, joint annotation in the layout of the NYU Hand Pose Dataset, by HPF"

LABELS_FILE = "joint_data.mat"
_IMAGE = re.compile(r"depth_(\d+)_(\d{7})\.png\Z")


class NyuLayout(Layout):
    """A capture in NYU's layout.

    Args:
        root: its folder.
        views: the used cameras, counted from 0. The last image of these views determines a split's number of frames.
    """

    name = "nyu"
    format = "NYU's layout has depth_1_0000001.png, ... and joint_data.mat in each split's folder"

    def __init__(self, root: Path, views: Sequence[int]) -> None:
        self.root, self._views = root, tuple(views)
        self._frames: dict[str, int] = {}
        cameras = (CAMERA,) * (max(views) + 1)
        self.rig = Rig(cameras, None, no_return=(0.0, float(NO_RETURN)), where=str(root))

    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if (self.root / split).is_dir())

    def frames(self, split: str) -> int:
        if split not in self._frames:
            self._frames[split] = count_frames(self.root / split, self._views)
        return self._frames[split]

    def path(self, split: str, view: int, frame: int) -> Path:
        return image_path(self.root / split, view, frame)

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        depth = read_depth(self.path(split, view, frame))
        depth[depth >= NO_RETURN_FROM] = 0
        return depth

    def annotation(self, split: str) -> Annotation | None:
        if not self.labels_path(split).exists():
            return None
        # We use joints by index, whatever their names are.
        return replace(read_annotation(self.root / split), names=JOINTS).without_blanks()

    def labels_path(self, split: str) -> Path:
        return self.root / split / LABELS_FILE


def image_path(split: Path, view: int, frame: int) -> Path:
    """The depth image of a view and frame. Both count from 0 here and from 1 on disk."""
    return split / f"depth_{view + 1}_{frame + 1:07d}.png"


def images(split: Path) -> set[tuple[int, int]]:
    """View and frame, both counted from 0, of every depth image in a split."""
    with os.scandir(split) as entries:
        found = (_IMAGE.match(entry.name) for entry in entries)
        return {(int(match[1]) - 1, int(match[2]) - 1) for match in found if match}


def count_frames(split: Path, views: Sequence[int]) -> int:
    """Number of frames of a split: the highest number of an image of these views (counted from 0)."""
    return 1 + max((frame for view, frame in images(split) if view in views), default=-1)


def write_depth(path: Path, depth: np.ndarray) -> None:
    """Write a depth map (H, W), whole mm up to 65535, `NO_RETURN` for no return. It appears complete or not at all.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    rgb = np.zeros((*depth.shape, 3), dtype=np.uint8)
    rgb[..., 1] = depth >> 8
    rgb[..., 2] = depth & 0xFF
    # Level 1 with run lengths: four times as fast as the default and a quarter larger on such images (measured).
    packed = io.BytesIO()
    Image.fromarray(rgb).save(packed, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    write_whole(path, packed.getbuffer())


def read_depth(path: Path, camera: Camera = CAMERA) -> np.ndarray:
    """Read depth (480, 640) uint16 mm as stored, including no-return values.

    Raises:
        DataError: the file is missing, damaged, or of another size or kind.
    """
    return read_stored(path, "g256b", (camera.width, camera.height), "NYU's layout has")


def write_annotation(split: Path, annotation: Annotation, camera: Camera = CAMERA) -> None:
    """Write a split's `joint_data.mat`; equal annotation gives equal bytes. It appears complete or not at all.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    xyz = annotation.xyz * np.array([1.0, -1.0, 1.0])
    names = np.empty((1, len(annotation.names)), dtype=object)
    names[0] = annotation.names
    uvd = camera.project(annotation.xyz)
    packed = io.BytesIO()
    scipy.io.savemat(packed, {"joint_xyz": xyz, "joint_uvd": uvd, "joint_names": names})
    # The header is free text, and scipy would write the time of day into it.
    packed.getbuffer()[:_HEADER_BYTES] = _HEADER.ljust(_HEADER_BYTES)
    write_whole(split / LABELS_FILE, packed.getbuffer())


def read_annotation(split: Path) -> Annotation:
    """Read `joint_data.mat` of a split.

    Raises:
        DataError: the file is missing, unreadable, or holds something else.
    """
    path = split / LABELS_FILE
    try:
        content = read_matlab_arrays(path, ("joint_xyz", "joint_names"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: NYU's layout has it beside the images of each split.") from None
    except (OSError, DataError) as error:
        raise _refused(path, error) from error
    xyz = content.get("joint_xyz")
    if xyz is None or xyz.ndim != 4 or xyz.shape[2:] != (len(JOINTS), 3):
        found = "is missing" if xyz is None else f"has the shape {xyz.shape}"
        raise DataError(f"{path}: joint_xyz {found}, but (views, frames, {len(JOINTS)}, 3) was expected.")
    if xyz.dtype.kind not in _NUMBERS:
        raise DataError(f"{path}: joint_xyz holds {xyz.dtype.name} values, but real numbers, mm, were expected.")
    names = tuple(
        "".join(str(part) for part in np.ravel(name)) for name in np.ravel(content.get("joint_names", np.array([])))
    )
    xyz = xyz.astype(np.float64, copy=False)  # 190 MB for NYU's train split, converted in place
    np.negative(xyz[..., 1], out=xyz[..., 1])
    return Annotation(xyz=xyz, names=names or JOINTS, file=path)


def read_uvd(split: Path) -> np.ndarray | None:
    """Read a split's `joint_uvd` (V, N, 36, 3) as stored, pixels and mm; None if the file has none.

    Raises:
        DataError: this part of the file is unreadable.
    """
    path = split / LABELS_FILE
    try:
        found = read_matlab_arrays(path, ("joint_uvd",)).get("joint_uvd")
    except (OSError, DataError) as error:
        raise _refused(path, error) from error
    if found is None or found.ndim != 4 or found.shape[2:] != (len(JOINTS), 3) or found.dtype.kind not in _NUMBERS:
        return None
    return found.astype(np.float64)


def _refused(path: Path, error: Exception) -> DataError:
    """The message for an unreadable MATLAB file; MATLAB 7.3 writes HDF5, which HPF doesn't read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HDF5_AT + len(_HDF5))
    except OSError:
        head = b""
    if head.startswith((_HDF5, b"MATLAB 7.3")) or head[_HDF5_AT:] == _HDF5:
        return DataError(
            f"{path} is a MATLAB 7.3 file (HDF5), which HPF doesn't read: load it in MATLAB and save with -v7, such as "
            f"save('{LABELS_FILE}', '-v7', 'joint_xyz', 'joint_uvd', 'joint_names')."
        )
    return error if isinstance(error, DataError) else DataError(f"{path} can't be read as a MATLAB file: {error}.")


def capture_near(root: Path) -> Path | None:
    """The capture that was meant where a folder right below or above it was given; None where there is none."""
    if not root.is_dir():
        return None
    if root.absolute().name in SPLITS and images(root):
        return root.absolute().parent
    below = sorted(root.glob("*/"))
    return next((folder for folder in below if any((folder / name).is_dir() for name in SPLITS)), None)


def returned(depth: np.ndarray) -> np.ndarray:
    """The pixels of a depth map with a return."""
    return (depth > 0) & (depth < NO_RETURN_FROM)
