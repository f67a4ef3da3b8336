"""Pictures that commands write."""

from __future__ import annotations

import os
from pathlib import Path

from hpf_core.errors import InputError


def check_picture(option: str, path: Path) -> None:
    """Refuse before any work a picture that can't be written after it.

    Args:
        option: how the command line calls it, for the message.
        path: the file that is to be written; its folder is made then.

    Raises:
        InputError: it isn't named as a PNG file, or its place can't be written.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; give a file in it, e.g. {path / 'sheet.png'}")
    if path.suffix.lower() != ".png":
        raise InputError(f"{option} {path}: the sheet is a PNG file; name it, e.g., {path.with_suffix('.png')}")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"{option} {path}: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path}: nothing can be written in {folder}")
