"""Claims that distribute work over processes or machines with a shared folder. A killed process loses its claims.

A claim is a file. Only one process can create the file, and its owner touches it every few seconds. Others never delete
the claim of a dead owner, because two of them could delete each other's new claim. Instead, a file with the next higher
number replaces the claim, and again only one process can create that file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpf_core.errors import RunError

BEAT_S = 15.0
"""Seconds between an owner's signs of life."""
SILENT_S = 240.0
"""An owner on another machine counts as dead after this many seconds without sign of life. The limit is well above the
time for which NFS caches attributes."""


class LeaseTaken(Exception):
    """Another process works on the item; `owner` names that process."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


class Leases:
    """The claims in a folder, from the point of view of one process.

    Args:
        folder: shared by all processes.
        silent_s: after this many seconds without sign of life an owner counts as dead.
    """

    def __init__(self, folder: Path, silent_s: float = SILENT_S) -> None:
        self._folder = folder
        self._silent_s = silent_s
        # This machine's time of each claim's last observed change, because the clocks of two machines may differ.
        self._seen: dict[Path, tuple[int, float]] = {}

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the claim on `name` inside the block: no other process works on `name`.

        Raises:
            LeaseTaken: another process holds the claim.
            RunError: the folder can't be written.
        """
        path = self._take(name)
        stop = threading.Event()
        beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
        beat.start()
        try:
            yield
        finally:
            stop.set()
            beat.join()
            # Delete from the lowest: while our claim exists, none of the lower claims can become valid again.
            for _, claim in self._claims(name):
                if _number(claim) <= _number(path):
                    claim.unlink(missing_ok=True)

    def _take(self, name: str) -> Path:
        while True:
            claims = self._claims(name)
            number = 0
            if claims:
                number, last = claims[-1]
                owner = self._owner_alive(last)
                if owner is not None:
                    raise LeaseTaken(owner)
                number += 1
            path = self._folder / f"{name}.{number}"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                # We write the file under another name and link it, so that no process sees a claim without owner.
                draft = self._folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
                draft.write_text(json.dumps({"where": _where(), "pid": os.getpid()}), encoding="utf-8")
                try:
                    os.link(draft, path)
                finally:
                    draft.unlink(missing_ok=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise RunError(f"Can't write {path}: {error.strerror or error}.") from error
            # Between the check and the link, another process may have finished, and a third one may have started at 0.
            for _, other in self._claims(name):
                owner = None if other == path else self._owner_alive(other)
                if owner is not None:
                    path.unlink(missing_ok=True)
                    raise LeaseTaken(owner)
            return path

    def _claims(self, name: str) -> list[tuple[int, Path]]:
        """Numbers and files of all claims of a name, lowest first."""
        pattern = re.compile(re.escape(name) + r"\.[0-9]+")
        with contextlib.suppress(OSError):
            found = [path for path in self._folder.iterdir() if pattern.fullmatch(path.name)]
            return sorted((_number(path), path) for path in found)
        return []

    def _owner_alive(self, path: Path) -> str | None:
        """The owner of a claim, or None if the owner is dead."""
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            where, pid = str(about["where"]), int(about["pid"])
            sign = path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            where, pid, sign = "an unknown machine", -1, 0
        here = where == _where()
        if here and not _runs(pid):
            return None
        last, since = self._seen.get(path, (None, 0.0))
        if last != sign:
            since = time.monotonic()
            self._seen[path] = (sign, since)
        # Check here too: another process may have the same number by now.
        if time.monotonic() - since >= self._silent_s:
            return None
        return f"process {pid} on {'this machine' if here else where.partition(' ')[0]}"


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        with contextlib.suppress(OSError):
            os.utime(path)


def _number(path: Path) -> int:
    return int(path.name.rpartition(".")[2])


def _where() -> str:
    """This machine and its process namespace: containers on one machine may have separate namespaces."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process belongs to another user
        return True
    return True
