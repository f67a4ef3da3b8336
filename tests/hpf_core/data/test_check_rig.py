"""What `hpf data check` says of a capture with a rig.yaml: each of the common mistakes by its name, with its mend."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpf_core.data.checks.rig import check_rig_capture
from hpf_core.data.layouts.capture import CaptureLayout, write_gray16
from hpf_core.errors import DataError
from hpf_core.interfaces import HandModel
from hpf_core.simulation.simulate import CaptureConfig, simulate


@pytest.fixture(scope="module")
def made(hand: HandModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checked") / "made"
    simulate(folder, hand, CaptureConfig(train=4, validation=1, test=1, views=2, seed=2), layout="capture")
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "my-capture"))


def edited(root: Path, pattern: str, change: Callable[[re.Match[str]], str] | str) -> None:
    path = root / "rig.yaml"
    text, count = re.subn(pattern, change, path.read_text())
    assert count
    path.write_text(text)


def poses(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    pose = change(CaptureLayout(root).rig.poses[1])
    edited(root, r"to_rig: .*", f"to_rig: {pose.tolist()}")


def images(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    layout = CaptureLayout(root)
    for split in layout.splits():
        for frame in range(layout.frames(split)):
            for view in range(2):
                path = layout.path(split, view, frame)
                assert path is not None
                write_gray16(path, change(layout.read_depth(split, view, frame)))


def said(root: Path) -> dict[str, tuple[str, str]]:
    report = check_rig_capture(CaptureLayout(root))
    found = [*report.findings, *(one for part in report.splits[:1] for one in part.findings)]
    return {one.check: (one.status, one.message) for one in found}


def test_a_whole_capture_is_right(made: Path) -> None:
    report = check_rig_capture(CaptureLayout(made))
    assert {one.status for part in report.splits for one in part.findings} == {"ok"}
    assert report.status == "ok"
    assert {"unit", "views", "half pixel", "labels", "to_rig", "intrinsics"} <= set(said(made))


@pytest.mark.parametrize(("unit", "of"), [(0.001, "the depth's unit is wrong"), (8.0, "SR300")])
def test_a_wrong_unit(root: Path, unit: float, of: str) -> None:
    if unit > 1:
        images(root, lambda depth: depth * np.uint16(8))
    else:
        edited(root, "unit_mm: 1", "unit_mm: 0.001")
    status, message = said(root)["unit"]
    assert status == "failed"
    assert of in message


def test_swapped_bytes(root: Path) -> None:
    images(root, lambda depth: (depth & np.uint16(0xFF)) << np.uint16(8))
    assert said(root)["byte order"][0] == "failed"


def test_to_rig_in_metres(root: Path) -> None:
    poses(root, lambda pose: np.vstack([np.hstack([pose[:3, :3], pose[:3, 3:] / 1000]), pose[3:]]))
    status, message = said(root)["to_rig"]
    assert status == "failed"
    assert "metres" in message


def test_an_inverted_to_rig(root: Path) -> None:
    poses(root, np.linalg.inv)
    status, message = said(root)["direction"]
    assert status == "failed"
    assert "write the inverse" in message


@pytest.mark.parametrize(("change", "wrong"), [(lambda p: p * [-1, 1, 1, 1], "left-handed"), (lambda p: p * 2, "row")])
def test_a_to_rig_that_is_no_rigid_map(root: Path, change: Callable[[np.ndarray], np.ndarray], wrong: str) -> None:
    poses(root, change)
    with pytest.raises(DataError, match=rf"rig\.yaml:\d+:\d+: cameras\.right\.to_rig: .*{wrong}"):
        check_rig_capture(CaptureLayout(root))


@pytest.mark.parametrize("half", [0.5, -0.5])
def test_half_a_pixel(root: Path, half: float) -> None:
    edited(root, r"cx: 320", f"cx: {320 + half}")
    edited(root, r"cy: 240", f"cy: {240 + half}")
    status, message = said(root)["half pixel"]
    assert status == "warning"
    assert float(re.findall(r"moved by (\S+) pixels", message)[0]) == pytest.approx(-half, abs=0.4)


def test_intrinsics_of_another_resolution(root: Path) -> None:
    edited(root, r"fx: 588.03", "fx: 1176.06")
    edited(root, r"cx: 320", "cx: 640")
    assert said(root)["intrinsics"][0] == "failed"


def test_labels_that_are_not_in_millimetres(root: Path) -> None:
    path = root / "train" / "joints.npz"
    with np.load(path) as content:
        arrays = dict(content)
    np.savez(path, xyz=arrays["xyz"] / 1000, names=arrays["names"])
    assert said(root)["labels"][0] == "failed"
    np.savez(path, xyz=np.zeros_like(arrays["xyz"]), names=arrays["names"])
    status, message = said(root)["labels"]
    assert status == "failed"
    assert "0 frames annotated, 4 frames not" in message
    path.unlink()
    assert said(root)["labels"][0] == "ok"
