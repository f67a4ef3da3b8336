"""What a run is spared: the failure of what only shows it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class ReportWarning(UserWarning):
    """Something that only shows a run couldn't be made; the run's results stand."""


@contextmanager
def spared(what: str) -> Iterator[None]:
    """Turn whatever goes wrong within into a warning that names `what` and the cause."""
    try:
        yield
    except Exception as error:
        warnings.warn(f"no {what}: {type(error).__name__}: {error}", ReportWarning, stacklevel=3)
