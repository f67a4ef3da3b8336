"""Where made things are kept, under which name, and how they are written so that no one ever reads half of a file."""

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
    """The cache's folder: `$HPF_CACHE_DIR` if it is set, else the user's cache folder. It need not exist yet.

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
    """SHA-256, 64 hexadecimal digits, of a mapping that JSON can hold: the same content, the same name.

    The order of keys doesn't matter, that of lists does. Put arrays in by the `bytes_key` of their bytes.

    Raises:
        InputError: something in it has no exact JSON form (a tensor, a path, a NaN).
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
    """Files in a folder and its subfolders that `write_atomic` left where its process was killed."""
    # mkstemp's random part has eight characters.
    pattern = re.compile(r"\..+-[a-z0-9_]{8}(\.[a-z0-9]+)?")
    return [path for path in folder.rglob(".*") if pattern.fullmatch(path.name) and path.is_file()]


def write_atomic(path: Path, writer: Callable[[Path], None]) -> None:
    """Make `path` hold what `writer` writes, or leave it as it was.

    `writer` is given the name of a new, empty file in the same folder (with the same suffix) and fills it; the file
    then takes the place of `path` in one move. Two processes that write the same thing don't disturb each other.

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
        # mkstemp makes files that only their owner can read; a cache or a run is shared as the umask says.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"Can't write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
