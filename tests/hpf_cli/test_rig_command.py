"""`hpf rig calibrate`, from a simulated capture to the poses in rig.yaml, without a label."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hpf_cli.main import app
from hpf_core.data.hand_calibration.points import angle_deg
from hpf_core.data.layouts.base import Mirrored
from hpf_core.data.layouts.capture import CaptureLayout, write_gray16
from hpf_core.data.rig_file import read_rig
from hpf_core.inference.rig_calibration import calibrate_rig, stretches

COMMENT = "# a comment of the user"


def hpf(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rig") / "capture"
    words = ("--layout", "capture", "--frames", 30, "--validation", 1, "--test", 1, "--views", 2)
    result = hpf("data", "simulate", folder, *words)
    assert result.exit_code == 0, result.output
    for labels in folder.glob("*/joints.npz"):
        labels.unlink()
    return folder


def test_the_poses_are_found_without_labels_and_written(capture: Path) -> None:
    truth = read_rig(capture).rig.poses
    path = capture / "rig.yaml"
    with_poses = path.read_text()
    path.write_text("".join(line for line in with_poses.splitlines(True) if "to_rig: [[" not in line) + COMMENT)
    unknown = path.read_text()
    assert read_rig(capture).rig.to_rig is None
    refused = hpf("run", "recipes/capture.yaml", "--set", f"data.real.root={capture}", "--set",
                  "data.real.calibration=file", "--dry-run")  # fmt: skip
    assert refused.exit_code == 2
    assert "hpf rig calibrate" in refused.output
    prepared = hpf("data", "prepare", "capture", capture, "--out", capture.parent / "cache", "--jobs", 1, "--json")
    assert prepared.exit_code == 0, prepared.output
    splits = list(json.loads(prepared.stdout)["splits"].values())
    assert {split["calibration"] for split in splits} == {"hand"}
    of_prepare = np.array(splits[0]["views"][1]["to_rig"])
    assert all(split["views"][1]["to_rig"] == of_prepare.tolist() for split in splits), "one rig, one calibration"
    gap = of_prepare @ np.linalg.inv(truth[1])
    assert angle_deg(gap[:3, :3]) < 0.3

    dry = hpf("rig", "calibrate", capture, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert path.read_text() == unknown

    result = hpf("rig", "calibrate", capture, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    found = read_rig(capture).rig.poses
    gap = found[1] @ np.linalg.inv(truth[1])
    at = np.array([0, 0, 850, 1.0])
    assert angle_deg(gap[:3, :3]) < 0.3
    assert np.linalg.norm((gap @ at - at)[:3]) < 3
    assert np.allclose(said["cameras"][1]["to_rig"], found[1])
    assert said["written"]
    assert [camera["agrees"] for camera in said["cameras"]] == [True, True]
    assert said["cameras"][1]["lag_frames"] in (0.0, None)
    assert COMMENT in path.read_text()
    assert (capture / "rig.yaml.before").read_text() == unknown


def test_the_mirrored_capture_of_a_left_hand_gives_the_mirrored_poses(capture: Path) -> None:
    right = CaptureLayout(capture)
    left = Mirrored(right)
    assert (right.rig.hand, left.rig.hand) == ("right", "left")
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    mine, its = (calibrate_rig(layout, (0, 1), frames=15) for layout in (right, left))
    assert np.linalg.norm(mine.to_rig[1, :3, 3]) > 100
    assert np.array_equal(its.to_rig, flip @ mine.to_rig @ flip + 0.0)  # to the last digit
    assert np.array_equal(its.views[1].shift_mm, its.to_rig[1, :3, 3])


def test_wrong_input_is_a_message(capture: Path, tmp_path: Path) -> None:
    refused = hpf("rig", "calibrate", tmp_path)
    assert (refused.exit_code, "rig.yaml is missing" in refused.output) == (2, True)
    refused = hpf("rig", "calibrate", capture, "--split", "trian")
    assert refused.exit_code == 2
    assert "the capture has train" in refused.output
    path = tmp_path / "rig.yaml"
    path.write_text("format: hpf-capture/1\ncameras:\n  one: {size: [64, 48], fx: 60, fy: 60, cx: 32, cy: 24}\n")
    (tmp_path / "train" / "one").mkdir(parents=True)
    write_gray16(tmp_path / "train" / "one" / "000000.png", np.full((48, 64), 700, np.uint16))
    refused = hpf("rig", "calibrate", tmp_path)
    assert refused.exit_code == 2
    assert "one camera, 'one'" in " ".join(refused.output.split())


def test_frames_are_taken_in_stretches() -> None:
    assert stretches(20, 300).tolist() == list(range(20))
    taken = stretches(10_000, 300)
    assert len(taken) == 300
    assert (np.diff(taken) == 1).mean() > 0.9  # lags need neighbours
    assert taken[-1] == 9_999
