"""An unfinished capture: it lies in a hidden folder beside its final place, so that an interrupted run can continue."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from hpf_core.data.sidecar import SIDECAR, Sidecar, read_sidecar
from hpf_core.errors import HPFError, InputError, RunError
from hpf_core.files.disk_space import need_room
from hpf_core.files.locks.file_lock import FileLock
from hpf_core.progress import Progress, no_progress

_LOCK = ".lock"


class Unfinished:
    """A context in which `path` holds the unfinished capture, and no other process works on it.

    Attributes:
        finished: whether the capture is in its final place already; then `path` is that place.
        path: the hidden folder, `.NAME-partial`, with the capture's `capture.json`.
    """

    def __init__(self, folder: Path, sidecar: Sidecar, progress: Progress = no_progress) -> None:
        self._folder, self._sidecar = folder.absolute(), sidecar
        self.path = partial_folder(folder)
        self._lock = FileLock(self.path / _LOCK, "the same capture", progress)
        self.finished = False

    def __enter__(self) -> Unfinished:
        """Open or create the folder.

        Raises:
            InputError: something else is in the way, or the folder can't be written.
        """
        try:
            self._open()
        except OSError as error:
            self._lock.release()
            raise InputError(f"Can't write the capture to {self._folder}: {error.strerror or error}.") from error
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        if isinstance(error, OSError):
            raise RunError(
                f"Can't write the capture to {self._folder}: {error.strerror or error}. {how_to_go_on(self._folder)}"
            ) from error

    def need_room(self, count: int) -> None:
        """Check that the disk has at least `count` free bytes.

        Raises:
            InputError: the disk has less. Then a folder without images is removed.
        """
        begun = any(self.path.rglob("*.png"))
        otherwise = how_to_go_on(self._folder) if begun else "Choose fewer frames or views, or another disk."
        try:
            need_room(self._folder.parent, count, "The capture", otherwise)
        except InputError:
            if not begun:
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    def finish(self) -> None:
        """Move the complete capture to its final place. The capture contains no temporary files."""
        for left in (*self.path.rglob(".*"), self.path / _LOCK):
            left.unlink(missing_ok=True)
        if self._folder.exists():
            self._folder.rmdir()
        self.path.replace(self._folder)

    def _open(self) -> None:
        if not self._is_there():
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.wait()
            if not self._is_there():
                self._claim()
                return
        self._lock.release()
        self.path = self._folder

    def _is_there(self) -> bool:
        """Whether the capture is finished. Raises InputError if its place holds something else."""
        if not self._folder.exists() or not any(self._folder.iterdir()):
            return False
        there = _made_of(self._folder)
        if there != self._sidecar.made:
            other = ""
            if (self._folder / SIDECAR).is_file():
                other = f" It holds a simulated capture of other options{_difference(there, self._sidecar.made)}."
            raise InputError(f"{self._folder} isn't empty.{other} Choose a new folder for the capture.")
        self.finished = True
        return True

    def _claim(self) -> None:
        """Write the owner's `capture.json` into the hidden folder, or check that the folder belongs to this capture."""
        if not any(entry.name != _LOCK for entry in self.path.iterdir()):
            self._sidecar.save(self.path)
            return
        there = _made_of(self.path)
        if there != self._sidecar.made:
            raise InputError(
                f"{self.path} holds an unfinished capture of other options{_difference(there, self._sidecar.made)}. "
                f"Repeat the command with those options, or remove it with: {_removal(self.path)}"
            )


def partial_folder(folder: Path) -> Path:
    """The folder of an unfinished capture.

    Raises:
        InputError: `folder` is the root of a file system.
    """
    whole = folder.absolute()
    if not whole.name:
        raise InputError(f"{folder} is the root of a file system; name a folder for the capture.")
    return whole.with_name(f".{whole.name}-partial")


def how_to_go_on(folder: Path) -> str:
    """Tell the user where the unfinished capture of `folder` lies."""
    partial = partial_folder(folder)
    return (
        f"The complete part is kept in {partial}: repeat the command to resume, or remove it with: {_removal(partial)}"
    )


def _removal(folder: Path) -> str:
    return shlex.join(["rm", "-r", str(folder)])


def _made_of(folder: Path) -> dict[str, Any] | None:
    """The options of the capture in a folder; None if the folder doesn't state them."""
    try:
        sidecar = read_sidecar(folder)
    except HPFError:
        return None
    return None if sidecar is None else sidecar.made


def _difference(there: dict[str, Any] | None, wanted: dict[str, Any]) -> str:
    """` (seed 0, not 1)`: the differences between two captures."""
    if there is None:
        return ""
    if there.get("version") != wanted["version"]:
        return " (of another version of HPF)"
    if there.get("hand") != wanted["hand"]:
        return " (of another hand model)"
    before = there.get("config", {})
    found = [f"{k} {before.get(k)}, not {v}" for k, v in wanted["config"].items() if before.get(k) != v]
    return f" ({'; '.join(found)})" if found else ""
