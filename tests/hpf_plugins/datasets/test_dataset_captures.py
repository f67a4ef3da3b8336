"""`simulated` and `nyu` as a recipe builds them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hpf_core.data.captures import Capture
from hpf_core.data.layouts import nyu as nyu_layout
from hpf_core.data.sidecar import SIDECAR
from hpf_core.errors import DataError
from hpf_core.frames import State
from hpf_core.geometry.rigid import apply_rigid
from hpf_core.grid import Grid
from hpf_core.interfaces import Build, RealDataset
from hpf_core.simulation.simulate import CaptureConfig, simulate
from hpf_plugins.datasets import nyu, simulated
from hpf_plugins.hands.spheres41 import Spheres41, Spheres41Config

HAND = Spheres41(Spheres41Config())
SMALL = {"train": 4, "validation": 1, "test": 2}


def build(cache: Path, size: int = 64) -> Build:
    return Build(Grid(size), 0, cache, HAND)


def make_simulated(cache: Path, **options: object) -> RealDataset:
    built = simulated.SPEC.factory(simulated.SimulatedConfig.model_validate({**SMALL, **options}), build(cache))
    assert isinstance(built, RealDataset)
    return built


def make_nyu(cache: Path, **options: object) -> RealDataset:
    built = nyu.SPEC.factory(nyu.NyuConfig.model_validate(options), build(cache))
    assert isinstance(built, RealDataset)
    return built


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small stand-in for NYU's folder, with its two splits and nothing beside them."""
    root = tmp_path_factory.mktemp("nyu") / "root"
    simulate(root, HAND, CaptureConfig(train=3, validation=1, test=2))
    shutil.rmtree(root / "validation")
    (root / SIDECAR).unlink()
    return root


def test_simulated_is_made_on_first_use_and_kept(cache: Path) -> None:
    dataset = make_simulated(cache)
    said: list[str] = []
    dataset.prepare(lambda done, total, what: said.append(what))
    assert "simulating the capture" in said
    assert dataset.simulated
    assert dataset.splits() == SMALL
    frames = dataset.frames("train", np.arange(4))
    assert frames.depth.shape == (4, 3, 64, 64)
    assert frames.present.all()
    again = make_simulated(cache)
    again.prepare(lambda done, total, what: pytest.fail("made again"))
    assert torch.equal(again.frames("train", np.arange(4)).depth, frames.depth)


def test_simulated_with_other_options_is_another_capture(cache: Path, tmp_path: Path) -> None:
    one = make_simulated(cache).frames("train", np.arange(4))
    other = make_simulated(tmp_path, seed=1).frames("train", np.arange(4))
    assert not torch.equal(one.depth, other.depth)
    # Where crops are cut and which views are used doesn't make another capture.
    mixed = make_simulated(cache, multi_view_share=0.5, single_view_share=0.25, centre="mass")
    assert mixed.splits() == {"train": 3, "validation": 1, "test": 2}
    assert mixed.frames("train", np.arange(3)).present.sum(dim=1).tolist() == [3, 3, 1]
    both = make_simulated(cache, train_on=["train", "test"], multi_view_share=0, single_view_share=1)
    assert both.splits() == {"train": 6, "validation": 1, "test": 2}
    assert both.frames("train", np.arange(6)).present.sum(dim=1).tolist() == [1] * 6
    assert both.frames("test", np.arange(2)).present.all()
    assert len(list((cache / "simulated").iterdir())) == 1


def test_the_scored_joints_are_the_hand_models(cache: Path) -> None:
    dataset = make_simulated(cache)
    assert dataset.protocol.annotation == "nyu14"
    names = HAND.annotations["nyu14"][0]
    assert dataset.labels("test").names == names
    assert HAND.annotations["nyu36"][0] == nyu_layout.JOINTS
    assert all(names[k].endswith("KNU3_A") for k in dataset.protocol.fingertips)
    assert len(dataset.protocol.fingertips) == 5
    assert dataset.labels("test").subject_names == {0: "training subject", 1: "new subject"}
    assert dataset.to_camera("test").shape == (2, 4, 4)


def test_nyu_reads_the_same_layout(raw: Path, tmp_path: Path) -> None:
    dataset = make_nyu(tmp_path, root=str(raw))
    assert not dataset.simulated
    assert dataset.splits() == {"train": 3, "test": 2}
    frames = dataset.frames("train", np.arange(3))
    assert (frames.state == State.HIT).float().mean() > 0.1
    assert frames.time.tolist() == [0, 1, 2]
    assert dataset.labels("test").subject_names == {0: "subject"}
    assert dataset.frames("test", np.arange(2)).sequence.tolist() == [1, 1]
    few = make_nyu(tmp_path, root=str(raw), views=[2, 1], limit=2, turned=True)
    assert few.splits() == {"train": 2, "test": 2}
    assert few.frames("train", np.array([0])).depth.shape == (1, 2, 64, 64)


@pytest.mark.parametrize(("frames", "people"), [(2440, 1), (2441, 2), (8251, 2), (8252, 2), (8253, 1)])
def test_the_subjects_change_after_frame_2440_of_nyus_test_split(tmp_path: Path, frames: int, people: int) -> None:
    """Also where its last images are missing."""
    test = tmp_path / "nyu" / "test"
    test.mkdir(parents=True)
    nyu_layout.image_path(test, 0, frames - 1).touch()
    dataset = make_nyu(tmp_path, root=str(tmp_path / "nyu"))
    assert isinstance(dataset, Capture)
    subjects = {part.first: part.subject for part in dataset.source.segments["test"]}
    assert subjects == ({0: 0, 2440: 1} if people == 2 else {0: 0})
    assert set(subjects.values()) <= set(dataset.source.subject_names)
    sequences = [part.sequence for parts in dataset.source.segments.values() for part in parts]
    assert len(set(sequences)) == len(sequences)


