"""Preparing a capture: by several processes, killed and gone on with, verified, and from files of another encoder."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import balls
import numpy as np
import pytest
import scipy.io
import torch

from hpf_core.data.calibration import calibrate
from hpf_core.data.cameras import PRIMESENSE
from hpf_core.data.captures import Capture
from hpf_core.data.layouts import nyu
from hpf_core.data.layouts.nyu import NyuLayout
from hpf_core.data.prepared import cropping, store, store_writer
from hpf_core.data.prepared.capture_cache import CaptureSource, CaptureWarning, CropOptions
from hpf_core.data.prepared.store import CHUNK, CropStore, StoreFiles
from hpf_core.errors import DataError, InputError, RunError
from hpf_core.frames import State
from hpf_core.geometry.rigid import apply_rigid
from hpf_core.grid import Grid
from hpf_core.simulation.rigs import arc

FRAMES = 3 * CHUNK + 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One view of a slanted plane, all frames alike but for one number; 53 frames, as links to four images."""
    split = tmp_path_factory.mktemp("capture") / "test"
    split.mkdir()
    v, u = np.mgrid[:480, :640]
    for frame in range(4):
        nyu.write_depth(nyu.image_path(split, 0, frame), (700 + u // 4 + v // 8 + 10 * frame).astype(int))
    for frame in range(4, FRAMES):
        os.link(nyu.image_path(split, 0, frame % 4), nyu.image_path(split, 0, frame))
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(1, FRAMES, 36, 3)) * 30 + [0, 0, 820]
    nyu.write_annotation(split, nyu.Annotation(xyz, nyu.JOINTS))
    return split.parent


def capture(root: Path, cache: Path, size: int = 16) -> Capture:
    return Capture(
        CaptureSource(NyuLayout(root, (0,)), "capture", (0,), {}, {0: "s"}),
        CropOptions(Grid(size), "annotated", False),
        cache,
    )


def content(cache: Path) -> dict[str, bytes]:
    (made,) = cache.glob("captures/*/test/crops-*")
    return {path.name: path.read_bytes() for path in made.iterdir()}


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a preparation that nothing disturbed."""
    cache = tmp_path_factory.mktemp("whole")
    capture(root, cache).prepare(jobs=1)
    return content(cache)


class Killed(BaseException):
    """No handler may take it for an error."""


# --------------------------------------------------------------------------------------------------- another encoder


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def encode(depth: np.ndarray) -> bytes:
    """A PNG of a depth map (480, 640), with PNG's filters none, sub and up by turns and its data in several chunks."""
    rgb = np.stack([np.full(depth.shape, 9), depth // 256, depth % 256], axis=-1).astype(np.uint8)
    packed = b""
    for k, row in enumerate(rgb):
        kind = k % 3
        if kind == 1:
            row = row - np.concatenate([np.zeros((1, 3), np.uint8), row[:-1]])
        elif kind == 2:
            row = row - rgb[k - 1]
        packed += bytes([kind]) + row.tobytes()
    data = zlib.compress(packed, 6)
    parts = [data[i : i + 8192] for i in range(0, len(data), 8192)]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 640, 480, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(b"IDAT", part) for part in parts) + chunk(b"IEND", b"")


def test_files_of_an_independent_encoder_give_crops_whose_every_place_is_known(tmp_path: Path) -> None:
    """Balls in a rig that is known, as PNG bytes by zlib and a .mat by SciPy, in NYU's layout: 1-based, +y up.

    A large ball stands at the annotated palm, a small one 60 mm right of it, 70 mm lower and 30 mm nearer in view 1.
    """
    rig, rng, frames = arc(3, 900.0, 35.0), np.random.default_rng(0), 3
    large = rng.normal(size=(frames, 3)) * 25 + [10, -20, 900]
    small = large + np.array([60, 70, -30])
    joints = large[:, None] + rng.normal(size=(frames, 36, 3)) * 40
    joints[:, 32] = large
    for split in ("train", "test"):
        folder = tmp_path / "nyu" / split
        folder.mkdir(parents=True)
        seen = np.zeros((3, frames, 36, 3))
        for view, pose in enumerate(rig.from_rig):
            seen[view] = joints @ pose[:3, :3].T + pose[:3, 3]
            for frame in range(frames):
                centres = np.stack([large[frame], small[frame]]) @ pose[:3, :3].T + pose[:3, 3]
                depth = balls.perspective(centres, np.array([40.0, 15.0]), PRIMESENSE)
                depth = np.where(np.isfinite(depth), np.rint(depth), 2001).astype(int)
                (folder / f"depth_{view + 1}_{frame + 1:07d}.png").write_bytes(encode(depth))
        up = seen * [1, -1, 1]
        uvd = np.stack([up[..., 0] * 588.03 / up[..., 2] + 320, 240 - up[..., 1] * 587.07 / up[..., 2], up[..., 2]], -1)
        names = np.array([[np.array([name]) for name in nyu.JOINTS]], dtype=object)
        scipy.io.savemat(
            folder / "joint_data.mat", {"joint_xyz": up, "joint_uvd": uvd, "joint_names": names}, do_compression=True
        )
    data = Capture(
        CaptureSource(NyuLayout(tmp_path / "nyu", (0, 1, 2)), "nyu", (0, 1, 2), {}, {0: "s"}),
        CropOptions(Grid(96), "annotated", False),
        tmp_path / "cache",
    )
    got = data.frames("train", np.arange(frames))
    assert got.depth.shape == (frames, 3, 96, 96)
    np.testing.assert_allclose(data.calibration("train").to_rig, rig.to_rig, atol=1e-6)
    np.testing.assert_allclose(got.to_rig[:, :, :3, :3], np.stack([rig.to_rig[:, :3, :3]] * frames), atol=1e-5)
    palms = apply_rigid(got.to_rig.double().flatten(0, 1), torch.zeros(frames * 3, 1, 3)).view(frames, 3, 3)
    np.testing.assert_allclose(palms, np.stack([large] * 3, axis=1), atol=1e-3)
    for frame in range(frames):
        for view, pose in enumerate(rig.from_rig):
            there = np.array([[0.0, 0, 0], pose[:3, :3] @ (small[frame] - large[frame])])
            expected = balls.orthographic(there, np.array([40.0, 15.0]), Grid(96))
            hit = (got.state[frame, view] == State.HIT).numpy()
            assert (hit == np.isfinite(expected)).mean() > 0.985
            both = hit & np.isfinite(expected)
            # A camera is no orthographic one: it sees the balls' sides a little differently, by up to 9 degrees here.
            assert np.abs(got.depth[frame, view].numpy() - expected)[both].mean() < 3.5
    # View 1 is the one that is evaluated, with y down.
    assert data.protocol.view == 0
    np.testing.assert_allclose(data.labels("test").joints, joints[:, list(nyu.EVALUATED)], atol=1e-9)
    np.testing.assert_allclose(data.to_camera("test")[:, :3, 3], large, atol=1e-9)


# ------------------------------------------------------------------------------------------- processes, kills, checks


def test_a_killed_preparation_goes_on_and_ends_with_the_same_bytes(
    root: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """By two processes, killed by SIGKILL without warning; then gone on with in this one."""
    script = (
        "import sys, pathlib\n"
        "from hpf_core.grid import Grid\n"
        "from hpf_core.data.prepared.capture_cache import CaptureSource, CropOptions\n"
        "from hpf_core.data.captures import Capture\n"
        "from hpf_core.data.layouts.nyu import NyuLayout\n"
        "def main():\n"
        "    root, cache = map(pathlib.Path, sys.argv[1:])\n"
        "    source = CaptureSource(NyuLayout(root, (0,)), 'capture', (0,), {}, {0: 's'})\n"
        "    capture = Capture(source, CropOptions(Grid(16), 'annotated', False), cache)\n"
        "    def progress(done, total, what):\n"
        "        print(done, flush=True)\n"
        "        if done > 16:\n"
        "            sys.stdin.readline()\n"
        "    capture.prepare(progress, jobs=2)\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    (tmp_path / "main.py").write_text(script)
    cache = tmp_path / "killed"
    command = [sys.executable, str(tmp_path / "main.py"), str(root), str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) > CHUNK:
                break
        workers = _descendants(process.pid)
        process.send_signal(signal.SIGKILL)
    assert len(workers) >= 2
    ends = time.monotonic() + 20
    while any(_lives(pid) for pid in workers) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not any(_lives(pid) for pid in workers)
    (journal,) = cache.glob("captures/*/test/.crops-*-partial/journal.jsonl")
    assert not list(cache.glob("captures/*/test/crops-*"))
    with journal.open("a") as file:
        file.write('{"chunk": 3, "checks')  # as a process leaves it that dies while it writes
    said: list[tuple[int, str]] = []
    capture(root, cache).prepare(lambda done, total, what: said.append((done, what)), jobs=1)
    done = [count for count, what in said if what == "cropping capture test"]
    assert done[0] > CHUNK
    assert content(cache) == whole
    capture(root, cache).prepare(lambda *_: pytest.fail("prepared again"))


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [below for child in children for below in _descendants(child)]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_was_begun_with_other_centres_is_not_gone_on_with(root: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done > CHUNK:
            raise Killed

    with pytest.raises(Killed):
        capture(root, tmp_path).prepare(stop, jobs=1)
    (found,) = capture(root, tmp_path).unfinished()
    assert found.is_dir()
    (path,) = tmp_path.glob("captures/*/test/centres-annotated.npy")
    np.save(path, np.load(path) + 5.0)
    said: list[int] = []
    capture(root, tmp_path).prepare(lambda done, total, what: said.append(done), jobs=1)
    assert said[0] == 0
    assert capture(root, tmp_path).unfinished() == []


@pytest.mark.parametrize("times", [1, 2])
def test_what_reads_back_otherwise_is_written_again(
    root: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    write, spoilt = StoreFiles.write, []

    def failing(files: StoreFiles, chunk: int, values: dict[str, np.ndarray]) -> list[int]:
        checksums = write(files, chunk, values)
        if chunk == 2 and len(spoilt) < times:
            spoilt.append(chunk)
            with files.path("depth").open("r+b") as file:
                file.seek(-5, os.SEEK_END)
                last = file.read(1)
                file.seek(-5, os.SEEK_END)
                file.write(bytes([last[0] ^ 1]))
            write(files, chunk, {**values, "depth": values["depth"] + 1})
        return checksums

    monkeypatch.setattr(StoreFiles, "write", failing)
    if times == 1:
        capture(root, tmp_path / "cache").prepare(jobs=1)
        assert content(tmp_path / "cache") == whole
    else:
        with pytest.raises(RunError, match="has other content when it is read back, twice in a row"):
            capture(root, tmp_path / "cache").prepare(jobs=1)
        assert not list((tmp_path / "cache").glob("captures/*/test/crops-*"))


def test_a_large_cache_is_checked_in_full_when_that_is_asked_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_CHECKED_BYTES", 0)
    capture(root, tmp_path).prepare(jobs=1)
    before = content(tmp_path)
    (path,) = tmp_path.glob("captures/*/test/crops-*/depth.npy")
    with path.open("r+b") as file:
        file.seek(-9, os.SEEK_END)
        file.write(b"\x55")
    assert path.read_bytes() != before["depth.npy"]
    capture(root, tmp_path).prepare(jobs=1)
    assert path.read_bytes() != before["depth.npy"]
    with pytest.warns(CaptureWarning, match="is damaged and is regenerated"):
        capture(root, tmp_path).prepare(jobs=1, check=True)
    assert content(tmp_path) == before


def test_a_pool_that_dies_leaves_the_rest_to_this_process(
    root: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    class Dying:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Dying:
            return self

        def __exit__(self, *_: object) -> None: ...
        def submit(self, *_: object) -> None:
            raise cropping.BrokenProcessPool

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr(cropping, "ProcessPoolExecutor", Dying)
    with pytest.warns(cropping.CroppingWarning, match="One process crops the rest"):
        capture(root, tmp_path / "cache").prepare(jobs=2)
    assert content(tmp_path / "cache") == whole


def test_a_disk_that_is_too_small_is_known_before_anything_is_cropped(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(store_writer.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    monkeypatch.setattr(cropping.CropPlan, "make", lambda *_: pytest.fail("cropped"))
    with pytest.raises(InputError, match=r"needs about [\d.]+ kB more, but the disk of .* has 1 kB left\. Choose"):
        capture(root, tmp_path).prepare(jobs=1)
    left = [path.name for path in tmp_path.rglob("*") if not path.is_dir()]
    assert sorted(left) == ["calibration.json", "centres-annotated.npy"], "both of them whole"
    assert not list(tmp_path.rglob(".*"))


def test_a_disk_that_fills_up_keeps_what_is_whole_and_says_where(
    root: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, free = StoreFiles.write, shutil.disk_usage(tmp_path)

    def full(files: StoreFiles, chunk: int, values: dict[str, np.ndarray]) -> list[int]:
        if chunk == 2:
            raise OSError(28, "No space left on device")
        return write(files, chunk, values)

    with monkeypatch.context() as patched:
        patched.setattr(StoreFiles, "write", full)
        with pytest.raises(RunError, match=r"No space left on device\. The complete part is kept in .*: repeat"):
            capture(root, tmp_path / "cache").prepare(jobs=1)
        (kept,) = capture(root, tmp_path / "cache").unfinished()
        patched.setattr(shutil, "disk_usage", lambda _: free._replace(free=0))
        with pytest.raises(
            InputError, match=rf"has 0 bytes left\. Free some space on it\. .* kept in {kept}: repeat the command"
        ):
            capture(root, tmp_path / "cache").prepare(jobs=1)
    assert [path.name for path in kept.parent.iterdir() if path.name.startswith(".")] == [kept.name], "no lock"
    capture(root, tmp_path / "cache").prepare(jobs=1)
    assert content(tmp_path / "cache") == whole


def test_frames_that_can_not_be_used_are_listed_in_the_cache_and_never_fatal(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    names = [nyu.image_path(copy / "test", 0, frame) for frame in (1, 2 * CHUNK, FRAMES - 2)]
    names[0].unlink()
    cut = names[1].read_bytes()
    names[1].write_bytes(cut[: len(cut) // 2])
    flipped = bytearray(names[2].read_bytes())
    flipped[-100] ^= 0x10
    names[2].write_bytes(flipped)
    data = capture(copy, tmp_path / "cache")
    with pytest.warns(CaptureWarning, match=f"3 of {FRAMES} frames"):
        data.prepare(jobs=1)
    assert data.splits() == {"test": FRAMES - 3}
    (split,) = data.prepared()
    kept = CropStore.open(split.folder, 1, 24)
    assert kept is not None
    for name, reason, what in zip(names, kept.left_out, ("missing", "damaged", "damaged"), strict=True):
        assert reason.startswith(f"{name} is {what}")
    left = [frame for frame in range(FRAMES) if frame not in (1, 2 * CHUNK, FRAMES - 2)]
    assert kept.numbers[kept.kept].tolist() == left
    annotated = nyu.read_annotation(root / "test").xyz[0, left]
    np.testing.assert_array_equal(data.labels("test").joints, annotated[:, list(nyu.EVALUATED)])
    for path in (copy / "test").glob("*.png"):
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"no frame of .* can be used"):
        capture(copy, tmp_path / "other").prepare(jobs=1)


def test_the_frames_whose_annotation_is_off_are_listed_beyond_those_that_calibrate() -> None:
    rng, rig = np.random.default_rng(0), arc(2, 850.0, 30.0)
    points = rng.normal(size=(2500, 36, 3)) * 40 + [0, 0, 850]
    seen = np.stack([points @ pose[:3, :3].T + pose[:3, 3] for pose in rig.from_rig])
    wrong = sorted(rng.choice(2500, 300, replace=False).tolist())
    seen[1, wrong] += rng.normal(size=(300, 1, 3)) * 10 + 60
    seen[1, 7] = np.nan
    found = calibrate(seen, (0, 1))
    np.testing.assert_allclose(found.to_rig, rig.to_rig, atol=1e-4)
    assert found.off == ((), tuple(frame for frame in wrong if frame != 7))
    assert found.outliers[1] == pytest.approx(len(found.off[1]) / 2499)
