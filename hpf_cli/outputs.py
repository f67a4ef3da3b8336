"""Check output paths before any work, so that an unwritable path is wrong input and not a failed run."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from hpf_core.errors import InputError

_SPARE = "-" * 24
"""Reserve in the length of a name, for files beside it: temporary files, and figures such as NAME-coverage.png."""


def check_file(option: str, path: Path) -> None:
    """Refuse a file that can't be written, before its content is computed.

    Args:
        option: how the command line calls it, for the message.
        path: the file; its folder needn't be there yet, and isn't made here.

    Raises:
        InputError: it is a folder, or nothing can be written in its place.
    """
    _refuse_folder(option, path, "predictions.txt")
    _try(option, path, path.absolute().parent)


def check_picture(option: str, path: Path) -> None:
    """As `check_file`, for a picture.

    Raises:
        InputError: it isn't named as a PNG file, or nothing can be written in its place.
    """
    _refuse_folder(option, path, "sheet.png")
    if path.suffix.lower() != ".png":
        raise InputError(f"{option} {path}: expected a PNG file, such as {path.with_suffix('.png')}")
    check_file(option, path)


def check_folder(option: str, path: Path) -> None:
    """Refuse a folder that can't be written, before its content is computed.

    Args:
        option: how the command line, or the environment, calls it, for the message.
        path: the folder; it needn't be there yet, and isn't made here.

    Raises:
        InputError: it is a file, or nothing can be written in it.
    """
    _try(option, path, path.absolute())


def _refuse_folder(option: str, path: Path, example: str) -> None:
    if os.path.isdir(path):  # Path.is_dir raises where a folder above may not be looked into
        raise InputError(f"{option} {path}: is a folder; give a file, such as {path / example}")


def _try(option: str, path: Path, folder: Path) -> None:
    """Write a temporary file into a folder, or into its nearest existing parent, and remove it.

    Permissions are not enough: the superuser has all of them, but a file system can be read-only.
    """
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            raise InputError(f"{option} {path}: {there} is a file, not a folder")
        for name in path.absolute().relative_to(there).parts:
            with suppress(FileNotFoundError):  # a name that is too long raises another error
                os.lstat(there / f"{name}{_SPARE}")
        with tempfile.NamedTemporaryFile(prefix=".hpf-", dir=there):
            pass
    except OSError as error:
        raise InputError(f"{option} {path}: can't be written ({error.strerror or error})") from error
