"""One grasp of ContactPose on disk (Brahmbhatt et al., "ContactPose: A Dataset of Grasps with Object Contact and Hand
Pose", ECCV 2020).

From its toolkit (facebookresearch/ContactPose). `utilities/dataset.py`: a grasp is `fullN_INTENT/OBJECT`, with
`annotations.json` and `images_full/CAMERA/depth/frame%03d.png`. Poses are a translation and a quaternion w, x, y, z:
`wTc` of a camera in the world, `oTw` of the world in the object, `hTo` of the object in a hand that moves on it. Joints
lie in the hand's frame, or in the object's if the hand doesn't move on it; hand 0 is the left one.
`docs/doc.md`: the joints have OpenPose's order. Issue 10: depth is 16-bit, in mm. `utilities/rendering.py`: a camera's
image is 960 x 540. Left and right images are stored transposed and flipped, middle ones turned by 180 degrees.
`get_A` of `utilities/misc.py` mirrors at W, which is one pixel off. This reader turns the pixels back, so K applies as
it is. Lengths are metres: `scripts/preprocess_images.py` scales models from mm by 0.001 to fit them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.data.cameras import Camera, Rig
from hpf_core.data.images import read_stored
from hpf_core.data.joints21 import JOINTS21
from hpf_core.data.layouts.base import Annotation
from hpf_core.data.layouts.sequence import SequenceLayout
from hpf_core.errors import DataError

_MM = 1000.0
_FARTHEST_M = 20.0  # from the world's origin to a camera; more means millimetres
_STORED = {"kinect2_middle": (960, 540), "kinect2_left": (540, 960), "kinect2_right": (540, 960)}


def is_contactpose(root: Path) -> bool:
    """Whether a folder looks like a grasp of ContactPose."""
    return (root / "annotations.json").exists() and (root / "images_full").is_dir()


class ContactPoseLayout(SequenceLayout):
    """A grasp of ContactPose. Its last frames are the split `test`: the authors' splits divide people or objects.

    Args:
        root: the grasp's folder, such as `full28_use/bowl`.
        test_share: share of its frames in the split `test`.

    Raises:
        DataError: `annotations.json` is missing or wrong, or both hands hold the object.
    """

    name = "contactpose"
    palm = "middle_mcp"
    format = "a grasp has annotations.json and images_full/kinect2_middle/depth/frame000.png, 16-bit grey, mm"

    def __init__(self, root: Path, test_share: float = 0.2) -> None:
        self.root = root
        file = root / "annotations.json"
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            valid = [k for k, hand in enumerate(told["hands"]) if hand["valid"]]
            named = {name: camera for name, camera in told["cameras"].items() if camera["valid"]}
            places = [_pose(camera["wTc"]) for camera in named.values()]
            to_world = np.array(places)
            cameras = tuple(_camera(camera["K"]) for camera in named.values())
            self._in_world = [np.linalg.inv(_pose(frame["oTw"])) for frame in told["frames"]]
            if len(valid) == 1:
                self._in_object = _joints(told["hands"][valid[0]], valid[0], told["frames"])
        except FileNotFoundError:
            raise DataError(f"{file} is missing.") from None
        except (KeyError, TypeError, ValueError, AttributeError, OSError, np.linalg.LinAlgError) as error:
            raise DataError(f"{file} can't be read as annotations of ContactPose: {error!r}.") from error
        if len(valid) != 1 or valid[0] > 1:
            raise DataError(f"{file} has {len(valid)} valid hands, but HPF fits one. Choose a grasp with one hand.")
        if unknown := [name for name in named if name not in _STORED]:
            raise DataError(f"{file} has the camera {unknown[0]!r}, but {', '.join(_STORED)} were expected.")
        if not named or not self._in_world:
            raise DataError(f"{file} has no {'valid camera' if not named else 'frame'}.")
        if np.abs(to_world[:, :3, 3]).max() > _FARTHEST_M:
            raise DataError(f"{file}: a camera is {np.abs(to_world[:, :3, 3]).max():.0f} m away. Metres were expected.")
        to_first = np.linalg.inv(to_world[0]) @ to_world
        to_first[0] = np.eye(4)
        to_first[:, :3, 3] *= _MM
        self._from_world = np.linalg.inv(to_world)
        self.rig = Rig(cameras, to_first, names=tuple(named), where=str(file), hand="left" if valid == [0] else "right")
        total = len(self._in_world)
        self._split(total, test_share)

    def path(self, split: str, view: int, frame: int) -> Path:
        name = f"frame{self._ends[split][0] + frame:03d}.png"
        return self.root / "images_full" / self.rig.names[view] / "depth" / name

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        camera = self.rig.names[view]
        stored = read_stored(self.path(split, view, frame), "gray16", _STORED[camera], f"ContactPose's {camera} has")
        if camera == "kinect2_middle":
            return np.ascontiguousarray(stored[::-1, ::-1])
        return np.ascontiguousarray((stored[:, ::-1] if camera == "kinect2_left" else stored[::-1]).T)

    def frame_name(self, split: str, frame: int) -> str:
        return f"frame {self._ends[split][0] + frame:03d} of {self.root.name}"

    def labels_path(self, split: str) -> Path:
        return self.root / "annotations.json"

    def annotation(self, split: str) -> Annotation:
        frames = range(*self._ends[split])
        to_camera = [[back @ self._in_world[k] for k in frames] for back in self._from_world]
        maps = np.array(to_camera)
        joints = np.array([self._in_object[k] for k in frames])
        xyz = np.einsum("vnij,nkj->vnki", maps[..., :3, :3], joints) + maps[..., None, :3, 3]
        return Annotation(xyz * _MM, JOINTS21, self.labels_path(split)).without_blanks()


def _pose(told: Mapping[str, Any]) -> np.ndarray:
    """(4, 4) from a translation and a quaternion w, x, y, z of any length above 0."""
    w, x, y, z = np.asarray(told["rotation"], dtype=np.float64)
    if (length := w * w + x * x + y * y + z * z) < 1e-12:
        raise ValueError("a rotation is 0, 0, 0, 0")
    turn = [
        [y * y + z * z, w * z - x * y, -w * y - x * z],
        [-w * z - x * y, x * x + z * z, w * x - y * z],
        [w * y - x * z, -w * x - y * z, x * x + y * y],
    ]
    pose = np.eye(4)
    pose[:3, :3] -= 2 * np.array(turn) / length
    pose[:3, 3] = np.asarray(told["translation"], dtype=np.float64)
    return pose


def _camera(k: Mapping[str, Any]) -> Camera:
    if (k["width"], k["height"]) != (960, 540):
        raise ValueError(f"K is of {k['width']} x {k['height']} pixels, but 960 x 540 were expected")
    return Camera(960, 540, fx=k["fx"], fy=k["fy"], cx=k["cx"], cy=k["cy"])


def _joints(hand: Mapping[str, Any], number: int, frames: list[Any]) -> list[np.ndarray]:
    """The joints (21, 3) of each frame, metres in the object's frame."""
    joints = np.asarray(hand["joints"], dtype=np.float64)
    if joints.shape != (21, 3):
        raise ValueError(f"`joints` has the shape {joints.shape}, but (21, 3) was expected")
    if not hand["moving"]:
        return [joints] * len(frames)
    to_object = [np.linalg.inv(_pose(frame["hTo"][number])) for frame in frames]
    return [joints @ each[:3, :3].T + each[:3, 3] for each in to_object]
