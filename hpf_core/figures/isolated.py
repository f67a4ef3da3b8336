"""matplotlib without the settings of whoever runs us: a figure must be the same on every machine, and never end a run.

Importing matplotlib reads `MPLBACKEND` and the user's `matplotlibrc`, and either can make the import fail.
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
    """Import matplotlib with its own settings, then hand it the user's, as a plain import would have.

    A notebook goes on to draw with its own backend and style. A setting that matplotlib refuses is left out. Where
    matplotlib was imported before, nothing happens.
    """
    if "matplotlib" in sys.modules or (found := find_spec("matplotlib")) is None or found.origin is None:
        return
    shipped = Path(found.origin).parent / "mpl-data" / "matplotlibrc"
    with _quiet(), _environment({_BACKEND: "agg", _SETTINGS: str(shipped), _FOLDER: _home()}):
        import matplotlib

        matplotlib.get_configdir()  # Here, for without a home folder it fails later.
        matplotlib.get_cachedir()
    with _quiet():
        with contextlib.suppress(Exception):
            matplotlib.rcParams.update(matplotlib.rc_params())
        with contextlib.suppress(Exception):
            if os.environ.get(_BACKEND):
                matplotlib.rcParams["backend"] = os.environ[_BACKEND]


def _home() -> str | None:
    """The folder for matplotlib's font list: the user's choice, or a temporary one for users without a home folder."""
    with contextlib.suppress(RuntimeError):
        Path.home()
        return os.environ.get(_FOLDER)
    return os.environ.get(_FOLDER) or tempfile.mkdtemp(prefix="hpf-matplotlib-")


@contextlib.contextmanager
def _environment(values: dict[str, str | None]) -> Iterator[None]:
    """Environment variables with these values for a while; None is for none."""
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
    """No log message of matplotlib about the user's settings: they have no effect on our figures."""
    log = logging.getLogger("matplotlib")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before
