"""Labels of captures on the page of `hpf view`: where they lie, and the errors of the hands beside them."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.bench.scenes import raw_frame
from hpf_core.data.cameras import Rig
from hpf_core.data.layouts import nyu
from hpf_core.data.layouts.base import Annotation
from hpf_core.data.layouts.capture import write_labels
from hpf_core.data.rig_file import RigFile, write_rig
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.predictor import HandPredictor


@pytest.fixture(scope="module")
def predictor() -> HandPredictor:
    return HandPredictor(load_network())


@pytest.fixture(scope="module")
def depth(predictor, tmp_path_factory) -> np.ndarray:
    seen = nyu.read_depth(raw_frame(predictor.network.hand, tmp_path_factory.mktemp("frame")).path)
    return np.where(nyu.returned(seen), seen, 0).astype(np.uint16)


@pytest.fixture(scope="module")
def hand(predictor, depth):
    (found,) = predictor(depth, nyu.CAMERA)
    return found


def view(place, out, *more: str):
    result = CliRunner().invoke(app, ["view", str(place), "--no-track", "--out", str(out), *more])
    assert result.exit_code == 0, result.output
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', out.read_text(), re.S)
    return json.loads(found.replace("<\\/", "</"))


def test_a_capture_in_nyus_layout(hand, depth, tmp_path):
    """The label is the estimate, moved by 30 mm; the second frame isn't annotated, the third one has no hand."""
    split = tmp_path / "capture" / "test"
    split.mkdir(parents=True)
    for number, image in enumerate((depth, depth, np.full_like(depth, 900))):
        nyu.write_depth(nyu.image_path(split, 0, number), image)
    truth = np.tile(hand.as_("nyu36") + np.array([0, 30.0, 0]), (1, 3, 1, 1))
    truth[0, 1] = -1
    nyu.write_annotation(split, Annotation(truth, nyu.JOINTS))
    data = view(tmp_path / "capture", tmp_path / "a.html")
    first, second, third = data["frames"]
    assert data["joints"] == list(nyu.JOINTS)
    assert np.allclose(first["joint_errors"], 30, atol=0.05)
    assert first["error_mm"] == pytest.approx(30, abs=0.05)
    assert np.allclose(first["truth"], truth[0, 0], atol=0.06)
    assert np.allclose(first["views"][0]["truth"], nyu.CAMERA.project(truth[0, 0])[:, :2], atol=0.06)
    assert "truth" not in second
    assert (third["hands"], "error_mm" in third) == ([], False)
    assert np.allclose(third["truth"], truth[0, 2], atol=0.06)


def test_a_capture_with_a_rig_and_21_joints(hand, depth, tmp_path):
    root = tmp_path / "capture"
    (root / "test" / "middle").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(depth).save(root / "test" / "middle" / f"{number:06d}.png")
    write_rig(RigFile(root / "rig.yaml", Rig((nyu.CAMERA,), None, names=("middle",))))
    assert view(root, tmp_path / "plain.html", "--every", "2")["joints"] == []
    joints = hand.as_("mano21")
    write_labels(
        root / "test", np.stack([joints, joints + 5, joints + np.array([0, 0, 12])]), hand.joint_names("mano21")
    )
    data = view(root, tmp_path / "b.html", "--every", "2")
    assert data["joints"] == list(hand.joint_names("mano21"))
    assert [frame["error_mm"] for frame in data["frames"]] == pytest.approx([0, 12], abs=0.05)
    # A second camera, 40 mm to the right of the first: both views show the labels. Its third image is missing.
    pose = np.eye(4)
    pose[:3, 3] = [40.0, 0, 0]
    shutil.copytree(root / "test" / "middle", root / "test" / "right")
    (root / "test" / "right" / "000002.png").unlink()
    rig = Rig((nyu.CAMERA, nyu.CAMERA), np.stack([np.eye(4), pose]), names=("middle", "right"))
    write_rig(RigFile(root / "rig.yaml", rig))
    first, _, third = view(root, tmp_path / "e.html", "--all-views")["frames"]
    for shown, place in zip(first["views"], (joints, joints - pose[:3, 3]), strict=True):
        assert np.allclose(shown["truth"], nyu.CAMERA.project(place)[:, :2], atol=0.06)
    assert "truth" not in third
    # Joints that the hand model doesn't have can't be compared.
    write_labels(root / "test", np.zeros((3, 2, 3)) + 400, ("left_ear", "right_ear"))
    assert view(root, tmp_path / "c.html")["joints"] == []
    (root / "test" / "joints.npz").write_bytes(b"nothing")
    result = CliRunner().invoke(app, ["view", str(root), "--out", str(tmp_path / "d.html")])
    assert result.exit_code == 2
    assert "can't be read as an archive" in " ".join(result.output.split())
    assert not (tmp_path / "d.html").exists()
