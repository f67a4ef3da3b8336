"""A small capture from end to end: made, read, calibrated, cropped, cached; and what labels can't reach."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hpf_core.data.captures import Capture
from hpf_core.data.crop import crop
from hpf_core.data.hand_centre import Centring
from hpf_core.data.layouts import nyu
from hpf_core.data.layouts.nyu import NyuLayout
from hpf_core.data.prepared.capture_cache import CaptureSource, CaptureWarning, CropOptions
from hpf_core.data.prepared.frame_sets import TrainingSet
from hpf_core.errors import DataError
from hpf_core.frames import RealFrames, State
from hpf_core.geometry.rigid import apply_rigid
from hpf_core.grid import Grid
from hpf_core.interfaces import HandModel
from hpf_core.simulation import simulate
from hpf_core.simulation.simulate import SUBJECT_NAMES, CaptureConfig, segments_of

CONFIG = CaptureConfig(train=6, validation=2, test=3, frames_per_pose=2)


@pytest.fixture(scope="module")
def made(hand: HandModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("capture") / "made"
    simulate.simulate(folder, hand, CONFIG)
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "capture"))


def reader(
    root: Path,
    cache: Path,
    centring: Centring = "annotated",
    turned: bool = True,
    limit: int | None = None,
    training: TrainingSet = TrainingSet(),  # noqa: B008, frozen
) -> Capture:
    layout = NyuLayout(root, (0, 1, 2))
    source = CaptureSource(layout, "capture", (0, 1, 2), segments_of(CONFIG), SUBJECT_NAMES, 10.0, limit)
    return Capture(source, CropOptions(Grid(64), centring, turned), cache, training=training)


def everything(capture: Capture, split: str = "train") -> RealFrames:
    return capture.frames(split, np.arange(capture.splits()[split]))


def assert_same(one: RealFrames, other: RealFrames) -> None:
    for field in dataclasses.fields(RealFrames):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if isinstance(first, torch.Tensor):
            assert torch.equal(first, second), field.name


# ---------------------------------------------------------------------------------------------------------- reading


def test_frames_hold_what_they_promise(root: Path, tmp_path: Path) -> None:
    capture = reader(root, tmp_path / "cache")
    assert capture.splits() == {"train": 6, "validation": 2, "test": 3}
    frames = everything(capture)
    assert frames.depth.shape == frames.state.shape == (6, 3, 64, 64)
    assert (frames.depth.dtype, frames.state.dtype, frames.to_rig.dtype) == (torch.float32, torch.uint8, torch.float32)
    hit = frames.state == State.HIT
    assert (hit.float().mean(dim=(2, 3)) > 0.08).all()
    assert (frames.depth[~hit] == 150).all()
    assert (frames.depth[hit].abs() <= 150).all()
    assert frames.sequence.tolist() == [0, 0, 0, 1, 1, 1]
    torch.testing.assert_close(frames.time, torch.arange(6) / 10, check_dtype=False)
    assert frames.index.tolist() == list(range(6))
    assert frames.present.all()
    some = capture.frames("train", np.array([4, 1]))
    assert torch.equal(some.depth, frames.depth[[4, 1]])


@pytest.mark.parametrize("turned", [False, True])
def test_labels_fit_the_crops_and_the_views_fit_each_other(root: Path, tmp_path: Path, turned: bool) -> None:
    capture = reader(root, tmp_path / "cache", turned=turned)
    frames, labels, to_camera = everything(capture, "test"), capture.labels("test"), capture.to_camera("test")
    assert labels.joints.shape == (3, 14, 3)
    assert labels.names[0] == "F1_KNU3_A"
    assert labels.names[-1] == "PALM_3"
    assert labels.subject.tolist() == [0, 0, 1]
    assert labels.subject_names == {0: "training subject", 1: "new subject"}
    inverse = torch.from_numpy(np.linalg.inv(to_camera))
    in_crop = apply_rigid(inverse, torch.from_numpy(labels.joints))
    assert in_crop[:, -1].abs().max() < 1e-6  # centred on PALM_3
    pixel = ((in_crop / 300 + 0.5) * 64).long()
    for frame in range(3):
        column, row, _ = pixel[frame].unbind(-1)
        hit = frames.state[frame, 0, row, column] == State.HIT
        before = in_crop[frame, :, 2] - frames.depth[frame, 0, row, column]
        assert hit.double().mean() > 0.6
        assert (before[hit] > 0).double().mean() > 0.9
    # Taken into the rig's frame, the part of the hand that two views both see is one surface: of the nearest points'
    # distances the lower quarter is within a pixel (4.7 mm), and not so where one cloud is moved by 15 mm.
    axis = Grid(64).axis()
    for frame in range(3):
        clouds = []
        for view in range(3):
            row, column = (frames.state[frame, view] == State.HIT).nonzero().unbind(1)
            points = torch.stack([axis[column], axis[row], frames.depth[frame, view, row, column]], dim=-1)
            clouds.append(apply_rigid(frames.to_rig[frame, view], points))
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert torch.cdist(clouds[one], clouds[other]).amin(dim=1).quantile(0.25) < 4.0
            aside = clouds[one] + torch.tensor([0.0, 0.0, -15.0])
            assert torch.cdist(aside, clouds[other]).amin(dim=1).quantile(0.25) > 5.0


def test_training_frames_are_mixed_of_many_views_and_one(root: Path, tmp_path: Path) -> None:
    whole = everything(reader(root, tmp_path / "cache"))
    capture = reader(root, tmp_path / "cache", training=TrainingSet(("train",), 0.5, 0.34))
    frames = everything(capture)
    assert frames.present.sum(dim=1).tolist() == [3, 3, 3, 1, 1]  # of 6 frames; the last one isn't used
    assert torch.equal(frames.depth[:3], whole.depth[:3])
    assert torch.equal(frames.depth[3:, 0], whole.depth[3:5, 0])
    assert len(frames.views.rows) == 3 * 3 + 2
    assert len(frames.views.source) == 3 * 9 + 2 * 1
    absent = ~frames.present
    assert (frames.state[absent] == State.UNKNOWN).all()
    assert (frames.depth[absent] == 150).all()
    assert torch.equal(frames.to_rig[absent], torch.eye(4).expand(4, 4, 4))
    assert everything(capture, "test").present.all()
    assert capture.splits()["test"] == 3
    assert capture.frames("train", np.array([4, 0])).present.sum(dim=1).tolist() == [1, 3]


@pytest.mark.parametrize("on", [("test",), ("train", "test"), ("test", "train")])
def test_training_is_on_the_splits_that_are_named(root: Path, tmp_path: Path, on: tuple[str, ...]) -> None:
    plain = reader(root, tmp_path / "cache", centring="refined")
    capture = reader(root, tmp_path / "cache", centring="refined", training=TrainingSet(on))
    parts = [everything(plain, split) for split in on]
    frames, count = everything(capture), sum(plain.splits()[split] for split in on)
    assert capture.splits() == {"train": count, "validation": 2, "test": 3}
    for name in ("depth", "state", "to_rig", "sequence", "time"):
        assert torch.equal(getattr(frames, name), torch.cat([getattr(part, name) for part in parts])), name
    assert frames.index.tolist() == list(range(count))
    mixed = np.array([count - 1, 0, 1, count - 2])
    assert torch.equal(capture.frames("train", mixed).depth, frames.depth[mixed])
    np.testing.assert_array_equal(
        capture.labels("train").joints, np.concatenate([plain.labels(split).joints for split in on])
    )
    np.testing.assert_array_equal(capture.to_camera("train"), np.concatenate([plain.to_camera(s) for s in on]))
    # What is evaluated stays as it is, also where the crops that are trained on are moved.
    palm = np.concatenate([nyu.read_annotation(root / split).xyz[0, :, nyu.PALM_CENTRE] for split in on])
    assert capture.recentre("train", palm).all()
    inside = apply_rigid(torch.linalg.inv(everything(capture).to_rig[:, 0].double()), torch.from_numpy(palm)[:, None])
    assert inside[:, 0, 2].abs().max() < 0.1
    assert_same(everything(capture, "test"), everything(plain, "test"))
    np.testing.assert_array_equal(capture.labels("test").joints, plain.labels("test").joints)
    np.testing.assert_array_equal(capture.to_camera("test"), plain.to_camera("test"))


def test_training_on_a_split_that_is_not_there_is_told(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "test")
    with pytest.raises(DataError, match="train_on names the split 'test', but the dataset has only train, validation"):
        reader(root, tmp_path / "cache", training=TrainingSet(("train", "test"))).prepare()
    shutil.rmtree(root / "train")
    assert reader(root, tmp_path / "cache").splits() == {"validation": 2}


@pytest.mark.parametrize("shares", [(0.7, 0.4), (0.0, 0.0)])
def test_shares_are_of_one_whole(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="together above 0 and at most 1"):
        TrainingSet(("train",), *shares)
    with pytest.raises(ValueError, match="names a split twice"):
        TrainingSet(("test", "test"))


def test_once_prepared_no_label_matters(root: Path, tmp_path: Path) -> None:
    before = everything(reader(root, tmp_path / "cache"))
    for split in ("train", "validation", "test"):
        path = root / split / "joint_data.mat"
        found = nyu.read_annotation(root / split)
        nyu.write_annotation(root / split, nyu.Annotation(found.xyz * 1.5 + 30, found.names))
        assert path.exists()
    assert_same(everything(reader(root, tmp_path / "cache")), before)
    for split in ("train", "validation", "test"):
        (root / split / "joint_data.mat").unlink()
    capture = reader(root, tmp_path / "cache")
    assert_same(everything(capture), before)
    # Other crops need no label either: the calibration and the centres are fixed.
    other = everything(reader(root, tmp_path / "cache", turned=False))
    assert other.depth.shape == before.depth.shape
    assert capture.labels("test") is None
    assert reader(root, tmp_path / "cache").protocol.annotation is None


def test_preparing_again_costs_nothing(root: Path, tmp_path: Path) -> None:
    reader(root, tmp_path / "cache").prepare()
    said: list[str] = []
    reader(root, tmp_path / "cache").prepare(lambda done, total, what: said.append(what))
    assert said == []


@pytest.mark.parametrize("damage", ["truncated", "changed", "gone", "meta"])
def test_a_damaged_cache_is_made_anew(root: Path, tmp_path: Path, damage: str) -> None:
    before = everything(reader(root, tmp_path / "cache"))
    (crops,) = (tmp_path / "cache").glob("captures/*/train/crops-*")
    path = crops / "depth.npy"
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        path.write_bytes(content[:-1000] + bytes(1000))
    elif damage == "gone":
        path.unlink()
    else:
        (crops / "meta.json").write_text("{")
    assert_same(everything(reader(root, tmp_path / "cache")), before)


def test_a_damaged_calibration_is_made_anew(root: Path, tmp_path: Path) -> None:
    before = reader(root, tmp_path / "cache").calibration("train")
    (path,) = (tmp_path / "cache").glob("captures/*/train/calibration.json")
    path.write_text("{}")
    shutil.rmtree(next((tmp_path / "cache").glob("captures/*/train/crops-*")))
    with pytest.warns(CaptureWarning, match=r"calibration\.json is damaged and is regenerated"):
        after = reader(root, tmp_path / "cache").calibration("train")
    np.testing.assert_array_equal(after.to_rig, before.to_rig)
    assert after.residual_mm.max() < 1e-3


def test_frames_with_a_bad_image_are_listed_and_left_out(root: Path, tmp_path: Path) -> None:
    whole = everything(reader(root, tmp_path / "one"))
    (root / "train" / "depth_2_0000002.png").write_bytes(b"no image")
    (root / "train" / "depth_1_0000005.png").unlink()
    capture = reader(root, tmp_path / "two")
    with pytest.warns(CaptureWarning, match=r"2 of 6 frames of .*train are unusable.*depth_2_0000002\.png is damaged"):
        capture.prepare()
    assert capture.splits()["train"] == 4
    reasons = capture.left_out("train")
    assert len(reasons) == 2
    assert "depth_2_0000002.png is damaged" in reasons[0]
    assert "depth_1_0000005.png is missing" in reasons[1]
    frames, kept = everything(capture), [0, 2, 3, 5]
    assert torch.equal(frames.depth, whole.depth[kept])
    assert frames.sequence.tolist() == [0, 0, 1, 1]
    assert len(capture.labels("train").joints) == len(capture.to_camera("train")) == 4
    np.testing.assert_array_equal(
        capture.labels("train").joints, reader(root, tmp_path / "one").labels("train").joints[kept]
    )


def test_annotated_frames_after_the_last_image_are_listed_and_left_out(root: Path, tmp_path: Path) -> None:
    whole = everything(reader(root, tmp_path / "one"))
    for view in range(3):
        for frame in (4, 5):
            nyu.image_path(root / "train", view, frame).unlink()
    with pytest.warns(CaptureWarning, match=r"2 of 6 frames of .*train are unusable"):
        reader(root, tmp_path / "two").prepare()
    capture = reader(root, tmp_path / "two")  # as another process finds it
    with pytest.warns(CaptureWarning, match=r"depth_1_0000005\.png is missing: joint_data\.mat has frames after"):
        capture.prepare()
    assert capture.splits() == {"train": 4, "validation": 2, "test": 3}
    assert [reason.partition(" is missing")[0] for reason in capture.left_out("train")] == [
        str(root / "train" / f"depth_1_000000{number}.png") for number in (5, 6)
    ]
    train = capture.prepared()[0]
    assert (train.frames, train.left_out) == (6, tuple(capture.left_out("train")))
    assert torch.equal(everything(capture).depth, whole.depth[:4])
    # Whoever asks for a few frames gets as many of those that there are.
    few = reader(root, tmp_path / "three", limit=3)
    assert torch.equal(everything(few).depth, whole.depth[[0, 2, 3]])
    assert few.left_out("train") == []


def test_a_limit_takes_frames_from_all_over_the_split(root: Path, tmp_path: Path) -> None:
    whole, part = everything(reader(root, tmp_path / "one")), everything(reader(root, tmp_path / "one", limit=3))
    assert torch.equal(part.depth, whole.depth[[0, 2, 5]])


def test_centres_of_mass_need_no_label_and_are_fixed(root: Path, tmp_path: Path) -> None:
    capture = reader(root, tmp_path / "cache", centring="mass")
    first = everything(capture)
    assert capture.protocol.centre == "mass"
    assert list((tmp_path / "cache").glob("captures/*/train/centres-start.npy"))
    shutil.rmtree(next((tmp_path / "cache").glob("captures/*/train/crops-*")))
    assert_same(everything(reader(root, tmp_path / "cache", centring="mass")), first)
    centred = everything(reader(root, tmp_path / "cache"))
    assert not torch.equal(first.depth, centred.depth)


@pytest.mark.parametrize("centring", ["annotated", "mass"])
def test_what_is_cut_out_of_the_wider_maps_is_the_crop(root: Path, tmp_path: Path, centring: Centring) -> None:
    """The wider maps are told at the cube's faces anew; only rays at an edge may be told otherwise."""
    capture = reader(root, tmp_path / "cache", centring=centring)
    found = everything(capture)
    (split,) = (one for one in capture.prepared() if one.split == "train")
    centres = np.load(split.folder / "centres.npy")
    for frame in range(6):
        for view in range(3):
            depth = nyu.read_depth(nyu.image_path(root / "train", view, frame))
            made = crop(depth, nyu.returned(depth), nyu.CAMERA, centres[frame, view], Grid(64), True)
            assert (found.state[frame, view].numpy() == made.state).mean() > 0.97
            both = (found.state[frame, view].numpy() == State.HIT) & (made.state == State.HIT)
            assert (np.abs(found.depth[frame, view].numpy() - made.depth)[both] < 0.11).mean() > 0.99
    # One place per frame, seen from every camera.
    places = found.to_rig[..., :3, 3]
    assert (places - places[:, :1]).abs().max() < 1e-3


