"""`hpf data prepare`: what it leaves, what it says, and that it goes on after a kill."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import nyu_by_hand
import pytest
from typer.testing import CliRunner, Result

from hpf_cli.main import app
from hpf_core.data.captures import Capture
from hpf_core.data.prepared import store
from hpf_core.data.prepared.capture_cache import CaptureWarning
from hpf_core.data.prepared.cropping import CropPlan
from hpf_core.grid import Grid
from hpf_core.interfaces import Build
from hpf_plugins.datasets import nyu

FRAMES = 64
CHUNKS = FRAMES // store.CHUNK
HERE = ("-c", "from hpf_cli.main import main; main()", "data", "prepare", "nyu")


def prepare(root: Path, cache: Path, *words: object) -> Result:
    return CliRunner().invoke(app, ["data", "prepare", "nyu", str(root), "--out", str(cache), *map(str, words)])


def digest(cache: Path) -> dict[str, bytes]:
    """Every file of the cache but the locks."""
    files = (path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(cache)): path.read_bytes() for path in files}


def hand_image(seed: int) -> np.ndarray:
    depth = np.full((480, 640), 1500)
    depth[150:330, 240:420] = 850 + np.random.default_rng(seed).integers(0, 9, (180, 180))
    return depth


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 frames to train on and one to test on."""
    root = tmp_path_factory.mktemp("nyu")
    few = [hand_image(k) for k in range(3)]
    xyz, _ = nyu_by_hand.joints(FRAMES)
    nyu_by_hand.write_split(root / "train", [[few[(v + f) % 3] for f in range(FRAMES)] for v in range(3)], xyz)
    nyu_by_hand.write_split(root / "test", [few[:1], few[1:2], few[2:]], nyu_by_hand.joints(1)[0])
    return root


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a command that nothing disturbed."""
    cache = tmp_path_factory.mktemp("whole")
    done = prepare(root, cache, "--jobs", 1, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert {name: split["frames"] for name, split in document["splits"].items()} == {"train": FRAMES, "test": 1}
    assert not any(split["left_out"] for split in document["splits"].values())
    assert [view["off"] for view in document["splits"]["train"]["views"]] == [[], [], []]
    return cache


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "cache"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A capture of six frames that a test may damage."""
    few = [hand_image(k) for k in range(3)]
    images = [[few[(v + f) % 3].copy() for f in range(6)] for v in range(3)]
    nyu_by_hand.write_split(tmp_path / "small" / "test", images, nyu_by_hand.joints(6)[0])
    return tmp_path / "small"


def test_what_reads_the_dataset_finds_all_of_it_made(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CropPlan, "make", lambda plan, chunk: pytest.fail("cropped again"))
    dataset = nyu.SPEC.factory(nyu.NyuConfig(root=str(root)), Build(Grid(64), 0, cache))
    said: list[str] = []
    dataset.prepare(lambda done, total, what: said.append(what))  # type: ignore[attr-defined]
    assert said == []
    again = prepare(root, cache)
    assert again.exit_code == 0, again.output
    assert "all bytes were read back" in again.stderr


