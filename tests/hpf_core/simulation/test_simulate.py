"""Simulated captures: the same bytes whatever happens on the way, complete or not there at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from hpf_core.data.images import is_whole
from hpf_core.data.layouts import nyu
from hpf_core.data.sidecar import Segment, read_sidecar
from hpf_core.errors import InputError, RunError
from hpf_core.files import worker_pools
from hpf_core.interfaces import HandModel
from hpf_core.simulation import simulate, unfinished
from hpf_core.simulation.simulate import CaptureConfig
from hpf_core.simulation.unfinished import partial_folder

CONFIG = CaptureConfig(train=4, validation=1, test=3, views=2, frames_per_pose=2)


@pytest.fixture(scope="module")
def made(hand: HandModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "made"
    assert simulate.simulate(folder, hand, CONFIG)
    return folder


def digest(folder: Path) -> dict[str, str]:
    """The hash of every file, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Stop(Exception):
    """Stops a simulation after some frames."""


def after(frames: int) -> object:
    def progress(done: int, total: int, what: str) -> None:
        if done == frames:
            raise Stop

    return progress


def test_the_files_are_those_of_nyus_layout_and_a_sidecar(made: Path) -> None:
    images = {
        f"{split}/depth_{view}_{frame + 1:07d}.png"
        for split, count in (("train", 4), ("validation", 1), ("test", 3))
        for frame in range(count)
        for view in (1, 2)
    }
    labels = {f"{split}/joint_data.mat" for split in ("train", "validation", "test")}
    assert set(digest(made)) == images | labels | {"capture.json"}
    sidecar = read_sidecar(made)
    assert sidecar is not None
    assert sidecar.simulated
    assert sidecar.segments["test"] == (Segment(0, 2, 4, 0), Segment(2, 1, 5, 1))
    assert sidecar.segments["train"] == (Segment(0, 2, 0, 0), Segment(2, 2, 1, 2))
    assert sidecar.subject_names[1] == "new subject"
    assert CaptureConfig(**sidecar.made["config"]) == CONFIG


def test_neither_threads_nor_the_global_state_nor_the_time_change_a_byte(
    made: Path, hand: HandModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pools, "workers", lambda: 1)
    torch.manual_seed(99)
    simulate.simulate(tmp_path / "again", hand, CONFIG)
    assert digest(tmp_path / "again") == digest(made)
    simulate.simulate(tmp_path / "other", hand, CONFIG.model_copy(update={"seed": 1}))
    one, other = digest(tmp_path / "other"), digest(made)
    assert all(one[name] != other[name] for name in one)


def test_joints_lie_in_the_image_and_inside_of_the_hand(made: Path) -> None:
    for split, count in (("train", 4), ("test", 3)):
        xyz = nyu.read_annotation(made / split).xyz
        assert xyz.shape == (2, count, 36, 3)
        image = nyu.CAMERA.project(xyz)
        assert (image[..., :2] > 5).all()
        assert (image[..., 0] < 635).all()
        assert (image[..., 1] < 475).all()
        behind = []
        for view in range(2):
            for frame in range(count):
                depth = nyu.read_depth(nyu.image_path(made / split, view, frame))
                u, v, z = np.rint(image[view, frame]).astype(int).T
                seen = nyu.returned(depth)[v, u]
                assert seen.mean() > 0.6
                behind.append((z - depth[v, u])[seen])
        depth_inside = np.concatenate(behind)
        # The surface lies before the joint that it hides: by a radius, or more where another finger is in the way.
        assert np.mean(depth_inside > 2) > 0.95
        assert 5 < np.median(depth_inside) < 30


def test_no_return_is_written_as_nyu_writes_it_and_there_is_a_room_behind(made: Path) -> None:
    for view in range(2):
        depth = nyu.read_depth(nyu.image_path(made / "train", view, 0))
        assert depth.min() > 400
        assert depth.max() == 2001
        assert (depth == 2001).mean() < 0.1


def test_the_body_moves_and_the_sensors_noise_is_new_in_every_image(made: Path) -> None:
    one, other = (nyu.read_depth(nyu.image_path(made / "train", 0, frame)) for frame in (0, 1))
    far = (one > 1600) & (one < 2001) & (other > 1600) & (other < 2001)  # the wall
    assert far.mean() > 0.2
    assert 0.05 < (one[far] != other[far]).mean() < 0.95


# ------------------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("frames", [1, 5])
def test_what_was_stopped_goes_on_to_the_same_bytes(made: Path, hand: HandModel, tmp_path: Path, frames: int) -> None:
    out = tmp_path / "capture"
    with pytest.raises(Stop):
        simulate.simulate(out, hand, CONFIG, after(frames))  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == [".capture-partial"]
    kept = {path: path.stat().st_mtime_ns for path in partial_folder(out).rglob("*.png")}
    assert len(kept) >= 2 * frames
    # Cut off, as by a loss of power, and left over, as by a kill: neither counts as an image.
    first = next(iter(kept))
    first.write_bytes(first.read_bytes()[:-5])
    first.with_name(".depth_1_0000009.png.1").write_bytes(b"half")
    said: list[int] = []
    assert simulate.simulate(out, hand, CONFIG, lambda done, total, what: said.append(done))
    assert digest(out) == digest(made)
    assert [path.name for path in tmp_path.iterdir()] == ["capture"]
    assert said[-1] == 8
    for path, when in kept.items():
        moved = out / path.relative_to(partial_folder(out))
        assert (moved.stat().st_mtime_ns == when) == (path != first)


