"""From depth images to hands: simulated and real ones, their mirror images, and images that hold none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from hpf_core.bench.scenes import raw_frame
from hpf_core.data.cameras import Camera, Rig
from hpf_core.data.layouts import nyu
from hpf_core.errors import InputError
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.search import Place

REAL = Path(__file__).parents[4] / "shared" / "data" / "real"
ACROSS = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def network():
    return load_network("shipped")


@pytest.fixture(scope="module")
def predictor(network) -> HandPredictor:
    return HandPredictor(network)


@pytest.fixture(scope="module")
def frame(network, tmp_path_factory):
    """A simulated depth image (480, 640) mm, its camera and the palm's centre (3,) mm."""
    made = raw_frame(network.hand, tmp_path_factory.mktemp("frame"))
    depth = nyu.read_depth(made.path)
    return np.where(nyu.returned(depth), depth, 0).astype(np.uint16), nyu.CAMERA, made.centre


def test_a_simulated_hand_is_found_with_its_side(predictor, frame):
    depth, camera, centre = frame
    (hand,) = predictor(depth, camera)
    assert hand.side == "right"
    assert np.linalg.norm(hand.centre - centre) < 25
    assert hand.points.shape == (41, 3)
    assert hand.pixels.shape == (41, 2)
    assert hand.spread_mm.shape == (41,)
    assert np.allclose(hand.pixels, camera.project(hand.points)[:, :2])
    assert np.array_equal(hand.joints["PALM_3"], hand.centre)
    assert hand.iou > 0.6
    assert hand.fit_mm < 15
    assert hand.confidence > 0.8
    # The crop lies around the palm.
    assert np.linalg.norm(hand.crop.to_camera[:3, 3] - centre) < 60


def test_the_mirror_image_holds_the_left_hand(predictor, frame):
    depth, camera, _ = frame
    (right,) = predictor(depth, camera)
    (left,) = predictor(np.ascontiguousarray(depth[:, ::-1]), camera.mirrored())
    assert left.side == "left"
    assert np.linalg.norm(left.points * ACROSS - right.points, axis=1).mean() < 8


def test_a_hand_whose_arm_comes_from_above_is_found(predictor, frame):
    depth, camera, centre = frame
    turned = Camera(640, 480, fx=camera.fx, fy=camera.fy, cx=639 - camera.cx, cy=479 - camera.cy)
    (hand,) = predictor(np.ascontiguousarray(depth[::-1, ::-1]), turned)
    assert hand.side == "right"
    assert np.linalg.norm(hand.centre - centre * [-1, -1, 1]) < 25


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32, np.float64])
def test_any_type_of_numbers_gives_the_same(predictor, frame, kind):
    depth, camera, _ = frame
    values = depth.astype(kind)
    if values.dtype.kind == "f":
        values[values == 0] = np.nan
    (plain,), (typed,) = predictor(depth, camera), predictor(values, camera)
    assert np.allclose(plain.points, typed.points, atol=0.5)


def test_a_batch_gives_what_single_calls_give(predictor, frame):
    depth, camera, _ = frame
    other = np.ascontiguousarray(depth[:, ::-1])
    empty = np.full_like(depth, 900)
    found = predictor.batch([depth, empty, other], [camera, camera, camera.mirrored()])
    assert [[hand.side for hand in hands] for hands in found] == [["right"], [], ["left"]]
    assert np.allclose(found[0][0].points, predictor(depth, camera)[0].points, atol=0.05)
    with pytest.raises(InputError, match="2 depth images, but 1 cameras"):
        predictor.batch([depth, depth], [camera])


def test_nothing_is_found_where_there_is_no_hand(predictor):
    camera = nyu.CAMERA
    assert predictor(np.zeros((480, 640), np.uint16), camera) == []
    assert predictor(np.full((480, 640), 800, np.uint16), camera) == []
    ball = _ball(camera, np.array([0.0, 0.0, 700.0]), 90.0)
    assert predictor(ball, camera) == []


