"""The command line and the system: whatever is wrong, one message, the right exit code, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner

from hpf_cli import show
from hpf_cli.main import app
from hpf_core.errors import DataError

HPF = [sys.executable, "-m", "hpf_cli.main"]
LONG = "a" * 5000


def run(*words: str, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([*HPF, *words], capture_output=True, text=True, timeout=200, check=False, **options)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    "words",
    [
        ["run", LONG], ["run", "x.yaml", "--out", LONG], ["eval", LONG], ["eval", "a.txt", "--labels", LONG],
        ["report", LONG], ["recipe", "check", LONG], ["data", "check", LONG], ["data", "simulate", LONG],
        ["data", "sample", "--out", f"{LONG}.png"], ["ablate", LONG], ["plugins", "check", LONG],
    ],
    ids=lambda words: " ".join(w[:9] for w in words),
)  # fmt: skip
@pytest.mark.parametrize("json_", [False, True])
def test_names_that_are_too_long(words, json_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words, *(["--json"] if json_ else [])])
    assert done.exit_code == 2, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    listed = json_ and words[:2] == ["recipe", "check"]  # its own document has the problems of every file
    assert done.stderr.strip() or listed
    if json_:
        document = json.loads(done.stdout)
        if listed:
            (found,) = document["recipes"]
            assert not found["ok"]
            assert "too long" in found["problems"][0]["message"]
        else:
            assert document["error"]["exit_code"] == 2


WRONG = [
    ["run", "nope.yaml"],
    ["run"],
    ["run", "nope.yaml", "--seed", "many"],
    ["eval", "nope.txt"],
    ["ablate", "nope.yaml"],
    ["recipe", "check", "--nonsense"],
    ["recipe", "show", "nope.yaml"],
    ["plugins", "show", "nope"],
    ["data", "check", "nope"],
    ["doctor", "--device", "gpu"],
    ["bench", "--only", "nope"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_input_under_json_is_one_document(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 2, done.output
    document = json.loads(done.stdout)
    assert document["error"]["exit_code"] == 2
    assert len(document["error"]["message"]) > 10
    assert CliRunner().invoke(app, words).stdout == ""


def test_a_deleted_working_directory(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    script = f"cd {folder} && rmdir {folder} && exec {sys.executable} -m hpf_cli.main recipe check nope.yaml"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=200, check=False, env=environment
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["plugins", "list", "--json"], ["plugins", "list"], ["recipe", "schema"]])
def test_a_full_standard_output(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*HPF, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["plugins list --json", "plugins list", "run nope.yaml --json"])
def test_a_closed_standard_output(words):
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m hpf_cli.main {words} >&-"],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    if "--json" in words:
        assert "error:" in done.stderr


def test_simulating_into_the_root_folder():
    done = CliRunner().invoke(app, ["data", "simulate", "/", "--json"])
    assert done.exit_code == 2, done.output
    assert "error" in json.loads(done.stdout)


def test_control_characters_never_reach_the_terminal(capsys):
    evil = "a\x1b]0;title\x07b\x9bc\x7f\r"
    show.error(evil)
    show.warning(evil)
    show.note(evil)
    show.result(evil)
    show.console.print(evil, markup=False)
    from rich.table import Table

    table = Table("x")
    table.add_row(Text(evil))
    show.result(table)
    out, err = capsys.readouterr()
    assert not set(out + err) & set("\x1b\x07\x9b\x7f\r")
    assert out.count("\\x1b]0;title") == 2
    assert err.count("\\x1b]0;title") == 4


def test_control_characters_of_a_file_in_a_message(tmp_path):
    name = tmp_path / "labels\x1b[31m.txt"
    name.write_text("1 2 \x1b[2J\n")
    done = CliRunner().invoke(app, ["eval", str(name), "--labels", str(name)])
    assert done.exit_code == 2
    assert "\x1b" not in done.output


def test_h_is_help():
    for words in (["-h"], ["run", "-h"], ["data", "simulate", "-h"], ["plugins", "-h"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0
        assert "Usage:" in done.stdout


def test_a_document_that_was_written_stays_the_only_one(monkeypatch):
    def late(*_):
        show.emit_json({"done": True})
        raise DataError("too late")

    monkeypatch.setattr("hpf_core.doctor.choose_devices", late)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 2
    assert json.loads(done.stdout) == {"done": True}
