"""Errors for people: each says what is wrong, where, what was expected, and the nearest valid choice.

The command line prints the message alone and exits with `exit_code`; a traceback means a bug in HPF.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HPFError(Exception):
    """The run failed for a reason that a person can act on (exit 1)."""

    exit_code = 1


class RunError(HPFError):
    """A run that began could not go on: a non-finite loss, a full disk, a damaged checkpoint (exit 1)."""


class SaidElsewhere(RunError):
    """What ends this process is told by another one of the same run: it isn't said twice."""


class InputError(HPFError):
    """What was given is wrong; nothing was started (exit 2)."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe, or what the command line changed in it, is wrong."""


class PluginError(InputError):
    """A plugin that is asked for is missing, broken, duplicated or built for another interface."""


class DataError(InputError):
    """A dataset, a label file or a prediction file is missing, damaged or in the wrong format."""


def nearest(name: str, choices: Iterable[str], most: int = 3) -> str:
    """ " Did you mean a or b?" for the choices nearest to `name`, else the list of all of them."""
    known = sorted(set(choices))
    close = difflib.get_close_matches(name, known, n=most, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    return f"Known: {', '.join(known)}." if known else "None are known."


class ReportWarning(UserWarning):
    """Something that only shows a run couldn't be made; the run's results stand."""


@contextmanager
def skip_on_failure(what: str) -> Iterator[None]:
    """Turn whatever goes wrong within into a warning that names `what` and the cause."""
    try:
        yield
    except Exception as error:
        warnings.warn(f"no {what}: {type(error).__name__}: {error}", ReportWarning, stacklevel=3)
