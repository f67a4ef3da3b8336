"""HANDS17, Task 1 of HANDS19, and BigHand2.2M on disk: one camera, one order of joints, text files of x y z in mm.

A line holds an image's name and 63 numbers, divided by tabs: x y z of 21 joints, mm in the depth camera's frame, +y
down. Images are 640 x 480, 16-bit, mm. Camera, order, centre (the middle finger's knuckle) and the cube of 300 mm:
the toolbox of HANDS'19 (anilarmagan/HANDS19-Challenge-Toolbox). Right hands.

- HANDS17 (Yuan et al., CVPR 2018): `training/Training_Annotation.txt`, `training/images/image_D00000001.png`.
- HANDS19 Task 1 (Armagan et al., ECCV 2020): `Task1/training_joint_annotation.txt`, `Task1/training_images`.
- BigHand2.2M (Yuan et al., CVPR 2017): `full_annotation/Subject_1/301 375_....txt` for images in `Subject_1/301 375`
  (its readme and the loader of LadaOndris/hand-recognition); "ego" is a viewpoint too.

The joints of the challenges' test frames aren't public. So a share of the training frames, the last ones, is the split
`test` here, and its errors can't be compared with those of the challenges. In BigHand2.2M one person is `test`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpf_core.data.cameras import Camera
from hpf_core.data.images import read_stored
from hpf_core.data.joints21 import HANDS17_ORDER
from hpf_core.data.layouts.single_view import Recording, SingleViewLayout, numbers, text_rows

CAMERA = Camera(640, 480, fx=475.065948, fy=475.065857, cx=315.944855, cy=245.287079)


class _XyzLayout(SingleViewLayout):
    """Depth and joints, as all three datasets have them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, CAMERA, HANDS17_ORDER)

    def rows(self, recording: Recording) -> list[list[str]]:
        """The lines of a recording."""
        return listed(self.root / recording.labels)

    def read_joints(self, recording: Recording) -> np.ndarray:
        return numbers(self.root / recording.labels, self.rows(recording), 1, 63).reshape(-1, 21, 3)

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        return read_stored(self.path(split, view, frame), "gray16", (640, 480), f"{self.name} has")


class Hands17Layout(_XyzLayout):
    """HANDS17's training frames.

    Args:
        root: folder with `training`.
        test_share: share of the frames, the last ones, in the split `test`.
    """

    name = "hands17"
    format = "HANDS17 has training/Training_Annotation.txt and training/images/image_D00000001.png, ..."
    labels = "training/Training_Annotation.txt"
    images = "training/images"

    def __init__(self, root: Path, test_share: float = 0.1) -> None:
        self._test_share = test_share
        super().__init__(root)

    def recordings(self) -> Mapping[str, Sequence[Recording]]:
        if not (self.root / self.labels).exists():
            return {}
        names = tuple(f"{self.images}/{row[0]}" for row in listed(self.root / self.labels))
        self._cut = len(names) - round(len(names) * self._test_share)
        return {
            "train": [Recording(names[: self._cut], self.labels)],
            "test": [Recording(names[self._cut :], self.labels)],
        }

    def rows(self, recording: Recording) -> list[list[str]]:
        rows = super().rows(recording)
        return rows[: self._cut] if recording is self._splits.get("train", (None,))[0] else rows[self._cut :]


class Hands19Layout(Hands17Layout):
    """The training frames of HANDS19's Task 1.

    Args:
        root: folder with `Task1`.
        test_share: share of the frames, the last ones, in the split `test`.
    """

    name = "hands19"
    format = "HANDS19 has Task1/training_joint_annotation.txt and the images that it names in Task1/training_images"
    labels = "Task1/training_joint_annotation.txt"
    images = "Task1/training_images"


class BigHandLayout(_XyzLayout):
    """BigHand2.2M with one person as the split `test`.

    Args:
        root: folder with `full_annotation` and `Subject_1`, ...
        test_subject: number of the person in the split `test`, from 1.
    """

    name = "bighand"
    format = "BigHand2.2M has full_annotation/Subject_1/301 375_....txt and images in Subject_1/301 375"

    def __init__(self, root: Path, test_subject: int = 1) -> None:
        self._test = f"Subject_{test_subject}"
        super().__init__(root)

    def recordings(self) -> Mapping[str, Sequence[Recording]]:
        found: dict[str, list[Recording]] = {"train": [], "test": []}
        for labels in sorted((self.root / "full_annotation").glob("Subject_*/*.txt")):
            subject, viewpoint = labels.parent.name, labels.stem.split("_")[0]
            if "readme" in labels.name.lower():
                continue
            # Names with a folder are relative to the person, bare names to the viewpoint.
            names = (row[0].replace("\\", "/").split("/")[-1] for row in listed(labels))
            images = tuple(f"{subject}/{viewpoint}/{name}" for name in names)
            split = "test" if subject == self._test else "train"
            found[split].append(Recording(images, labels.relative_to(self.root).as_posix(), subject))
        return found


def listed(path: Path) -> list[list[str]]:
    """The columns of each line with an image's name, without empty lines."""
    return [row for row in text_rows(path) if row]
