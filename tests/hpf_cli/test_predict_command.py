"""`hpf predict`: from files to joints, in every format, and what it says of input that it can't use."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.bench.scenes import raw_frame
from hpf_core.data.joints21 import THUMB_LAST
from hpf_core.data.layouts import nyu
from hpf_core.errors import InputError
from hpf_core.evaluation.labels import read_uvd
from hpf_core.evaluation.protocols import PROTOCOLS
from hpf_core.inference.hand_network import load_network

K = "588.03,587.07,320,240"
runner = CliRunner()


@pytest.fixture(scope="module")
def depth(tmp_path_factory) -> np.ndarray:
    seen = nyu.read_depth(raw_frame(load_network().hand, tmp_path_factory.mktemp("frame")).path)
    return np.where(nyu.returned(seen), seen, 0).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(depth, tmp_path_factory):
    """Four images: a hand, the hand moved aside, a wall, and a file that is cut off."""
    place = tmp_path_factory.mktemp("recording")
    for number, image in enumerate((depth, np.roll(depth, 12, axis=1), np.full_like(depth, 900))):
        Image.fromarray(image).save(place / f"{number:06d}.png")
    whole = (place / "000000.png").read_bytes()
    (place / "000003.png").write_bytes(whole[: len(whole) // 2])
    return place


def run(*args: object, code: int = 0):
    result = runner.invoke(app, ["predict", *map(str, args)])
    assert result.exit_code == code, result.output
    return result


def test_a_folder_gives_one_document(folder):
    found = json.loads(run(folder, "--K", K, "--joints", "nyu14", "--json").stdout)
    assert (found["frames"], found["with_hands"]) == (4, 2)
    assert [name.rpartition("/")[2] for name in found["without_hands"]] == ["000002.png"]
    assert "damaged" in found["unreadable"][0]["error"]
    first, second, empty, cut = found["predictions"]
    assert first["hands"][0]["side"] == "right"
    assert list(first["hands"][0]["joints"]) == [nyu.JOINTS[k] for k in nyu.EVALUATED]
    moved = second["hands"][0]["centre"][0] - first["hands"][0]["centre"][0]
    assert 5 < moved < 30  # 12 pixels at 0.85 m are 17 mm
    assert empty["hands"] == []
    assert cut["error"]


def test_every_format_holds_the_same_hands(folder, tmp_path):
    for ending in ("jsonl", "csv", "npz", "txt"):
        run(
            folder,
            "--K",
            K,
            "--no-track",
            "--joints",
            "nyu14",
            "--hand",
            "right",
            "--out",
            tmp_path / f"hands.{ending}",
        )
    lines = [json.loads(line) for line in (tmp_path / "hands.jsonl").read_text().splitlines()]
    joints = np.array(list(lines[0]["hands"][0]["joints"].values()))
    rows = list(csv.DictReader((tmp_path / "hands.csv").read_text().splitlines()))
    assert len(rows) == 2 * 14
    assert np.allclose([[float(row[axis]) for axis in "xyz"] for row in rows[:14]], joints, atol=2e-3)
    with np.load(tmp_path / "hands.npz") as file:
        arrays = dict(file)
    assert arrays["joints"].shape == (2, 14, 3)
    assert np.allclose(arrays["joints"][0], joints, atol=2e-3)
    assert arrays["frame"].tolist() == [0, 1]
    text = np.loadtxt(tmp_path / "hands.txt").reshape(4, 14, 3)
    assert np.allclose(text[0, :, 2], joints[:, 2], atol=2e-3)
    assert (text[2:] == 0).all()


def test_the_21_joints_are_written_in_every_format(folder, tmp_path):
    for ending in ("jsonl", "csv", "npz", "txt"):
        run(folder, "--K", K, "--hand", "right", "--every", 2, "--joints", "mano21", "--out", tmp_path / f"h.{ending}")
    first = json.loads((tmp_path / "h.jsonl").read_text().splitlines()[0])["hands"][0]
    assert list(first["joints"])[:2] == ["wrist", "thumb_cmc"]
    assert [len(first[name]) for name in ("joints", "pixels", "spread_mm")] == [21, 21, 21]
    text = np.loadtxt(tmp_path / "h.txt").reshape(2, 21, 3)
    assert np.allclose(text[0, :, :2], first["pixels"], atol=2e-3)
    assert np.allclose(text[0, :, 2], np.array(list(first["joints"].values()))[:, 2], atol=2e-3)
    with np.load(tmp_path / "h.npz") as file:
        assert file["names"].tolist() == list(first["joints"])
        assert np.allclose(file["pixels"][0], first["pixels"], atol=2e-3)
    rows = list(csv.DictReader((tmp_path / "h.csv").read_text().splitlines()))
    assert [row["joint"] for row in rows] == list(first["joints"])


def test_text_files_of_a_protocol_are_what_eval_reads(folder, tmp_path):
    (tmp_path / "some").mkdir()
    for name in ("000000.png", "000001.png"):
        (tmp_path / "some" / name).write_bytes((folder / name).read_bytes())
    given = (tmp_path / "some", "--K", K, "--hand", "right", "--no-track", "--out")
    for name, joints in (("nyu", "nyu14"), ("msra", "mano21"), ("icvl", "icvl16")):
        run(*given, tmp_path / f"{name}.txt", "--protocol", name)
        run(*given, tmp_path / f"{name}.jsonl", "--joints", joints)
        read = read_uvd(tmp_path / f"{name}.txt", PROTOCOLS[name])
        named = [json.loads(line)["hands"][0]["joints"] for line in lines_of(tmp_path / f"{name}.jsonl")]
        # MSRA15 has the thumb last, and names its joints like a finger's.
        order = [*THUMB_LAST] if name == "msra" else list(named[0])
        assert np.allclose(read[..., 2], [[hand[joint][2] for joint in order] for hand in named], atol=2e-3)
        assert np.allclose(read[..., :2], nyu.CAMERA.project(_places(named, order))[..., :2], atol=2e-2)


def test_a_hand_model_without_a_protocols_joints_is_refused():
    with pytest.raises(InputError, match=r"no map to the 16 joints of the protocol icvl .* Its annotations are three"):
        PROTOCOLS["icvl"].map_of({"three": (("palm", "wrist", "thumb_tip"), np.eye(3))})


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _places(named: list[dict], order: list[str]) -> np.ndarray:
    return np.array([[hand[joint] for joint in order] for hand in named])


def test_json_says_how_steady_tracked_hands_are(depth, tmp_path):
    for place, shift in (("rest", 0), ("motion", 8)):
        (tmp_path / place).mkdir()
        for number in range(12):
            image = np.roll(depth, -shift * number, axis=1)
            Image.fromarray(image).save(tmp_path / place / f"{number:06d}.png")
    found = json.loads(run(tmp_path / "rest", tmp_path / "motion", "--K", K, "--hand", "right", "--json").stdout)
    steady = found["steadiness"]
    assert (steady["rest_frames"], steady["motion_frames"]) == (9, 10)
    # Twelve times the same image; then 8 pixels a frame, 350 mm/s, with one-euro's beta of 0.05.
    assert steady["jitter_mm"] <= steady["unsmoothed_jitter_mm"] < 0.5
    assert 2 < steady["lag_ms"] < 30
    independent = json.loads(run(tmp_path / "rest", "--K", K, "--no-track", "--every", 6, "--json").stdout)
    assert independent["steadiness"] is None


def test_arrays_in_metres_and_pictures(depth, tmp_path):
    np.save(tmp_path / "a.npy", depth.astype(np.float32) / 1000)
    found = json.loads(
        run(tmp_path / "a.npy", "--K", K, "--unit-mm", 1000, "--pictures", tmp_path / "look", "--json").stdout
    )
    assert found["with_hands"] == 1
    with Image.open(tmp_path / "look" / "000000.png") as picture:
        assert picture.size == (640, 480)
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 20


def test_a_unit_that_puts_everything_far_away_is_pointed_out(depth, tmp_path):
    np.save(tmp_path / "a.npy", (depth * 8.0).astype(np.float32))
    assert "give --unit-mm, such as 0.125" in " ".join(run(tmp_path / "a.npy", "--K", K).output.split())
    assert "--unit-mm" not in run(tmp_path / "a.npy", "--K", K, "--unit-mm", 0.125).output


def test_the_camera_is_read_from_a_file_of_other_tools(folder, tmp_path):
    camera = {"width": 640, "height": 480, "intrinsic_matrix": [588.03, 0, 0, 0, 587.07, 0, 320, 240, 1]}
    (tmp_path / "camera_intrinsic.json").write_text(json.dumps(camera))
    given = (folder / "000000.png", "--hand", "right", "--json")
    found = [json.loads(run(*given, *how).stdout)["predictions"] for how in (
        ("--K", K), ("--camera", tmp_path / "camera_intrinsic.json"),
    )]  # fmt: skip
    assert found[0] == found[1]
    (tmp_path / "camera_intrinsic.json").write_text(json.dumps(camera | {"width": 320}))
    small = run(folder / "000000.png", "--camera", tmp_path / "camera_intrinsic.json", code=2)
    assert "but its camera is 320 x 480" in " ".join(small.output.split())


def test_a_capture_needs_no_camera(depth, tmp_path):
    split = tmp_path / "capture" / "test"
    split.mkdir(parents=True)
    nyu.write_depth(nyu.image_path(split, 0, 0), depth)
    found = json.loads(run(tmp_path / "capture", "--json").stdout)
    assert found["with_hands"] == 1


def test_without_rerun_a_message_names_its_extra(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    result = run(folder, "--K", K, "--out", tmp_path / "hands.rrd", code=2)
    assert "pip install 'hand-pose-fitting[rerun]'" in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{folder}"], "camera of .* isn't known"),
        (["{folder}/none"], "doesn't exist"),
        (["{folder}", "--K", "588,587"], "four numbers were expected"),
        (["{folder}", "--K", K, "--hand", "rihgt"], "Did you mean 'right'"),
        (["{folder}", "--K", K, "--out", "x.xml"], r"\.json"),
        (["{folder}", "--K", K, "--joints", "nyu15"], "nyu14"),
        (["{folder}", "--K", K, "--out", "x.txt", "--protocol", "nyo"], "Did you mean 'nyu'"),
        (["{folder}", "--K", K, "--out", "x.csv", "--protocol", "nyu"], r"give --out FILE\.txt"),
        (["{folder}", "--K", K, "--out", "x.txt", "--protocol", "nyu", "--joints", "nyu14"], "leave one of them out"),
        (["{folder}", "--K", K, "--weights", "{folder}"], "neither the folder of a run"),
        (["{empty}", "--K", K], "contains no depth images"),
        (["{colour}", "--K", K], "16-bit grey"),
        (["{folder}/000003.png", "--K", K], "damaged"),
        (["{metres}", "--K", K], "looks like metres"),
    ],
)
def test_wrong_input_is_named(args, message, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save(tmp_path / "colour.png")
    np.save(tmp_path / "metres.npy", np.full((480, 640), 0.8))
    places = {
        "folder": folder, "empty": tmp_path / "empty", "colour": tmp_path / "colour.png",
        "metres": tmp_path / "metres.npy",
    }  # fmt: skip
    result = run(*(arg.format(**places) for arg in args), code=2)
    import re

    assert re.search(message, " ".join(result.output.split())), result.output