def _ball(camera: Camera, centre: np.ndarray, radius: float) -> np.ndarray:
    """(H, W) mm of a ball."""
    x, y = camera.rays()
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    half, square = rays @ centre, (rays**2).sum(-1)
    inside = half**2 - square * (centre @ centre - radius**2)
    return np.where(inside > 0, (half - np.sqrt(np.maximum(inside, 0))) / square, 0).astype(np.float32)


def test_a_start_and_a_side_are_taken_up(network, predictor, frame):
    depth, camera, centre = frame
    (hand,) = predictor(depth, camera, starts=[Place(centre + 15)], only="right")
    assert np.linalg.norm(hand.centre - centre) < 25
    right, left = (HandPredictor(network, side) for side in ("right", "left"))
    assert right(depth, camera)[0].side == "right"
    assert all(hand.side == "left" for hand in left(depth, camera))


def test_two_hands_are_both_found(network, frame):
    depth, camera, centre = frame
    both = HandPredictor(network, "both")
    # A second hand beside the first: its mirror image, 40 mm nearer, in the free half of the image.
    half = np.zeros_like(depth)
    shown = np.where((depth > centre[2] - 150) & (depth < centre[2] + 120), depth, 0)[:, 160:480]
    half[:, :320], half[:, 320:] = shown, shown[:, ::-1]
    hands = both(half, camera)
    assert sorted(hand.side for hand in hands) == ["left", "right"]


def test_joints_of_an_annotation(predictor, frame):
    depth, camera, _ = frame
    (hand,) = predictor(depth, camera)
    joints = hand.as_("nyu14")
    assert joints.shape == (14, 3)
    assert hand.joint_names("nyu14")[0] == "F1_KNU3_A"
    assert np.allclose(joints[0], hand.joints["F1_KNU3_A"])
    with pytest.raises(InputError, match=r"no joints 'nyu41'.*nyu14"):
        hand.as_("nyu41")
    document = json.loads(json.dumps(hand.document("nyu14")))
    assert list(document["joints"]) == list(hand.joint_names("nyu14"))
    assert document["side"] == "right"


def test_the_21_joints_of_other_tools(predictor, frame):
    """`mano21`: the wrist, then thumb to little finger, each from its base to its tip."""
    depth, camera, _ = frame
    (hand,) = predictor(depth, camera)
    joints, names = hand.as_("mano21"), hand.joint_names("mano21")
    assert joints.shape == (21, 3)
    assert names[:5] == ("wrist", "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip")
    assert np.allclose(joints[0], (hand.joints["PALM_1"] + hand.joints["PALM_2"]) / 2)
    tips = ("TH_KNU3_A", "F4_KNU3_A", "F3_KNU3_A", "F2_KNU3_A", "F1_KNU3_A")
    assert np.allclose(joints[[4, 8, 12, 16, 20]], [hand.joints[tip] for tip in tips])
    # Each finger's bones get shorter towards the tip, except for the thumb's first two.
    bones = np.linalg.norm(np.diff(joints[1:].reshape(5, 4, 3), axis=1), axis=-1)
    assert (bones[1:, 0] > bones[1:, 1]).all()
    document = json.loads(json.dumps(hand.document("mano21", camera)))
    assert list(document["joints"]) == list(names)
    assert np.allclose(document["pixels"], camera.project(joints)[:, :2], atol=1e-3)
    spread = np.array(document["spread_mm"])
    assert spread.shape == (21,)
    wrist = [hand.names.index(name) for name in ("PALM_1", "PALM_2")]
    assert spread[0] == pytest.approx(hand.spread_mm[wrist].mean(), abs=1e-3)
    assert hand.document("mano21")["pixels"] == []  # unknown without the camera


