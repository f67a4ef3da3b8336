"""`contactpose` on a made-up grasp. Its writer follows the toolkit and shares no code with the reader."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contactpose_by_hand import DEGREES, FRAMES, NAMES, place, write_grasp
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.data.layouts.contactpose import ContactPoseLayout
from hpf_core.errors import DataError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    root = tmp_path_factory.mktemp("contactpose") / "full28_use" / "bowl"
    return root, write_grasp(root)


@pytest.fixture
def told(made: tuple[Path, np.ndarray], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The annotations alone, to change them."""
    shutil.copy(made[0] / "annotations.json", tmp_path / "annotations.json")
    return tmp_path, json.loads((tmp_path / "annotations.json").read_text())


def in_camera(view: int, world: np.ndarray) -> np.ndarray:
    pose = place(DEGREES[view])
    return (world - pose[:3, 3]) @ pose[:3, :3]


def test_images_joints_and_poses_agree(made: tuple[Path, np.ndarray]) -> None:
    """A surface lies within a hand's thickness in front of most joints, in every camera, turned images included."""
    root, world = made
    layout = ContactPoseLayout(root)
    assert (layout.frames("train"), layout.frames("test")) == (FRAMES - 1, 1)
    assert (layout.rig.names, layout.rig.hand) == (NAMES, "right")
    labels = layout.annotation("train")
    for view, camera in enumerate(layout.rig.cameras):
        np.testing.assert_allclose(labels.xyz[view], in_camera(view, world[: FRAMES - 1]), atol=1e-6)
        back = labels.xyz[view, 0] @ layout.rig.poses[view, :3, :3].T + layout.rig.poses[view, :3, 3]
        np.testing.assert_allclose(back, labels.xyz[0, 0], atol=1e-6)
        for frame in range(FRAMES - 1):
            u, v, z = camera.project(labels.xyz[view, frame]).T
            image = layout.read_depth("train", view, frame)
            assert image.shape == (540, 960)
            before = z - image[v.round().astype(int), u.round().astype(int)]
            assert np.mean((before > -15) & (before < 60)) > 0.6


def test_a_hand_that_moves_on_the_object(tmp_path: Path) -> None:
    """The made-up hand moves by 1 mm per frame along the object's z, which is 30 degrees from the world's."""
    still = write_grasp(tmp_path, moving=True, images=False)
    xyz = ContactPoseLayout(tmp_path).annotation("train").xyz
    for frame in range(FRAMES - 1):
        moved = still[frame] - frame * np.array([0, -0.5, 0.8660254037844386])
        np.testing.assert_allclose(xyz[2, frame], in_camera(2, moved), atol=1e-6)


def test_what_hpf_cannot_use_is_refused(told: tuple[Path, dict[str, Any]]) -> None:
    root, good = told

    def refused(message: str) -> None:
        (root / "annotations.json").write_text(json.dumps(good))
        with pytest.raises(DataError, match=message):
            ContactPoseLayout(root)

    place_of = good["cameras"]["kinect2_left"]["wTc"]
    place_of["translation"] = [700.0, 0.0, 0.0]
    refused("Metres were expected")
    place_of["translation"] = [0.7, 0.0, 0.0]
    good["cameras"]["kinect2_left"]["K"]["width"] = 1920
    refused("960 x 540 were expected")
    good["cameras"]["kinect2_left"]["K"]["width"] = 960
    good["hands"][0] = good["hands"][1]
    refused("2 valid hands")
    good["hands"][0] = {"valid": False}
    good["cameras"]["kinect2_fourth"] = good["cameras"]["kinect2_left"]
    refused("kinect2_fourth")
    del good["frames"][0]["oTw"]
    refused("oTw")


def test_a_left_hand(told: tuple[Path, dict[str, Any]]) -> None:
    root, good = told
    good["hands"].reverse()
    (root / "annotations.json").write_text(json.dumps(good))
    assert ContactPoseLayout(root).rig.hand == "left"


def test_prepare_check_and_a_fit(
    made: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    root = str(made[0])
    words = ["data", "prepare", "contactpose", root, "--out", str(tmp_path), "--centre", "annotated", "--jobs", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["data", "check", root, "--json"])
    assert done.exit_code == 0, done.output
    found = {one["check"]: one["status"] for one in json.loads(done.stdout)["checks"] if one["split"] == "train"}
    assert found["images"] == found["labels"] == "ok"
    recipe = Path(__file__).resolve().parents[3] / "recipes" / "mvhand.yaml"
    changes = {
        "init": "null",
        "backbone": "{use: hourglass, width: 8, stem: 8, depth: 1}",
        "data.real.use": "contactpose",
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
