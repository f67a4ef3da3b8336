"""What `check_capture` finds: nothing in a whole capture, and each kind of damage by its name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from hpf_core.data.checks.capture import CaptureReport, check_capture
from hpf_core.data.checks.findings import Finding
from hpf_core.data.layouts import nyu
from hpf_core.errors import InputError, RunError
from hpf_core.figures.capture_sheet import capture_sheet
from hpf_core.interfaces import HandModel
from hpf_core.simulation.simulate import CaptureConfig, simulate


@pytest.fixture(scope="module")
def made(hand: HandModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checked") / "made"
    simulate(folder, hand, CaptureConfig(train=5, validation=1, test=2, views=3, frames_per_pose=2))
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "capture"))


def of(report: CaptureReport, split: str, check: str) -> Finding:
    found = [one for part in report.splits if part.name == split for one in part.findings if one.check == check]
    assert len(found) == 1, found
    return found[0]


def not_ok(report: CaptureReport) -> list[tuple[str, str, str]]:
    whole = [("", one.check, one.status) for one in report.findings if one.status != "ok"]
    parts = [(p.name, one.check, one.status) for p in report.splits for one in p.findings if one.status != "ok"]
    return whole + parts


def image(root: Path, view: int = 1, frame: int = 2, split: str = "train") -> Path:
    return nyu.image_path(root / split, view, frame)


def test_a_whole_capture_is_right(made: Path) -> None:
    said: list[tuple[int, int, str]] = []
    report = check_capture(made, progress=lambda *told: said.append(told))
    assert not_ok(report) == []
    assert report.status == "ok"
    assert report.simulated
    assert [(part.name, part.frames, part.views) for part in report.splits] == [
        ("train", 5, (0, 1, 2)),
        ("validation", 1, (0, 1, 2)),
        ("test", 2, (0, 1, 2)),
    ]
    assert report.splits[2].subjects == ("training subject", "new subject")
    assert (15, 15, "decoding images of train") in said
    few = check_capture(made, 2)
    assert few.splits[0].sampled.tolist() == [0, 4]
    assert of(few, "train", "content").message.startswith("6 images of 2 frames")


def test_a_real_capture_has_neither_sidecar_nor_validation(root: Path) -> None:
    (root / "capture.json").unlink()
    shutil.rmtree(root / "validation")
    report = check_capture(root)
    assert report.simulated is None
    assert report.status == "ok"


@pytest.mark.parametrize(
    ("damage", "check", "message"),
    [
        (lambda path: path.unlink(), "files", r"1 is missing: depth_2_0000003\.png"),
        (lambda path: path.write_bytes(b""), "sizes", r"depth_2_0000003\.png \(not a PNG image\)"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "sizes", r"depth_2_0000003\.png \(cut off\)"),
        (lambda path: Image.new("L", (640, 480)).save(path), "sizes", r"640 x 480, 8 bits, PNG colour type 0"),
        (lambda path: Image.new("RGB", (320, 240)).save(path), "sizes", r"320 x 240, 8 bits, PNG colour type 2"),
    ],
)
def test_a_bad_image_is_named(root: Path, damage: Callable[[Path], object], check: str, message: str) -> None:
    damage(image(root))
    found = of(check_capture(root, 2), "train", check)
    assert found.status == "failed"
    assert found.files[0].startswith("depth_2_0000003.png")
    assert re.search(message, found.message), found.message


def test_annotated_frames_without_any_image_are_missing(root: Path) -> None:
    for view in range(3):
        image(root, view, 4).unlink()
    report = check_capture(root)
    found = of(report, "train", "files")
    names = tuple(f"depth_{view}_0000005.png (annotated)" for view in (1, 2, 3))
    assert (found.status, found.files) == ("failed", names)
    assert found.message == f"3 are missing: {', '.join(names)}"
    assert (report.splits[0].frames, report.splits[0].sampled.tolist()) == (4, [0, 1, 2, 3])


@pytest.mark.parametrize(("view", "frame"), [(-1, 0), (0, -1)])
def test_images_that_are_counted_from_0_are_told_and_not_used(root: Path, view: int, frame: int) -> None:
    stray = image(root, view, frame)
    shutil.copy(image(root, 0, 0), stray)
    report = check_capture(root)
    found = of(report, "train", "numbers")
    message = f"1 is numbered 0, but views and frames count from 1: {stray.name}"
    assert (found.status, found.message, found.files) == ("failed", message, (stray.name,))
    assert not_ok(report) == [("train", "numbers", "failed")]
    assert (report.splits[0].frames, report.splits[0].views) == (5, (0, 1, 2))


def test_damage_within_an_image_is_found_where_it_is_decoded(root: Path) -> None:
    path = image(root)
    content = bytearray(path.read_bytes())
    content[5000:5200] = bytes(200)
    path.write_bytes(content)
    found = of(check_capture(root, None), "train", "content")
    assert found.status == "failed"
    assert found.message.startswith("1 is damaged: depth_2_0000003.png (")
    assert check_capture(root, 2).status == "ok"  # frame 3 isn't among the two


def test_an_image_of_another_kind_is_named_by_its_file_where_it_is_decoded(root: Path) -> None:
    Image.new("L", (640, 480)).save(image(root))
    found = of(check_capture(root, None), "train", "content")
    kind = "an 8-bit greyscale PNG image of 640 x 480, but NYU's layout has 8-bit RGB PNG images of 640 x 480"
    assert found.message == f"1 is damaged: depth_2_0000003.png ({kind})"


def test_many_bad_images_are_counted(root: Path) -> None:
    for frame in range(5):
        image(root, 0, frame).write_bytes(b"")
    found = of(check_capture(root, 1), "train", "sizes")
    assert found.message.endswith("and 2 more")
    assert len(found.files) == 5


def test_a_split_without_images_or_labels_fails(root: Path) -> None:
    (root / "train" / "joint_data.mat").unlink()
    shutil.rmtree(root / "test")
    (root / "test").mkdir()
    report = check_capture(root)
    assert "is missing" in of(report, "train", "annotation").message
    assert of(report, "train", "content").status == "ok"
    assert of(report, "test", "images").status == "failed"
    assert report.status == "failed"


def rewrite(root: Path, **changes: object) -> None:
    """Change what `joint_data.mat` of train holds."""
    path = root / "train" / "joint_data.mat"
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    for key, change in changes.items():
        content[key] = change(content[key])  # type: ignore[operator]
    scipy.io.savemat(path, {key: value for key, value in content.items() if value is not None})


def moved(xyz: np.ndarray, by: tuple[float, float, float], view: int | None = None) -> np.ndarray:
    out = xyz.copy()
    out[slice(None) if view is None else view] += np.array(by)
    return out


def not_a_number(xyz: np.ndarray) -> np.ndarray:
    out = xyz.copy()
    out[0, 3, 7, 1] = np.nan
    return out


def frames_at(xyz: np.ndarray, value: float, *frames: int) -> np.ndarray:
    """What tools write for frames without annotation."""
    out = xyz.copy()
    out[:, list(frames)] = value
    return out


def one_frame_off(xyz: np.ndarray) -> np.ndarray:
    out = xyz.copy()
    out[1, 4] += 40
    return out


@pytest.mark.parametrize(
    ("changes", "check", "status", "message"),
    [
        ({"joint_xyz": not_a_number}, "annotation", "failed", "joints of 1 frame aren't numbers: frame 4"),
        ({"joint_xyz": lambda xyz: xyz[:, :3]}, "annotation", "failed", "has 3 frames of 3 views, but there are"),
        ({"joint_xyz": lambda xyz: xyz[:2]}, "annotation", "failed", "has 5 frames of 2 views, but there are"),
        ({"joint_xyz": lambda xyz: xyz[..., :20, :]}, "annotation", "failed", "shape (3, 5, 20, 3)"),
        ({"joint_names": lambda names: names[:, ::-1]}, "joints", "failed", "joint 1 is 'PALM_6'"),
        ({"joint_names": lambda names: np.array([["a"] * 36], dtype=object)}, "joints", "warning", "joint 1 is 'a'"),
        ({"joint_uvd": lambda uvd: uvd + 5.0}, "joint_uvd", "warning", "up to 5.00 px and 5.00 mm"),
        ({"joint_uvd": lambda uvd: None}, "joint_uvd", "warning", "missing"),
        ({"joint_xyz": lambda xyz: moved(xyz, (600, 0, 0))}, "in the image", "failed", "of the joints aren't"),
        ({"joint_xyz": lambda xyz: xyz * 3}, "distance", "warning", "the layout's sensor reaches"),
        ({"joint_xyz": lambda xyz: xyz * -1}, "annotation", "failed", "no frame has a hand before the camera"),
        ({"joint_xyz": lambda xyz: frames_at(xyz, 0.0, 1)}, "annotation", "warning",
         "1 frame of 5 not annotated: joints are 0, -1, or in one place, and don't count: frame 2"),
        ({"joint_xyz": lambda xyz: frames_at(xyz, -1.0, 1, 3)}, "annotation", "warning", "frame 2, frame 4"),
        ({"joint_xyz": lambda xyz: frames_at(xyz, 0.0, 1)}, "distance", "ok", "palms are"),
        ({"joint_xyz": lambda xyz: frames_at(xyz, 0.0, 1)}, "calibration", "ok", "view 2: 0.00 mm, view 3: 0.00 mm"),
        ({"joint_xyz": lambda xyz: frames_at(xyz, 0.0, 1)}, "in the image", "ok", "all joints are"),
        ({"joint_xyz": lambda xyz: xyz / 1000}, "annotation", "failed", "is in metres, and must be multiplied by 1000"),
        ({"joint_xyz": lambda xyz: xyz / 10}, "annotation", "failed", "is in centimetres"),
        ({"joint_xyz": lambda xyz: xyz * [1, -1, 1]}, "surface", "failed", "with the other sign of y"),
        ({"joint_xyz": one_frame_off}, "calibration", "warning", "by more than 10 mm in 1 frame: frame 5"),
        ({"joint_xyz": lambda xyz: xyz + np.random.default_rng(0).normal(0, 60, xyz.shape)}, "calibration", "failed",
         "the views do not belong to one rig"),
        ({"joint_xyz": lambda xyz: moved(xyz, (0, 0, 300))}, "surface", "failed", "don't belong together"),
    ],
)  # fmt: skip
def test_bad_labels_are_told(root: Path, changes: dict[str, object], check: str, status: str, message: str) -> None:
    rewrite(root, **changes)
    found = of(check_capture(root), "train", check)
    assert (found.status, message in found.message) == (status, True), found


def test_swapped_channels_are_named(root: Path) -> None:
    """Written as blue, green, red, an image has depths in multiples of 256 only."""
    for path in (root / "train").glob("depth_*.png"):
        Image.fromarray(np.ascontiguousarray(np.asarray(Image.open(path))[..., ::-1])).save(path)
    found = of(check_capture(root), "train", "bytes")
    assert found.status == "failed"
    assert "the channels are in another order" in found.message


def test_a_damaged_label_file_is_named(root: Path) -> None:
    path = root / "train" / "joint_data.mat"
    whole = path.read_bytes()
    for content in (b"", whole[:300], whole[: len(whole) // 2], whole[:128] + bytes(len(whole) - 128), b"\xff" * 500):
        path.write_bytes(content)
        report = check_capture(root, 1)
        failed = [one for one in report.splits[0].findings if one.status == "failed"]
        assert [one.files for one in failed] == [("joint_data.mat",)]
        assert "joint_data.mat" in failed[0].message


def test_a_sidecar_that_does_not_fit_fails(root: Path) -> None:
    path = root / "capture.json"
    document = json.loads(path.read_text())
    document["segments"]["train"][1]["frames"] += 1
    path.write_text(json.dumps(document))
    found = of(check_capture(root, 1), "train", "subjects")
    assert (found.status, found.message) == ("failed", "capture.json describes 6 frames, but the split has 5")
    path.write_text("{")
    report = check_capture(root, 1)
    assert report.findings[0].status == "failed"
    assert "capture.json is damaged" in report.findings[0].message


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, why in (
        (tmp_path, "has none of them"),
        (tmp_path / "no", "doesn't exist"),
        (tmp_path / "file", "isn't"),
    ):
        with pytest.raises(InputError, match=why):
            check_capture(place)


def test_the_capture_that_was_meant_is_named(made: Path) -> None:
    with pytest.raises(
        InputError, match=re.escape(f"{made / 'train'} has none of them. It is a part of one: check {made}.")
    ):
        check_capture(made / "train")
    with pytest.raises(InputError, match=re.escape(f"{made.parent} has none of them. But {made} has.")):
        check_capture(made.parent)


def test_the_sheet_shows_frames_of_every_split_and_their_joints(made: Path, tmp_path: Path) -> None:
    report = check_capture(made, 1)
    assert capture_sheet(report, tmp_path / "sheet.png") == 4 + 1 + 2
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    # Seven frames of three views, two frames beside each other: six tiles wide, four high.
    assert pixels.shape[1] > 6 * 190
    assert pixels.shape[0] > 4 * 200
    for colour in ((255, 90, 95), (255, 180, 0), (127, 212, 255), (241, 156, 255), (185, 242, 124)):  # fingers, palm
        assert (np.abs(pixels - colour).max(axis=-1) < 8).sum() > 7 * 3 * 10


def test_the_sheet_is_drawn_of_damaged_captures_too(root: Path, tmp_path: Path) -> None:
    image(root, 0, 0).write_bytes(b"")
    (root / "test" / "joint_data.mat").write_bytes(b"")
    assert capture_sheet(check_capture(root, 1), tmp_path / "sheet.png") == 7
    with pytest.raises(RunError, match=r"Can't write .*sheet\.png"):
        capture_sheet(check_capture(root, 1), root / "capture.json" / "sheet.png")


def test_16_bit_images_are_shown_on_the_sheet_as_they_are(root: Path, tmp_path: Path) -> None:
    """They aren't NYU's layout, but whoever has them sees the hands instead of a black sheet."""
    whole = capture_sheet(check_capture(root, 1), tmp_path / "a.png")
    for path in root.rglob("depth_*.png"):
        pixels = np.asarray(Image.open(path)).astype(np.uint16)
        Image.fromarray(pixels[..., 1] * 256 + pixels[..., 2]).save(path)
    assert capture_sheet(check_capture(root, 1), tmp_path / "b.png") == whole
    tiles = []
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as sheet:
            tiles.append(np.asarray(sheet.convert("RGB"))[120:280, 20:180].astype(int))
    assert np.abs(tiles[0] - tiles[1]).max() == 0