def test_crops_that_can_be_moved_begin_as_those_of_the_mass_and_share_their_cache(root: Path, tmp_path: Path) -> None:
    mass, kept = (reader(root, tmp_path, centring=centring) for centring in ("mass", "refined"))
    assert (mass.recentres, kept.recentres) == (False, True)
    before = everything(mass)
    kept.prepare(lambda *_: pytest.fail("prepared again"))
    assert_same(everything(kept), before)


def test_moved_crops_follow_with_their_maps_and_come_back(root: Path, tmp_path: Path) -> None:
    capture = reader(root, tmp_path / "cache", centring="refined")
    before, test_before = everything(capture), everything(capture, "test")
    camera_before = capture.to_camera("train")
    palm = nyu.read_annotation(root / "train").xyz[0, :, nyu.PALM_CENTRE]
    asked = palm.copy()
    asked[2] = np.nan
    asked[3] += 500.0
    assert capture.recentre("train", asked).tolist() == [True, True, False, False, True, True]
    after = everything(capture)
    # The palm's centre lies in the middle of every moved crop: sideways within half a pixel, in depth within 0.1 mm.
    inverse = torch.linalg.inv(after.to_rig.double())
    inside = apply_rigid(inverse, torch.from_numpy(palm)[:, None, None].expand(-1, 3, 1, 3))[:, :, 0]
    moved = [0, 1, 4, 5]
    assert inside[moved][..., :2].abs().max() <= 300 / 64 / 2 + 1e-3
    assert inside[moved][..., 2].abs().max() < 0.1
    for stays in (2, 3):
        assert torch.equal(after.depth[stays], before.depth[stays])
        assert torch.equal(after.to_rig[stays], before.to_rig[stays])
    # The first camera's frame is the rig's, so that both maps of the evaluated view are one.
    np.testing.assert_allclose(capture.to_camera("train"), after.to_rig[:, 0].double(), atol=1e-3)
    assert torch.equal(capture.frames("train", np.array([5, 0])).depth, after.depth[[5, 0]])
    assert_same(everything(capture, "test"), test_before)
    capture.recentre("train", None)
    assert_same(everything(capture), before)
    np.testing.assert_array_equal(capture.to_camera("train"), camera_before)
    with pytest.raises(ValueError, match="the split 'train' has 6 frames"):
        capture.recentre("train", palm[:2])


def test_what_is_not_a_capture_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no split train or validation or test\. NYU's layout has depth_1_0000001"):
        reader(tmp_path, tmp_path / "cache").prepare()
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"no depth images; NYU's layout has depth_1_0000001\.png"):
        reader(tmp_path, tmp_path / "cache").prepare()


def test_an_unknown_split_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'exam'\. Known: train, validation, test"):
        reader(root, tmp_path / "cache").frames("exam", np.array([0]))