def test_views_of_a_rig_vote(predictor, frame):
    depth, camera, centre = frame
    pose = np.eye(4)
    pose[:3, 3] = [30.0, 0.0, 0.0]
    rig = Rig((camera, camera), np.stack([np.eye(4), pose]))
    # The second camera sees the same image, so its hand stands 30 mm aside; two views give the mean.
    (hand,) = predictor([depth, depth], rig)
    (alone,) = predictor(depth, camera)
    assert np.allclose(hand.points, alone.points + np.array([15.0, 0, 0]), atol=0.05)
    assert np.linalg.norm(hand.centre - centre - np.array([15.0, 0, 0])) < 25
    assert np.allclose(hand.pixels_of("nyu36", rig)[0], hand.pixels[hand.names.index(hand.joint_names("nyu36")[0])])
    with pytest.raises(InputError, match="2 cameras, but 1 depth images"):
        predictor([depth], rig)


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.full((480, 640), 0.7), "looks like metres"),
        (np.full((480, 640), 30_000, np.int32), "units of 0.1 mm"),
        (np.full((480, 640), 45, np.uint16), "centimetres"),
        (np.zeros((480, 640, 3), np.uint8), "colour image"),
        (np.zeros((240, 320), np.uint16), "320 x 240 pixels, but its camera is 640 x 480"),
        (np.zeros((480, 640), bool), "bool"),
    ],
)
def test_what_is_no_depth_image_in_mm_is_refused(predictor, depth, message):
    with pytest.raises(InputError, match=message):
        predictor(depth, nyu.CAMERA)


def test_unknown_sides_and_weights_are_refused(network, tmp_path):
    with pytest.raises(InputError, match="Did you mean 'right'"):
        HandPredictor(network, "rigth")
    with pytest.raises(InputError, match="doesn't exist"):
        HandPredictor.load(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="neither the folder of a run"):
        HandPredictor.load(tmp_path)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a weights file"):
        HandPredictor.load(tmp_path / "bad.safetensors")


def test_a_refiner_moves_the_points(network, frame):
    depth, camera, _ = frame
    refined = HandPredictor(load_network("shipped", refiners=["inverse_kinematics"]), "right")
    (plain,), (hand,) = HandPredictor(network, "right")(depth, camera), refined(depth, camera)
    assert 0.5 < np.linalg.norm(plain.points - hand.points, axis=1).mean() < 30


@pytest.mark.parametrize("page", ["README.md", "docs/predict.md"])
def test_the_python_of_the_pages_runs(page, frame, tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / page).read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "HandPredictor" in block)
    depth, _, centre = frame
    (tmp_path / "recording").mkdir()
    for number in range(2):
        Pictures.fromarray(depth).save(tmp_path / "recording" / f"{number:06d}.png")
    monkeypatch.chdir(tmp_path)
    exec(compile("import hpf\n" + code, page, "exec"), {"depth_mm": depth})
    lines = [json.loads(line) for line in (tmp_path / "hands.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    assert np.linalg.norm(np.array(lines[1]["hands"][0]["centre"]) - centre) < 25


@pytest.mark.skipif(not REAL.is_dir(), reason="the real depth images aren't there")
def test_real_hands_are_found_and_an_empty_image_holds_none(predictor):
    """Images of an Intel RealSense SR305 whose palms were marked by eye, and one of an L515 that shows a table."""
    marks = json.loads((REAL / "sr305" / "marks.json").read_text())
    camera = Camera(**marks["camera"])
    right = 0
    for name, marked in marks["frames"].items():
        depth = np.asarray(Pictures.open(REAL / "sr305" / name)) * np.float32(marks["unit_mm"])
        (hand,) = predictor(depth, camera)
        u, v = marked["palm"]
        near = depth[v - 6 : v + 7, u - 6 : u + 7]
        z = float(np.median(near[near > 0]))
        assert np.linalg.norm(hand.centre - camera.unproject(np.array([u, v, z + 15]))) < 30, name
        right += hand.side == "right"
    assert right >= 18
    empty = np.asarray(Pictures.open(REAL / "empty_l515" / "depth_image.png"))
    camera = Camera(1280, 720, fx=898.201, fy=897.8667, cx=657.498, cy=364.310)
    assert predictor(empty, camera) == []
