"""Two layouts of one scene, frames that lack views, units, encodings, mirrors, and captures that can't be read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hpf_core.data.captures import Capture
from hpf_core.data.layouts import capture as capture_layout
from hpf_core.data.layouts import nyu
from hpf_core.data.layouts.base import Layout, Mirrored
from hpf_core.data.layouts.capture import CaptureLayout
from hpf_core.data.layouts.nyu import NyuLayout
from hpf_core.data.prepared.capture_cache import CaptureSource, CaptureWarning, CropOptions
from hpf_core.data.rig_file import RigFile, read_rig, write_rig
from hpf_core.errors import DataError
from hpf_core.frames import RealFrames, State
from hpf_core.grid import Grid
from hpf_core.interfaces import HandModel
from hpf_core.simulation.simulate import CaptureConfig, simulate

CONFIG = CaptureConfig(train=3, validation=1, test=2, views=3, seed=4)


@pytest.fixture(scope="module")
def roots(hand: HandModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("layouts")
    for layout in ("nyu", "capture"):
        simulate(top / layout, hand, CONFIG, layout=layout)
    return {layout: top / layout for layout in ("nyu", "capture")}


@pytest.fixture
def root(roots: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(roots["capture"], tmp_path / "my-capture"))


def reader(layout: Layout, cache: Path, views: tuple[int, ...] = (0, 1, 2), centre: str = "mass") -> Capture:
    calibration = "annotated" if layout.rig.to_rig is None else "file"
    source = CaptureSource(layout, layout.name, views, {}, {0: "s"}, calibration=calibration, annotation="nyu14")
    return Capture(source, CropOptions(Grid(64), centre, True), cache)  # type: ignore[arg-type]


def frames(layout: Layout, cache: Path, **options: object) -> RealFrames:
    data = reader(layout, cache, **options)  # type: ignore[arg-type]
    return data.frames("test", np.arange(data.splits()["test"]))


def same(one: RealFrames, other: RealFrames) -> None:
    assert torch.equal(one.depth, other.depth)
    assert torch.equal(one.state, other.state)
    assert torch.equal(one.present, other.present)


def rewritten(
    root: Path, change: Callable[[np.ndarray], np.ndarray], write: Callable[[Path, np.ndarray], None]
) -> None:
    """Every image anew."""
    layout = CaptureLayout(root)
    for split in layout.splits():
        for frame in range(layout.frames(split)):
            for view in range(3):
                depth = layout.read_depth(split, view, frame)
                path = layout.path(split, view, frame)
                assert path is not None
                write(path, change(depth))


def edited(root: Path, before: str, after: str) -> None:
    text = (root / "rig.yaml").read_text()
    assert before in text
    (root / "rig.yaml").write_text(text.replace(before, after))


def test_the_same_scene_in_two_layouts_gives_the_same_crops(roots: dict[str, Path], tmp_path: Path) -> None:
    """Around the annotated palm, whose place both layouts keep to the last digits."""
    views = (0, 1, 2)
    one = frames(NyuLayout(roots["nyu"], views), tmp_path / "a", centre="annotated")
    other = frames(CaptureLayout(roots["capture"]), tmp_path / "b", centre="annotated")
    assert one.depth.shape == (2, 3, 64, 64)
    assert (one.state == State.HIT).float().mean() > 0.05
    assert (one.state != other.state).float().mean() < 1e-4
    both = (one.state == State.HIT) & (other.state == State.HIT)
    assert (one.depth - other.depth)[both].abs().max() < 0.11  # tenths of a millimetre are kept
    np.testing.assert_allclose(one.to_rig, other.to_rig, atol=1e-3)
    labels = reader(NyuLayout(roots["nyu"], views), tmp_path / "a").labels("test")
    again = reader(CaptureLayout(roots["capture"]), tmp_path / "b").labels("test")
    assert labels is not None
    assert again is not None
    np.testing.assert_allclose(labels.joints, again.joints, atol=1e-9)
    assert labels.names == again.names


def test_without_labels_all_but_the_labels_is_the_same(root: Path, tmp_path: Path) -> None:
    before = frames(CaptureLayout(root), tmp_path / "a")
    for path in root.rglob("joints.npz"):
        path.unlink()
    data = reader(CaptureLayout(root), tmp_path / "b")
    same(data.frames("test", np.arange(2)), before)
    assert data.labels("test") is None
    assert data.protocol.annotation is None


@pytest.mark.parametrize("encoding", ["g256b", "r_g256", "npy", "gray16"])
def test_depth_in_any_encoding_and_unit(root: Path, tmp_path: Path, encoding: str) -> None:
    before = frames(CaptureLayout(root), tmp_path / "a")
    unit = {"npy": 1000.0, "gray16": 0.125}.get(encoding, 1.0)

    def write(path: Path, depth: np.ndarray) -> None:
        if encoding == "npy":
            path.unlink()
            np.save(path.with_suffix(".npy"), depth.astype(np.float64) / 1000)
        elif encoding == "gray16":
            capture_layout.write_gray16(path, depth * np.uint16(8))
        elif encoding == "g256b":
            nyu.write_depth(path, depth)
        else:
            from PIL import Image

            rgb = np.stack([depth & 255, depth >> 8, 0 * depth], axis=-1).astype(np.uint8)
            Image.fromarray(rgb).save(path)

    rewritten(root, lambda depth: depth, write)
    edited(root, "encoding: gray16, unit_mm: 1", f"encoding: {encoding}, unit_mm: {unit:g}")
    if encoding == "npy":
        edited(root, ".png", ".npy")
    after = frames(CaptureLayout(root), tmp_path / "b")
    if encoding == "npy":  # metres in floats come back rounded
        assert (after.state != before.state).float().mean() < 1e-3
    else:
        same(after, before)


def test_a_mirrored_capture_of_a_left_hand_gives_the_very_same_crops(root: Path, tmp_path: Path) -> None:
    before = frames(CaptureLayout(root), tmp_path / "a")
    content = read_rig(root)
    rewritten(root, lambda depth: np.ascontiguousarray(depth[:, ::-1]), capture_layout.write_gray16)
    write_rig(RigFile(content.path, content.rig.mirrored(), content.images, content.encoding))
    layout = CaptureLayout(root)
    assert layout.rig.hand == "left"
    after = frames(Mirrored(layout), tmp_path / "b")
    same(after, before)
    assert torch.equal(after.to_rig, before.to_rig)


def test_labels_of_a_left_hand_are_mirrored_with_it(root: Path) -> None:
    straight, mirrored = CaptureLayout(root).annotation("test"), Mirrored(CaptureLayout(root)).annotation("test")
    assert straight is not None
    assert mirrored is not None
    np.testing.assert_array_equal(mirrored.xyz, straight.xyz * [-1, 1, 1])


def test_frames_that_lack_views_keep_the_others(root: Path, tmp_path: Path) -> None:
    before = frames(CaptureLayout(root), tmp_path / "a", centre="annotated")
    (root / "test" / "left" / "000001.png").unlink()
    after = frames(CaptureLayout(root), tmp_path / "b", centre="annotated")
    assert after.present.tolist() == [[True, True, True], [True, True, False]]
    assert torch.equal(after.depth[:, :2], before.depth[:, :2])
    assert (after.state[1, 2] == State.UNKNOWN).all()
    (root / "test" / "middle" / "000000.png").unlink()
    data = reader(CaptureLayout(root), tmp_path / "c")
    with pytest.warns(CaptureWarning, match="frame 0 of test has no image of the first camera, 'middle'"):
        assert data.splits()["test"] == 1


def test_some_views_in_any_order(roots: dict[str, Path], tmp_path: Path) -> None:
    layout = CaptureLayout(roots["capture"])
    one = frames(layout, tmp_path / "a", centre="annotated")
    two = frames(layout, tmp_path / "b", views=(2, 0), centre="annotated")
    assert torch.equal(two.depth[:, 0], one.depth[:, 2])
    assert torch.equal(two.depth[:, 1], one.depth[:, 0])


def test_folders_of_any_depth_by_a_pattern(root: Path, tmp_path: Path) -> None:
    before = frames(CaptureLayout(root), tmp_path / "a")
    for image in sorted(root.glob("*/*/*.png")):
        split, camera = image.relative_to(root).parts[:2]
        target = root / split / "monday" / "desk" / "depth" / f"{camera}_{int(image.stem) + 100}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.rename(target)
    edited(root, "{split}/{camera}/{frame:06d}.png", "{split}/{sequence}/depth/{camera}_{frame}.png")
    layout = CaptureLayout(root)
    assert layout.frame_name("test", 0) == "frame 100 of test (monday/desk)"
    same(frames(layout, tmp_path / "b"), before)


def test_what_lies_outside_of_the_volume_is_no_return(root: Path, tmp_path: Path) -> None:
    before = frames(CaptureLayout(root), tmp_path / "a", centre="annotated")
    with (root / "rig.yaml").open("a") as file:
        file.write("volume_mm: {x: [-1000, 1000], y: [-1000, 1000], z: [100, 3000]}\n")
    same(frames(CaptureLayout(root), tmp_path / "b", centre="annotated"), before)
    edited(root, "z: [100, 3000]", "z: [100, 200]")
    with pytest.raises(DataError, match="show no hand, or no surface at all"):
        frames(CaptureLayout(root), tmp_path / "c", centre="annotated")


@pytest.mark.parametrize("change", ["tenths", "swapped", "empty"])
def test_crops_that_show_no_hand_are_no_dataset(root: Path, tmp_path: Path, change: str) -> None:
    changes = {
        "tenths": lambda depth: (depth * 10).astype(np.uint16),
        "swapped": lambda depth: depth.byteswap(),
        "empty": np.zeros_like,
    }
    rewritten(root, changes[change], capture_layout.write_gray16)
    with pytest.raises(
        DataError, match=r"train show no hand, or no surface at all: .* of camera middle.*hpf data check"
    ):
        frames(CaptureLayout(root), tmp_path / "a", centre="annotated")


def test_a_few_crops_without_a_hand_are_counted(root: Path, tmp_path: Path) -> None:
    capture_layout.write_gray16(root / "test" / "left" / "000001.png", np.zeros((480, 640), np.uint16))
    data = reader(CaptureLayout(root), tmp_path / "a", centre="annotated")
    with pytest.warns(CaptureWarning, match=r"1 of 6 crops .* 1 of camera left; first in frame 1 of test"):
        data.prepare()


def damage(root: Path, how: str) -> None:
    image = root / "train" / "left" / "000000.png"
    if how == "camera":
        shutil.rmtree(root / "train" / "left")
        shutil.rmtree(root / "test" / "left")
        shutil.rmtree(root / "validation" / "left")
    elif how == "pattern":
        edited(root, "{frame:06d}.png", "{frame:06d}.tiff")
    elif how == "labels":
        np.savez(root / "test" / "joints.npz", xyz=np.zeros((1, 36, 3)), names=np.array(nyu.JOINTS))
    elif how == "size":
        edited(root, "[640, 480]", "[320, 240]")
    elif how == "truncated":
        for path in root.rglob("*.png"):
            path.write_bytes(path.read_bytes()[:200])
    elif how == "mixed":
        for path in root.glob("*/left/*.png"):
            nyu.write_depth(path, np.full((480, 640), 800))
    assert image is not None


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("camera", r"rig\.yaml names the camera 'left', but it has no image.*train/left/000000\.png"),
        ("pattern", r"rig\.yaml: no file below .* matches .*\.tiff.* An existing one is test/left/000000\.png"),
        ("size", r"train/.*\.png is a 16-bit greyscale PNG image of 640 x 480, but .*rig\.yaml says .* 320 x 240"),
        ("truncated", r"\.png is damaged: it ends after 200 bytes"),
        ("mixed", r"left/.*\.png is an 8-bit RGB PNG image .* but .*rig\.yaml says 16-bit greyscale PNG images"),
    ],
)
def test_captures_that_cannot_be_read_name_the_file(root: Path, tmp_path: Path, how: str, said: str) -> None:
    damage(root, how)
    with pytest.raises(DataError, match=said):
        frames(CaptureLayout(root), tmp_path / "a")
    assert not list((tmp_path / "a").glob("captures/*/*/crops-*"))


def test_labels_of_another_number_of_frames(root: Path) -> None:
    damage(root, "labels")
    with pytest.raises(DataError, match="has 1 frames, but there are images of 2 of the split 'test'"):
        CaptureLayout(root).annotation("test")
    np.savez(root / "test" / "joints.npz", xyz=np.full((1, 36, 3), 5.0), names=np.array(nyu.JOINTS), frame=[1])
    labels = CaptureLayout(root).annotation("test")
    assert labels is not None
    assert labels.blanks.all()  # all joints in one place are no annotation
