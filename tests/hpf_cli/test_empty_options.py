"""Options that are given and empty are refused, and so are environments in which nothing can run."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpf_cli.main import app

RECIPE = str(Path(__file__).parents[2] / "recipes" / "quickstart.yaml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stages", ""], "--stages needs a name"),
        (["--stages", "fit,"], "--stages needs a name"),
        (["--device", ""], "--device is empty: expected auto, cpu, cuda"),
        (["--without", ""], "--without needs a name"),
    ],
)
def test_run_refuses_an_empty_option(tmp_path: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["run", RECIPE, "--out", str(tmp_path / "out"), *words])
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_option_of_a_plugin_is_wrong_input() -> None:
    done = CliRunner().invoke(app, ["plugins", "check", "vae", "--set", "stepz=3"])
    assert done.exit_code == 2
    assert "--set stepz=3: stepz: unknown option" in done.stderr
    assert "Did you mean 'steps'?" in done.stderr
    done = CliRunner().invoke(app, ["plugins", "check", "vae", "--set", "steps=many"])
    assert done.exit_code == 2
    assert "expected a whole number, got the text 'many'" in done.stderr


@pytest.mark.parametrize("variables", [{"WORLD_SIZE": ""}, {"WORLD_SIZE": "2", "RANK": "1"}])
def test_variables_of_a_cluster_without_a_group_silence_nothing(tmp_path: Path, variables: dict[str, str]) -> None:
    done = CliRunner(env=variables).invoke(app, ["run", str(tmp_path / "none.yaml")])
    assert done.exit_code == 2
    assert "there is no such file" in done.stderr
    assert "rank" not in done.stderr
