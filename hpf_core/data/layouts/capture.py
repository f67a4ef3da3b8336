"""HPF's own layout: `rig.yaml` names cameras and images, in any folders (`hpf_core.data.rig_file`).

Images with the same sequence and number belong to one moment of all cameras. If some cameras lack a moment, its frame
lacks these views. `joints.npz` in a split's folder is optional: `xyz` (N, K, 3) mm in the first camera's frame, `names`
(K), and `frame` (N) if its rows aren't the split's frames in order. Only evaluation reads it.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hpf_core.data.image_pattern import image_of, matcher_of
from hpf_core.data.images import read_stored, write_whole
from hpf_core.data.layouts.base import SPLITS, Annotation, Layout
from hpf_core.data.rig_file import RigFile, read_rig
from hpf_core.data.stored_arrays import UNREADABLE
from hpf_core.errors import DataError
from hpf_core.files.cache import write_atomic

LABELS_FILE = "joints.npz"


class Moment(NamedTuple):
    """The common key of all cameras' images: the recording's folders, if the pattern has any, and a number."""

    sequence: str
    number: int


class CaptureLayout(Layout):
    """A capture with a `rig.yaml`.

    Raises:
        DataError: `rig.yaml` is missing or wrong, or its pattern matches no file.
    """

    name = "capture"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file: RigFile = read_rig(root)
        self.rig = self.file.rig
        first = image_of(self.file.images, "train", self.rig.names[0], "SEQUENCE", 0)
        self.format = f"rig.yaml says that images are called {self.file.images}, such as {first}"
        if not self._index:
            raise DataError(
                f"{self.file.path}: no file below {root} matches `images: {self.file.images}` with the cameras "
                f"{', '.join(self.rig.names)}.{self._hint()}"
            )
        self._need_every_camera()

    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if split in self._index)

    def frames(self, split: str) -> int:
        return len(self._moments(split))

    def path(self, split: str, view: int, frame: int) -> Path | None:
        found = self._index[split].get(self._moments(split)[frame], {}).get(view)
        return None if found is None else self.root / found

    def read_depth(self, split: str, view: int, frame: int) -> np.ndarray:
        path = self.path(split, view, frame)
        if path is None:
            raise DataError(f"{self.frame_name(split, frame)} has no image of camera '{self.rig.names[view]}'.")
        camera = self.rig.cameras[view]
        stored = read_stored(path, self.file.encoding, (camera.width, camera.height), f"{self.file.path} says")
        return millimetres(stored, self.rig.unit_mm, self.rig.no_return)

    def labels_path(self, split: str) -> Path:
        return self.root / split / LABELS_FILE

    def annotation(self, split: str) -> Annotation | None:
        path = self.labels_path(split)
        if not path.exists():
            return None
        joints, names, numbers = _read_labels(path)
        moments = self._moments(split)
        placed = np.full((len(moments), *joints.shape[1:]), np.nan)
        if numbers is None:
            if len(joints) != len(moments):
                raise DataError(
                    f"{path} has {len(joints):,} frames, but there are images of {len(moments):,} of the split "
                    f"'{split}'. Add an array `frame` with their numbers."
                )
            placed[:] = joints
        else:
            rows = {moment.number: row for row, moment in enumerate(moments)}
            for number, hand in zip(numbers.tolist(), joints, strict=True):
                if number in rows:
                    placed[rows[number]] = hand
        in_first = Annotation(placed[None], names, path).without_blanks()
        if self.rig.to_rig is None:
            return in_first
        each = np.stack([in_first.xyz[0] @ pose[:3, :3].T + pose[:3, 3] for pose in self.rig.from_rig])
        each[0] = in_first.xyz[0]
        return Annotation(each, names, path, np.repeat(in_first.blanks, len(each), axis=0))

    def frame_name(self, split: str, frame: int) -> str:
        moment = self._moments(split)[frame]
        return f"frame {moment.number} of {split}" + (f" ({moment.sequence})" if moment.sequence else "")

    def fingerprint(self) -> Mapping[str, Any]:
        return {**super().fingerprint(), "images": self.file.images, "encoding": self.file.encoding,
                "names": list(self.rig.names)}  # fmt: skip

    # ------------------------------------------------------------------------------------------------------ inside

    def _moments(self, split: str) -> list[Moment]:
        if split not in self._order:
            raise DataError(f"{self.root} has no split '{split}'. It has {', '.join(self.splits())}.")
        return self._order[split]

    @cached_property
    def _order(self) -> dict[str, list[Moment]]:
        return {split: sorted(found) for split, found in self._index.items()}

    @cached_property
    def _index(self) -> dict[str, dict[Moment, dict[int, str]]]:
        """For each split and moment, the path of each view's image."""
        matcher = matcher_of(self.file.images, SPLITS, self.rig.names)
        views = {name: view for view, name in enumerate(self.rig.names)}
        found: dict[str, dict[Moment, dict[int, str]]] = {}
        for path in _files_below(self.root, _constant_start(self.file.images)):
            if (match := matcher.match(path)) is None:
                continue
            fields = match.groupdict()
            split = fields.get("split") or SPLITS[0]
            view = views[fields["camera"]] if "camera" in fields else 0
            moment = Moment(fields.get("sequence") or "", int(fields["frame"]))
            before = found.setdefault(split, {}).setdefault(moment, {}).setdefault(view, path)
            if before != path:
                raise DataError(
                    f"{self.root / before} and {self.root / path} are both frame {moment.number} of camera "
                    f"'{self.rig.names[view]}' in '{split}'."
                )
        return found

    def _need_every_camera(self) -> None:
        seen = {view for moments in self._index.values() for views in moments.values() for view in views}
        missing = [name for view, name in enumerate(self.rig.names) if view not in seen]
        if missing:
            raise DataError(
                f"{self.file.path} names the camera '{missing[0]}', but it has no image. Expected names: "
                f"{image_of(self.file.images, self.splits()[0], missing[0], 'SEQUENCE', 0)}. Leave it out of "
                "rig.yaml, or add its images."
            )

    def _hint(self) -> str:
        """Suggest the first image with another name."""
        ends = (".png", ".npy")
        other = next((path for path in _files_below(self.root, "") if path.endswith(ends)), None)
        return f" An existing one is {other}." if other else " The folder has no PNG or npy file."


