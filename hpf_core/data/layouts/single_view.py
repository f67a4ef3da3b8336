"""What the layouts of datasets with one depth camera share: listed images, labels in text or MATLAB files, subjects.

A dataset of this kind lists its frames in files, and names the image of each. Here a split is a list of recordings.
A recording is the stretch of frames of one person in one file or folder.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpf_core.data.cameras import Camera, Rig, Side
from hpf_core.data.layouts.base import Annotation, Layout
from hpf_core.data.matlab_arrays import read_matlab_arrays
from hpf_core.data.sidecar import Segment, Sidecar
from hpf_core.errors import DataError

_LEAST_HAND_MM = 5.0  # a hand whose joints lie closer together is in metres


@dataclass(frozen=True)
class Recording:
    """Consecutive frames of one person.

    Attributes:
        images: the image of each frame, relative to the dataset's folder.
        labels: the file of their joints, relative; empty without labels.
        subject: name of the person; "unknown" where the dataset doesn't tell.
    """

    images: tuple[str, ...]
    labels: str = ""
    subject: str = "unknown"


class SingleViewLayout(Layout):
    """A dataset with one depth camera. Subclasses list the recordings, and read images and joints.

    Args:
        root: the dataset's folder.
        camera: the depth camera.
        joints: names of the annotated joints in the order of the files.
        hand: side of the recorded hands.
    """

    palm = "middle_mcp"

    def __init__(self, root: Path, camera: Camera, joints: tuple[str, ...], hand: Side = "right") -> None:
        self.root, self.joints = root, joints
        self.rig = Rig((camera,), np.eye(4)[None], names=(self.name,), where=str(root), hand=hand)
        self._splits: dict[str, tuple[Recording, ...]] = {
            split: parts
            for split, recordings in self.recordings().items()
            if (parts := tuple(part for part in recordings if part.images))
        }
        self._images = {
            split: [name for part in parts for name in part.images] for split, parts in self._splits.items()
        }
        if not self._splits:
            raise DataError(f"{root} has no frame of {self.name}: {self.format}.")

    @abstractmethod
    def recordings(self) -> Mapping[str, Sequence[Recording]]:
        """The recordings of each split. It reads lists of images only, and no joint.

        Raises:
            DataError: a list is unreadable.
        """

    @abstractmethod
    def read_joints(self, recording: Recording) -> np.ndarray:
        """(N, K, 3) float64 mm in the depth camera's frame (x right, y down, z away); NaN for unlabelled frames.

        Raises:
            DataError: the labels are unreadable.
        """

    def splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def frames(self, split: str) -> int:
        return len(self._images[split])

    def path(self, split: str, view: int, frame: int) -> Path:
        return self.root / self._images[split][frame]

    def frame_name(self, split: str, frame: int) -> str:
        return self._images[split][frame]

    def labels_path(self, split: str) -> Path | None:
        parts = self._splits[split]
        return self.root / parts[0].labels if all(part.labels for part in parts) else None

    def annotation(self, split: str) -> Annotation | None:
        path = self.labels_path(split)
        if path is None or not path.exists():
            return None
        parts = self._splits[split]
        rows = []
        for part in parts:
            found = self.read_joints(part)
            placed = np.full((len(part.images), len(self.joints), 3), np.nan)
            placed[: len(found)] = found[: len(placed)]
            rows.append(placed)
        xyz = np.concatenate(rows)
        refuse_metres(path, xyz)
        return Annotation(xyz[None], self.joints, path).without_blanks()

    def about(self) -> Sidecar:
        """Which person each recording shows."""
        names = sorted({part.subject for parts in self._splits.values() for part in parts})
        segments: dict[str, tuple[Segment, ...]] = {}
        sequence = 0
        for split, parts in self._splits.items():
            first, found = 0, []
            for part in parts:
                found.append(Segment(first, len(part.images), sequence, names.index(part.subject)))
                first, sequence = first + len(part.images), sequence + 1
            segments[split] = tuple(found)
        return Sidecar(rate_hz=None, subject_names=dict(enumerate(names)), segments=segments)

    def fingerprint(self) -> Mapping[str, Any]:
        ends = {split: [paths[0], paths[-1]] for split, paths in self._images.items()}
        return {**super().fingerprint(), "images": ends}


def refuse_metres(path: Path, xyz: np.ndarray) -> None:
    """Raise DataError if most hands (N, K, 3) are a few millimetres wide: the joints are in metres."""
    spread = np.ptp(xyz, axis=-2).max(axis=-1)
    varied = spread[np.isfinite(spread) & (spread > 0)]
    if len(varied) and np.median(varied) < _LEAST_HAND_MM:
        raise DataError(
            f"{path}: its hands are {np.median(varied):.3g} mm wide. Millimetres were expected, not metres."
        )


def text_rows(path: Path) -> list[list[str]]:
    """The columns of each line of a text file, divided by tabs if it has any, else by blanks. Names of folders may have
    blanks. Empty lines at the end don't count.

    Raises:
        DataError: the file is missing or not text.
    """
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as text: {error}.") from error
    return [
        [column.strip() for column in line.strip().split("\t") if column.strip()] if "\t" in line else line.split()
        for line in content.rstrip().splitlines()
    ]


def numbers(path: Path, rows: Sequence[Sequence[str]], first: int, count: int, line: int = 1) -> np.ndarray:
    """`count` numbers (N, count) of each row, from the column `first`; a row of the columns before them alone is NaN.

    Args:
        path: the file, for messages.
        rows: columns of each line.
        first: index of the first number.
        count: how many numbers a line has.
        line: number of the first row's line.

    Raises:
        DataError: a line has another number of columns, or a column isn't a number.
    """
    found = np.full((len(rows), count), np.nan)
    for k, row in enumerate(rows):
        if len(row) == first:
            continue
        if len(row) < first + count:
            raise DataError(f"{path}:{line + k}: {len(row)} columns, but {first + count} were expected.")
        try:
            found[k] = [float(value) for value in row[first : first + count]]
        except ValueError:
            raise DataError(f"{path}:{line + k}: a column isn't a number, but joints were expected.") from None
    return found


def read_matlab(path: Path, name: str) -> np.ndarray:
    """An array of real numbers of a MATLAB file (up to version 7).

    Raises:
        DataError: the file is missing or unreadable, or has no such array.
    """
    try:
        found = read_matlab_arrays(path, (name,)).get(name)
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except OSError as error:
        raise DataError(f"{path} can't be read as a MATLAB file: {error}.") from error
    if found is None or found.dtype.kind not in "fiu":
        raise DataError(f"{path} has no array of numbers '{name}'.")
    return np.asarray(found)
