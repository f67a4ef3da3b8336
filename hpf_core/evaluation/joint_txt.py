"""MSRA15's own labels: `joint.txt` in a folder for each of 9 subjects and 17 gestures (Sun et al., CVPR 2015, readme).

The first line is the number of frames. Each other line holds x y z in mm of 21 joints, +y up and z negative in front of
the camera. The order of frames is subject (P0 to P8), gesture (1 to 9, then I, IP, L, MP, RP, T, TIP, Y) and number.
The community's prediction files use this order. The folders name the subjects, so HPF can report each subject.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpf_core.errors import DataError
from hpf_core.evaluation.labels import read_uvd, text_lines
from hpf_core.evaluation.plausible import check_uvd, check_xyz
from hpf_core.evaluation.protocols import TextProtocol

_NAME = "joint.txt"


@dataclass(frozen=True)
class LabelSet:
    """A loaded annotation.

    Attributes:
        xyz: (F, K, 3) float64 mm in the camera's frame (x right, y down, z away); NaN for frames without labels.
        subject: (F,) int64, or None if the subjects are unknown.
        subject_names: name of each number in `subject`.
    """

    xyz: np.ndarray
    subject: np.ndarray | None
    subject_names: dict[int, str]


def read_labels(path: Path, protocol: TextProtocol) -> LabelSet:
    """Read the annotation of a text file of u v d, a `joint.txt`, or a folder of them (a subject's or the dataset's).

    Raises:
        DataError: no annotation exists, or it is damaged (the message names the line), or its joints can't be hands
            (see `plausible`).
    """
    if path.is_dir():
        found = _folder(path, protocol)
        check_xyz(path, found.xyz)
        return found
    if path.name == _NAME and path.is_file() and len(text_lines(path)[0].split()) == 1:
        xyz = read_joint_txt(path, protocol)
        check_xyz(path, xyz)
        return LabelSet(xyz, None, {})
    uvd = read_uvd(path, protocol, unlabelled=True)
    labelled = uvd[np.isfinite(uvd).all(axis=(1, 2))]
    if protocol.xyz:
        check_xyz(path, labelled)
    else:
        check_uvd(path, labelled, protocol)
    return LabelSet(protocol.to_xyz(uvd), protocol.subject_of(len(uvd)), protocol.subject_names)


def read_joint_txt(path: Path, protocol: TextProtocol) -> np.ndarray:
    """Read one `joint.txt`: (F, K, 3) float64 mm in the camera's frame (x right, y down, z away).

    Raises:
        DataError: the file is missing or damaged; the message names the line.
    """
    first, *lines = text_lines(path)
    try:
        frames = int(first)
    except ValueError:
        raise DataError(f"{path}:1: expected the number of frames, got {first[:60]!r}.") from None
    if frames != len(lines):
        raise DataError(f"{path}:1: {frames:,} frames are announced, but {len(lines):,} lines follow.")
    rows = []
    for number, line in enumerate(lines, start=2):
        tokens = line.split()
        if len(tokens) != protocol.columns:
            raise DataError(
                f"{path}:{number}: {len(tokens)} columns, expected {protocol.columns} (x y z of "
                f"{len(protocol.joints)} joints, protocol {protocol.name})."
            )
        try:
            rows.append([float(token) for token in tokens])
        except ValueError:
            raise DataError(f"{path}:{number}: it contains something that isn't a number.") from None
    xyz = np.array(rows).reshape(frames, len(protocol.joints), 3) * np.array([1.0, -1.0, -1.0])
    bad = ~(np.isfinite(xyz).all(axis=-1) & (xyz[..., 2] > 0)).all(axis=-1)
    if bad.any():
        raise DataError(
            f"{path}:{int(bad.argmax()) + 2}: a joint isn't finite, or not in front of the camera (z below 0)."
        )
    return xyz


def _folder(root: Path, protocol: TextProtocol) -> LabelSet:
    """Read all files below a folder, in the order of subjects and gestures."""
    files = sorted(root.rglob(_NAME), key=lambda path: _natural(path.relative_to(root).parts))
    if not files:
        raise DataError(f"{root} is a folder without any {_NAME}; expected a subject's folder or the dataset's.")
    names = [_subject(path) for path in files]
    order = sorted(set(names), key=lambda name: _natural([name]))
    read = [read_joint_txt(path, protocol) for path in files]
    numbers = [np.full(len(xyz), order.index(name)) for name, xyz in zip(names, read, strict=True)]
    return LabelSet(np.concatenate(read), np.concatenate(numbers), dict(enumerate(order)))


def _subject(path: Path) -> str:
    """The subject of SUBJECT/GESTURE/joint.txt, also if the user gave only SUBJECT/."""
    parents = path.resolve().parents
    return next((p.name for p in parents if re.fullmatch(r"P[0-9]+", p.name)), parents[1].name)


def _natural(parts: Sequence[str]) -> list[tuple[tuple[int, str], ...]]:
    """A sort key that orders P2 before P10 and 9 before I."""
    return [
        tuple((int(run), "") if run.isdigit() else (10**9, run) for run in re.findall(r"[0-9]+|[^0-9]+", part))
        for part in parts
    ]
