"""Those who watch a run: told in order, and switched off when they raise, so that none can end it."""

from __future__ import annotations

import copy
import traceback
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpf_core.interfaces import Observer


class ObserverWarning(UserWarning):
    """An observer raised and is no longer told anything."""


class Watchers:
    """All observers of a run.

    Args:
        observers: those that the caller brings; a warning calls them by their class.
        named: those of the recipe, with the names that it has for them.
    """

    def __init__(self, observers: Sequence[Observer], named: Iterable[tuple[str, Observer]] = ()) -> None:
        self._observers = [(type(observer).__name__, observer) for observer in observers]
        self._observers += [(f"'{name}'", observer) for name, observer in named]

    def tell(self, event: str, *details: Any) -> None:
        """Call the method `event` of every observer. Each gets its own copy of documents: it can't change the run's.

        Raises:
            KeyboardInterrupt: a person stopped the run while an observer was at it. Whatever else observers raise,
                SystemExit too, is a warning.
        """
        for watcher in list(self._observers):
            name, observer = watcher
            try:
                getattr(observer, event)(*(copy.deepcopy(d) if isinstance(d, Mapping) else d for d in details))
            except (Exception, SystemExit) as error:
                self._observers.remove(watcher)
                warnings.warn(
                    f"observer {name} is switched off, and the run goes on: "
                    f"{event} raised {type(error).__name__}: {error}{_place(error)}",
                    ObserverWarning,
                    stacklevel=2,
                )


def _place(error: BaseException) -> str:
    """Where it was raised; nothing where the call itself failed, as by a signature of another kind."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without `tell` itself
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
