"""The First-Person Hand Action Benchmark on disk (Garcia-Hernando et al., CVPR 2018; guiggh/hand_pose_action).

`Video_files/Subject_1/put_salt/1/depth/depth_0015.png` is a 640 x 480 16-bit image, mm, of an Intel SR300.
`Hand_pose_annotation_v1_1/Subject_1/put_salt/1/skeleton.txt` has a line for each frame: its number, then x y z of 21
joints, mm, from magnetic sensors. The readme calls their frame the world's, and its extrinsics, a shift of 26 mm, lead
to the COLOUR camera. `load_example.m` projects the joints into the depth image without them, so that the world's frame
is the depth camera's. Papers train on the subjects 1, 3 and 4 and test on the others (its readme). Right hands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpf_core.data.images import read_stored
from hpf_core.data.joints21 import HANDS17_ORDER
from hpf_core.data.layouts.hands17 import CAMERA
from hpf_core.data.layouts.single_view import Recording, SingleViewLayout, numbers, text_rows
from hpf_core.errors import DataError

TRAINING_SUBJECTS = ("Subject_1", "Subject_3", "Subject_4")
_LABELS = "Hand_pose_annotation_v1_1"


class FphaLayout(SingleViewLayout):
    """Depth images with joints, by the authors' cross-subject split.

    Args:
        root: folder with `Video_files` and `Hand_pose_annotation_v1_1`.
    """

    name = "fpha"
    format = f"FPHA has {_LABELS}/Subject_1/put_salt/1/skeleton.txt and Video_files/Subject_1/put_salt/1/depth"

    def __init__(self, root: Path) -> None:
        super().__init__(root, CAMERA, HANDS17_ORDER)

    def recordings(self) -> Mapping[str, Sequence[Recording]]:
        found: dict[str, list[Recording]] = {"train": [], "test": []}
        for labels in sorted((self.root / _LABELS).glob("Subject_*/*/*/skeleton.txt")):
            subject, action, repetition = labels.relative_to(self.root / _LABELS).parts[:3]
            folder = f"Video_files/{subject}/{action}/{repetition}/depth"
            images = tuple(f"{folder}/depth_{_frame(labels, row):04d}.png" for row in _rows(labels))
            split = "train" if subject in TRAINING_SUBJECTS else "test"
            found[split].append(Recording(images, labels.relative_to(self.root).as_posix(), subject))
        return found

    def read_joints(self, recording: Recording) -> np.ndarray:
        path = self.root / recording.labels
        return numbers(path, _rows(path), 1, 63).reshape(-1, 21, 3)

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        return read_stored(self.path(split, view, frame), "gray16", (640, 480), "FPHA has")


def _rows(path: Path) -> list[list[str]]:
    return [row for row in text_rows(path) if row]


def _frame(path: Path, row: Sequence[str]) -> int:
    """The number of a line's frame."""
    try:
        return int(float(row[0]))
    except (ValueError, OverflowError):
        raise DataError(f"{path}: {row[0]!r} isn't the number of a frame.") from None
