"""Places that can't be written: every command that writes somewhere says so before its work, and exits with 2."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpf_cli import outputs
from hpf_cli.main import app
from hpf_core.errors import InputError

ROOT = Path(__file__).parents[2]
NOWHERE = Path("/proc/hpf-nowhere")  # where the superuser, too, makes no file


def test_what_can_be_written_passes_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_text("old")
    outputs.check_file("--write", tmp_path / "there.png")
    outputs.check_picture("--sheet", tmp_path / "new" / "deep" / "sheet.PNG")
    outputs.check_folder("--out", tmp_path)
    outputs.check_folder("--out", tmp_path / "new" / "deep")
    assert [path.name for path in tmp_path.rglob("*")] == ["there.png"]
    assert (tmp_path / "there.png").read_text() == "old"


@pytest.mark.parametrize("length", [250, 5000])
def test_names_without_room_for_what_is_written_beside_them_are_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "new" / f"{'a' * (length - 4)}.png"
    for check in (outputs.check_file, outputs.check_picture, outputs.check_folder):
        with pytest.raises(InputError, match=r"--out .*can't be written \(File name too long\)"):
            check("--out", path)
    outputs.check_picture("--out", path.with_name(f"{'a' * 200}.png"))


def test_a_run_in_which_nothing_can_be_written_is_wrong_input_of_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(prefix: str, dir: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", read_only)
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr == f"error: the report's folder {tmp_path}: can't be written (Read-only file system)\n"


def test_the_nearest_folder_that_is_there_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def read_only(prefix: str, dir: Path) -> None:
        tried.append(dir)
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", read_only)
    (tmp_path / "there").mkdir()
    for check, place, folder in (
        (outputs.check_folder, "there", "there"),
        (outputs.check_folder, "there/a/b", "there"),
        (outputs.check_file, "there/a.txt", "there"),
        (outputs.check_picture, "a/b/c.png", ""),
    ):
        with pytest.raises(InputError) as raised:
            check("--out", tmp_path / place)
        assert str(raised.value) == f"--out {tmp_path / place}: can't be written (Read-only file system)"
        assert tried.pop() == tmp_path / folder


def test_files_in_the_way_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for check, place in (
        (outputs.check_folder, file),
        (outputs.check_folder, file / "a"),
        (outputs.check_file, file / "a"),
    ):
        with pytest.raises(InputError, match=f"--out {place}: {file} is a file, not a folder"):
            check("--out", place)
    with pytest.raises(InputError, match=r"is a folder; give a file, such as .*predictions\.txt"):
        outputs.check_file("--write", tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["data", "check", "no-capture", "--sheet", NOWHERE / "x.png"], "--sheet"),
        (["data", "sample", "--count", "1", "--out", NOWHERE / "x.png"], "--out"),
        (["data", "prepare", "nyu", "no-capture", "--out", NOWHERE], "--out"),
        (["eval", "a.txt", "--labels", "a.txt", "--out", NOWHERE], "--out"),
        (["eval", "run", "--write", NOWHERE / "ours.txt"], "--write"),
        (["ablate", ROOT / "recipes" / "quickstart.yaml", "--rows", "full", "--out", NOWHERE], "--out"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(map(str, value[:2])),
)
def test_commands_refuse_it_before_their_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[object], option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "run").mkdir()
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"error: {option} {NOWHERE}" in done.stderr
    assert "can't be written (" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "run"]
