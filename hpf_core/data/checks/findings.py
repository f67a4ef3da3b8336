"""Findings of a capture's check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: short name of the check.
        status: "warning" if the data are usable anyway, "failed" if they are damaged.
        message: the result.
        files: names of the affected files (or frames), each perhaps with a reason in brackets.
    """

    check: str
    status: Literal["ok", "warning", "failed"]
    message: str
    files: tuple[str, ...] = ()


def listed(check: str, wrong: str, files: Sequence[str], right: str) -> Finding:
    """Failed if there are wrong files, with the names of the first few; else ok."""
    if not files:
        return Finding(check, "ok", right)
    are = "is" if len(files) == 1 else "are"
    return Finding(check, "failed", f"{len(files):,} {are} {wrong}: {first_of(files)}", tuple(files))


def counted(number: int, thing: str) -> str:
    """`1 frame` or `2,000 frames`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def first_of(names: Sequence[str]) -> str:
    """The first few names, and the number of remaining names."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
