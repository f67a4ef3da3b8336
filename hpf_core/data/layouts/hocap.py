"""One sequence of HO-Cap on disk (Wang et al., "HO-Cap: A Capture System and Dataset for 3D Reconstruction and Pose
Tracking of Hand-Object Interaction", 2024).

From the released toolkit (IRVLUTD/HO-Cap; we read the copy CloudEngineHub/HO-Cap). Its readme: a sequence is
`subject_N/SEQUENCE`, beside the folder `calibration`. `hocap_toolkit/loaders/sequence_loader.py`: `meta.yaml` names
cameras, frames, sides and calibration; `SERIAL/depth_%06d.png` is depth in mm, which it unprojects with the colour
camera's intrinsics, `calibration/intrinsics/SERIAL.yaml`. `calibration/extrinsics/FILE` has 12 numbers for each camera,
by rows, from the camera to the master camera, in metres. `SERIAL/label_%06d.npz` has `hand_joints_3d` (2, 21, 3).
The toolkit's text doesn't describe this array. Readers by users of the dataset agree on it: metres in the camera's
frame, wrist, then thumb to little finger, and -1 for a hand that isn't there. With one hand, one of the two is filled,
so this reader needs no assumption about the order of the two.
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


def is_hocap(root: Path) -> bool:
    """Whether a folder looks like a sequence of HO-Cap."""
    return (root / "meta.yaml").exists() and any(root.glob("*/depth_*.png"))


class HocapLayout(SequenceLayout):
    """A sequence of HO-Cap. Its last frames are the split `test`: the authors' splits mix sequences and cameras.

    Args:
        root: the sequence's folder, in its place: two levels above is the folder `calibration`.
        test_share: share of its frames in the split `test`.

    Raises:
        DataError: `meta.yaml` or the calibration is missing or wrong, or the sequence has two hands.
    """

    name = "hocap"
    palm = "middle_mcp"
    format = "a sequence of HO-Cap has meta.yaml and SERIAL/depth_000000.png, 16-bit grey, mm"

    def __init__(self, root: Path, test_share: float = 0.2) -> None:
        self.root = root
        calibration = root.absolute().parents[1] / "calibration"
        file = root / "meta.yaml"
        meta = read_yaml(file, "HO-Cap")
        try:
            seen = meta["realsense"]
            serials = tuple(str(serial) for serial in seen["serials"])
            self._size = int(seen["width"]), int(seen["height"])
            total, sides = int(meta["num_frames"]), [str(side) for side in meta["mano_sides"]]
            extrinsics = calibration / "extrinsics" / str(meta["extrinsics"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{file} needs `realsense`, `num_frames`, `mano_sides` and `extrinsics`: {error!r}."
            ) from error
        if sides not in (["right"], ["left"]):
            raise DataError(f"{file}: mano_sides is {sides}, but HPF fits one hand. Choose a sequence with one.")
        hand: Side = "left" if sides == ["left"] else "right"
        to_master = read_poses(extrinsics, serials, "HO-Cap")
        cameras = tuple(self._camera(calibration / "intrinsics" / f"{serial}.yaml") for serial in serials)
        Rig(cameras, to_master, names=serials, where=str(extrinsics))  # before inverting: are the maps rigid?
        to_first = np.linalg.inv(to_master[0]) @ to_master
        to_first[0] = np.eye(4)
        self.rig = Rig(cameras, to_first, names=serials, where=str(extrinsics), hand=hand)
        self._split(total, test_share)

    def path(self, split: str, view: int, frame: int) -> Path:
        return self.root / self.rig.names[view] / f"depth_{self._ends[split][0] + frame:06d}.png"

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        return read_stored(self.path(split, view, frame), "gray16", self._size, "meta.yaml has")

    def frame_name(self, split: str, frame: int) -> str:
        return f"frame {self._ends[split][0] + frame:06d} of {self.root.name}"

    def labels_path(self, split: str) -> Path:
        return self._labels(0, self._ends[split][0])

    def has_labels(self, split: str) -> bool:
        return any(self.root.glob("*/label_*.npz"))

    def annotation(self, split: str) -> Annotation | None:
        if not self.has_labels(split):
            return None
        frames = range(*self._ends[split])
        xyz = [[_read_joints(self._labels(view, k)) for k in frames] for view in range(len(self.rig.names))]
        return Annotation(np.array(xyz) * MM, JOINTS21, self.labels_path(split)).without_blanks()

    def _labels(self, view: int, number: int) -> Path:
        return self.root / self.rig.names[view] / f"label_{number:06d}.npz"

    def _camera(self, path: Path) -> Camera:
        try:
            fx, fy, cx, cy = (float(read_yaml(path, "HO-Cap")["color"][key]) for key in ("fx", "fy", "ppx", "ppy"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} needs fx, fy, ppx and ppy under `color`: {error!r}.") from error
        return Camera(*self._size, fx=fx, fy=fy, cx=cx, cy=cy)


def _read_joints(path: Path) -> np.ndarray:
    """The joints (21, 3) of the one hand, metres in the camera's frame; NaN if there is no hand or no file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            joints = np.asarray(stored["hand_joints_3d"])
    except FileNotFoundError:
        return np.full((21, 3), np.nan)
    except UNREADABLE as error:
        raise DataError(
            f"{path} can't be read: an archive with the array hand_joints_3d was expected. {error}"
        ) from error
    if joints.shape != (2, 21, 3) or joints.dtype.kind not in "fiu":
        raise DataError(f"{path}: hand_joints_3d has the shape {joints.shape}, but numbers (2, 21, 3) were expected.")
    filled = [hand for hand in joints if not (hand == -1).all()]
    if len(filled) > 1:
        raise DataError(f"{path} has two hands, but meta.yaml names one.")
    if not filled:
        return np.full((21, 3), np.nan)
    if np.abs(filled[0]).max() > FARTHEST_M:
        raise DataError(f"{path}: hand_joints_3d has values up to {np.abs(filled[0]).max():.0f}. Metres were expected.")
    return filled[0].astype(np.float64)
