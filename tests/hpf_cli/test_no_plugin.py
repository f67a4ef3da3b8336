"""`--no-plugin` leaves a package out of whatever loads plugins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hpf_cli.main import app
from hpf_core.errors import PluginError
from hpf_core.plugins import PluginHost

RECIPE = str(Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml")
LINES = {
    "run": [RECIPE],
    "ablate": [RECIPE],
    "bench": [],
    "doctor": [],
    "recipe check": [RECIPE],
    "recipe show": [RECIPE],
    "recipe schema": [],
    "plugins list": [],
    "plugins show": ["m2d"],
    "plugins check": ["hpf"],
    "data check": ["."],
    "data list": [],
    "data sample": [],
    "data simulate": ["capture"],
    "data prepare": ["nyu", "."],
}
"""Commands that load plugins, with what they can't do without."""
OTHERS = {"eval", "report", "plugins new", "predict", "live", "view", "export", "rig calibrate"}
"""Commands that load none of a user's choice: they read files and networks, or write a package."""


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its words."""
    for name, command in group.commands.items():
        words = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, words)
        else:
            yield words, command


def test_every_command_that_loads_plugins_has_it_and_no_other() -> None:
    """A new command fails here until it is named above."""
    found = dict(commands(typer.main.get_command(app)))
    assert found.keys() == LINES.keys() | OTHERS
    has = {words for words, command in found.items() if any("--no-plugin" in p.opts for p in command.params)}
    assert has == LINES.keys()
    assert len({p.help for command in found.values() for p in command.params if "--no-plugin" in p.opts}) == 1


@pytest.mark.parametrize("words", LINES)
def test_it_reaches_whoever_loads_them(words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def load(blocked: Any = (), only: Any = None) -> PluginHost:
        asked.append(list(blocked))
        raise PluginError("no further")

    monkeypatch.setattr(PluginHost, "load", load)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words.split(), *LINES[words], "--no-plugin", "hpf-a", "--no-plugin", "b"])
    assert "no further" in done.stderr, done.output
    assert (done.exit_code, asked) == (2, [["hpf-a", "b"]])


@pytest.mark.parametrize("words", sorted(OTHERS))
def test_the_others_refuse_it(words: str) -> None:
    done = CliRunner().invoke(app, [*words.split(), "--no-plugin", "hpf-a"])
    assert done.exit_code == 2
    assert "No such option" in done.stderr
