"""What every command shows with: messages and progress on standard error, results on standard output.

Text from outside (names, paths, reasons) is never read as rich's markup: a `[` stays a `[`.
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
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, ConsoleRenderable, RenderHook
from rich.measure import Measurement
from rich.segment import Segment
from rich.text import Text

from hpf_core import process_group
from hpf_core.errors import RunError

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType, RenderResult

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Text in which control characters, such as those that colour or clear a terminal, are spelt out: `\\x1b`."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class _Visible:
    """What is shown, with control characters in its text spelt out; what rich itself sends to the terminal stays."""

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
"""For processes of a run that aren't the first: nothing is seen of what is printed here."""

_results = _guarded(Console())
_CLOSED = "standard output is closed: the result can't be written there"
_emitted: list[bool] = []  # an entry once a JSON document was written


def is_first() -> bool:
    """Whether this process is the one that shows: torchrun gives each of a run's processes its rank."""
    return process_group.rank() == 0


def note(message: str) -> None:
    """Say something on standard error; of several processes of a run, the first one does."""
    if is_first():
        console.print(Text(message), soft_wrap=True)


def warning(message: str) -> None:
    """Warn on standard error; of several processes of a run, the first one does."""
    if is_first():
        console.print(Text.assemble(("warning: ", "bold yellow"), message), soft_wrap=True)


def error(message: str) -> None:
    """Say what is wrong on standard error. Ending the program is another matter: raise an `HPFError` for both."""
    who = "" if is_first() else f"rank {process_group.rank()}: "
    console.print(Text.assemble(who, ("error: ", "bold red"), message), soft_wrap=True)


def result(shown: RenderableType) -> None:
    """Show a result, such as a table, on standard output. A plain string is shown as it is.

    What can't be broken into lines, as a table's figures, isn't cut either, however narrow the terminal or the file is
    taken for: it runs over.
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
    """Forget what an earlier command of this process wrote."""
    _emitted.clear()


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
    """Within it, what warns the user (a broken plugin, say) is one line, without Python's file and line."""

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
