"""`mvhand` on a made-up session. The writer below follows the public description and shares no code with the reader."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from mvhand_by_hand import HAND, ROOT_CAMERA, SERIALS, poses, write_png, write_session
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.data.captures import Capture
from hpf_core.data.layouts.mvhand import MvhandLayout
from hpf_core.data.pickled_arrays import read_pickled_arrays
from hpf_core.data.prepared.capture_cache import CaptureWarning
from hpf_core.errors import DataError, InputError
from hpf_core.grid import Grid
from hpf_core.interfaces import Build
from hpf_plugins.datasets import mvhand


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mvhand") / "7-14-1-2"
    write_session(root)
    return root


@pytest.fixture
def small(session: Path, tmp_path: Path) -> Path:
    """A session whose files can be changed, with images by link."""
    root = tmp_path / "7-14-1-2"
    for part in ("depth", "mlresults"):
        (root / part).mkdir(parents=True)
        for file in (session / part).iterdir():
            (root / part / file.name).symlink_to(file)
    (root / "calib.pkl").write_bytes((session / "calib.pkl").read_bytes())
    return root


def replace_joints(root: Path, joints: np.ndarray) -> None:
    path = root / "mlresults" / "7-14-1-2-joints.npy"
    path.unlink()
    np.save(path, joints)


def joints_of(root: Path) -> np.ndarray:
    return np.asarray(np.load(root / "mlresults" / "7-14-1-2-joints.npy"))


def make(root: Path, cache: Path, **options: object) -> Capture:
    config = mvhand.MvhandConfig.model_validate({"root": str(root), **options})
    built = mvhand.SPEC.factory(config, Build(Grid(64), 0, cache, HAND))
    assert isinstance(built, Capture)
    return built


def test_depth_is_green_times_256_plus_blue(small: Path) -> None:
    rgb = np.zeros((480, 640, 3), np.uint8)
    rgb[7, 11] = (9, 3, 7)
    path = small / "depth" / "00000_1.png"
    path.unlink()
    write_png(path, rgb)
    depth = MvhandLayout(small).read_depth("train", 1, 0)
    assert depth[7, 11] == 775
    assert depth.sum() == 775


def test_images_joints_and_poses_agree(session: Path) -> None:
    """A surface lies within a hand's thickness in front of most joints, in every camera. A wrong direction, root
    camera or order of cameras puts joints beside the hand."""
    layout = MvhandLayout(session)
    assert layout.splits() == ("train", "test")
    assert (layout.frames("train"), layout.frames("test")) == (4, 1)
    labels = layout.annotation("train")
    assert labels is not None
    for view in range(4):
        u, v, z = np.moveaxis(layout.rig.cameras[view].project(labels.xyz[view]), -1, 0).reshape(3, 4, 21)
        for frame in range(4):
            seen = layout.read_depth("train", view, frame)[v[frame].round().astype(int), u[frame].round().astype(int)]
            before = z[frame] - seen
            assert np.mean((seen > 0) & (before > -15) & (before < 60)) > 0.6
    np.testing.assert_allclose(labels.xyz[ROOT_CAMERA, 0], joints_of(session)[0, :, :3], atol=1e-6)
    np.testing.assert_array_equal(layout.rig.poses[0], np.eye(4))


def test_the_joints_are_those_of_the_hand_model(session: Path, tmp_path: Path) -> None:
    dataset = make(session, tmp_path, centre="annotated")
    labels = dataset.labels("test")
    assert labels is not None
    names, _ = HAND.annotations["mano21"]
    assert labels.names == names
    assert dataset.protocol.annotation == "mano21"
    assert [names[k] for k in dataset.protocol.fingertips] == [
        f"{finger}_tip" for finger in ("thumb", "index", "middle", "ring", "little")
    ]
    in_root = joints_of(session)[4, :, :3]
    pose = np.linalg.inv(poses()[0])
    expected = in_root @ pose[:3, :3].T + pose[:3, 3]
    np.testing.assert_allclose(labels.joints[0, names.index("wrist")], expected[0], atol=1e-3)
    np.testing.assert_allclose(labels.joints[0, names.index("index_tip")], expected[4], atol=1e-3)
    np.testing.assert_allclose(labels.joints[0, names.index("thumb_cmc")], expected[17], atol=1e-3)


def test_unannotated_and_missing_rows(small: Path) -> None:
    joints = joints_of(small)[:3]
    joints[0], joints[1] = 0, -1
    replace_joints(small, joints)
    labels = MvhandLayout(small).annotation("train")
    assert labels is not None
    assert labels.blanks.tolist() == [[True, True, False, True]] * 4
    assert np.isnan(labels.xyz[:, [0, 1, 3]]).all()


def test_missing_and_damaged_images_are_left_out(small: Path, tmp_path: Path) -> None:
    (small / "depth" / "00001_0.png").unlink()
    damaged = small / "depth" / "00002_3.png"
    whole = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(whole[:200])
    dataset = make(small, tmp_path / "cache", centre="annotated")
    with pytest.warns(CaptureWarning, match="2 of 4 frames"):
        assert dataset.splits() == {"train": 2, "test": 1}
    said = " ".join(dataset.left_out("train"))
    assert "00001_0.png" in said
    assert "00002_3.png" in said


def test_metres_are_refused(small: Path) -> None:
    joints = joints_of(small)
    joints[..., :3] /= 1000
    replace_joints(small, joints)
    with pytest.raises(DataError, match="not metres"):
        MvhandLayout(small).annotation("train")
    near = poses()
    near[:, :3, 3] /= 1000
    (small / "calib.pkl").write_bytes(pickle.dumps(dict(zip(SERIALS, near, strict=True))))
    with pytest.raises(DataError, match="not metres"):
        MvhandLayout(small)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found.pop(SERIALS[1]), "no camera 840412062037"),
        (lambda found: found.update({SERIALS[1]: np.eye(3)}), "shape"),
        (lambda found: found.update({SERIALS[ROOT_CAMERA]: found[SERIALS[1]]}), "identity"),
        (lambda found: found.update({SERIALS[1]: np.diag([-1.0, 1, 1, 1])}), "left-handed"),
    ],
)
def test_a_wrong_calibration_is_a_message(small: Path, change: object, said: str) -> None:
    found = dict(zip(SERIALS, poses(), strict=True))
    change(found)  # type: ignore[operator]
    (small / "calib.pkl").write_bytes(pickle.dumps(found))
    with pytest.raises((DataError, InputError), match=said):
        MvhandLayout(small)


# A dictionary with one array of two numbers, as Python 2 wrote it in protocol 0: {'a': array([1.0, -2.0])}
GOLDEN = (
    b"(dp0\nS'a'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
    b"(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nb"
    b"I00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xc0'\np15\ntp16\nbs."
)


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    path = tmp_path / "golden.pkl"
    path.write_bytes(GOLDEN)
    np.testing.assert_array_equal(read_pickled_arrays(path)["a"], [1.0, -2.0])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_and_order(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    arrays = {"a": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))}
    path.write_bytes(pickle.dumps(arrays, protocol=protocol))
    for name, found in read_pickled_arrays(path).items():
        np.testing.assert_array_equal(found, arrays[name])


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'touch ran'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        pickle.dumps({"a": np.array([print], dtype=object)}),
        pickle.dumps([1, 2]),
        pickle.dumps({"a": 1.0}),
        GOLDEN[:-40],
        b"",
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.pkl"):
        read_pickled_arrays(path)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.pkl"]


def test_prepare_on_the_command_line(session: Path, tmp_path: Path) -> None:
    words = ["data", "prepare", "mvhand", str(session), "--out", str(tmp_path), "--centre", "annotated", "--json"]
    done = CliRunner().invoke(app, [*words, "--jobs", "1"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["dataset"] == "mvhand"


def test_the_recipe_fits_and_evaluates(session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    recipe = Path(__file__).resolve().parents[3] / "recipes" / "mvhand.yaml"
    changes = {
        "data.real.root": str(session),
        "stages.fit.steps": 20,
        "stages.fit.draw.real": 1,
        "stages.fit.draw.synthetic": 1,
        "terms.vae": "off",
    }
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(app, ["run", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu", *words])
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    before, after = summary["evaluation"]
    assert (before["after"], after["after"]) == ("init", "fit")
    assert before["joints"] == after["joints"] == 21
    assert not before["simulated"]  # HPF can't know that this session is made up
    assert before["mean_error_mm"] < 15  # measured: 6.4, the shipped network on one simulated frame


def check(root: Path) -> tuple[int, dict[str, str]]:
    done = CliRunner().invoke(app, ["data", "check", str(root), "--json"])
    found = json.loads(done.stdout)["checks"]
    return done.exit_code, {one["check"]: one["status"] for one in found if one["split"] in (None, "train")}


def test_check_compares_the_cameras(session: Path, small: Path) -> None:
    code, found = check(session)
    assert code == 0, found
    assert found["images"] == found["labels"] == "ok"
    inverted = dict(zip(SERIALS, np.linalg.inv(poses()), strict=True))
    (small / "calib.pkl").write_bytes(pickle.dumps(inverted))
    code, found = check(small)
    assert code == 2
    assert "failed" in found.values()


def test_check_takes_the_layout_by_its_name(session: Path, tmp_path: Path) -> None:
    def check_as(root: Path, layout: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["data", "check", str(root), "--frames", "1", "--layout", layout])
        return done.exit_code, " ".join((done.output + str(done.exception or "")).split())

    code, said = check_as(session, "mvhand")
    assert code == 0
    assert "run on it: hpf run recipes/mvhand.yaml --set data.real.root=" in said
    assert "isn't a folder of 'mvhand'" in check_as(tmp_path, "mvhand")[1]
    assert "mvhand" in check_as(session, "mvhands")[1]


def test_a_folder_without_a_session_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"calib\.pkl"):
        make(tmp_path, tmp_path)
