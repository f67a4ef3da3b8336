"""Observers of a run: called in order, and disabled after an exception, so that none can end the run."""

from __future__ import annotations

import copy
import traceback
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpf_core.interfaces import Observer


class ObserverWarning(UserWarning):
    """An observer raised an exception and receives no further events."""


class Watchers:
    """All observers of a run.

    Args:
        observers: observers of the caller; warnings name them by their class.
        named: observers of the recipe, with their names.
    """

    def __init__(self, observers: Sequence[Observer], named: Iterable[tuple[str, Observer]] = ()) -> None:
        self._observers = [(type(observer).__name__, observer) for observer in observers]
        self._observers += [(f"'{name}'", observer) for name, observer in named]

    def tell(self, event: str, *details: Any) -> None:
        """Call the method `event` of every observer. Each gets its own copy of documents and can't change the run's.

        Raises:
            KeyboardInterrupt: the user stopped the run while an observer was working. All other exceptions of
                observers, also SystemExit, become warnings.
        """
        for watcher in list(self._observers):
            name, observer = watcher
            try:
                getattr(observer, event)(*(copy.deepcopy(d) if isinstance(d, Mapping) else d for d in details))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._observers.remove(watcher)
                warnings.warn(
                    f"observer {name} is disabled for the rest of the run: {event} raised "
                    f"{type(error).__name__}: {error}{_place(error)}",
                    ObserverWarning,
                    stacklevel=2,
                )


def _place(error: BaseException) -> str:
    """The location of the exception; empty if the call itself failed, as with a different signature."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without the frame of `tell`
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