def test_a_killed_process_leaves_what_the_next_one_goes_on_with(made: Path, hand: HandModel, tmp_path: Path) -> None:
    out = tmp_path / "capture"
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from pathlib import Path\n"
        "from conftest import SmallHand\n"
        "from hpf_core.simulation.simulate import CaptureConfig, simulate\n"
        f"simulate(Path({str(out)!r}), SmallHand(), CaptureConfig.model_validate_json({CONFIG.model_dump_json()!r}),\n"
        "         lambda done, total, what: print(done, flush=True))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "1\n"
    child.kill()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    assert not out.exists()
    assert 2 <= len(list(partial_folder(out).rglob("depth_*.png"))) < 16
    assert simulate.simulate(out, hand, CONFIG)
    assert digest(out) == digest(made)


def test_the_same_again_does_nothing(made: Path, hand: HandModel) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert not simulate.simulate(made, hand, CONFIG, lambda done, total, what: pytest.fail("made again"))
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    assert not partial_folder(made).exists()


def test_two_at_once_take_turns(made: Path, hand: HandModel, tmp_path: Path) -> None:
    out = tmp_path / "capture"
    said: list[str] = []
    with unfinished.Unfinished(out, simulate.sidecar_of(hand, CONFIG)) as first:

        def waiting(done: int, total: int, what: str) -> None:
            said.append(what)
            if len(said) == 2:  # what the other process would do meanwhile
                shutil.copytree(made, first.path, dirs_exist_ok=True)
                first.finish()
                first.__exit__(None, None, None)

        assert not simulate.simulate(out, hand, CONFIG, waiting)
    assert set(said) == {"waiting for another process that makes the same capture"}
    assert digest(out) == digest(made)


# --------------------------------------------------------------------------------------------------------- refused


def test_a_folder_with_something_in_it_is_refused_and_left_alone(made: Path, hand: HandModel, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "note.txt").write_text("mine")
    with pytest.raises(InputError, match=r"mine isn't empty\. Choose a new folder"):
        simulate.simulate(mine, hand, CONFIG)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "note.txt"]
    with pytest.raises(InputError, match=r"It holds a simulated capture of other options \(seed 0, not 2\)\. Choose"):
        simulate.simulate(made, hand, CONFIG.model_copy(update={"seed": 2}))
    file = tmp_path / "file"
    file.write_text("a file")
    for out in (file, file / "capture"):
        with pytest.raises(InputError, match=r"Can't write the capture to .*: Not a directory"):
            simulate.simulate(out, hand, CONFIG)
    assert file.read_text() == "a file"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_refused(hand: HandModel, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        simulate.simulate(tmp_path / "capture", hand, CONFIG)


def test_an_unfinished_capture_of_other_options_is_in_the_way(hand: HandModel, tmp_path: Path) -> None:
    out = tmp_path / "capture"
    with pytest.raises(Stop):
        simulate.simulate(out, hand, CONFIG, after(1))  # type: ignore[arg-type]
    before = digest(partial_folder(out))
    with pytest.raises(InputError, match=r"\.capture-partial holds an unfinished .*\(seed 0, not 3\).*rm -r"):
        simulate.simulate(out, hand, CONFIG.model_copy(update={"seed": 3}))
    assert digest(partial_folder(out)) == before
    (partial_folder(out) / "capture.json").write_text("{")
    with pytest.raises(InputError, match="holds an unfinished capture of other options"):
        simulate.simulate(out, hand, CONFIG)


def test_a_disk_that_is_too_small_is_known_before(
    hand: HandModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"needs about [\d.]+ MB more, but the disk of .* has 1 MB left\. Choose"):
        simulate.simulate(tmp_path / "capture", hand, CONFIG)
    assert list(tmp_path.iterdir()) == []
    begun = partial_folder(tmp_path / "capture")
    with unfinished.Unfinished(tmp_path / "capture", simulate.sidecar_of(hand, CONFIG)):
        (begun / "train").mkdir()
        (begun / "train" / "depth_1_0000001.png").write_bytes(b"an image")
    with pytest.raises(
        InputError, match=r"has 1 MB left\. The complete part is kept in .*-partial: repeat the command"
    ):
        simulate.simulate(tmp_path / "capture", hand, CONFIG)
    assert sorted(path.name for path in begun.iterdir()) == ["capture.json", "train"]


def test_a_disk_that_fills_up_keeps_what_is_whole(
    made: Path, hand: HandModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write, written = tmp_path / "capture", Path.write_bytes, []

    def full(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) > 5:
            write(path, bytes(content)[:1000])
            raise OSError(28, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(RunError, match=r"No space left on device\. The complete part is kept in .*-partial"):
            simulate.simulate(out, hand, CONFIG)
    left = list(partial_folder(out).rglob("*.png*"))
    assert 0 < len(left) <= 5
    assert all(is_whole(path) for path in left)
    simulate.simulate(out, hand, CONFIG)
    assert digest(out) == digest(made)


def test_a_hand_without_nyus_joints_is_refused(hand: HandModel, tmp_path: Path) -> None:
    other = type(hand)()
    other.annotations = {"nyu14": hand.annotations["nyu14"]}
    with pytest.raises(InputError, match="needs a hand model with the annotation 'nyu36'; this one has nyu14"):
        simulate.simulate(tmp_path / "capture", other, CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_threads_stop_when_they_are_left() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.005)
        return item

    results = simulate.threaded(work, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()
    assert len(begun) < 100
