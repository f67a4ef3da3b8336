"""`hpf recipe check | show | schema`, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from hpf_cli import recipe as command
from hpf_cli.main import Commands
from hpf_core.hookspecs import hookimpl
from hpf_core.interfaces import Config, PluginSpec
from hpf_core.plugins import PluginHost

RIGHT = """\
data: {synthetic: {use: generator, root: "${HPF_TEST_ROOT}"}}
stages: {pre: {draw: {synthetic: 4}, steps: 1000, terms: [labels, extra]}}
"""


class Root(Config):
    """One option."""

    root: str = Field(default="", description="A folder.")


class Plugins:
    """As little as a recipe needs."""

    @hookimpl
    def hpf_hands(self) -> list[PluginSpec]:
        return [_spec("hand", "spheres41")]

    @hookimpl
    def hpf_renderers(self) -> list[PluginSpec]:
        return [_spec("renderer", "spheres")]

    @hookimpl
    def hpf_backbones(self) -> list[PluginSpec]:
        return [_spec("backbone", "hourglass")]

    @hookimpl
    def hpf_data_terms(self) -> list[PluginSpec]:
        return [_spec("data_term", "labels"), _spec("data_term", "extra")]

    @hookimpl
    def hpf_datasets(self) -> list[PluginSpec]:
        return [_spec("dataset", "generator", Root)]


def _spec(kind: Any, name: str, config: type[Config] = Config) -> PluginSpec:
    return PluginSpec(kind, name, config, lambda config, build: None, summary="One.", source="own work")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a right and a wrong recipe."""
    host = PluginHost()
    host.defaults |= {"hand": "spheres41", "renderer": "spheres", "backbone": "hourglass"}
    assert all(row.status == "ok" for row in host.add(Plugins()))
    monkeypatch.setattr(PluginHost, "load", classmethod(lambda cls, *args, **kwargs: host))
    monkeypatch.setenv("HPF_TEST_ROOT", "/x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "right.yaml").write_text(RIGHT)
    (tmp_path / "wrong.yaml").write_text("seed: '[bold]x'\n" + RIGHT.replace("steps", "step"))
    return tmp_path


def hpf(*arguments: str) -> Any:
    app = typer.Typer(cls=Commands, rich_markup_mode=None)
    app.add_typer(command.app, name="recipe")
    return CliRunner().invoke(app, ["recipe", *arguments])


def test_check_says_what_is_right_and_what_is_wrong(files: Path) -> None:
    done = hpf("check", "right.yaml")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "right.yaml: valid: pre (1,000 steps)\n", "")
    done = hpf("check", "right.yaml", "wrong.yaml", "none.yaml")
    assert done.exit_code == 2
    assert done.stdout == "right.yaml: valid: pre (1,000 steps)\n"
    assert "wrong.yaml:1:7: seed: expected a whole number, got the text '[bold]x'" in done.stderr
    assert "wrong.yaml:3:38: stages.pre.step: unknown key" in done.stderr
    assert "Did you mean 'steps'?" in done.stderr
    assert "none.yaml: there is no such file" in done.stderr
    assert "2 of 3 recipes are wrong." in done.stderr
    assert "Traceback" not in done.stderr


def test_check_warns_of_a_variable_that_is_not_set(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPF_TEST_ROOT")
    done = hpf("check", "right.yaml")
    assert done.exit_code == 0
    assert "warning: right.yaml: data.synthetic.root: the environment variable HPF_TEST_ROOT is not set" in done.stderr


def test_check_as_json(files: Path) -> None:
    done = hpf("check", "right.yaml", "wrong.yaml", "--json")
    assert done.exit_code == 2
    right, wrong = json.loads(done.stdout)["recipes"]
    assert right == {"file": "right.yaml", "ok": True, "problems": [], "notes": []}
    assert wrong["ok"] is False
    assert wrong["problems"][1] == {
        "where": "wrong.yaml:3:10",
        "file": "wrong.yaml",
        "line": 3,
        "column": 10,
        "path": "stages.pre.steps",
        "message": "is missing (Optimiser steps)",
        "hint": "",
    }


def test_show_prints_a_recipe_that_can_be_run(files: Path) -> None:
    done = hpf("show", "right.yaml", "--without", "extra", "--set", "stages.pre.steps=5", "--seed", "3")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "stages.pre.steps: 1000 -> 5 (--set)",
        "seed: 0 -> 3 (--seed)",
        "extra: off in stage pre (--without)",
    ]
    (files / "shown.yaml").write_text(done.stdout)
    again = hpf("show", "shown.yaml")
    assert (again.exit_code, again.stdout, again.stderr) == (0, done.stdout, "")
    assert json.loads(hpf("show", "shown.yaml", "--json").stdout)["stages"]["pre"]["terms"] == ["labels"]
    with_it = hpf("show", "shown.yaml", "--with", "extra", "--stages", "pre", "--json")
    assert json.loads(with_it.stdout)["stages"]["pre"]["terms"] == ["labels", "extra"]


def test_show_exits_with_2_where_the_input_is_wrong(files: Path) -> None:
    for arguments in (["wrong.yaml"], ["right.yaml", "--without", "lables"], ["right.yaml", "--set", "x=1"]):
        done = hpf("show", *arguments)
        assert done.exit_code == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr


def test_schema_is_json(files: Path) -> None:
    done = hpf("schema")
    assert done.exit_code == 0
    assert "dataset.generator.named" in json.loads(done.stdout)["$defs"]


def test_every_command_has_help_with_an_example(files: Path) -> None:
    for arguments in ([], ["check"], ["show"], ["schema"]):
        assert "Example:\n" in hpf(*arguments, "--help").stdout


def test_the_module_imports_nothing_heavy() -> None:
    code = "import sys, hpf_cli.recipe; print([m for m in ('torch', 'pydantic', 'ruamel.yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
