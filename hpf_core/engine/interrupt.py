"""Ctrl-C and SIGTERM in a run: the run finishes and saves the current step; a second signal stops it at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """In this context, the first SIGINT or SIGTERM sets `asked`; the next one has its usual effect.

    Args:
        patient: ignore later signals as well. torchrun forwards signals of the terminal a second time, and kills
            processes that take longer than half a minute.
    """

    def __init__(self, patient: bool = False) -> None:
        self.asked = False
        self._patient = patient
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self._patient:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """In this context, the first SIGTERM raises KeyboardInterrupt, as Ctrl-C does: files and locks are cleaned up.

    A second SIGTERM has its usual effect. Outside of the main thread, which alone can set handlers, all signals keep
    it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)
        raise KeyboardInterrupt

    if before is not signal.SIG_DFL:  # another handler exists already
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
