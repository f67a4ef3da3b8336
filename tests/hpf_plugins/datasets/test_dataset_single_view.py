"""The datasets with one camera on made-up sets, which `single_view_by_hand` writes by the public descriptions."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import single_view_by_hand as by_hand
from mvhand_by_hand import HAND
from single_view_by_hand import FRAMES, WRITERS, grey16, mat5
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.data.captures import Capture
from hpf_core.data.joints21 import JOINTS21, MANO_ORDER, ORDERS, permutation
from hpf_core.data.layouts.fpha import FphaLayout
from hpf_core.data.layouts.handnet import HandNetLayout
from hpf_core.data.layouts.hands17 import Hands17Layout
from hpf_core.data.layouts.icvl import IcvlLayout
from hpf_core.data.layouts.msra15 import Msra15Layout
from hpf_core.data.layouts.stb import StbLayout
from hpf_core.data.prepared.capture_cache import CaptureWarning
from hpf_core.errors import DataError
from hpf_core.grid import Grid
from hpf_core.interfaces import Build
from hpf_core.plugins import PluginHost
from hpf_core.plugins.public import find_layout
from hpf_plugins.datasets.single_view import SPECS

NAMES = tuple(WRITERS)
SPEC = {spec.name: spec for spec in SPECS}
OPTIONS = {"hands17": {"test_share": 0.5}, "hands19": {"test_share": 0.5}}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each set."""
    made = {}
    for name, write in WRITERS.items():
        made[name] = tmp_path_factory.mktemp(name)
        write(made[name])
    return made


def make(name: str, root: Path, cache: Path, **options: object) -> Capture:
    spec = SPEC[name]
    config = spec.config.model_validate({"root": str(root), **OPTIONS.get(name, {}), **options})
    built = spec.factory(config, Build(Grid(64), 0, cache, HAND))
    assert isinstance(built, Capture)
    return built


