"""`dexycb` on a made-up sequence. Its writer follows the toolkit's loaders and shares no code with the reader."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dexycb_by_hand import FRAMES, MASTER, SERIALS, poses, write_calibration, write_labels, write_sequence
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.data.layouts.dexycb import DexycbLayout
from hpf_core.errors import DataError, InputError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    root = tmp_path_factory.mktemp("dexycb") / "20200709-subject-01" / "20200709_141754"
    return root, write_sequence(root)


@pytest.fixture
def copy(made: tuple[Path, np.ndarray], tmp_path: Path) -> Path:
    root = made[0]
    shutil.copytree(root.parents[1], tmp_path / "dexycb")
    return tmp_path / "dexycb" / root.parent.name / root.name


def test_images_joints_and_poses_agree(made: tuple[Path, np.ndarray]) -> None:
    """A surface lies within a hand's thickness in front of most joints, in every camera."""
    root, joints = made
    layout = DexycbLayout(root)
    assert (layout.frames("train"), layout.frames("test")) == (FRAMES - 1, 1)
    assert layout.rig.hand == "right"
    labels = layout.annotation("train")
    assert labels is not None
    np.testing.assert_allclose(labels.xyz[MASTER], joints[: FRAMES - 1], atol=1e-3)
    for view, camera in enumerate(layout.rig.cameras):
        for frame in range(FRAMES - 1):
            u, v, z = camera.project(labels.xyz[view, frame]).T
            seen = layout.read_depth("train", view, frame)[v.round().astype(int), u.round().astype(int)]
            before = z - seen
            assert np.mean((seen > 0) & (before > -15) & (before < 60)) > 0.6
    in_first = labels.xyz[2, 0] @ layout.rig.poses[2, :3, :3].T + layout.rig.poses[2, :3, 3]
    np.testing.assert_allclose(in_first, labels.xyz[0, 0], atol=1e-3)


def test_frames_without_labels(copy: Path) -> None:
    write_labels(copy, 0, 0, np.full((1, 21, 3), -1.0))
    (copy / SERIALS[1] / "labels_000001.npz").unlink()
    labels = DexycbLayout(copy).annotation("train")
    assert labels is not None
    assert np.argwhere(labels.blanks).tolist() == [[0, 0], [1, 1]]


def test_wrong_units_and_poses_are_refused(copy: Path) -> None:
    write_labels(copy, 0, 0, np.full((1, 21, 3), 700.0))
    with pytest.raises(DataError, match="Metres were expected"):
        DexycbLayout(copy).annotation("train")
    write_calibration(copy.parents[1] / "calibration", poses(), unit=1.0)
    with pytest.raises(DataError, match="Metres were expected"):
        DexycbLayout(copy)
    write_calibration(copy.parents[1] / "calibration", poses() @ np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(InputError, match="left-handed"):
        DexycbLayout(copy)


def test_labels_that_ask_for_code_are_refused(copy: Path) -> None:
    np.savez(copy / SERIALS[0] / "labels_000000.npz", joint_3d=np.array([print], dtype=object))
    with pytest.raises(DataError, match="labels_000000"):
        DexycbLayout(copy).annotation("train")


def test_a_left_hand(copy: Path) -> None:
    meta = copy / "meta.yml"
    meta.write_text(meta.read_text().replace("- right", "- left"))
    assert DexycbLayout(copy).rig.hand == "left"


def test_prepare_and_check(made: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    root = str(made[0])
    words = ["data", "prepare", "dexycb", root, "--out", str(tmp_path), "--centre", "annotated", "--jobs", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "forbids commercial use" in done.output
    assert "recipes/mvhand.yaml --set data.real.use=dexycb" in " ".join(done.output.split())
    done = CliRunner().invoke(app, ["data", "check", root, "--json"])
    assert done.exit_code == 0, done.output
    found = {one["check"]: one["status"] for one in json.loads(done.stdout)["checks"] if one["split"] == "train"}
    assert found["images"] == found["labels"] == "ok"


def test_a_fit(made: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    recipe = Path(__file__).resolve().parents[3] / "recipes" / "mvhand.yaml"
    changes = {
        "data.real.use": "dexycb",
        "data.real.root": str(made[0]),
        "stages.fit.steps": 3,
        "stages.fit.draw.real": 1,
        "stages.fit.draw.synthetic": 1,
        "terms.vae": "off",
    }
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(app, ["run", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu", *words])
    assert done.exit_code == 0, done.output
    before = json.loads((tmp_path / "run" / "summary.json").read_text())["evaluation"][0]
    assert (before["joints"], before["after"]) == (21, "init")
    assert before["mean_error_mm"] < 20
