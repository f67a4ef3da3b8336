"""The interface of layouts. A layout defines how a capture's frames lie on disk.

All later steps, from calibration to crops, use a `Layout` and know no file name. Another package can add a layout by a
dataset plugin that passes its own `Layout` to `hpf_core.data.captures.Capture` (`docs/own-cameras.md`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.data.cameras import Rig
from hpf_core.errors import DataError

SPLITS = ("train", "validation", "test")
"""The possible splits of a capture."""

_ONE_PLACE_MM = 1.0  # if all joints of a hand are nearer to each other than this, the hand isn't annotated


@dataclass(frozen=True)
class Annotation:
    """The annotated joints of a split.

    Attributes:
        xyz: (V, N, K, 3) float64 mm in each camera's frame; NaN for frames that aren't annotated in a view.
        names: (K), the joints' names.
        file: source of the joints, for messages.
        unannotated: (V, N) bool, frames with impossible joints. Their joints are NaN.
    """

    xyz: np.ndarray
    names: tuple[str, ...]
    file: Path = Path()
    unannotated: np.ndarray | None = None

    @property
    def blanks(self) -> np.ndarray:
        """`unannotated` (V, N); all False if no check was made."""
        return np.zeros(self.xyz.shape[:2], dtype=bool) if self.unannotated is None else self.unannotated

    def without_blanks(self) -> Annotation:
        """Return a copy with NaN for frames without a hand: joints at z <= 0, or all joints in one place.

        Tools write 0 or -1 for unannotated joints. Without this, such values would count as joints.
        """
        blank = unannotated(self.xyz)
        xyz = np.where(blank[..., None, None], np.nan, self.xyz) if blank.any() else self.xyz
        return replace(self, xyz=xyz, unannotated=blank)


def unannotated(xyz: np.ndarray) -> np.ndarray:
    """Mark hands (..., K, 3) mm in a camera's frame that are no annotation (...) bool: z <= 0, in one place, or NaN."""
    with np.errstate(invalid="ignore"):
        behind = ~(xyz[..., 2] > 0).all(axis=-1)
        extent = xyz.max(axis=-2) - xyz.min(axis=-2)
        return behind | ~((extent > _ONE_PLACE_MM).any(axis=-1)) | ~np.isfinite(xyz).all(axis=(-2, -1))


class Layout(ABC):
    """Frames, cameras and depth, and optionally extrinsics and labels.

    Frames of a split and views count from 0. A layout must be picklable, so that several processes can read it.

    Attributes:
        name: the layout's name in messages, such as "nyu".
        root: the capture's folder.
        rig: the cameras of all views; its `to_rig` is None if the layout has no extrinsics.
        palm: the name of the joint at the palm's centre, if labels have one.
        format: the expected images and labels, as a sentence for messages.
    """

    name: str
    root: Path
    rig: Rig
    palm: str = "PALM_3"
    format: str

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The existing splits of `SPLITS`, in this order."""

    @abstractmethod
    def frames(self, split: str) -> int:
        """Number of frames of a split, which are numbered from 0."""

    @abstractmethod
    def path(self, split: str, view: int, frame: int) -> Path | None:
        """The image of a frame's view; None if the frame lacks this view. The file may be missing or damaged."""

    @abstractmethod
    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        """Depth (H, W) mm, whole numbers or floats; 0 at pixels without return.

        Raises:
            DataError: the image is missing, damaged, or of another size or kind.
        """

    def annotation(self, split: str) -> Annotation | None:
        """The joints of a split; None if the layout has no labels for it.

        Raises:
            DataError: labels exist, but are unreadable.
        """
        return None

    def labels_path(self, split: str) -> Path | None:
        """The file of a split's labels, existing or not; None if the layout has no labels."""
        return None

    def has_labels(self, split: str) -> bool:
        """Whether a split has labels, without reading their file."""
        path = self.labels_path(split)
        return path is not None and path.exists()

    def frame_name(self, split: str, frame: int) -> str:
        """The name of a frame in messages."""
        return f"frame {frame + 1} of {split}"

    def fingerprint(self) -> Mapping[str, Any]:
        """All inputs of the crops beside the images, as plain values: cameras, unit, values of no return."""
        rig = self.rig
        return {
            "layout": self.name,
            "cameras": [
                [one.width, one.height, one.fx, one.fy, one.cx, one.cy, *one.distortion] for one in rig.cameras
            ],
            "to_rig": None if rig.to_rig is None else rig.to_rig.tolist(),
            "unit_mm": rig.unit_mm,
            "no_return": list(rig.no_return),
            "hand": rig.hand,
            "volume_mm": rig.volume_mm,
        }


def annotation_of(layout: Layout, split: str) -> Annotation:
    """Return the labels of a split, which must exist.

    Raises:
        DataError: the labels are missing or unreadable.
    """
    found = layout.annotation(split)
    if found is None:
        where = layout.labels_path(split)
        named = f"{where} is missing" if where else f"the layout '{layout.name}' has no labels"
        raise DataError(f"{layout.root} has no labels of the split '{split}': {named}.")
    return found


class Mirrored(Layout):
    """A mirrored layout: turns images of left hands, their cameras and labels into those of right hands.

    A column u becomes width - 1 - u, and x becomes -x in every frame (`docs/geometry.md`).
    """

    def __init__(self, layout: Layout) -> None:
        self.inner = layout
        self.name, self.root, self.format = layout.name, layout.root, layout.format
        self.palm = layout.palm
        self.rig = layout.rig.mirrored()

    def splits(self) -> tuple[str, ...]:
        return self.inner.splits()

    def frames(self, split: str) -> int:
        return self.inner.frames(split)

    def path(self, split: str, view: int, frame: int) -> Path | None:
        return self.inner.path(split, view, frame)

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        return np.ascontiguousarray(self.inner.read_depth(split, view, frame)[:, ::-1])

    def annotation(self, split: str) -> Annotation | None:
        found = self.inner.annotation(split)
        return None if found is None else replace(found, xyz=found.xyz * [-1.0, 1.0, 1.0])

    def labels_path(self, split: str) -> Path | None:
        return self.inner.labels_path(split)

    def frame_name(self, split: str, frame: int) -> str:
        return self.inner.frame_name(split, frame)

    def fingerprint(self) -> Mapping[str, Any]:
        return {**self.inner.fingerprint(), "mirrored": True}


def select(names: Sequence[str], wanted: Sequence[str], where: Path) -> list[int]:
    """Return the indices of the wanted joints among all annotated joints.

    Raises:
        DataError: a joint is missing.
    """
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"{where} has no joint {missing[0]!r}, which evaluation needs. Expected: {', '.join(wanted)}; it has "
            f"{', '.join(names[:6])}{', ...' if len(names) > 6 else ''}."
        )
    return [names.index(name) for name in wanted]