@pytest.mark.parametrize("options", [{"train_on": []}, {"train_on": ["validation"]}, {"multi_view_share": 0}])
def test_what_is_trained_on_is_checked(options: dict[str, object]) -> None:
    for config in (nyu.NyuConfig, simulated.SimulatedConfig):
        with pytest.raises(ValueError, match=r"train_on|multi_view_share"):
            config.model_validate(options)


def test_nyu_reads_simulated_captures_as_what_they_are(tmp_path: Path) -> None:
    """Who is seen, the rate, and that they are simulated, from beside the splits; all splits that are there."""
    root = tmp_path / "made"
    simulate(root, HAND, CaptureConfig(train=2, validation=1, test=2))
    dataset = make_nyu(tmp_path / "cache", root=str(root))
    assert dataset.simulated
    assert dataset.splits() == {"train": 2, "validation": 1, "test": 2}
    frames = dataset.frames("train", np.arange(2))
    assert frames.time.tolist() == [0, 0.1]
    assert frames.sequence.tolist() == [0, 1]
    assert dataset.labels("test").subject.tolist() == [0, 1]
    assert dataset.labels("test").subject_names == {0: "training subject", 1: "new subject"}
    assert dataset.labels("train").subject_names == {0: "training subject", 2: "second training subject"}
    (root / SIDECAR).write_text("{}")  # a real capture of which nothing is known
    unknown = make_nyu(tmp_path / "cache", root=str(root))
    assert not unknown.simulated
    assert unknown.labels("test").subject_names == {0: "subject"}
    (root / SIDECAR).write_text("{")
    with pytest.raises(DataError, match=r"capture\.json is damaged"):
        make_nyu(tmp_path / "cache", root=str(root))


@pytest.mark.parametrize("centre", ["annotated", "mass", "refined"])
def test_crops_are_moved_where_that_is_asked_for(raw: Path, tmp_path: Path, centre: str) -> None:
    for dataset in (
        make_nyu(tmp_path, root=str(raw), centre=centre),
        make_simulated(tmp_path, centre=centre, train=2, test=1),
    ):
        assert dataset.protocol.centre == centre
        assert dataset.recentres == (centre == "refined")
        somewhere = np.full((dataset.splits()["test"], 3), np.nan)
        if dataset.recentres:
            assert not dataset.recentre("test", somewhere).any()
        else:
            with pytest.raises(DataError, match="can't be moved"):
                dataset.recentre("test", somewhere)


@pytest.mark.parametrize("root", ["", "  ", "nowhere/at/all", "."])
def test_without_the_dataset_the_error_says_what_to_do(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        make_nyu(tmp_path, root=root)
    message = str(caught.value)
    for part in ("NYU Hand Pose Dataset", "Tompson", "CC-BY-4.0", "HPF_NYU_ROOT", "recipes/quickstart.yaml"):
        assert part in message
    assert caught.value.exit_code == 2


def test_the_capture_that_was_meant_is_named(tmp_path: Path) -> None:
    (tmp_path / "unpacked" / "dataset" / "train").mkdir(parents=True)
    (tmp_path / "unpacked" / "dataset" / "train" / "depth_1_0000001.png").touch()
    for given in ("unpacked", "unpacked/dataset/train"):
        with pytest.raises(DataError) as caught:
            make_nyu(tmp_path / "cache", root=str(tmp_path / given))
        assert f"set HPF_NYU_ROOT={tmp_path / 'unpacked' / 'dataset'}." in str(caught.value)


@pytest.mark.parametrize("views", [[], [1, 1], [0]])
def test_views_are_counted_from_1_and_named_once(views: list[int]) -> None:
    with pytest.raises(ValueError, match="needs different numbers, counted from 1"):
        nyu.NyuConfig(views=tuple(views))


def test_a_rig_may_have_more_cameras_than_nyu(tmp_path: Path) -> None:
    """Each shows the hand from its own side, and one rigid map for each puts what they see into one place."""
    simulate(tmp_path / "five", HAND, CaptureConfig(train=1, validation=1, test=1, views=5, frames_per_pose=1))
    frames = make_nyu(tmp_path, root=str(tmp_path / "five"), views=[5, 1, 4]).frames("train", np.array([0]))
    assert frames.depth.shape == (1, 3, 64, 64)
    hit = (frames.state == State.HIT)[0]
    axis = Grid(64).axis()
    seen = torch.stack(torch.broadcast_tensors(axis, axis[:, None], frames.depth[0]), dim=-1)
    middles = torch.stack([seen[view][hit[view]].mean(0) for view in range(3)])
    in_the_rig = apply_rigid(frames.to_rig[0], middles[:, None])[:, 0]
    assert torch.pdist(in_the_rig).max() < 50
    assert torch.pdist(frames.to_rig[0, :, :3, 2]).min() > 0.2  # directions of view
    with pytest.raises(DataError, match="view 6 is required"):
        make_nyu(tmp_path, root=str(tmp_path / "five"), views=[1, 6]).frames("train", np.array([0]))
