"""Writers of simulated captures: NYU's layout, or HPF's own layout with a `rig.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from hpf_core.data.cameras import Rig
from hpf_core.data.image_pattern import image_of
from hpf_core.data.layouts import capture, nyu
from hpf_core.data.rig_file import RIG_FILE, RigFile, write_rig

LayoutName = Literal["nyu", "capture"]
"""The available layouts."""

_NO_RETURN = 0  # pixel value without return in HPF's own layout


class Writer(Protocol):
    """Writes a capture below `root`. Images and labels appear complete or not at all."""

    root: Path

    def prepare(self, split: str) -> None:
        """Make the folders of a split, and the files that a capture has once."""

    def path(self, split: str, view: int, frame: int) -> Path:
        """Path of an image; view and frame count from 0."""

    def write(self, path: Path, depth: np.ndarray) -> None:
        """Write a depth map (H, W) uint16 mm with `nyu.NO_RETURN` at pixels without return."""

    def annotate(self, split: str, xyz: np.ndarray) -> None:
        """Write the joints (V, N, 36, 3) mm of a split, in each camera's frame."""


class NyuWriter:
    """NYU's layout."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self, split: str) -> None:
        (self.root / split).mkdir(exist_ok=True)

    def path(self, split: str, view: int, frame: int) -> Path:
        return nyu.image_path(self.root / split, view, frame)

    def write(self, path: Path, depth: np.ndarray) -> None:
        nyu.write_depth(path, depth)

    def annotate(self, split: str, xyz: np.ndarray) -> None:
        nyu.write_annotation(self.root / split, nyu.Annotation(xyz, nyu.JOINTS))


class CaptureWriter:
    """HPF's own layout: 16-bit images of whole millimetres, a folder for each camera."""

    def __init__(self, root: Path, rig: Rig) -> None:
        self.root = root
        named = Rig(rig.cameras, rig.poses, names=camera_names(len(rig.cameras)))
        self._file = RigFile(root / RIG_FILE, named)

    def prepare(self, split: str) -> None:
        write_rig(self._file)
        for view in range(len(self._file.rig.cameras)):
            self.path(split, view, 0).parent.mkdir(parents=True, exist_ok=True)

    def path(self, split: str, view: int, frame: int) -> Path:
        return self.root / image_of(self._file.images, split, self._file.rig.names[view], "", frame)

    def write(self, path: Path, depth: np.ndarray) -> None:
        capture.write_gray16(path, np.where(depth >= nyu.NO_RETURN_FROM, np.uint16(_NO_RETURN), depth))

    def annotate(self, split: str, xyz: np.ndarray) -> None:
        capture.write_labels(self.root / split, xyz[0], nyu.JOINTS)


def writer_of(layout: LayoutName, root: Path, rig: Rig) -> Writer:
    """Create the writer of a rig's capture below `root`."""
    return NyuWriter(root) if layout == "nyu" else CaptureWriter(root, rig)


def camera_names(views: int) -> tuple[str, ...]:
    """Names in the order of `hpf_core.simulation.rigs.arc`: middle, right, left, right2, left2, ..."""
    names = ["middle"]
    for view in range(1, views):
        side, pair = ("right" if view % 2 else "left"), (view + 1) // 2
        names.append(side if pair == 1 else f"{side}{pair}")
    return tuple(names)
