"""Hostile values of every option of every command: wrong input, exit code 2, and one message; never a traceback."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hpf_cli import show
from hpf_cli.main import app

HOSTILE = (
    "", " ", "-1", "0", "nan", "inf", "1e999", "9" * 400, "x" * 5000, "\x1b[31m", "é\u2028", "../..", "/dev/full",
    "a=b=c", "[", "{a: ", "null", "--", "1,2,3,4", "0x10", "~", "*", "$HOME",
)  # fmt: skip
NOWHERE = "/dev/null/at/all"
"""Nothing can exist below a file."""
RUN_WITHOUT_INPUT = {"bench", "doctor", "data list", "data sample", "plugins list", "recipe schema"}
"""Commands that need no input, and would begin their work."""


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    subs = getattr(command, "commands", {})
    if not subs:
        yield " ".join(path), command
    for name, sub in subs.items():
        yield from commands(sub, (*path, name))


pytestmark = pytest.mark.filterwarnings("ignore")  # an unknown package in --no-plugin is a warning

COMMANDS = {path: command for path, command in commands() if path not in RUN_WITHOUT_INPUT}


@pytest.fixture(autouse=True)
def _aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HPF_PLUGINS", "")
    show.begin()
    yield
    show.begin()


@pytest.mark.parametrize("path", COMMANDS)
def test_a_hostile_option_is_wrong_input(path: str) -> None:
    command, source = COMMANDS[path], random.Random(path)
    arguments = [NOWHERE for one in command.params if one.param_type_name == "argument" and one.required]
    options = [one for one in command.params if one.param_type_name == "option" and not one.is_flag]
    for option in options:
        for value in source.sample(HOSTILE, 3):
            words = [*path.split(), *arguments, option.opts[0], value, *(["--json"] if _has_json(command) else [])]
            show.begin()
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 2, (words, done.output[-500:], done.exception)
            assert isinstance(done.exception, SystemExit), words
            assert "\x1b" not in done.output, words
            assert len(done.stderr) < 4000, words
            if _has_json(command):
                document = json.loads(done.stdout)
                assert document.get("error", {"exit_code": 2})["exit_code"] == 2, words


def _has_json(command: Any) -> bool:
    return any("--json" in one.opts for one in command.params)
