"""`rig.yaml`: the cameras of a capture, and all information that its images lack. Strict reading, commented writing.

A capture is a folder with `rig.yaml` and depth images below it. The pattern `images` names the images' folders
(`docs/own-cameras.md`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, cast, get_args

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from hpf_core.data.cameras import DISTORTION_LENGTHS, Camera, Rig, Side, wrong_with_pose
from hpf_core.data.image_pattern import wrong_with_pattern
from hpf_core.data.images import Encoding
from hpf_core.documents.errors import InvalidRecipe, Problem, raise_if
from hpf_core.documents.tree import Node, Path_, Source, describe, path_text
from hpf_core.documents.yaml import decode, parse, split_lines
from hpf_core.errors import DataError, nearest
from hpf_core.files.cache import write_atomic

RIG_FILE = "rig.yaml"
FORMAT = "hpf-capture/1"
MOST_CAMERAS = 9

DEFAULT_IMAGES = "{split}/{camera}/{frame:06d}.png"
_KEYS = ("format", "images", "depth", "hand", "volume_mm", "cameras")
_CAMERA_KEYS = ("size", "fx", "fy", "cx", "cy", "distortion", "to_rig")


@dataclass(frozen=True)
class RigFile:
    """The content of a `rig.yaml`.

    Attributes:
        path: the file.
        rig: its cameras, with unit, values of no return, hand and volume.
        images: the pattern of the images' paths below the file's folder, with the fields `split`, `camera`, `sequence`
            and `frame`.
        encoding: how depth is stored.
    """

    path: Path
    rig: Rig
    images: str = DEFAULT_IMAGES
    encoding: Encoding = "gray16"


def rig_path(place: Path) -> Path:
    """The `rig.yaml` of a capture's folder; a path of a file stays unchanged."""
    return place / RIG_FILE if place.is_dir() else place


def read_rig(place: Path) -> RigFile:
    """Read a `rig.yaml`, by its own path or the capture's folder.

    Raises:
        DataError: the file is missing, unreadable or wrong. The message gives file, line, column and the expected value
            for each fault.
    """
    path = rig_path(place)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing. It names the cameras of a capture; docs/own-cameras.md shows how to write one."
        ) from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error
    try:
        text = decode(data, str(path))
        source = Source(str(path), split_lines(text), path.parent)
        return _Reader(path).read(parse(text, source))
    except InvalidRecipe as error:
        raise DataError(str(error)) from error


def write_rig(content: RigFile) -> None:
    """Write a new `rig.yaml` with comments. The file appears complete or not at all.

    Raises:
        RunError: the folder can't be written.
    """
    text = rig_text(content)

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    write_atomic(content.path, write)


def rig_text(content: RigFile) -> str:
    """The text for `write_rig`."""
    rig = content.rig
    top = CommentedMap()
    top["format"] = FORMAT
    top["images"] = content.images
    top["depth"] = _flow(
        {"encoding": content.encoding, "unit_mm": plain_number(rig.unit_mm), "no_return": _seq(rig.no_return)}
    )
    top["hand"] = rig.hand
    if rig.volume_mm is not None:
        top["volume_mm"] = _flow({axis: _seq(ends) for axis, ends in zip("xyz", rig.volume_mm, strict=True)})
    top["cameras"] = cameras = CommentedMap()
    for view, (name, camera) in enumerate(zip(rig.names, rig.cameras, strict=True)):
        entry: dict[str, Any] = {"size": _seq([camera.width, camera.height])}
        entry |= {key: plain_number(getattr(camera, key)) for key in ("fx", "fy", "cx", "cy")}
        if camera.distortion:
            entry["distortion"] = _seq(camera.distortion)
        cameras[name] = CommentedMap(entry)
        if rig.to_rig is not None and view > 0:
            cameras[name]["to_rig"] = _rows(rig.to_rig[view])
    comments = {
        "images": "Where the depth images are, below this folder; equal frame numbers are the same moment.",
        "depth": "How depth is stored, millimetres of one step, and the values that mean no return.",
        "hand": "right, left or both.",
        "volume_mm": "A box in the frame of the first camera; surfaces outside of it count as no return.",
        "cameras": "Pixels, and to_rig: from each camera's frame to the first camera's, rows, mm.",
    }
    for key, comment in comments.items():
        if key in top:
            top.yaml_set_comment_before_after_key(key, before=comment)
    return _dump(top)


# ----------------------------------------------------------------------------------------------------------- reading


@dataclass
class _Reader:
    """Checks a tree and collects all faults."""

    path: Path
    problems: list[Problem] = field(default_factory=list)

    def read(self, top: Node) -> RigFile:
        if not top.is_mapping:
            self._wrong(top, (), f"is {describe(top.value)}, but a mapping with {', '.join(_KEYS)} was expected")
            self._stop()
        self._known(top, (), _KEYS, needed=("format", "cameras"))
        self._format(top.entries.get("format"))
        encoding, unit, no_return = self._depth(top.entries.get("depth"))
        hand = cast(Side, self._choice(top.entries.get("hand"), ("hand",), get_args(Side), "right"))
        volume = self._volume(top.entries.get("volume_mm"))
        cameras = self._cameras(top.entries.get("cameras"))
        images = self._images(top.entries.get("images"), list(cameras))
        raise_if(self.problems)
        poses = [pose for _, pose in cameras.values()]
        known = len(poses) == 1 or all(pose is not None for pose in poses[1:])
        if not known and any(pose is not None for pose in poses[1:]):
            lacking = [name for name, (_, pose) in list(cameras.items())[1:] if pose is None]
            node = top.entries["cameras"].entries[lacking[0]]
            self._wrong(node, ("cameras", lacking[0]), "has no `to_rig`, but other cameras do")
        first = poses[0] if poses[0] is not None else np.eye(4)
        if known and not np.array_equal(first, np.eye(4)):
            node = top.entries["cameras"].entries[next(iter(cameras))].entries["to_rig"]
            self._wrong(node, ("cameras", next(iter(cameras)), "to_rig"), "must be the identity: the first camera's "
                        "frame is the rig's. Leave it out")  # fmt: skip
        raise_if(self.problems)
        rig = Rig(
            tuple(camera for camera, _ in cameras.values()),
            np.stack([first, *(cast(np.ndarray, pose) for pose in poses[1:])]) if known else None,
            names=tuple(cameras),
            unit_mm=unit,
            no_return=no_return,
            hand=hand,
            volume_mm=volume,
            where=str(self.path),
        )
        return RigFile(self.path, rig, images, encoding)

    # For a wrong value, each of these functions returns a usable one. So reading continues and finds all faults.

    def _format(self, node: Node | None) -> None:
        if node is not None and node.value != FORMAT:
            self._wrong(node, ("format",), f"is {describe(node.value)}, but '{FORMAT}' is what this version reads")

    def _depth(self, node: Node | None) -> tuple[Encoding, float, tuple[float, ...]]:
        if node is None:
            return "gray16", 1.0, (0.0,)
        if not self._mapping(node, ("depth",), ("encoding", "unit_mm", "no_return")):
            return "gray16", 1.0, (0.0,)
        entries = node.entries
        encoding = self._choice(entries.get("encoding"), ("depth", "encoding"), get_args(Encoding), "gray16")
        unit = self._number(entries.get("unit_mm"), ("depth", "unit_mm"), 1.0, above=0.0)
        no_return = self._numbers(entries.get("no_return"), ("depth", "no_return")) or (0.0,)
        return cast(Encoding, encoding), unit, no_return

    def _volume(self, node: Node | None) -> Any:
        if node is None or node.value is None:
            return None
        if not self._mapping(node, ("volume_mm",), ("x", "y", "z"), needed=("x", "y", "z")):
            return None
        sides = []
        for axis in "xyz":
            ends = self._numbers(node.entries.get(axis), ("volume_mm", axis), (2,))
            if ends and ends[0] >= ends[1]:
                self._wrong(node.entries[axis], ("volume_mm", axis), "has no extent: its first number must be smaller")
            sides.append((ends[0], ends[1]) if len(ends) == 2 else (0.0, 1.0))
        return tuple(sides)

    def _cameras(self, node: Node | None) -> dict[str, tuple[Camera, np.ndarray | None]]:
        if node is None:
            return {}
        if not node.is_mapping or not 1 <= len(node.entries) <= MOST_CAMERAS:
            count = f"names {len(node.entries)} cameras" if node.is_mapping else f"is {describe(node.value)}"
            self._wrong(node, ("cameras",), f"{count}, but a mapping of 1 to {MOST_CAMERAS} named cameras was expected")
            return {}
        found = {}
        for name, entry in node.entries.items():
            where: Path_ = ("cameras", name)
            parts = PurePosixPath(name).parts
            if not name or name.startswith("/") or ".." in parts or "\\" in name:
                self._wrong(
                    entry, where, "a camera's name is a part of a path and can't lead out of the folder", key=True
                )
            camera = self._camera(entry, where)
            found[name] = (camera, self._pose(entry.entries.get("to_rig"), (*where, "to_rig")))
        return found

    def _camera(self, node: Node, where: Path_) -> Camera:
        needed = ("size", "fx", "fy", "cx", "cy")
        if not self._mapping(node, where, _CAMERA_KEYS, needed):
            return Camera(1, 1, fx=1, fy=1, cx=0, cy=0)
        size = self._numbers(node.entries.get("size"), (*where, "size"), (2,)) or (1.0, 1.0)
        if any(side != int(side) or not 1 <= side <= 20_000 for side in size):
            self._wrong(node.entries["size"], (*where, "size"), "must be two whole numbers: width and height, pixels")
            size = (1.0, 1.0)
        focal = {key: self._number(node.entries.get(key), (*where, key), 1.0, above=0.0) for key in ("fx", "fy")}
        middle = {key: self._number(node.entries.get(key), (*where, key), 0.0) for key in ("cx", "cy")}
        distortion = self._numbers(node.entries.get("distortion"), (*where, "distortion"), DISTORTION_LENGTHS)
        return Camera(int(size[0]), int(size[1]), **focal, **middle, distortion=distortion)

    def _pose(self, node: Node | None, where: Path_) -> np.ndarray | None:
        if node is None or node.value is None:
            return None
        rows = [self._numbers(row, (*where, k), (4,)) for k, row in enumerate(node.items)]
        if len(rows) != 4:
            self._wrong(node, where, f"has {len(rows)} rows, but 4 rows of 4 numbers were expected")
        if len(rows) != 4 or not all(rows):
            return None
        pose = np.array(rows)
        if wrong := wrong_with_pose(pose):
            self._wrong(node, where, wrong)
            return None
        return pose

    def _images(self, node: Node | None, cameras: list[str]) -> str:
        if node is None:
            return DEFAULT_IMAGES
        if not isinstance(node.value, str) or not node.value:
            self._wrong(node, ("images",), f"is {describe(node.value)}, but a pattern such as '{DEFAULT_IMAGES}' was "
                        "expected")  # fmt: skip
            return DEFAULT_IMAGES
        if wrong := wrong_with_pattern(node.value, len(cameras)):
            self._wrong(node, ("images",), wrong)
        return node.value

    def _mapping(self, node: Node, where: Path_, known: Sequence[str], needed: Sequence[str] = ()) -> bool:
        if not node.is_mapping:
            self._wrong(node, where, f"is {describe(node.value)}, but a mapping with {', '.join(known)} was expected")
            return False
        self._known(node, where, known, needed)
        return True

    def _known(self, node: Node, where: Path_, known: Sequence[str], needed: Sequence[str]) -> None:
        for key, entry in node.entries.items():
            if key not in known:
                self._wrong(entry, (*where, key), "isn't known here", nearest(key, known), key=True)
        for key in needed:
            if key not in node.entries:
                self._wrong(node, where, f"`{key}` is missing")

    def _choice(self, node: Node | None, where: Path_, known: Sequence[str], default: str) -> str:
        if node is None:
            return default
        if node.value in known:
            return str(node.value)
        self._wrong(node, where, f"is {describe(node.value)}", nearest(str(node.value), known))
        return default

    def _number(self, node: Node | None, where: Path_, default: float, above: float | None = None) -> float:
        if node is None:
            return default
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._wrong(node, where, f"is {describe(value)}, but a number was expected")
            return default
        if above is not None and value <= above:
            self._wrong(node, where, f"is {value:g}, but it must be above {above:g}")
            return default
        return float(value)

    def _numbers(self, node: Node | None, where: Path_, lengths: Sequence[int] = ()) -> tuple[float, ...]:
        if node is None or (node.value is None and 0 in lengths):
            return ()
        good = [isinstance(item.value, int | float) and not isinstance(item.value, bool) for item in node.items]
        if not isinstance(node.value, tuple) or not all(good):
            at = next((item for item, right in zip(node.items, good, strict=True) if not right), node)
            self._wrong(at, where, f"holds {describe(at.value)}, but a list of numbers was expected")
            return ()
        if lengths and len(good) not in lengths:
            wanted = " or ".join(str(length) for length in lengths if length)
            self._wrong(node, where, f"has {len(good)} numbers, but {wanted} were expected")
            return ()
        return tuple(float(cast(float, item.value)) for item in node.items)

    def _wrong(self, node: Node, where: Path_, message: str, hint: str = "", key: bool = False) -> None:
        at = (node.key_at or node.at) if key else node.at
        self.problems.append(Problem(message, path_text(where), at, hint))

    def _stop(self) -> NoReturn:
        raise_if(self.problems)
        raise AssertionError("there is a problem, or nobody would stop")


# ----------------------------------------------------------------------------------------------------------- writing


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 4096  # a camera's rows take one line
    yaml.preserve_quotes = True
    return yaml


def _dump(top: CommentedMap) -> str:
    out = io.StringIO()
    _yaml().dump(top, out)
    return out.getvalue()


def _flow(entries: Mapping[str, Any]) -> CommentedMap:
    made = CommentedMap(entries)
    made.fa.set_flow_style()
    return made


def _seq(values: Sequence[float]) -> CommentedSeq:
    made = CommentedSeq([plain_number(value) for value in values])
    made.fa.set_flow_style()
    return made


def _rows(pose: np.ndarray) -> CommentedSeq:
    made = CommentedSeq([_seq(row) for row in pose.tolist()])
    made.fa.set_flow_style()
    return made


def plain_number(value: float) -> int | float:
    """Convert whole numbers to int, for output without a decimal point."""
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(value)
