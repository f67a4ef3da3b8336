"""HandNet on disk (Wetzler, Slossberg and Kimmel, "Rule of Thumb", BMVC 2015; twerdster/HandNet).

`TrainData/Data_0000000.mat`, ... and the same in `TestData` and `ValidationData` each hold one frame: `depth`
(240, 320), mm, and `pos` (3, 6), mm in the depth camera's frame: the tips of thumb to little finger, then the palm's
centre, from magnetic sensors (`DisplaySession.m` and `CreateH5Data.m`). `Parameters.mat` of that repository holds `KK`,
the camera's matrix (3, 3), for pixels counted from 0. Sensors out of the image are NaN. The palm is the crops' centre,
in a cube of 250 mm (`CreateH5Data.m`). The frames are shuffled, and we don't read their subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpf_core.data.cameras import Camera, Side
from hpf_core.data.layouts.single_view import Recording, SingleViewLayout, read_matlab
from hpf_core.errors import DataError

JOINTS = ("thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip", "palm")
_FOLDERS = {"train": "TrainData", "validation": "ValidationData", "test": "TestData"}


class HandNetLayout(SingleViewLayout):
    """HandNet's frames in the authors' splits.

    Args:
        root: folder with `TrainData`, `TestData` and `Parameters.mat`.
        hand: side of the hands.
    """

    name = "handnet"
    palm = "palm"
    format = "HandNet has Parameters.mat and TrainData/Data_0000000.mat, ..."

    def __init__(self, root: Path, hand: Side = "right") -> None:
        path = root / "Parameters.mat"
        matrix = read_matlab(path, "KK")
        if matrix.shape != (3, 3) or not np.allclose(matrix[2], [0, 0, 1]) or min(matrix[0, 0], matrix[1, 1]) <= 0:
            raise DataError(f"{path}: KK isn't a camera's matrix (3, 3) with focal lengths in pixels.")
        fx, fy, cx, cy = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
        super().__init__(root, Camera(320, 240, fx=fx, fy=fy, cx=cx, cy=cy), JOINTS, hand)

    def recordings(self) -> Mapping[str, Sequence[Recording]]:
        return {
            split: [Recording(tuple(f"{folder}/{file.name}" for file in files), folder)]
            for split, folder in _FOLDERS.items()
            if (files := sorted((self.root / folder).glob("Data_*.mat")))
        }

    def read_joints(self, recording: Recording) -> np.ndarray:
        found = np.full((len(recording.images), 6, 3), np.nan)
        for k, name in enumerate(recording.images):
            try:
                pos = read_matlab(self.root / name, "pos")
            except DataError:
                continue  # its image, in the same file, is damaged too, so that the frame is left out with a reason
            if pos.shape != (3, 6):
                raise DataError(f"{self.root / name}: pos has the shape {pos.shape}, but (3, 6) was expected.")
            found[k] = pos.T
        return found

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        path = self.path(split, view, frame)
        depth = read_matlab(path, "depth")
        if depth.shape != (240, 320):
            raise DataError(f"{path}: depth has the shape {depth.shape}, but (240, 320) was expected.")
        return np.nan_to_num(depth.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