def millimetres(stored: np.ndarray, unit_mm: float, no_return: tuple[float, ...]) -> np.ndarray:
    """Convert a file's values to depth (H, W) mm; 0 at pixels without return and for values that aren't positive.

    Whole millimetres stay uint16; all other values become float32.
    """
    lost = np.isin(stored, [value for value in no_return if value]) if any(no_return) else None
    if stored.dtype == np.uint16 and unit_mm == 1:
        depth = stored
    else:
        depth = stored.astype(np.float32)
        depth *= np.float32(unit_mm)
        if stored.dtype.kind != "u":
            depth[~(np.isfinite(depth) & (depth > 0))] = 0
    if lost is not None:
        depth[lost] = 0
    return depth


def write_gray16(path: Path, depth: np.ndarray) -> None:
    """Write a depth map (H, W) uint16 as a 16-bit grey PNG. The file appears complete or not at all.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    packed = io.BytesIO()
    # Level 1 with run lengths, as in NYU's layout: several times as fast as the default.
    Image.fromarray(depth).save(packed, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    write_whole(path, packed.getbuffer())


def write_labels(folder: Path, joints: np.ndarray, names: tuple[str, ...]) -> None:
    """Write a split's `joints.npz`: (N, K, 3) mm in the first camera's frame. It appears complete or not at all.

    Raises:
        RunError: the folder can't be written.
    """

    def write(file: Path) -> None:
        with file.open("wb") as stream:
            np.savez_compressed(stream, xyz=np.asarray(joints, np.float64), names=np.array(names))

    write_atomic(folder / LABELS_FILE, write)


def _read_labels(path: Path) -> tuple[np.ndarray, tuple[str, ...], np.ndarray | None]:
    try:
        with np.load(path, allow_pickle=False) as content:
            missing = [name for name in ("xyz", "names") if name not in content.files]
            if missing:
                held = ", ".join(content.files) or "nothing"
                raise DataError(f"{path} has no array `{missing[0]}`; it has {held}.")
            joints, names = content["xyz"], tuple(str(name) for name in np.ravel(content["names"]))
            numbers = content["frame"] if "frame" in content.files else None
    except UNREADABLE as error:
        said = str(error) or type(error).__name__
        raise DataError(f"{path} can't be read as an archive of arrays: {said}.") from error
    if joints.ndim != 3 or joints.shape[1:] != (len(names), 3) or joints.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: xyz is {joints.dtype.name} of the shape {joints.shape}, but numbers (frames, {len(names)}, 3), "
            "mm, were expected: as many joints as `names` has."
        )
    if numbers is not None and (numbers.shape != (len(joints),) or numbers.dtype.kind not in "iu"):
        raise DataError(f"{path}: frame has the shape {numbers.shape}, but {len(joints)} whole numbers were expected.")
    return joints.astype(np.float64), names, numbers


def _constant_start(pattern: str) -> str:
    """The folders of a pattern before its first field."""
    return "/".join(pattern.partition("{")[0].split("/")[:-1])


def _files_below(root: Path, start: str) -> Iterator[str]:
    """Paths of all files below a folder of the capture, with / between their parts."""
    top = root / start
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(folder).relative_to(root).as_posix()
        yield from (name if below == "." else f"{below}/{name}" for name in sorted(files))
