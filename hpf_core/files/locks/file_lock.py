"""A process's lock on a file. The lock ends with the process in any case: a killed process leaves no lock behind."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import IO

from hpf_core.progress import Progress, no_progress

try:
    import fcntl
except ImportError:  # Windows has no such locks: there, users must not make the same thing twice at once
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """While a process holds this lock, no other process holds it. A killed process's leftover file doesn't block.

    A file system without locks doesn't block either: there, every process gets the lock.

    Args:
        path: the lock file, in an existing folder.
        what: the work of the lock's holder, for the progress of waiting processes.
        progress: called while this process waits.
    """

    def __init__(self, path: Path, what: str = "", progress: Progress = no_progress) -> None:
        self._path, self._what, self._progress = path, what, progress
        self._file: IO[str] | None = None

    def wait(self) -> None:
        """Take the lock as soon as no other process holds it.

        If the lock's folder disappears meanwhile, the other process has moved its finished work away. Then this process
        goes on without the lock, and the caller finds that work.

        Raises:
            OSError: the file can't be created.
        """
        waited = False
        while True:
            try:
                if self.try_take():
                    return
            except FileNotFoundError:
                if waited and not self._path.parent.is_dir():
                    return
                raise
            waited = True
            self._progress(0, 1, f"waiting for another process that makes {self._what}")
            time.sleep(0.2)

    def try_take(self) -> bool:
        """Take the lock if no other process holds it; returns whether this process holds it now.

        Raises:
            OSError: the file can't be created.
        """
        if fcntl is None:
            return True
        while self._file is None:
            file = self._path.open("a+", encoding="utf-8")
            try:
                taken = _lock(file)
                current = taken and self._is_current(file)
            except BaseException:
                file.close()
                raise
            if current:
                self._file = file
                _held.add(self)
                self._write_holder(file)
            else:
                file.close()
                if not taken:
                    return False
        return True

    def release(self) -> None:
        """Release the lock and remove its file. Does nothing if this process doesn't hold the lock."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                if self._is_in_place(self._file):
                    self._path.unlink()
            self._close()

    def holder(self) -> str:
        """The lock's holder, in words, according to the file; "another process" if the file is empty."""
        try:
            about = json.loads(self._path.read_text(encoding="utf-8")[:1000])
            process, host, since = int(about["process"]), str(about["host"])[:80], str(about["since"])[:25]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return "another process"
        if not (host + since).isprintable():
            return "another process"
        where = "this machine" if host == socket.gethostname() else host
        return f"process {process} on {where}, since {since}"

    def _close(self) -> None:
        _held.discard(self)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_holder(self, file: IO[str]) -> None:
        now = datetime.datetime.now(tz=datetime.UTC).isoformat(sep=" ", timespec="seconds")
        with contextlib.suppress(OSError):  # the disk is full: the lock holds anyway
            file.truncate(0)
            file.write(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": now}))
            file.flush()

    def _is_in_place(self, file: IO[str]) -> bool:
        return os.path.samestat(os.fstat(file.fileno()), self._path.stat())

    def _is_current(self, file: IO[str]) -> bool:
        """Whether other processes see this lock. The last holder may have removed the file, and another process may
        have made a new file. If the whole folder is gone, the work is finished, and the caller finds the result."""
        try:
            return self._is_in_place(file)
        except FileNotFoundError:
            return not self._path.parent.is_dir()

    def __enter__(self) -> FileLock:
        self.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_all() -> None:
    """Runs in a forked child: a worker that outlives its killed parent must not keep the parent's locks."""
    for lock in list(_held):
        lock._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
