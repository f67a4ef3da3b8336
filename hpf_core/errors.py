"""Errors for people: each says what is wrong, where, what was expected, and the nearest valid choice.

The command line prints only the message and exits with `exit_code`. A traceback means a bug in HPF.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HPFError(Exception):
    """The run failed for a reason that a person can fix (exit 1)."""

    exit_code = 1


class RunError(HPFError):
    """A started run can't continue: a non-finite loss, a full disk, a damaged checkpoint (exit 1)."""


class SaidElsewhere(RunError):
    """Another process of the same run reports why this process ends. This process stays silent."""


class InputError(HPFError):
    """The input is wrong; nothing has started (exit 2)."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe, or a change to it on the command line, is wrong."""


class PluginError(InputError):
    """A requested plugin is missing, broken, duplicated or built for another interface."""


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
    """HPF couldn't make a figure or table of a run; the run's results are unaffected."""


@contextmanager
def skip_on_failure(what: str) -> Iterator[None]:
    """Turn any exception inside the block into a warning that names `what` and the cause."""
    try:
        yield
    except Exception as error:
        warnings.warn(f"no {what}: {type(error).__name__}: {error}", ReportWarning, stacklevel=3)
