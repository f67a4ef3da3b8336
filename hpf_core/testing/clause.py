"""What a clause of the contract is, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hpf_core.interfaces import Kind
from hpf_core.testing.subject import Subject


@dataclass(frozen=True)
class Clause:
    """One thing that every plugin of some kinds must do.

    Attributes:
        name: a few words, as reports show it.
        says: what is asked for, one sentence.
        kinds: the kinds of plugin that it binds.
        check: raises `Broken` where it doesn't hold, `NotApplicable` where it asks nothing.
    """

    name: str
    says: str
    kinds: tuple[Kind, ...]
    check: Callable[[Subject], None]


def clause(name: str, says: str, *kinds: Kind) -> Callable[[Callable[[Subject], None]], Clause]:
    """Turn a check into a clause."""
    return lambda check: Clause(name, says, kinds, check)


@dataclass(frozen=True)
class Finding:
    """What became of a clause: it holds, is broken (`why` says how), or doesn't apply (`why` says why)."""

    clause: Clause
    status: Literal["holds", "broken", "not applicable"]
    why: str = ""
