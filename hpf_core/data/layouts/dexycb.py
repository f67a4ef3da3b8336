"""One sequence of DexYCB on disk (Chao et al., "DexYCB: A Benchmark for Capturing Hand Grasping of Objects", CVPR
2021).

From the loaders of its toolkit (NVlabs/dex-ycb-toolkit, `dex_ycb.py` and `sequence_loader.py`): a sequence is
`SUBJECT/SEQUENCE`, beside the folder `calibration`. `meta.yml` names its cameras, frames, sides and calibration.
`SERIAL/aligned_depth_to_color_%06d.png` is 640 x 480, 16-bit grey, mm, in the frame of the colour camera.
`SERIAL/labels_%06d.npz` has `joint_3d` (1, 21, 3) in metres in the camera's frame: wrist, then thumb to little finger.
All values of a frame without a label are -1. `calibration/extrinsics_*/extrinsics.yml` has 12 numbers for each camera,
by rows, from the camera to the master camera, in metres.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpf_core.data.cameras import Camera, Rig, Side
from hpf_core.data.images import read_stored
from hpf_core.data.joints21 import JOINTS21
from hpf_core.data.layouts.base import Annotation
from hpf_core.data.layouts.sequence import FARTHEST_M, MM, SequenceLayout, read_poses, read_yaml
from hpf_core.data.stored_arrays import UNREADABLE
from hpf_core.errors import DataError

_SIZE = (640, 480)


def is_dexycb(root: Path) -> bool:
    """Whether a folder looks like a sequence of DexYCB."""
    return (root / "meta.yml").exists() and any(root.glob("*/aligned_depth_to_color_*.png"))


class DexycbLayout(SequenceLayout):
    """A sequence of DexYCB. Its last frames are the split `test`: the authors' splits divide sequences, not frames.

    Args:
        root: the sequence's folder, in its place: two levels above is the folder `calibration`.
        test_share: share of its frames in the split `test`.

    Raises:
        DataError: `meta.yml` or the calibration is missing or wrong.
    """

    name = "dexycb"
    palm = "middle_mcp"
    format = "a sequence of DexYCB has meta.yml and SERIAL/aligned_depth_to_color_000000.png, 16-bit grey, mm"

    def __init__(self, root: Path, test_share: float = 0.2) -> None:
        self.root = root
        calibration = root.absolute().parents[1] / "calibration"
        meta_file = root / "meta.yml"
        meta = read_yaml(meta_file, "DexYCB")
        try:
            serials = tuple(str(serial) for serial in meta["serials"])
            total, sides = int(meta["num_frames"]), [str(side) for side in meta["mano_sides"]]
            extrinsics = calibration / f"extrinsics_{meta['extrinsics']}" / "extrinsics.yml"
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{meta_file} needs `serials`, `num_frames`, `mano_sides` and `extrinsics`: {error!r}."
            ) from error
        if sides not in (["right"], ["left"]):
            raise DataError(f"{meta_file}: mano_sides is {sides}, but one hand, right or left, was expected.")
        hand: Side = "left" if sides == ["left"] else "right"
        to_master = read_poses(extrinsics, serials, "DexYCB")
        Rig((Camera(*_SIZE, fx=1, fy=1, cx=0, cy=0),) * len(serials), to_master, names=serials, where=str(extrinsics))
        to_first = np.linalg.inv(to_master[0]) @ to_master
        to_first[0] = np.eye(4)
        cameras = tuple(_read_camera(calibration / "intrinsics" / f"{serial}_640x480.yml") for serial in serials)
        self.rig = Rig(cameras, to_first, names=serials, where=str(extrinsics), hand=hand)
        self._split(total, test_share)

    def path(self, split: str, view: int, frame: int) -> Path:
        return self.root / self.rig.names[view] / f"aligned_depth_to_color_{self._ends[split][0] + frame:06d}.png"

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        return read_stored(self.path(split, view, frame), "gray16", _SIZE, "DexYCB has")

    def frame_name(self, split: str, frame: int) -> str:
        return f"frame {self._ends[split][0] + frame:06d} of {self.root.name}"

    def labels_path(self, split: str) -> Path:
        return self._labels(0, self._ends[split][0])

    def has_labels(self, split: str) -> bool:
        return any(self.root.glob("*/labels_*.npz"))

    def annotation(self, split: str) -> Annotation | None:
        if not self.has_labels(split):
            return None
        frames = range(*self._ends[split])
        xyz = [[_read_joints(self._labels(view, k)) for k in frames] for view in range(len(self.rig.names))]
        return Annotation(np.array(xyz) * MM, JOINTS21, self.labels_path(split)).without_blanks()

    def _labels(self, view: int, number: int) -> Path:
        return self.root / self.rig.names[view] / f"labels_{number:06d}.npz"


def _read_joints(path: Path) -> np.ndarray:
    """Joints (21, 3) in metres in the camera's frame; NaN if the frame has no file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            joints = np.asarray(stored["joint_3d"])
    except FileNotFoundError:
        return np.full((21, 3), np.nan)
    except UNREADABLE as error:
        raise DataError(f"{path} can't be read: an archive with the array joint_3d was expected. {error}") from error
    if joints.shape != (1, 21, 3) or joints.dtype.kind not in "fiu":
        raise DataError(f"{path}: joint_3d has the shape {joints.shape}, but numbers (1, 21, 3) were expected.")
    if np.abs(joints).max() > FARTHEST_M:
        raise DataError(f"{path}: joint_3d has values up to {np.abs(joints).max():.0f}. Metres were expected.")
    return joints[0].astype(np.float64)


def _read_camera(path: Path) -> Camera:
    try:
        values = [float(read_yaml(path, "DexYCB")["color"][key]) for key in ("fx", "fy", "ppx", "ppy")]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} needs fx, fy, ppx and ppy under `color`: {error!r}.") from error
    return Camera(*_SIZE, fx=values[0], fy=values[1], cx=values[2], cy=values[3])
