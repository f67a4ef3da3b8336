"""Output of every command: messages and progress to standard error, results to standard output.

Text from outside (names, paths, reasons) is never interpreted as markup of rich: a `[` stays a `[`.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TextIO

from rich.console import Console, ConsoleRenderable, RenderHook
from rich.measure import Measurement
from rich.segment import Segment
from rich.text import Text

from hpf_core import process_group
from hpf_core.errors import InputError, RunError

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType, RenderResult

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Text in which control characters, such as those that colour or clear a terminal, are spelt out: `\\x1b`."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class _Visible:
    """Output with control characters in its text spelt out; those of rich itself stay."""

    def __init__(self, shown: ConsoleRenderable) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._shown, options):
            yield Segment(text if control else visible(text), style, control)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._shown)


class _Guard(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """All of them, made visible."""
        return [_Visible(shown) for shown in renderables]


def _guarded(made: Console) -> Console:
    made.push_render_hook(_Guard())
    return made


console = _guarded(Console(stderr=True))
"""Standard error: messages, progress, warnings."""

NOWHERE = Console(quiet=True)
"""A console that prints nothing: for all processes of a run except the first, and for `--quiet`."""

Verbosity = Literal["quiet", "normal", "verbose"]
_verbosity: list[Verbosity] = ["normal"]

_results = _guarded(Console())
_CLOSED = "standard output is closed: the result can't be written"
_emitted: list[bool] = []  # an entry once a JSON document was written


def is_first() -> bool:
    """Whether this process prints; torchrun gives each process of a run its rank."""
    return process_group.rank() == 0


def set_verbosity(verbosity: Verbosity) -> None:
    """Choose how much this command prints to standard error.

    Raises:
        InputError: both --quiet and --verbose are given.
    """
    if {_verbosity[0], verbosity} == {"quiet", "verbose"}:
        raise InputError("--quiet and --verbose exclude each other: leave one of them out.")
    _verbosity[0] = verbosity


def is_verbose() -> bool:
    """Whether `--verbose` is given."""
    return _verbosity[0] == "verbose"


def progress_console() -> Console:
    """The console for progress: standard error, or nothing under `--quiet` and in all processes except the first."""
    return console if is_first() and _verbosity[0] != "quiet" else NOWHERE


def note(message: str, style: str = "") -> None:
    """Print a message to standard error: not under `--quiet`, and only in the first process of a run."""
    progress_console().print(Text(message, style), soft_wrap=True)


def warning(message: str) -> None:
    """Print a warning to standard error, only in the first process of a run."""
    if is_first():
        console.print(Text.assemble(("warning: ", "bold yellow"), message), soft_wrap=True)


def error(message: str) -> None:
    """Print an error to standard error. To end the program as well, raise an `HPFError` instead."""
    who = "" if is_first() else f"rank {process_group.rank()}: "
    console.print(Text.assemble(who, ("error: ", "bold red"), message), soft_wrap=True)


def result(shown: RenderableType) -> None:
    """Print a result, such as a table, to standard output. A plain string stays unchanged.

    Numbers of a table are neither wrapped nor cut. In a narrow terminal, the table is wider than the terminal.
    """
    with _output():
        if isinstance(shown, str):
            _results.print(Text(visible(shown)), soft_wrap=True)
            return
        needed = Measurement.get(_results, _results.options.update_width(1000), shown).minimum
        _results.print(shown, width=max(_results.width, needed), crop=False)


def emit_json(document: Mapping[str, Any]) -> None:
    """Write the one JSON document of a command with `--json` to standard output.

    Paths become text, sets and tuples become lists, and what is not finite becomes null: JSON has no NaN.

    Raises:
        RunError: standard output is closed or full.
    """
    text = json.dumps(_plain(document), indent=2, allow_nan=False) + "\n"
    with _output():
        if sys.stdout is None:
            raise RunError(_CLOSED)
        _emitted.append(True)
        sys.stdout.write(text)
        sys.stdout.flush()


def has_emitted() -> bool:
    """Whether this command has written its JSON document."""
    return bool(_emitted)


def begin() -> None:
    """Forget what an earlier command of this process wrote, and its verbosity."""
    _emitted.clear()
    _verbosity[0] = "normal"


def drop_output() -> None:
    """Let go of a standard output that can't be written, so that nothing fails on it again when Python ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = None


@contextmanager
def _output() -> Iterator[None]:
    """Within it, a standard output that can't be written ends the command with a message."""
    try:
        yield
    except BrokenPipeError:
        drop_output()
        raise
    except ValueError as error:
        if sys.stdout is not None and not sys.stdout.closed:
            raise
        drop_output()
        raise RunError(_CLOSED) from error
    except OSError as error:
        drop_output()
        reason = error.strerror or str(error)
        raise RunError(f"standard output can't be written: {reason}") from error


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print warnings for the user, such as a broken plugin, as one line, without Python's file and line."""

    def showwarning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, UserWarning):
            warning(str(message))
        else:
            console.print(Text(warnings.formatwarning(message, category, filename, lineno, line).strip()))

    with warnings.catch_warnings():
        warnings.showwarning = showwarning
        yield


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value