@pytest.mark.parametrize("name", NAMES)
def test_images_and_joints_agree(name: str, sets: dict[str, Path]) -> None:
    """A surface lies within a hand's thickness in front of most joints. Wrong axes, units, cameras or frames of the
    labels put joints beside the hand."""
    layout = find_layout(sets[name], PluginHost.load(only=[]))
    assert layout is not None
    assert layout.name == name
    seen_joints = 0.0
    for split in layout.splits():
        labels = layout.annotation(split)
        assert labels is not None
        for frame in range(layout.frames(split)):
            depth = layout.read_depth(split, 0, frame)
            u, v, z = layout.rig.cameras[0].project(labels.xyz[0, frame]).T
            before = z - depth[v.round().astype(int), u.round().astype(int)]
            seen_joints += np.mean((before > -15) & (before < 60)) / FRAMES
    assert seen_joints > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_the_joints_are_those_of_the_hand_model(name: str, sets: dict[str, Path], tmp_path: Path) -> None:
    """The labels, in the order of the annotation, equal the hand model's joints in the same pose."""
    dataset = make(name, sets[name], tmp_path)
    labels = dataset.labels("test")
    assert labels is not None
    names, matrix = HAND.annotations[str(dataset.protocol.annotation)]
    assert labels.names == names
    assert [names[k] for k in dataset.protocol.fingertips] == [n for n in names if n.endswith("_tip")]
    cameras = {
        "icvl": (320, 240, 240.99, 240.96, 160, 120),
        "msra15": (320, 240, 241.42, 241.42, 160, 120),
        "stb": (640, 480, 475.62768, 474.77709, 336.41179, 238.77962),
        "handnet": (320, 240, 240.5, 241.5, 158.5, 121.5),
    }
    left = name in ("icvl", "stb")
    _, points = by_hand.scene(cameras.get(name, by_hand.SR300), left)
    of_right = points * [-1, 1, 1] if left else points
    first = {"msra15": 0, "bighand": 0, "stb": 0}.get(name, 2)
    assert np.abs(labels.joints - matrix @ of_right[first : first + 2]).max() < 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_prepare_check_and_list(name: str, sets: dict[str, Path], tmp_path: Path) -> None:
    words = ["data", "prepare", name, str(sets[name]), "--out", str(tmp_path), "--json", "--jobs", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["dataset"] == name
    done = CliRunner().invoke(app, ["data", "check", str(sets[name]), "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 0, found
    status = {one["check"]: one["status"] for one in found["checks"] if one["split"] in (None, "train")}
    assert status["images"] == status["labels"] == "ok"


def test_the_list_has_all() -> None:
    done = CliRunner().invoke(app, ["data", "list", "--json"])
    found = {one["name"]: one for one in json.loads(done.stdout)["datasets"]}
    assert set(NAMES) <= set(found)
    assert {found[name]["checked"] for name in NAMES} == {"made-up files only"}
    assert found["stb"]["licence"] == "MIT"


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_fits_and_evaluates(
    name: str, sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    recipe = Path(__file__).resolve().parents[3] / "recipes" / "single_view.yaml"
    changes = {
        "data.real.use": name,
        "data.real.root": str(sets[name]),
        **{f"data.real.{option}": value for option, value in OPTIONS.get(name, {}).items()},
        "stages.fit.steps": 5,
        "stages.fit.draw.real": 1,
        "stages.fit.draw.synthetic": 1,
        "terms.vae": "off",
    }
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    out = tmp_path / "run"
    done = CliRunner().invoke(app, ["run", str(recipe), "--out", str(out), "--device", "cpu", *words])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["eval", str(out), "--json"])
    assert done.exit_code == 0, done.output
    before, after = json.loads(done.stdout)["evaluation"]
    assert (before["after"], after["after"]) == ("init", "fit")
    assert before["joints"] == {"icvl": 16, "handnet": 6}.get(name, 21)
    assert before["mean_error_mm"] < 40
    labels = sets[name]
    if name == "msra15":
        labels = labels / "P0"
    if name in OPTIONS:  # the folder has the split of the default share
        lines = next(labels.glob("*/*nnotation.txt")).read_text().splitlines()
        labels = tmp_path / "labels.txt"
        labels.write_text("\n".join(lines[2:]))
    protocol = ("--protocol", name, "--json")
    done = CliRunner().invoke(app, ["eval", str(out), "--labels", str(labels), *protocol])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["evaluation"][0]["mean_error_mm"] == pytest.approx(after["mean_error_mm"], abs=1e-2)
    text = tmp_path / "ours.txt"
    done = CliRunner().invoke(app, ["eval", str(out), "--write", str(text), *protocol])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["eval", str(text), "--labels", str(labels), *protocol])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["evaluation"][0]["mean_error_mm"] == pytest.approx(after["mean_error_mm"], abs=1e-2)


# ------------------------------------------------------------------------------------------------- the traps, by bytes


def test_msra15_has_y_up_and_z_negative(tmp_path: Path) -> None:
    place = tmp_path / "P3" / "TIP"
    place.mkdir(parents=True)
    (place / "joint.txt").write_text("2\n" + "10 20 -300 " * 20 + "11 21 -310\n")
    (place / "000000_depth.bin").write_bytes(
        bytes.fromhex("40010000 f0000000 0a000000 14000000 0c000000 15000000") + struct.pack("<2f", 300.5, 0)
    )
    layout = Msra15Layout(tmp_path)
    assert layout.splits() == ("train",)
    assert layout.frames("train") == 2  # the second line is missing
    depth = layout.read_depth("train", 0, 0)
    assert depth.shape == (240, 320)
    assert depth[20, 10] == 300.5
    assert depth.sum() == 300.5
    labels = layout.annotation("train")
    assert labels is not None
    assert labels.xyz[0, 0, 0].tolist() == [10, -20, 300]
    assert labels.blanks.tolist() == [[False, True]]
    with pytest.raises(DataError, match="is missing"):
        layout.read_depth("train", 0, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0" * 10, "fewer than its header"),
        (struct.pack("<6i", 320, 240, 0, 0, 400, 2), "outside"),
        (struct.pack("<6i", 320, 240, 0, 0, 2, 2) + b"\0" * 15, "16"),
        (struct.pack("<6i", 640, 480, 0, 0, 0, 0), "640 x 480"),
    ],
)
def test_msra15_damaged_images(content: bytes, said: str, tmp_path: Path) -> None:
    by_hand.put(tmp_path / "P0/1/joint.txt", "1\n" + "10 20 -300 " * 20 + "11 21 -310\n")
    by_hand.put(tmp_path / "P0/1/000000_depth.bin", content)
    if said == "16":
        said = "40 were expected"
    with pytest.raises(DataError, match=said):
        Msra15Layout(tmp_path).read_depth("test", 0, 0)


def test_msra15_with_z_positive_is_refused(tmp_path: Path) -> None:
    by_hand.put(tmp_path / "P0/1/joint.txt", "1\n" + "10 20 300 " * 20 + "11 21 310\n")
    with pytest.raises(DataError, match="z negative"):
        Msra15Layout(tmp_path).annotation("test")


def test_icvl_uses_the_first_48_numbers_and_skips_turned_copies(sets: dict[str, Path]) -> None:
    root = sets["icvl"]
    assert (IcvlLayout(root).frames("train"), IcvlLayout(root, turned_copies=True).frames("train")) == (2, 3)
    assert [part.subject for part in IcvlLayout(root).about().segments["test"]] == [0, 1]


def test_icvl_joints_are_pixels_and_mm(tmp_path: Path) -> None:
    depth = np.full((240, 320), 32001)
    depth[3, 5] = 412
    by_hand.put(tmp_path / "Training/Depth/201403121135/a.png", grey16(depth))
    by_hand.put(tmp_path / "Training/labels.txt", "201403121135/a.png" + " 160 120 400" * 15 + " 280.495 0 241\n")
    layout = IcvlLayout(tmp_path)
    found = layout.read_depth("train", 0, 0)
    assert (found[3, 5], found.sum()) == (412, 412)
    labels = layout.annotation("train")
    assert labels is not None
    np.testing.assert_allclose(labels.xyz[0, 0, 0], [0, 0, 400], atol=1e-9)
    np.testing.assert_allclose(labels.xyz[0, 0, 15, 0], 120.5, atol=0.01)
    assert labels.names[15] == "little_tip"


def test_hands17_zeros_and_short_lines(tmp_path: Path) -> None:
    zeros, minus = ("\t".join([text] * 63) for text in ("0", "-1"))
    rest = "\t".join(f"{k}\t{k + 1}\t{400 + k}" for k in range(21))
    text = f"a.png\t{zeros}\nb.png\t{minus}\nc.png\nd.png\t{rest}\n"
    by_hand.put(tmp_path / "training/Training_Annotation.txt", text)
    labels = Hands17Layout(tmp_path, 0).annotation("train")
    assert labels is not None
    assert labels.blanks.tolist() == [[True, True, True, False]]
    assert labels.names[3] == "middle_mcp"
    assert labels.xyz[0, 3, 3].tolist() == [3, 4, 403]
    by_hand.put(tmp_path / "training/Training_Annotation.txt", f"{text}e.png\t1\t2\n")
    with pytest.raises(DataError, match=r"Training_Annotation\.txt:5: 3 columns, but 64"):
        Hands17Layout(tmp_path, 0).annotation("train")


def test_metres_are_refused(tmp_path: Path) -> None:
    row = "\t".join(f"{k / 1000}\t0.1\t0.4" for k in range(21))
    by_hand.put(tmp_path / "training/Training_Annotation.txt", f"a.png\t{row}\n")
    with pytest.raises(DataError, match="not metres"):
        Hands17Layout(tmp_path, 0).annotation("train")


def test_stb_depth_is_red_plus_green_times_256(tmp_path: Path) -> None:
    rgb = np.zeros((480, 640, 3), np.uint8)
    rgb[7, 11] = (7, 3, 99)
    (tmp_path / "images/B1Random").mkdir(parents=True)
    by_hand.write_png(tmp_path / "images/B1Random/SK_depth_0.png", rgb)
    depth = StbLayout(tmp_path).read_depth("test", 0, 0)
    assert depth[7, 11] == 775
    assert depth.sum() == 775


def test_stb_joints_move_from_the_colour_camera(tmp_path: Path) -> None:
    joints = np.zeros((3, 21, 2))
    joints[:, :, 0] = np.arange(63).reshape(3, 21) + np.array([[0], [0], [400]])
    joints[:, 0, 0] = 0, 0, 500
    by_hand.put(tmp_path / "labels/B1Random_SK.mat", mat5(handPara=joints))
    for k in (0, 1):
        by_hand.put(tmp_path / f"images/B1Random/SK_depth_{k}.png", b"")
    labels = StbLayout(tmp_path).annotation("test")
    assert labels is not None
    # The turn is small: R (0, 0, 500) is about 500 (-0.01196, -0.00531, 1), and the shift is the readme's.
    np.testing.assert_allclose(labels.xyz[0, 0, 0], [-24.04 - 5.98, -0.46 - 2.66, -1.23 + 500], atol=0.06)
    assert labels.blanks.tolist() == [[False, True]]


def test_fpha_joints_are_in_the_depth_cameras_frame(tmp_path: Path) -> None:
    """The readme's extrinsics, a shift of 26 mm, belong to the colour camera."""
    row = " ".join(f"{k} {k + 1} {400 + k}" for k in range(21))
    by_hand.put(tmp_path / "Hand_pose_annotation_v1_1/Subject_3/pour/2/skeleton.txt", f"0 {row}\n15 {row}\n")
    layout = FphaLayout(tmp_path)
    labels = layout.annotation("train")
    assert labels is not None
    assert labels.xyz[0, 1, 7].tolist() == [7, 8, 407]
    assert labels.names[7] == "thumb_ip"
    assert layout.path("train", 0, 1) == tmp_path / "Video_files/Subject_3/pour/2/depth/depth_0015.png"


def test_handnet_with_a_sensor_out_of_the_image(tmp_path: Path) -> None:
    by_hand.put(tmp_path / "Parameters.mat", mat5(KK=np.array([[240.0, 0, 160], [0, 241, 120], [0, 0, 1]])))
    pos = np.arange(18.0).reshape(3, 6) + np.array([[0], [0], [400]])
    depth = np.zeros((240, 320))
    depth[3, 5] = 412
    by_hand.put(tmp_path / "TrainData/Data_0000000.mat", mat5(depth=depth, pos=pos))
    pos = pos.copy()
    pos[:, 2] = np.nan
    by_hand.put(tmp_path / "TrainData/Data_0000007.mat", mat5(depth=depth, pos=pos))
    layout = HandNetLayout(tmp_path)
    assert layout.rig.cameras[0].fy == 241
    assert layout.read_depth("train", 0, 1)[3, 5] == 412
    labels = layout.annotation("train")
    assert labels is not None
    assert labels.xyz[0, 0, 1].tolist() == [1, 7, 413]
    assert labels.blanks.tolist() == [[False, True]]
    by_hand.put(tmp_path / "Parameters.mat", mat5(KK=np.eye(4)))
    with pytest.raises(DataError, match="KK"):
        HandNetLayout(tmp_path)


def test_missing_and_damaged_images_are_left_out(tmp_path: Path) -> None:
    by_hand.write_hands19(tmp_path)
    folder = tmp_path / "Task1/training_images"
    (folder / "image_D00000001.png").unlink()
    (folder / "image_D00000004.png").write_bytes(grey16(np.ones((480, 640), np.int64))[:90])
    dataset = make("hands19", tmp_path, tmp_path / "cache")
    with pytest.warns(CaptureWarning, match="1 of 2 frames"):
        assert dataset.splits() == {"train": 1, "test": 1}
    assert "image_D00000001.png" in dataset.left_out("train")[0]
    assert "image_D00000004.png" in dataset.left_out("test")[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_without_the_dataset_is_a_message(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        make(name, tmp_path, tmp_path)
    said = str(caught.value)
    assert SPEC[name].public is not None
    assert "Parameters.mat" in said if name == "handnet" else str(SPEC[name].public.unpack) in said


# ---------------------------------------------------------------------------------------------------------- protocols


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda xyz: xyz / 1000, "x y z in metres"),
        (lambda xyz: xyz * [1, -1, 1], "x y z in mm with +y up"),
        (lambda xyz: xyz[:, [*range(20, -1, -1)]], "joints in reverse"),
        (
            lambda xyz: np.concatenate([xyz[..., :2] * 475.066 / xyz[..., 2:] + [315.9, 245.3], xyz[..., 2:]], -1),
            "u v d",
        ),
    ],
)
def test_eval_names_a_better_reading(change: Callable[[np.ndarray], np.ndarray], said: str, tmp_path: Path) -> None:
    """Mistakes that people make: metres, +y up, another order, pixels."""
    _, points = by_hand.scene(by_hand.SR300)
    xyz = by_hand.joints(points, by_hand.FPHA)
    (tmp_path / "labels.txt").write_text("".join(f"image_{k}.png\t{by_hand.line(row)}\n" for k, row in enumerate(xyz)))
    (tmp_path / "ours.txt").write_text("".join(f"{by_hand.line(row)}\n" for row in change(xyz)))
    words = ["eval", str(tmp_path / "ours.txt"), "--labels", str(tmp_path / "labels.txt"), "--protocol", "hands17"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    assert said in json.loads(done.stdout)["evaluation"][0]["better_reading"]


def test_eval_on_the_folder_of_another_dataset_or_with_unlabelled_frames(sets: dict[str, Path], tmp_path: Path) -> None:
    by_hand.write_fpha(tmp_path)
    labels = tmp_path / "Hand_pose_annotation_v1_1/Subject_2/put_salt/1/skeleton.txt"
    first, second = labels.read_text().splitlines()
    labels.write_text("0" + " 0" * 63 + f"\n{second}\n")
    ours = tmp_path / "ours.txt"
    ours.write_text(f"{first[2:]}\n{second[2:]}\n")
    done = CliRunner().invoke(app, ["eval", str(ours), "--labels", str(tmp_path), "--protocol", "fpha", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["evaluation"][0]
    assert (found["frames"], found["mean_error_mm"]) == (1, pytest.approx(0, abs=1e-6))
    done = CliRunner().invoke(app, ["eval", str(ours), "--labels", str(sets["stb"]), "--protocol", "fpha"])
    assert done.exit_code == 2
    assert "is the dataset 'stb', but the protocol is fpha" in " ".join(done.output.split())


# ---------------------------------------------------------------------------------------------------- orders of joints


def test_orders_are_permutations() -> None:
    for name in ORDERS:
        assert len(set(ORDERS[name])) == 21
        if name != "stb":
            back = np.array(permutation("openpose", name))[list(permutation(name))]
            assert [ORDERS[name][k] for k in permutation(name)] == list(JOINTS21)
            assert back.tolist() == list(range(21))
    with pytest.raises(ValueError, match="'wrist'"):
        permutation("stb")
    with pytest.raises(ValueError, match="no order of joints 'x'"):
        permutation("x")


def test_orders_against_the_public_ones() -> None:
    """MANO to OpenPose as in manopth and its followers; FPHA's as in its users' `reorder_idx`; MSRA's thumb last."""
    assert permutation("mano") == (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
    assert permutation("fpha") == (0, 1, 6, 7, 8, 2, 9, 10, 11, 3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20)
    assert permutation("msra") == (0, 17, 18, 19, 20, *range(1, 17))
    assert MANO_ORDER[7] == "little_mcp"
