"""`hocap` on a made-up sequence. Its writer follows the toolkit and shares no code with the reader."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dexycb_by_hand import FRAMES, MASTER, SERIALS, poses
from hocap_by_hand import write_extrinsics, write_label, write_sequence
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.data.layouts.hocap import HocapLayout
from hpf_core.errors import DataError, InputError

NOBODY = np.full((2, 21, 3), -1.0, dtype=np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    root = tmp_path_factory.mktemp("hocap") / "subject_1" / "20231025_165502"
    return root, write_sequence(root)


@pytest.fixture
def copy(made: tuple[Path, np.ndarray], tmp_path: Path) -> Path:
    root = made[0]
    shutil.copytree(root.parents[1], tmp_path / "hocap")
    return tmp_path / "hocap" / root.parent.name / root.name


def test_images_joints_and_poses_agree(made: tuple[Path, np.ndarray]) -> None:
    """A surface lies within a hand's thickness in front of most joints, in every camera."""
    root, joints = made
    layout = HocapLayout(root)
    assert (layout.frames("train"), layout.frames("test")) == (FRAMES - 1, 1)
    assert (layout.rig.names, layout.rig.hand) == (SERIALS, "right")
    labels = layout.annotation("train")
    assert labels is not None
    np.testing.assert_allclose(labels.xyz[MASTER], joints[: FRAMES - 1], atol=1e-3)
    for view, camera in enumerate(layout.rig.cameras):
        u, v, z = camera.project(labels.xyz[view, 0]).T
        before = z - layout.read_depth("train", view, 0)[v.round().astype(int), u.round().astype(int)]
        assert np.mean((before > -15) & (before < 60)) > 0.6
        back = labels.xyz[view, 0] @ layout.rig.poses[view, :3, :3].T + layout.rig.poses[view, :3, 3]
        np.testing.assert_allclose(back, labels.xyz[0, 0], atol=1e-3)


def test_the_hand_is_found_in_either_slot(copy: Path) -> None:
    before = HocapLayout(copy).annotation("train")
    for file in copy.glob("*/label_*.npz"):
        with np.load(file) as stored:
            write_label(copy, file.parent.name, int(file.stem[-6:]), stored["hand_joints_3d"][::-1])
    after = HocapLayout(copy).annotation("train")
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after.xyz, before.xyz)


def test_frames_without_labels(copy: Path) -> None:
    write_label(copy, SERIALS[0], 0, NOBODY)
    (copy / SERIALS[1] / "label_000001.npz").unlink()
    labels = HocapLayout(copy).annotation("train")
    assert labels is not None
    assert np.argwhere(labels.blanks).tolist() == [[0, 0], [1, 1]]


def test_wrong_labels_are_refused(copy: Path) -> None:
    two = np.random.default_rng(0).uniform(0.4, 0.5, (2, 21, 3))
    write_label(copy, SERIALS[0], 0, two)
    with pytest.raises(DataError, match="two hands"):
        HocapLayout(copy).annotation("train")
    two[1] = -1
    write_label(copy, SERIALS[0], 0, np.where(two == -1, -1, two * 1000))
    with pytest.raises(DataError, match="Metres were expected"):
        HocapLayout(copy).annotation("train")
    write_label(copy, SERIALS[0], 0, np.array([print], dtype=object))
    with pytest.raises(DataError, match="label_000000"):
        HocapLayout(copy).annotation("train")


def test_wrong_poses_and_two_hands_are_refused(copy: Path) -> None:
    write_extrinsics(copy, poses(), unit=1.0)
    with pytest.raises(DataError, match="Metres were expected"):
        HocapLayout(copy)
    write_extrinsics(copy, poses() @ np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(InputError, match="left-handed"):
        HocapLayout(copy)
    write_extrinsics(copy, poses())
    meta = copy / "meta.yaml"
    meta.write_text(meta.read_text().replace("[right]", "[left]"))
    assert HocapLayout(copy).rig.hand == "left"
    meta.write_text(meta.read_text().replace("[left]", "[right, left]"))
    with pytest.raises(DataError, match="fits one hand"):
        HocapLayout(copy)


def test_prepare_check_and_a_fit(
    made: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    root = str(made[0])
    words = ["data", "prepare", "hocap", root, "--out", str(tmp_path), "--centre", "annotated", "--jobs", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "licence isn't known" in " ".join(done.output.split())
    done = CliRunner().invoke(app, ["data", "check", root, "--json"])
    assert done.exit_code == 0, done.output
    found = {one["check"]: one["status"] for one in json.loads(done.stdout)["checks"] if one["split"] == "train"}
    assert found["images"] == found["labels"] == "ok"
    recipe = Path(__file__).resolve().parents[3] / "recipes" / "mvhand.yaml"
    changes = {
        "init": "null",
        "backbone": "{use: hourglass, width: 8, stem: 8, depth: 1}",
        "data.real.use": "hocap",
        "data.real.root": root,
        "data.real.centre": "annotated",
        "stages.fit.steps": 3,
        "stages.fit.draw.real": 1,
        "stages.fit.draw.synthetic": 1,
        "terms.vae": "off",
    }
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(app, ["run", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu", *words])
    assert done.exit_code == 0, done.output
    after = json.loads((tmp_path / "run" / "summary.json").read_text())["evaluation"][-1]
    assert (after["joints"], after["after"]) == (21, "fit")
