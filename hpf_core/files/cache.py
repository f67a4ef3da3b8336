"""The cache: its folder, its content keys, and atomic writes, so that no process reads a half-written file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from hpf_core.errors import InputError, RunError


def cache_folder() -> Path:
    """Return the cache's folder: `$HPF_CACHE_DIR` if set, else the user's cache folder. It may not exist yet.

    Raises:
        InputError: the user has no home folder, as in a container with an unknown user.
    """
    chosen = os.environ.get("HPF_CACHE_DIR", "").strip()
    try:
        folder = Path(chosen or platformdirs.user_cache_dir("hpf")).expanduser()
    except (RuntimeError, KeyError, OSError) as error:
        raise InputError("this user has no home folder: set HPF_CACHE_DIR to a folder for HPF's cache") from error
    return folder


def content_key(content: Mapping[str, Any]) -> str:
    """SHA-256, 64 hexadecimal digits, of a mapping with JSON values: equal content gives an equal key.

    The order of keys doesn't matter, the order of lists does. Represent arrays by the `bytes_key` of their bytes.

    Raises:
        InputError: a value has no exact JSON form (a tensor, a path, a NaN).
    """
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"A cache key needs plain finite JSON values, but {error}.") from error
    return hashlib.sha256(text.encode()).hexdigest()


def bytes_key(data: bytes) -> str:
    """SHA-256, 64 hexadecimal digits, of raw bytes."""
    return hashlib.sha256(data).hexdigest()


def temporary_files(folder: Path) -> list[Path]:
    """Temporary files of `write_atomic` in a folder and its subfolders. Killed processes leave such files."""
    # The random part of mkstemp's names has eight characters.
    pattern = re.compile(r"\..+-[a-z0-9_]{8}(\.[a-z0-9]+)?")
    return [path for path in folder.rglob(".*") if pattern.fullmatch(path.name) and path.is_file()]


def write_atomic(path: Path, writer: Callable[[Path], None]) -> None:
    """Replace `path` by the output of `writer`, or leave `path` unchanged on failure.

    `writer` receives the name of a new, empty file in the same folder (with the same suffix) and fills it. Then one
    move
    puts the file at `path`. Two processes that write the same file don't disturb each other.

    Raises:
        RunError: the disk is full, or the folder can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise RunError(f"Can't write {path}: {error.strerror or error}.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        writer(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes files that only the owner can read. The cache and runs follow the umask instead.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"Can't write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
