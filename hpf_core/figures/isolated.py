"""Imports matplotlib without the user's settings. Figures must be the same on all machines, and never stop a run.

The import of matplotlib reads `MPLBACKEND` and the user's `matplotlibrc`, and both can make the import fail.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

_BACKEND, _SETTINGS, _FOLDER = "MPLBACKEND", "MATPLOTLIBRC", "MPLCONFIGDIR"


def import_matplotlib() -> None:
    """Import matplotlib with its default settings, then apply the user's settings, as a plain import would do.

    A notebook keeps its own backend and style. Settings that matplotlib refuses are skipped. If matplotlib is already
    imported, this function does nothing.
    """
    if "matplotlib" in sys.modules or (found := find_spec("matplotlib")) is None or found.origin is None:
        return
    shipped = Path(found.origin).parent / "mpl-data" / "matplotlibrc"
    with _quiet(), _environment({_BACKEND: "agg", _SETTINGS: str(shipped), _FOLDER: _home()}):
        import matplotlib

        matplotlib.get_configdir()  # Called here, because without a home folder it fails later.
        matplotlib.get_cachedir()
    with _quiet():
        with contextlib.suppress(Exception):
            matplotlib.rcParams.update(matplotlib.rc_params())
        with contextlib.suppress(Exception):
            if os.environ.get(_BACKEND):
                matplotlib.rcParams["backend"] = os.environ[_BACKEND]


def _home() -> str | None:
    """The folder of matplotlib's font list: the user's choice, or a temporary folder for users without home folder."""
    with contextlib.suppress(RuntimeError):
        Path.home()
        return os.environ.get(_FOLDER)
    return os.environ.get(_FOLDER) or tempfile.mkdtemp(prefix="hpf-matplotlib-")


@contextlib.contextmanager
def _environment(values: dict[str, str | None]) -> Iterator[None]:
    """Set environment variables inside the block; None removes a variable."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress matplotlib's log messages about the user's settings, which don't affect our figures."""
    log = logging.getLogger("matplotlib")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before
