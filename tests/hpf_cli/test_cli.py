"""The command line as a whole: it starts at once, and ends with the right exit code and a message for people."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import hpf_core
from hpf_cli import main, show
from hpf_core.errors import DataError, RunError

HPF = Path(sys.executable).with_name("hpf")


def commands(of: Any = None, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command and group."""
    of = of or typer.main.get_command(main.app)
    return [path, *(p for name, sub in getattr(of, "commands", {}).items() for p in commands(sub, (*path, name)))]


def test_help_answers_in_under_half_a_second() -> None:
    """Of the processor's time, the least of three: what else the machine does counts less than by the clock."""
    resource = pytest.importorskip("resource", reason="Windows doesn't count a process's time this way")
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([HPF, "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5, times
    assert "plugins" in done.stdout


@pytest.mark.parametrize("words", [("--help",), *((*path, "--help") for path in commands()[1:]), ("--version",)])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from hpf_cli.main import main\n"
        f"sys.argv = ['hpf', *{words!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code, ended.code\n"
        "print(' '.join(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    heavy = {"torch", "numpy", "scipy", "matplotlib", "ruamel.yaml", "pluggy", "hpf_core.interfaces"}
    if len(words) == 1:
        heavy.add("pydantic")  # typer itself imports it for a command with parameters, in its newer versions
    assert "typer" in loaded
    assert sorted(loaded & heavy) == []


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_an_example(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main.app, [*words, "--help"])
    assert done.exit_code == 0
    after = done.stdout.partition("Example")[2]
    assert " ".join(("hpf", *words[:1])) in after


def test_version() -> None:
    done = CliRunner().invoke(main.app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"hpf {hpf_core.__version__}\n")


@pytest.mark.parametrize("words", [["no-such-command"], ["plugins", "show"], ["plugins", "list", "--no-such-option"]])
def test_misuse_exits_with_2(words: list[str]) -> None:
    done = CliRunner().invoke(main.app, words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr


def app_that(raises: BaseException | type[BaseException]) -> typer.Typer:
    app = typer.Typer(cls=main.Commands, rich_markup_mode=None)

    @app.command()
    def first() -> None:
        raise raises

    @app.command()
    def second() -> None:
        warnings.warn("three views [are] needed", UserWarning, stacklevel=1)
        warnings.warn("old", FutureWarning, stacklevel=1)

    return app


@pytest.mark.parametrize(("error", "code"), [(DataError, 2), (RunError, 1)])
def test_errors_are_messages_with_their_exit_code(error: type[Exception], code: int) -> None:
    message = "the file [bold]x[/bold] [1, 2] has no line 3\n  " + "and a long tail " * 20 + "end"
    done = CliRunner().invoke(app_that(error(message)), ["first"])
    assert done.exit_code == code
    assert done.stderr == f"error: {message}\n"  # neither markup nor wrapping touches it
    assert done.stdout == ""


def test_interrupt_exits_with_130_and_one_line() -> None:
    done = CliRunner().invoke(app_that(KeyboardInterrupt), ["first"])
    assert (done.exit_code, done.stderr) == (130, "interrupted\n")


@pytest.mark.filterwarnings("always")
def test_warnings_are_lines() -> None:
    done = CliRunner().invoke(app_that(KeyboardInterrupt), ["second"])
    assert done.exit_code == 0
    assert done.stderr.startswith("warning: three views [are] needed\n")
    assert "test_cli.py" in done.stderr  # of others, Python says where
    assert "FutureWarning: old" in done.stderr


def test_a_bug_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ZeroDivisionError("seven [by] zero")

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "ZeroDivisionError: seven [by] zero" in said
    assert "This is a bug in HPF or in one of its plugins" in said


def test_json_is_one_document_of_plain_data(capsys: pytest.CaptureFixture[str]) -> None:
    show.note("progress [50 %]")
    show.emit_json(
        {
            "nan": math.nan,
            "inf": [math.inf, 1.5],
            "path": PurePosixPath("a/b"),
            "set": frozenset({"b", "a"}),
            "mm²": (1,),
        }
    )
    out, err = capsys.readouterr()
    assert json.loads(out) == {"nan": None, "inf": [None, 1.5], "path": "a/b", "set": ["a", "b"], "mm²": [1]}
    assert err == "progress [50 %]\n"
