"""The cache of compiled libraries. HPF loads only libraries that this user wrote and that nobody else may write.

A library runs with the user's rights, so the cache must not let others inject code. The folder belongs to the user, and
only the user may enter it. A file's name holds the hash of its contents. HPF ignores and recompiles a file of another
owner, a link, a file that others may write, and a file with changed contents. If the folder belongs to somebody else,
HPF uses a private temporary folder until the process ends.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from hpf_core.errors import RunError
from hpf_core.files.cache import cache_folder

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_HASH_DIGITS = 32


def libraries(stem: str) -> list[Path]:
    """The cached libraries whose name starts with `stem`, if they are safe and complete."""
    return [path for path in sorted(_folder().glob(f"{stem}-*.so")) if _is_trusted(path) and _is_whole(path)]


def keep(stem: str, compile_to: Callable[[Path], None]) -> Path:
    """Compile a library and keep it.

    Args:
        stem: the first part of the library's name.
        compile_to: writes the library to the given file.

    Returns:
        The library's file.

    Raises:
        RunError: the folder can't be written.
    """
    folder = _folder()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{stem}-", suffix=".so", dir=folder)
        os.close(handle)
        temporary = Path(name)
        try:
            compile_to(temporary)
            temporary.chmod(0o700)
            path = folder / f"{stem}-{_hash(temporary)}.so"
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"Can't write {folder}: {error.strerror or error}") from error
    return path


def forget(stem: str) -> None:
    """Remove the libraries whose name starts with `stem`."""
    for path in _folder().glob(f"{stem}-*.so"):
        path.unlink(missing_ok=True)


def _folder() -> Path:
    """Return the folder of libraries, which only this user can enter.

    Raises:
        RunError: the folder can't be made.
    """
    folder = cache_folder() / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _is_ours(folder.lstat()) or not stat.S_ISDIR(folder.lstat().st_mode):
            return _private_folder()
        if stat.S_IMODE(folder.lstat().st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise RunError(f"Can't write {folder}: {error.strerror or error}") from error
    return folder


@functools.cache
def _private_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hpf-kernels-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_trusted(path: Path) -> bool:
    """Whether the path is an ordinary file of this user that nobody else may write."""
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and _is_ours(about) and not about.st_mode & _OTHERS_WRITE


def _is_ours(about: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or about.st_uid == os.getuid()


def _is_whole(path: Path) -> bool:
    """Whether the hash of the file's contents matches its name."""
    try:
        return path.stem.rsplit("-", 1)[-1] == _hash(path)
    except OSError:
        return False


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_HASH_DIGITS]
