"""The Stereo Hand Pose Tracking Benchmark on disk (Zhang et al., ICIP 2017; its readme).

`images/B1Counting/SK_depth_0.png`, ... are 640 x 480 8-bit RGB images of an Intel F200; depth in mm = R + G * 256.
`labels/B1Counting_SK.mat` has `handPara` (3, 21, 1500): mm in the frame of the COLOUR camera. Its readme gives the
turn and shift from the colour camera's to the depth camera's frame. The first joint is the palm's centre, not the
wrist, which is also the crops' centre. Papers train on the ten sequences of backgrounds B2 to B6 and test on the two of
B1 (Zimmermann and Brox, ICCV 2017, on its colour images; their reader marks all hands as left ones).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpf_core.data.cameras import Camera, Side
from hpf_core.data.images import read_stored
from hpf_core.data.joints21 import STB_ORDER
from hpf_core.data.layouts.single_view import Recording, SingleViewLayout, read_matlab
from hpf_core.errors import DataError

CAMERA = Camera(640, 480, fx=475.62768, fy=474.77709, cx=336.41179, cy=238.77962)
_TURN = np.array([0.00531, -0.01196, 0.00301])  # axis times angle, radians
_SHIFT_MM = np.array([-24.0381, -0.4563, -1.2326])
_FOLDER = re.compile(r"B([1-6])(?:Counting|Random)\Z")
_IMAGE = re.compile(r"SK_depth_(\d+)\.png\Z")


class StbLayout(SingleViewLayout):
    """The F200's depth images; background 1 is the split `test`.

    Args:
        root: folder with `images` and `labels`.
        hand: side of the hands.
    """

    name = "stb"
    palm = "palm"
    format = "STB has images/B1Counting/SK_depth_0.png, ... and labels/B1Counting_SK.mat"

    def __init__(self, root: Path, hand: Side = "left") -> None:
        super().__init__(root, CAMERA, STB_ORDER, hand)

    def recordings(self) -> Mapping[str, Sequence[Recording]]:
        found: dict[str, list[Recording]] = {"train": [], "test": []}
        for folder in sorted((self.root / "images").glob("B*")):
            if not (match := _FOLDER.match(folder.name)):
                continue
            last = max((int(m[1]) for file in folder.iterdir() if (m := _IMAGE.match(file.name))), default=-1)
            images = tuple(f"images/{folder.name}/SK_depth_{k}.png" for k in range(last + 1))
            split = "test" if match[1] == "1" else "train"
            found[split].append(Recording(images, f"labels/{folder.name}_SK.mat"))
        return found

    def read_joints(self, recording: Recording) -> np.ndarray:
        path = self.root / recording.labels
        stored = read_matlab(path, "handPara")
        if stored.ndim != 3 or stored.shape[:2] != (3, 21):
            raise DataError(f"{path}: handPara has the shape {stored.shape}, but (3, 21, frames) was expected.")
        in_colour = stored.transpose(2, 1, 0).astype(np.float64)
        blank = ((in_colour == 0) | (in_colour == -1)).all(axis=(1, 2))
        in_colour[blank] = np.nan
        return in_colour @ _rotation(_TURN).T + _SHIFT_MM

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        return read_stored(self.path(split, view, frame), "r_g256", (640, 480), "STB has")


def _rotation(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: the rotation (3, 3) about a vector (3) by its length in radians."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
