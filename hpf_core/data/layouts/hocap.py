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

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hpf_core.data.cameras import Camera, Rig, Side
from hpf_core.data.images import read_stored
from hpf_core.data.joints21 import JOINTS21
from hpf_core.data.layouts.base import Annotation, Layout
from hpf_core.data.stored_arrays import UNREADABLE
from hpf_core.errors import DataError

_MM = 1000.0
_FARTHEST_M = 20.0  # from the master camera to another one; more means millimetres


def is_hocap(root: Path) -> bool:
    """Whether a folder looks like a sequence of HO-Cap."""
    return (root / "meta.yaml").exists() and any(root.glob("*/depth_*.png"))


class HocapLayout(Layout):
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
        self.root, self.test_share = root, test_share
        calibration = root.absolute().parents[1] / "calibration"
        file = root / "meta.yaml"
        meta = _read_yaml(file)
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
        to_master = _read_poses(extrinsics, serials)
        cameras = tuple(self._camera(calibration / "intrinsics" / f"{serial}.yaml") for serial in serials)
        Rig(cameras, to_master, names=serials, where=str(extrinsics))  # before inverting: are the maps rigid?
        to_first = np.linalg.inv(to_master[0]) @ to_master
        to_first[0] = np.eye(4)
        self.rig = Rig(cameras, to_first, names=serials, where=str(extrinsics), hand=hand)
        cut = total - round(total * test_share)
        ends = {"train": (0, cut), "test": (cut, total)}
        self._ends = {split: each for split, each in ends.items() if each[1] > each[0]}

    def splits(self) -> tuple[str, ...]:
        return tuple(self._ends)

    def frames(self, split: str) -> int:
        first, end = self._ends[split]
        return end - first

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
        return Annotation(np.array(xyz) * _MM, JOINTS21, self.labels_path(split)).without_blanks()

    def fingerprint(self) -> Mapping[str, Any]:
        return {**super().fingerprint(), "test_share": self.test_share}

    def _labels(self, view: int, number: int) -> Path:
        return self.root / self.rig.names[view] / f"label_{number:06d}.npz"

    def _camera(self, path: Path) -> Camera:
        try:
            fx, fy, cx, cy = (float(_read_yaml(path)["color"][key]) for key in ("fx", "fy", "ppx", "ppy"))
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
    if np.abs(filled[0]).max() > _FARTHEST_M:
        raise DataError(f"{path}: hand_joints_3d has values up to {np.abs(filled[0]).max():.0f}. Metres were expected.")
    return filled[0].astype(np.float64)


def _read_poses(path: Path, serials: tuple[str, ...]) -> np.ndarray:
    """(V, 4, 4) mm, from each camera to the master camera."""
    try:
        found = {str(key): value for key, value in _read_yaml(path)["extrinsics"].items()}
        rows = np.array([found[serial] for serial in serials], dtype=np.float64).reshape(len(serials), 3, 4)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} needs 12 numbers for each camera under `extrinsics`: {error!r}.") from error
    if np.abs(rows[:, :, 3]).max(initial=0) > _FARTHEST_M:
        raise DataError(f"{path}: cameras lie {np.abs(rows[:, :, 3]).max():.0f} m apart. Metres were expected, not mm.")
    poses = np.tile(np.eye(4), (len(serials), 1, 1))
    poses[:, :3] = rows
    poses[:, :3, 3] *= _MM
    return poses


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise DataError(f"{path} can't be read: {error}.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} has no keys, but those of HO-Cap were expected.")
    return found
