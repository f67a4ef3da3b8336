"""Disk space: checked before large writes, and printed in readable units."""

from __future__ import annotations

import shutil
from pathlib import Path

from hpf_core.errors import InputError

_UNITS = ("kB", "MB", "GB", "TB")


def need_room(folder: Path, count: int, what: str, otherwise: str) -> None:
    """Check that the disk of a folder has at least `count` free bytes.

    Args:
        folder: an existing folder.
        count: bytes still to write.
        what: what needs the bytes, as the start of a sentence.
        otherwise: alternatives for the user, as sentences.

    Raises:
        InputError: the disk has fewer free bytes.
    """
    free = shutil.disk_usage(folder).free
    if count > free:
        raise InputError(
            f"{what} needs about {amount(count)} more, but the disk of {folder} has {amount(free)} left. {otherwise}"
        )


def amount(count: int) -> str:
    """Format a number of bytes with three digits: `812 bytes`, `3.15 MB`, `15 GB`; units are powers of 1,000."""
    value, unit = float(count), "bytes"
    for larger in _UNITS:
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"
