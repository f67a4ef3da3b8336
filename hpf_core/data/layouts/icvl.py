"""The ICVL Hand Posture Dataset on disk (Tang et al., "Latent Regression Forest", CVPR 2014).

`Training/labels.txt` and `Testing/test_seq_1.txt`, `test_seq_2.txt` have a line for each frame: the image's path below
`Depth`, then u v d (pixels, pixels, mm) of 16 joints. DeepPrior++'s importer reads these 48 numbers and ignores any
after them; so does this reader. `Depth/.../*.png` is a 320 x 240 16-bit image, mm, with 32001 where nothing returned.
The folders of `Training/Depth` whose names are at most 6 characters long, such as `22-5`, hold turned copies of the
others (same importer). Camera: awesome-hand-pose-estimation. The palm is the crops' centre, in a cube of 250 mm
(DeepPrior++). The hands are left ones, according to Pose-REN's demo, which mirrors its input for ICVL's network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpf_core.data.cameras import Camera, Side
from hpf_core.data.images import read_stored
from hpf_core.data.layouts.single_view import Recording, SingleViewLayout, numbers, text_rows
from hpf_core.evaluation.protocols import ICVL

CAMERA = Camera(320, 240, fx=240.99, fy=240.96, cx=160, cy=120)
JOINTS = ICVL.joints
_NO_RETURN_FROM = 32001
_LONGEST_TURNED = 6  # characters in the names of folders with turned copies


class IcvlLayout(SingleViewLayout):
    """ICVL's training frames, and its two test sequences as `test`.

    Args:
        root: folder with `Training` and `Testing`.
        turned_copies: whether to use the copies turned in the image plane, 22 for each original.
        hand: side of the hands.
    """

    name = "icvl"
    palm = "palm"
    format = "ICVL has Training/labels.txt, Testing/test_seq_1.txt and images below Training/Depth and Testing/Depth"

    def __init__(self, root: Path, turned_copies: bool = False, hand: Side = "left") -> None:
        self._turned_copies = turned_copies
        super().__init__(root, CAMERA, JOINTS, hand)

    def recordings(self) -> Mapping[str, Sequence[Recording]]:
        found = {"train": self._listed("Training/labels.txt", "unknown")}
        tests = [self._listed(f"Testing/test_seq_{k}.txt", f"test sequence {k}") for k in (1, 2)]
        return {split: part for split, part in {**found, "test": tests[0] + tests[1]}.items() if part}

    def _listed(self, labels: str, subject: str) -> list[Recording]:
        if not (self.root / labels).exists():
            return []
        folder = labels.split("/")[0]
        images = tuple(f"{folder}/Depth/{row[0]}" for row in self._rows(labels))
        return [Recording(images, labels, subject)]

    def _rows(self, labels: str) -> list[list[str]]:
        rows = [row for row in text_rows(self.root / labels) if row]
        keep = self._turned_copies or not labels.startswith("Training")
        return [row for row in rows if keep or len(row[0].split("/")[0]) > _LONGEST_TURNED]

    def read_joints(self, recording: Recording) -> np.ndarray:
        flat = numbers(self.root / recording.labels, self._rows(recording.labels), 1, 48)
        return ICVL.to_xyz(flat.reshape(-1, 16, 3))

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        depth = read_stored(self.path(split, view, frame), "gray16", (320, 240), "ICVL has").copy()
        depth[depth >= _NO_RETURN_FROM] = 0
        return depth
