"""Calls of plugins: what a plugin raises, whatever it is, becomes a message with the plugin's name."""

from __future__ import annotations

import contextlib
import dis
import io
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from hpf_core.errors import HPFError, PluginError, RunError

_LONGEST = 300


class _StandIn(io.TextIOBase):
    """Takes what is written to standard output, and writes it to standard error; it can't be closed."""

    def write(self, text: str) -> int:
        if sys.stderr is not None:
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        if sys.stderr is not None:
            sys.stderr.flush()

    def close(self) -> None:
        """Nothing to close: the next caller writes, too."""


@contextlib.contextmanager
def stdout_held() -> Iterator[None]:
    """Within it, `print` writes to standard error; afterwards `sys.stdout` is what it was before, whatever was done to
    it. Standard output so belongs to the command alone, whose JSON document stands there."""
    before = sys.stdout
    sys.stdout = _StandIn()
    try:
        yield
    finally:
        sys.stdout = before


def interrupts(error: BaseException) -> bool:
    """Whether it is a KeyboardInterrupt that a signal caused, and not one that some code raised by a statement.

    A signal stops whatever instruction is being run; a statement leaves `raise` with an operand behind.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    last = _last(error.__traceback__)
    if last is None:
        return True
    code = last.tb_frame.f_code
    instruction = code.co_code[last.tb_lasti : last.tb_lasti + 2]
    raised = len(instruction) == 2 and dis.opname[instruction[0]] == "RAISE_VARARGS" and instruction[1] > 0
    return not raised or last.tb_frame.f_globals.get("__name__") == "hpf_core.engine.interrupt"


@contextlib.contextmanager
def called(who: str, doing: str, kind: type[HPFError] = PluginError) -> Iterator[None]:
    """Call a plugin within it. HPF's errors and interruptions by a signal pass.

    Args:
        who: the plugin, as `name_of` writes it.
        doing: what is asked of it, such as "be built".
        kind: the error that all else becomes: `PluginError` before any work, `RunError` afterwards.

    Raises:
        HPFError: of `kind`, for whatever else the plugin raises, SystemExit and KeyboardInterrupt too.
    """
    with stdout_held():
        try:
            yield
        except HPFError:
            raise
        except BaseException as error:
            if interrupts(error) or _is_memory(error):
                raise
            raise kind(f"{who} failed to {doing}: {said(error)}") from error


@contextlib.contextmanager
def blamed(plugins: Iterable[tuple[str, Any]]) -> Iterator[None]:
    """Name the plugin in whose code an exception was raised, while a run calls many of them.

    Args:
        plugins: each plugin's name, as `name_of` writes it, and itself.

    Raises:
        RunError: an exception came from one of the plugins, or something ended the program (SystemExit).
    """
    try:
        yield
    except HPFError:
        raise
    except BaseException as error:
        if interrupts(error) or _is_memory(error):
            raise
        who = _who(error, plugins)
        if who is not None:
            raise RunError(f"{who} failed: {said(error)}") from error
        if isinstance(error, SystemExit):
            raise RunError(f"a plugin ended the run: {said(error)}") from error
        raise


def name_of(kind: str, name: str, package: str, version: str) -> str:
    """A plugin for people: "the data term 'm2d' of hpf 0.1.0"."""
    return f"the {kind.replace('_', ' ')} '{name}' of {package} {version}"


def said(error: BaseException) -> str:
    """An exception in one line, with the file and line that it came from."""
    text = " ".join(str(error).split())
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "..."
    frames = traceback.extract_tb(error.__traceback__)
    where = ""
    if frames and "importlib" not in frames[-1].filename and not isinstance(error, SyntaxError):
        file = Path(frames[-1].filename)
        where = f" ({file.parent.name}/{file.name}, line {frames[-1].lineno})"
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"


def _who(error: BaseException, plugins: Iterable[tuple[str, Any]]) -> str | None:
    """The plugin whose method, or whose part's method, is innermost among the frames of the traceback."""
    owners: dict[int, str] = {}
    for name, plugin in plugins:
        modules = getattr(plugin, "modules", None)
        for part in [plugin, *(modules() if callable(modules) else ())]:
            owners.setdefault(id(part), name)
    found = None
    step = error.__traceback__
    while step is not None:
        found = owners.get(id(step.tb_frame.f_locals.get("self")), found)
        step = step.tb_next
    return found


def _is_memory(error: BaseException) -> bool:
    """Whether memory ran out, which is nobody's fault by name."""
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "allocate memory" in str(error)


def _last(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace
