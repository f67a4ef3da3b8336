"""Room on a disk: asked for before anything large is written, and told in units that people read."""

from __future__ import annotations

import shutil
from pathlib import Path

from hpf_core.errors import InputError

_UNITS = ("kB", "MB", "GB", "TB")


def need_room(folder: Path, count: int, what: str, otherwise: str) -> None:
    """Make sure that the disk of a folder has so many bytes left.

    Args:
        folder: is there.
        count: bytes that are still to be written.
        what: needs them, at the start of a sentence.
        otherwise: what else one can do, as sentences.

    Raises:
        InputError: it hasn't.
    """
    free = shutil.disk_usage(folder).free
    if count > free:
        raise InputError(
            f"{what} needs about {amount(count)} more, but the disk of {folder} has {amount(free)} left. {otherwise}"
        )


def amount(count: int) -> str:
    """A number of bytes with three digits: `812 bytes`, `3.15 MB`, `15 GB`; units are powers of 1,000."""
    value, unit = float(count), "bytes"
    for larger in _UNITS:
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"
