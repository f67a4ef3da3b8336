"""The tutorial on own cameras: its file is read, its commands run, and their output is what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.data.rig_file import read_rig

PAGE = (Path(__file__).parents[1] / "docs" / "own-cameras.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_file_on_the_page_is_a_rig(tmp_path: Path) -> None:
    (tmp_path / "rig.yaml").write_text(blocks("yaml")[0])
    content = read_rig(tmp_path)
    assert content.rig.names == ("middle", "right")
    assert content.rig.poses[1][0, 3] == 420.5


def test_the_commands_give_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "140")
    commands = blocks("sh")[0].splitlines()
    said = ""
    for command in commands[:3]:
        result = CliRunner().invoke(app, command.split()[1:])
        assert result.exit_code == 0, result.output
        said += result.output
    shown = [line for block in blocks("text") for line in block.splitlines() if line.strip()]
    plain = " ".join(said.split())
    assert len(shown) >= 5
    for line in shown:
        assert " ".join(line.split()) in plain
    assert f"run on it: {commands[3]}" in said
