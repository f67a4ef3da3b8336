"""Turns exceptions of commands into one message and an exit code: 1 for a failed run, 2 for wrong input.

Under `--json` the message is also a document on standard output, {"error": {"message": ..., "exit_code": ...}}, unless
the command has written its own document before.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence

from hpf_cli import show
from hpf_core.errors import HPFError, InputError, RunError

_WRONG_INPUT = {
    getattr(errno, name)
    for name in ("ENAMETOOLONG", "ENOENT", "ENOTDIR", "EISDIR", "EACCES", "EPERM", "EROFS", "ELOOP", "EINVAL", "EEXIST")
    if hasattr(errno, name)
}
"""Errors of the system that wrong input causes. Others, such as a full disk, are a failed run."""

_SHOWN = 200


def of_system(error: OSError) -> HPFError:
    """Describe an error of the operating system that no command handled."""
    if error.filename is None and error.errno == errno.ENOENT and _lost_folder():
        return InputError(
            "the working directory was deleted or moved: change to an existing folder and repeat the command"
        )
    reason = error.strerror or type(error).__name__
    kind = InputError if error.errno in _WRONG_INPUT else RunError
    if error.filename is None:
        return kind(f"the system refused access to a file or folder: {reason}")
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes | str) else str(error.filename)
    return kind(f"{_cut(name)}: {reason}")


def _cut(name: str) -> str:
    """A name that fits a message."""
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}... ({len(name):,} characters)"


def say(message: str, code: int, words: Sequence[str], shown: bool = False) -> None:
    """Print an error, and also as a JSON document if the command line has `--json`.

    Args:
        message: what is wrong.
        code: the exit code.
        words: the command line.
        shown: whether standard error has it already.
    """
    message = re.sub(rf"\S{{{2 * _SHOWN},}}", lambda word: _cut(word[0]), message)
    if show.is_verbose() and (raised := sys.exc_info()[1]) is not None:
        show.note("".join(traceback.format_exception(raised)).rstrip())
    if not shown:
        show.error(message)
    if "--json" in words and not show.has_emitted():
        try:
            show.emit_json({"error": {"message": message, "exit_code": code}})
        except RunError as error:
            show.error(str(error))


def _lost_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def leave_output() -> None:
    """Flush standard output. If this fails, print an error and close it.

    Raises:
        SystemExit: it can't be written (1).
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        show.drop_output()
        if not isinstance(error, BrokenPipeError):
            reason = getattr(error, "strerror", None) or str(error)
            show.error(f"standard output can't be written: {reason}")
        raise SystemExit(RunError.exit_code) from error
