"""Puts the cameras' poses into the text of a `rig.yaml`. Every other character of the file stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode
from ruamel.yaml.nodes import Node as YamlNode

from hpf_core.data.cameras import wrong_with_pose
from hpf_core.data.rig_file import RigFile, plain_number
from hpf_core.documents.errors import InvalidRecipe
from hpf_core.documents.yaml import decode
from hpf_core.errors import InputError
from hpf_core.files.cache import write_atomic


def save_poses(content: RigFile, to_rig: np.ndarray) -> Path:
    """Put `to_rig` (V, 4, 4) into the file, and keep the old file beside it.

    Returns:
        The copy of the old file: `rig.yaml.before`, or the first free name of `rig.yaml.before-2`, and so on.

    Raises:
        InputError: as for `with_poses`.
        RunError: the folder can't be written.
    """
    text = with_poses(content, to_rig)
    before = content.path.read_bytes()
    names = (content.path.with_name(f"{content.path.name}.before{end}") for end in ("", *_numbers()))
    kept = next(name for name in names if not name.exists())

    def write_before(file: Path) -> None:
        file.write_bytes(before)

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    write_atomic(kept, write_before)
    write_atomic(content.path, write)
    return kept


def with_poses(content: RigFile, to_rig: np.ndarray) -> str:
    """Replace or add each camera's `to_rig` in the file's text; every other character stays.

    Args:
        content: the result of `read_rig`.
        to_rig: (V, 4, 4) from each camera's frame to the rig's, mm. The first must be the identity.

    Raises:
        InputError: a map isn't rigid, or the file has changed and is unreadable now.
    """
    for name, pose in zip(content.rig.names, to_rig, strict=True):
        if wrong := wrong_with_pose(pose):
            raise InputError(f"to_rig of camera '{name}' {wrong}.")
    text = _text_of(content.path)
    # We edit from the end, so that earlier positions stay valid. Only these numbers change.
    for name, pose in reversed(list(zip(content.rig.names, to_rig, strict=True))):
        camera = _camera_node(text, name)
        if camera is None:
            raise InputError(f"{content.path} changed while it was used: the camera '{name}' is gone.")
        if name != content.rig.names[0] or any(key.value == "to_rig" for key, _ in camera.value):
            text = _with_pose(text, camera, _rows_text(pose))
    return text


def _text_of(path: Path) -> str:
    try:
        return decode(path.read_bytes(), str(path))
    except (OSError, InvalidRecipe) as error:
        raise InputError(f"{path} changed while it was used: {error}.") from error


def _camera_node(text: str, name: str) -> MappingNode | None:
    """A camera's node in the text; None if it is missing."""
    node: Any = YAML(typ="safe", pure=True).compose(text)
    for step in ("cameras", name):
        pairs = node.value if isinstance(node, MappingNode) else []
        node = next((value for key, value in pairs if key.value == step), None)
    return node if isinstance(node, MappingNode) else None


def _with_pose(text: str, camera: MappingNode, rows: str) -> str:
    """Put these rows into the text as `to_rig` of a camera."""
    for key, value in camera.value:
        if key.value == "to_rig":
            return text[: value.start_mark.index] + rows + text[_end(value) :]
    last = _end(camera.value[-1][1])
    if camera.flow_style:
        return f"{text[:last]}, to_rig: {rows}{text[last:]}"
    line_end = text.find("\n", last)
    place = len(text) if line_end < 0 else line_end
    return f"{text[:place]}\n{' ' * camera.value[0][0].start_mark.column}to_rig: {rows}{text[place:]}"


def _end(node: YamlNode) -> int:
    """End of a node's text. A block's end mark lies behind the comments after the block."""
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.index


def _rows_text(pose: np.ndarray) -> str:
    rows = (", ".join(repr(plain_number(value)) for value in row) for row in pose.tolist())
    return "[" + ", ".join(f"[{row}]" for row in rows) + "]"


def _numbers() -> list[str]:
    return [f"-{number}" for number in range(2, 10_000)]
