"""Work on many files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def threaded(work: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """What `work` makes of each item, in order, on several threads. What hasn't begun when it is left never does."""
    with ThreadPoolExecutor(workers()) as pool:
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)


def workers() -> int:
    """Threads for work on images: as many as this process may use cores, 8 at most."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, available)
