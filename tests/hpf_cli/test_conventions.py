"""Every command has the same conventions: `-h`, placeholders, short forms, repeated options, defaults, verbosity."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from hpf_cli import show
from hpf_cli.main import app
from hpf_cli.progress import Live

RECIPES = Path(__file__).parents[2] / "recipes"
LONG = ("run", "ablate", "predict", "data prepare", "data simulate")
"""Commands that take long; others may have `--quiet` and `--verbose`, too."""


def walk(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    yield " ".join(path), command
    for name, sub in getattr(command, "commands", {}).items():
        yield from walk(sub, (*path, name))


COMMANDS = dict(walk())
OPTIONS = [
    (path, parameter)
    for path, command in COMMANDS.items()
    for parameter in command.params
    if parameter.param_type_name == "option"
]
VALUES = [(path, parameter) for path, parameter in OPTIONS if not parameter.is_flag]
IDS = [f"{path} {parameter.opts[0]}" for path, parameter in VALUES]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    show.begin()
    yield
    show.begin()


@pytest.mark.parametrize("path", COMMANDS)
def test_h_is_help(path: str) -> None:
    short, long = (CliRunner().invoke(app, [*path.split(), word]) for word in ("-h", "--help"))
    assert (short.exit_code, long.exit_code) == (0, 0)
    assert short.stdout == long.stdout
    usage = short.stdout.partition("\n\n")[0].split()
    assert usage[len(path.split()) + 2] == "[options]"
    assert not re.search(r"\.\.\.$", short.stdout.partition("Commands:")[2], re.MULTILINE), "a summary is cut"
    assert not re.search(r"<list|TEXT|INTEGER|\bPATH\b|\{", short.stdout)


@pytest.mark.parametrize(("path", "option"), VALUES, ids=IDS)
def test_a_value_has_a_placeholder_and_a_default(path: str, option: Any) -> None:
    placeholder = r"<[a-z]+(?:[=,/][a-z]+)*>"
    assert re.fullmatch(placeholder, option.metavar or "")
    help_ = CliRunner().invoke(app, [*path.split(), "--help"]).stdout
    assert f"{option.opts[0]} {option.metavar}" in help_
    if option.default is not None and option.default != Path():
        assert option.show_default, "its default is not shown"


@pytest.mark.parametrize("path", COMMANDS)
def test_help_is_in_sentences(path: str) -> None:
    command = COMMANDS[path]
    for parameter in command.params:
        text = re.sub(r" \[default: [^]]+\]$", "", parameter.help)
        assert re.search(r"[.]$", text), f"{parameter.name}: {text}"
        if parameter.param_type_name == "argument":
            assert re.fullmatch(r"<[a-z]+>", parameter.metavar)
    assert all(len(sub.short_help) <= 45 for sub in getattr(command, "commands", {}).values())


def test_a_short_form_always_means_the_same() -> None:
    meanings, without = defaultdict(set), defaultdict(set)
    for path, option in OPTIONS:
        short = [word for word in option.opts if not word.startswith("--")]
        (long,) = [word for word in option.opts if word.startswith("--")] or [""]
        for word in short:
            meanings[word].add(long)
        if not short:
            without[long].add(path)
    assert all(len(longs) == 1 for longs in meanings.values()), meanings
    assert {"-o", "-s", "-q", "-v", "-k"} <= set(meanings)
    for (long,) in meanings.values():
        assert not without[long], f"{long} has a short form, but not in {without[long]}"


def test_lists_are_repeated_or_separated_by_commas() -> None:
    lists = [(path, option) for path, option in OPTIONS if option.multiple]
    assert {option.opts[0] for _, option in lists} >= {"--set", "--with", "--without", "--stages", "--rows", "--views"}
    for path, option in lists:
        assert "Repeat it" in option.help, f"{path} {option.opts[0]}"
    recipe = str(RECIPES / "quickstart.yaml")
    shown = [
        CliRunner().invoke(app, ["recipe", "show", recipe, "--json", *words])
        for words in (["--without", "vae, collision"], ["--without", "vae", "--without", "collision"])
    ]
    assert [done.exit_code for done in shown] == [0, 0]
    assert json.loads(shown[0].stdout) == json.loads(shown[1].stdout)
    assert "vae" not in json.loads(shown[0].stdout)["stages"]["fit"]["terms"]


@pytest.mark.parametrize("words", [("bench", "--only", "a,"), ("ablate", "x.yaml", "--rows", ",")])
def test_an_empty_name_is_refused(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 2
    assert done.stderr == f"error: {words[-2]} needs a name\n"


@pytest.mark.parametrize("path", LONG)
def test_long_commands_can_be_quiet_or_verbose(path: str) -> None:
    words = {word for parameter in COMMANDS[path].params for word in parameter.opts}
    assert {"-q", "--quiet", "-v", "--verbose"} <= words
    both = CliRunner().invoke(app, [*path.split(), *"xy"[: path.count("prepare") + 1], "-q", "-v"])
    assert both.exit_code == 2
    assert both.stderr == "error: --quiet and --verbose exclude each other: leave one of them out.\n"


def test_verbose_adds_the_traceback_and_quiet_keeps_the_error(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.yaml")
    plain, quiet, verbose = (CliRunner().invoke(app, ["run", missing, *words]) for words in ([], ["-q"], ["-v"]))
    assert {plain.exit_code, quiet.exit_code, verbose.exit_code} == {2}
    assert quiet.stderr == plain.stderr
    assert "Traceback" not in plain.stderr
    assert verbose.stderr.startswith("Traceback")
    assert verbose.stderr.endswith(plain.stderr)


def watched(verbosity: show.Verbosity) -> str:
    out = io.StringIO()
    show.begin()
    show.set_verbosity(verbosity)
    with Live(Console(file=out, width=200)) as live:
        live.stage_started("fit", 20, 0)
        live.step_done("fit", 10, {"loss": 1.5, "images_per_second": 30.0, "weighted": {"m2d": 0.25}})
        for done in range(101):
            live.progress(done, 100, "cropping")
    return out.getvalue()


def test_verbose_prints_steps_and_tenths() -> None:
    assert watched("normal") == "stage fit: 20 steps\ncropping\n"
    lines = watched("verbose").splitlines()
    assert "fit step 10 of 20: loss 1.5  30 img/s  m2d 0.25" in lines
    assert [line.split()[1] for line in lines if line.startswith("cropping:")] == [str(k) for k in range(10, 101, 10)]


def test_quiet_prints_nothing_but_results_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    show.set_verbosity("quiet")
    assert show.progress_console() is show.NOWHERE
    show.note("a note")
    assert capsys.readouterr().err == ""
    assert show.progress_console() is show.NOWHERE
    show.begin()
    assert show.progress_console() is show.console


def test_the_shell_completes_commands() -> None:
    """The protocol of completion in bash, which `hpf --install-completion` sets up."""
    words = {"_HPF_COMPLETE": "complete_bash", "COMP_WORDS": "hpf re", "COMP_CWORD": "1"}
    hpf = Path(sys.executable).with_name("hpf")
    done = subprocess.run([hpf], capture_output=True, text=True, env={**os.environ, **words})
    assert done.stdout.split() == ["report", "recipe"]
    assert {"--install-completion", "--show-completion"} <= {word for _, o in OPTIONS for word in o.opts}
