"""What a check of a capture says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: a word for it.
        status: "warning" where the data can be used all the same, "failed" where they are damaged.
        message: what was found.
        files: names of the files (or frames) concerned, each perhaps with a reason in brackets.
    """

    check: str
    status: Literal["ok", "warning", "failed"]
    message: str
    files: tuple[str, ...] = ()


def listed(check: str, wrong: str, files: Sequence[str], right: str) -> Finding:
    """Failed where there are files of which something is wrong, with the first few by name; else ok."""
    if not files:
        return Finding(check, "ok", right)
    are = "is" if len(files) == 1 else "are"
    return Finding(check, "failed", f"{len(files):,} {are} {wrong}: {first_of(files)}", tuple(files))


def counted(number: int, thing: str) -> str:
    """`1 frame` or `2,000 frames`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def first_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
