"""MSRA15's joint.txt: what is read, in which order, and what is refused with which line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpf_core.errors import DataError
from hpf_core.evaluation.joint_txt import read_joint_txt, read_labels
from hpf_core.evaluation.labels import write_uvd
from hpf_core.evaluation.protocols import MSRA, NYU


def _write(path: Path, depth: float, frames: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    line = " ".join(f"{joint} {joint + 0.5} {-depth}" for joint in range(21))
    path.write_text(f"{frames}\n" + f"{line}\n" * frames)
    return path


def test_axes_are_those_of_the_camera(tmp_path: Path) -> None:
    xyz = read_joint_txt(_write(tmp_path / "joint.txt", 300), MSRA)
    assert xyz.shape == (2, 21, 3)
    np.testing.assert_array_equal(xyz[0, 3], [3.0, -3.5, 300.0])
    # A joint above the middle (+y in their files) is in the image's upper half.
    assert MSRA.to_uvd(xyz)[0, 3, 1] < 120


def test_order_is_by_subject_gesture_and_number(tmp_path: Path) -> None:
    gestures = ["1", "2", "9", "I", "IP", "L", "MP", "RP", "T", "TIP", "Y"]
    wanted = [(subject, gesture) for subject in ("P0", "P2", "P10") for gesture in gestures]
    for number, (subject, gesture) in reversed(list(enumerate(wanted))):
        _write(tmp_path / subject / gesture / "joint.txt", 200 + number, frames=1 + number % 3)
    labels = read_labels(tmp_path, MSRA)
    depths = [200.0 + number for number in range(len(wanted)) for _ in range(1 + number % 3)]
    assert labels.xyz[:, 0, 2].tolist() == depths
    assert labels.subject_names == {0: "P0", 1: "P2", 2: "P10"}
    assert labels.subject is not None
    assert np.all(np.diff(labels.subject) >= 0)


def test_one_subjects_folder_and_one_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "P3" / "TIP" / "joint.txt", 250)
    assert read_labels(tmp_path / "P3", MSRA).subject_names == {0: "P3"}
    assert read_labels(path, MSRA).xyz.shape == (2, 21, 3)


def test_text_of_uvd_is_read_as_ever(tmp_path: Path) -> None:
    uvd = np.random.default_rng(0).uniform(1, 200, (4, 14, 3)).round(3)
    write_uvd(tmp_path / "labels.txt", uvd, NYU)
    np.testing.assert_allclose(read_labels(tmp_path / "labels.txt", NYU).xyz, NYU.to_xyz(uvd))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: ["two", *lines[1:]], "joint.txt:1: expected the number of frames, got 'two'"),
        (lambda lines: ["3", *lines[1:]], "joint.txt:1: 3 frames are announced, but 2 lines follow"),
        (lambda lines: [*lines[:2], lines[2] + " 1"], "joint.txt:3: 64 columns, expected 63"),
        (lambda lines: [*lines[:2], "x" + lines[2]], "joint.txt:3: it contains something that isn't a number"),
        (lambda lines: [*lines[:2], lines[2].replace("-300", "300")], "joint.txt:3: .* not in front of the camera"),
        (lambda lines: [*lines[:2], lines[2].replace("-300", "nan", 1)], "joint.txt:3: a joint isn't finite"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change, message: str) -> None:
    path = _write(tmp_path / "joint.txt", 300)
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(DataError, match=message):
        read_joint_txt(path, MSRA)


def test_a_folder_without_labels_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"without any joint\.txt"):
        read_labels(tmp_path, MSRA)