@pytest.mark.filterwarnings("default::hpf_core.data.prepared.capture_cache.CaptureWarning")
def test_bad_and_missing_images_are_listed_and_left_out(small: Path, tmp_path: Path) -> None:
    path = {name: small / "test" / f"depth_{name}.png" for name in ("1_0000002", "2_0000003", "3_0000005")}
    content = bytearray(path["1_0000002"].read_bytes())
    content[len(content) // 2] ^= 1
    path["1_0000002"].write_bytes(content)
    path["2_0000003"].write_bytes(path["2_0000003"].read_bytes()[:3000])
    path["3_0000005"].unlink()
    done = prepare(small, tmp_path / "cache", "--json")
    assert done.exit_code == 0, done.output
    split = json.loads(done.stdout)["splits"]["test"]
    assert split["frames"] == 6
    for reason, (name, what) in zip(
        split["left_out"], (("1_0000002", "damaged"), ("2_0000003", "damaged"), ("3_0000005", "missing")), strict=True
    ):
        assert f"depth_{name}.png is {what}" in reason
    kept = json.loads((Path(split["folder"]) / "meta.json").read_text())
    assert kept["left_out"] == split["left_out"]
    assert kept["kept"] == [0, 3, 5]
    shown = prepare(small, tmp_path / "cache")
    assert shown.exit_code == 0
    assert f"listed in {Path(split['folder']) / 'meta.json'}" in shown.stderr
    # Whatever evaluates on it later is told as well, and reads the frames that are left.
    dataset = nyu.SPEC.factory(nyu.NyuConfig(root=str(small)), Build(Grid(64), 0, tmp_path / "cache"))
    with pytest.warns(CaptureWarning, match=r"3 of 6 frames of .*test are unusable and left out"):
        assert dataset.splits() == {"test": 3}  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore::hpf_core.data.prepared.capture_cache.CaptureWarning")
def test_a_long_list_of_frames_that_are_left_out_is_cut_short(tmp_path: Path) -> None:
    few = [hand_image(k) for k in range(3)]
    nyu_by_hand.write_split(tmp_path / "one" / "test", [[few[v]] for v in range(3)], nyu_by_hand.joints(25)[0])
    done = prepare(tmp_path / "one", tmp_path / "cache")  # a frame is there, and 24 annotated ones aren't
    assert done.exit_code == 0, done.output
    said = [line for line in done.stderr.splitlines() if line.startswith("test: left out: ")]
    assert len(said) == 21
    assert said[-1] == "test: left out: 4 more frames"
    (meta,) = (tmp_path / "cache").glob("captures/*/test/crops-*/meta.json")
    assert len(json.loads(meta.read_text())["left_out"]) == 24


def test_a_capture_of_fewer_cameras_is_prepared_as_the_recipe_reads_it(tmp_path: Path) -> None:
    few = [hand_image(k) for k in range(2)]
    nyu_by_hand.write_split(tmp_path / "two" / "test", [[few[v]] for v in range(2)], nyu_by_hand.joints(1)[0][:2])
    asked = prepare(tmp_path / "two", tmp_path / "cache")
    assert asked.exit_code == 2
    assert "2 views are annotated, but view 3 is required. Choose other views: `views` of the dataset" in asked.stderr
    done = prepare(tmp_path / "two", tmp_path / "cache", "--views", "1,2", "--json")
    assert done.exit_code == 0, done.output
    split = json.loads(done.stdout)["splits"]["test"]
    assert [view["view"] for view in split["views"]] == [1, 2]
    config = nyu.NyuConfig(root=str(tmp_path / "two"), views=(1, 2))
    dataset = nyu.SPEC.factory(config, Build(Grid(64), 0, tmp_path / "cache"))
    assert isinstance(dataset, Capture)
    assert dataset.prepared()[0].folder == Path(split["folder"])
    for wrong in ("1,0", "1,1", ""):
        refused = prepare(tmp_path / "two", tmp_path / "cache", "--views", wrong)
        assert refused.exit_code == 2
        assert refused.stderr.startswith("error: --views")


def test_what_was_killed_goes_on_to_the_same_bytes(
    root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    words = [sys.executable, *HERE, str(root), "--out", str(cache), "--jobs", "1"]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    until = time.monotonic() + 60
    while standing(cache) < 1 and child.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    child.kill()
    _, said = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, said
    before = standing(cache)
    assert 1 <= before < CHUNKS
    made: list[int] = []
    make = CropPlan.make

    def counted(plan: CropPlan, chunk: int) -> object:
        if plan.split == "train":
            made.append(chunk)
        return make(plan, chunk)

    monkeypatch.setattr(CropPlan, "make", counted)
    assert prepare(root, cache, "--jobs", 1).exit_code == 0
    assert len(made) == CHUNKS - before
    assert digest(cache) == digest(whole)


def standing(cache: Path) -> int:
    """Number of chunks that the unfinished crops' journal tells of; -1 where there is none yet."""
    journals = list(cache.glob("captures/*/train/.crops-*-partial/journal.jsonl"))
    return len(journals[0].read_text().splitlines()) - 1 if journals else -1


@pytest.mark.skipif(os.name != "posix", reason="groups of processes")
@pytest.mark.parametrize("chunks", [0, 1], ids=["while processes start", "while two processes crop"])
def test_ctrl_c_ends_all_processes_and_going_on_comes_to_the_same_bytes(
    root: Path, whole: Path, tmp_path: Path, chunks: int
) -> None:
    cache = tmp_path / "cache"
    # A shell that starts something in the background has it ignore SIGINT, and so would what runs these tests.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + HERE[1]
    words = [sys.executable, "-c", heard, *HERE[2:], str(root), "--out", str(cache), "--jobs", "2"]
    child = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    until = time.monotonic() + 100
    while standing(cache) < chunks and child.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to all of them
    pressed = time.monotonic()
    try:
        _, said = child.communicate(timeout=100)
    finally:
        left = group(child.pid)
        if left:
            os.killpg(child.pid, signal.SIGKILL)
    if child.returncode == 0:
        pytest.skip("it was done before it could be interrupted")
    assert child.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted"
    assert "repeat the command to resume" in said
    assert "Traceback" not in said
    assert "crops the rest" not in said
    assert left == []
    assert time.monotonic() - pressed < 60  # a second on a machine that does nothing else
    (unfinished,) = cache.glob("captures/*/train/.crops-*-partial")
    assert chunks <= standing(cache) < CHUNKS
    assert {path.name for path in unfinished.iterdir()} == {
        "journal.jsonl", "depth.npy", "state.npy", "to_rig.npy", "to_camera.npy", "centres.npy"
    }  # fmt: skip
    assert prepare(root, cache, "--jobs", 1).exit_code == 0
    assert digest(cache) == digest(whole)


def group(number: int) -> list[str]:
    """The processes of a group that haven't ended within a few seconds."""
    until = time.monotonic() + 20
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, state, _, of = re.fullmatch(
                    r"\d+ \((.*)\) (\S) (\d+) (\d+) .*", path.read_text().strip()
                ).groups()  # type: ignore[union-attr]
            except OSError:
                continue
            if int(of) == number and state not in "ZX":
                found.append(name)
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def test_a_script_that_prepares_at_its_top_level_comes_to_an_end(root: Path, whole: Path, tmp_path: Path) -> None:
    """Processes that cropped would run it again, and wait for the first."""
    script = tmp_path / "script.py"
    words = ["hpf", "data", "prepare", "nyu", str(root), "--out", str(tmp_path / "cache"), "--jobs", "2"]
    script.write_text(f"import sys\n\nfrom hpf_cli.main import main\n\nsys.argv = {words!r}\nmain()\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "crops the rest" not in done.stderr
    assert digest(tmp_path / "cache") == digest(whole)
