"""RealSense cameras, by a module that stands in for their package; and whether the package has the same names."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from realsense import NAMES, StandIn
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.bench.scenes import raw_frame
from hpf_core.data.layouts import nyu
from hpf_core.errors import InputError, RunError
from hpf_core.inference.hand_network import load_network
from hpf_core.inference.predictor import HandPredictor
from hpf_core.inference.realsense import RealSense


@pytest.fixture
def plug_in(monkeypatch):
    def put(stand_in: StandIn) -> StandIn:
        monkeypatch.setitem(sys.modules, "pyrealsense2", stand_in)
        return stand_in

    return put


@pytest.fixture(scope="module")
def depth(tmp_path_factory) -> np.ndarray:
    seen = nyu.read_depth(raw_frame(load_network().hand, tmp_path_factory.mktemp("frame")).path)
    return np.where(nyu.returned(seen), seen, 0).astype(np.uint16)


def test_frames_have_times_numbers_and_mm(plug_in):
    images = [np.full((480, 640), value, np.uint16) for value in (4000, 4080, 4160)]
    camera = plug_in(StandIn(images, numbers=[7, 8, 12], scale=0.000125))
    with RealSense("0123", rate_hz=60) as sensor:
        assert sensor.name == "Intel RealSense D435 0123"
        assert sensor.camera == nyu.CAMERA
        frames = sensor.frames()
        arrived = [next(frames) for _ in range(3)]
        with pytest.raises(RunError, match=r"0123 sends no frames: Frame didn't arrive within 5000\."):
            next(frames)
    assert camera.asked == ["0123", (640, 480, 60)]
    assert not camera.running
    # Each image is still the camera's of its own moment, although the camera uses one memory for all.
    assert [float(each.frame.depth[0, 0]) for each in arrived] == pytest.approx([500, 510, 520])
    assert [each.dropped for each in arrived] == [0, 0, 3]
    assert arrived[1].frame.time - arrived[0].frame.time == pytest.approx(1 / 30)
    assert arrived[2].frame.name == "frame 12"


def test_whole_millimetres_stay_whole_numbers(plug_in):
    plug_in(StandIn([np.full((480, 640), 700, np.uint16)]))
    with RealSense() as sensor:
        image = next(sensor.frames()).frame.depth
    assert (image.dtype, image[5, 5]) == (np.uint16, 700)


def test_distortion_is_taken_over_if_it_is_opencvs(plug_in):
    given = [0.1, -0.2, 0.001, 0.002, 0.05]
    plug_in(StandIn([], coeffs=given))
    with RealSense() as sensor:
        assert sensor.camera.distortion == tuple(given)
    plug_in(StandIn([], coeffs=given, model="inverse_brown_conrady"))
    with pytest.warns(UserWarning, match="distortion of the camera is ignored"), RealSense() as sensor:
        assert sensor.camera.distortion == ()


def test_what_is_not_there_is_named(plug_in, monkeypatch):
    plug_in(StandIn([]))
    with pytest.raises(InputError, match="The RealSense camera none can't be started: No device connected"):
        RealSense("none")
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(InputError, match=r"pip install 'hand-pose-fitting\[realsense\]'"):
        RealSense()


def live(*args: str, code: int = 0):
    result = CliRunner().invoke(app, ["live", *args])
    assert result.exit_code == code, result.output
    return result


def test_hands_of_a_camera_are_shown_until_ctrl_c(plug_in, depth):
    images = [np.roll(depth, 4 * number, axis=1) for number in range(4)]
    camera = plug_in(StandIn(images, numbers=[1, 2, 3, 6], end=KeyboardInterrupt()))
    found = json.loads(live("realsense", "--hand", "right", "--json").stdout)
    assert (found["frames"], found["predicted"], found["dropped"]) == (6, 4, 2)
    assert found["median_latency_ms"] > 0
    assert not camera.running


@pytest.mark.parametrize("track", [True, False])
def test_a_predictor_streams_from_a_camera(plug_in, depth, track):
    camera = plug_in(StandIn([depth, np.roll(depth, 6, axis=1), np.full_like(depth, 900)]))
    stream = HandPredictor.load(side="right").stream("realsense:0123", rate_hz=60, track=track)
    assert not camera.running  # it starts with the first frame
    frames = [next(stream) for _ in range(3)]
    assert camera.asked == ["0123", (640, 480, 60)]
    assert [len(frame.hands) for frame in frames] == [1, 1, 0]
    assert frames[1].hands[0].centre[0] > frames[0].hands[0].centre[0]
    assert (frames[1].hands[0].unsmoothed is not None) == track
    stream.close()
    assert not camera.running


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["realsens"], "replay:FOLDER, realsense or realsense:SERIAL was expected"),
        (["replay:"], "replay:FOLDER, realsense or realsense:SERIAL was expected"),
        (["realsense", "--K", "588,587,320,240"], "has its own intrinsics and unit"),
        (["realsense:none"], "No device connected"),
        (["realsense", "--hand", "rigth"], "Did you mean 'right'"),
    ],
)
def test_wrong_streams_are_named(plug_in, args, message):
    camera = plug_in(StandIn([]))
    assert message in " ".join(live(*args, code=2).output.split())
    assert not camera.running


def test_a_camera_that_falls_silent_ends_the_stream(plug_in, depth):
    camera = plug_in(StandIn([depth]))
    assert "sends no frames" in " ".join(live("realsense", code=1).output.split())
    assert not camera.running


def test_the_package_has_the_names_of_the_stand_in():
    package = pytest.importorskip("pyrealsense2")
    for kind, names in NAMES.items():
        made = getattr(package, kind)
        assert [name for name in names if not hasattr(made, name)] == [], kind
    if len(package.context().query_devices()) == 0:
        with pytest.raises(InputError, match="A RealSense camera can't be started: No device connected"):
            RealSense()
