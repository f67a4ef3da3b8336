"""Those who watch a run: told in order, and switched off when they raise, so that none can end it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hpf_core.interfaces import Observer


class ObserverWarning(UserWarning):
    """An observer raised and is no longer told anything."""


class Watchers:
    """All observers of a run."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def tell(self, event: str, *details: Any) -> None:
        """Call the method `event` of every observer. Each gets its own copy of documents: it can't change the run's."""
        for observer in list(self._observers):
            try:
                getattr(observer, event)(*(copy.deepcopy(d) if isinstance(d, Mapping) else d for d in details))
            except Exception as error:
                self._observers.remove(observer)
                warnings.warn(
                    f"observer {type(observer).__name__} is switched off: "
                    f"{event} raised {type(error).__name__}: {error}",
                    ObserverWarning,
                    stacklevel=2,
                )
