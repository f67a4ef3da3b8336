"""`hpf data simulate` and `hpf data check`, as people and scripts call them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from hpf_cli.main import app
from hpf_core.simulation.unfinished import partial_folder

HPF = Path(sys.executable).with_name("hpf")
SMALL = ("--frames", "2", "--test", "2", "--validation", "1", "--views", "2")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "small"
    done = run("data", "simulate", out, *SMALL, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["made"]
    assert document["frames"] == {"train": 2, "validation": 1, "test": 2}
    assert document["subjects"]["test"] == {"training subject": 1, "new subject": 1}
    return out


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "small"))


def test_the_same_again_says_that_it_is_there(made: Path) -> None:
    done = run("data", "simulate", made, *SMALL)
    assert done.exit_code == 0
    assert "already complete" in done.stderr
    assert "train 2, validation 1, test 2 frames x 2 views, seed 0" in done.stdout


def test_a_tenth_is_for_validation(tmp_path: Path) -> None:
    done = run("data", "simulate", tmp_path / "out", "--frames", 14, "--test", 1, "--views", 1, "--json")
    assert json.loads(done.stdout)["frames"] == {"train": 14, "validation": 1, "test": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--frames", 0), "--frames is 0, but it should be greater than or equal to 1."),
        (("--test", -5), "--test is -5, but it should be greater than or equal to 1."),
        (("--views", 0), "--views is 0, but it should be greater than or equal to 1."),
        (("--views", 10), "--views is 10, but it should be less than or equal to 9."),
        (("--seed", -1), "--seed is -1"),
        (("--frames", 10**8), "--frames is 100000000, but it should be less than or equal to 9999999."),
        (("--hand", "sphere41"), "spheres41"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, words: tuple[object, ...], message: str) -> None:
    done = run("data", "simulate", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_capture_that_no_disk_holds_is_refused(tmp_path: Path) -> None:
    done = run("data", "simulate", tmp_path / "out", "--frames", 9_999_999, "--test", 9_999_999, "--views", 9)
    assert done.exit_code == 2
    assert "Choose fewer frames or views" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_used_are_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out, message in ((tmp_path, "isn't empty"), (tmp_path / "file" / "out", "Not a directory")):
        done = run("data", "simulate", out, *SMALL)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert run("data", "simulate", made, *SMALL, "--seed", 1).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_ctrl_c_says_how_to_go_on_and_going_on_does(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [str(HPF), "data", "simulate", str(out), *SMALL]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    until = time.monotonic() + 60
    while not list(partial_folder(out).rglob("depth_*.png")) and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    if child.returncode == 0:  # it was faster
        shutil.rmtree(out)
        pytest.skip("the capture was done before it could be interrupted")
    assert child.returncode == 130, said
    assert "repeat the command to resume" in said
    assert "Traceback" not in said
    assert not out.exists()
    assert run("data", "simulate", out, *SMALL).exit_code == 0
    for path in made.rglob("*"):
        assert path.is_dir() or path.read_bytes() == (out / path.relative_to(made)).read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="limits of processes")
def test_a_disk_that_fills_up_ends_with_a_message(tmp_path: Path) -> None:
    out = tmp_path / "out"
    limited = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"  # an image is larger
        "import sys; from hpf_cli.main import main\n"
        f"sys.argv = {['hpf', 'data', 'simulate', str(out), *SMALL]!r}\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert f"rm -r {partial_folder(out)}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert not list(tmp_path.rglob("*.png*"))


# ----------------------------------------------------------------------------------------------------------- check


def test_a_whole_capture_is_right_and_drawn(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("data", "check", made)
    assert done.exit_code == 0, done.output
    assert "passed every check" in done.stdout
    command = f"HPF_NYU_ROOT={made} hpf run recipes/paper.yaml --set 'data.real.views=[1,2]'"
    assert f"run on it: {command}\n" in done.stderr
    with Image.open(tmp_path / "small-sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width >= 400
    again = run("data", "check", made, "--json", "--sheet", tmp_path / "other.png", "--frames", 1)
    document = json.loads(again.stdout)
    assert document["status"] == "ok"
    assert document["simulated"]
    assert document["splits"]["test"] == {
        "frames": 2,
        "views": [1, 2],
        "decoded_frames": 1,
        "subjects": ["training subject", "new subject"],
    }
    assert {one["status"] for one in document["checks"]} == {"ok"}
    assert document["sheet"] == str(tmp_path / "other.png")


def test_what_can_not_be_trained_on_comes_without_the_command_for_it(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "train")
    done = run("data", "check", copy, "--sheet", tmp_path / "sheet.png")
    assert done.exit_code == 0, done.output
    assert "run on it" not in done.stderr


def test_the_command_to_look_at_it_can_be_copied_whatever_the_folder_is_called(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "my hands")
    done = run("data", "simulate", tmp_path / "my hands", *SMALL)
    assert f"look at it: hpf data check '{tmp_path / 'my hands'}'\n" in done.stdout


def test_a_capture_without_any_image_is_damaged_and_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "none" / "train").mkdir(parents=True)
    done = run("data", "check", tmp_path / "none", "--sheet", tmp_path / "sheet.png")
    assert done.exit_code == 2, done.output
    assert "has no depth images such as depth_1_0000001.png" in done.stderr
    assert "look at" not in done.stderr
    document = json.loads(run("data", "check", tmp_path / "none", "--sheet", tmp_path / "sheet.png", "--json").stdout)
    assert (document["status"], document["sheet"]) == ("failed", None)
    assert not (tmp_path / "sheet.png").exists()


def test_damage_is_named_and_exits_with_2(copy: Path, tmp_path: Path) -> None:
    path = copy / "test" / "depth_2_0000001.png"
    path.write_bytes(path.read_bytes()[:4000])
    (copy / "train" / "joint_data.mat").write_bytes(b"MATLAB?")
    done = run("data", "check", copy, "--sheet", tmp_path / "sheet.png")
    assert done.exit_code == 2
    assert "test: sizes: 1 is of a wrong kind or cut off: depth_2_0000001.png (cut off)" in done.stderr
    assert f"train: annotation: {copy / 'train' / 'joint_data.mat'} can't be read as a MATLAB file" in done.stderr
    assert "damaged; see the failed checks" in done.stdout
    assert "run on it" not in done.stderr
    document = json.loads(run("data", "check", copy, "--sheet", tmp_path / "sheet.png", "--json").stdout)
    failed = {(one["split"], one["check"]) for one in document["checks"] if one["status"] == "failed"}
    assert {("test", "sizes"), ("train", "annotation")} <= failed


def test_a_sheet_that_cannot_be_written_is_refused_before_any_work(made: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for sheet, message in (
        (tmp_path, f"is a folder; give a file, such as {tmp_path / 'sheet.png'}"),
        (tmp_path / "sheet.jpg", f"expected a PNG file, such as {tmp_path / 'sheet.png'}"),
        (tmp_path / "file" / "sheet.png", f"{tmp_path / 'file'} is a file, not a folder"),
    ):
        done = run("data", "check", made, "--sheet", sheet)
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"--sheet {sheet}: {message}" in done.stderr
        assert "looking at" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    done = run("data", "check", tmp_path)
    assert done.exit_code == 2
    assert "A capture is a folder with train, validation or test in it" in done.stderr
    assert run("data", "check", tmp_path / "no").exit_code == 2
