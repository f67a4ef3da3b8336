"""One process at a time: what several want to make is made by the first, and the others wait."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from hpf_core.progress import Progress, no_progress

try:
    import fcntl
except ImportError:  # not on Windows: there, two processes should not make the same thing at once
    fcntl = None  # type: ignore[assignment]


class Turn:
    """While in use, no other process has the same lock file. It ends with the process, however that ends; a process
    that is killed leaves the file, which is in nobody's way.

    Args:
        path: the lock file; its folder is there.
        what: what the others make, for the progress of those that wait.
        progress: told while waiting.
    """

    def __init__(self, path: Path, what: str, progress: Progress = no_progress) -> None:
        self._path, self._what, self._progress = path, what, progress
        self._lock: IO[str] | None = None

    def take(self) -> None:
        """Wait until nobody else has it.

        Raises:
            OSError: the file can't be made.
        """
        if fcntl is None:
            return
        while self._lock is None:
            lock = self._path.open("w")
            try:
                while not _taken(lock):
                    self._progress(0, 1, f"waiting for another process that makes {self._what}")
                    time.sleep(0.2)
            except BaseException:
                lock.close()
                raise
            if self._counts(lock):
                self._lock = lock
            else:
                lock.close()

    def end(self) -> None:
        """Let the next one go on, and leave no lock file; does nothing where it isn't one's turn."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                if self._is_at_its_place(self._lock):
                    self._path.unlink()
            self._lock.close()
            self._lock = None

    def _is_at_its_place(self, lock: IO[str]) -> bool:
        return os.path.samestat(os.fstat(lock.fileno()), self._path.stat())

    def _counts(self, lock: IO[str]) -> bool:
        """Whether the others wait for this lock, too. Not where the one before removed the file: by now the next one
        may have made another. A folder that went as a whole is finished work, which the caller finds."""
        try:
            return self._is_at_its_place(lock)
        except FileNotFoundError:
            return not self._path.parent.is_dir()

    def __enter__(self) -> Turn:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
