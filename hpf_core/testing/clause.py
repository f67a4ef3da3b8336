"""A clause of the contract, and the result of its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hpf_core.interfaces import Kind
from hpf_core.testing.subject import Subject


@dataclass(frozen=True)
class Clause:
    """One requirement on every plugin of some kinds.

    Attributes:
        name: a few words for reports.
        says: the requirement, one sentence.
        kinds: the kinds of plugin that it applies to.
        check: raises `Broken` if violated, `NotApplicable` if it requires nothing of the plugin.
    """

    name: str
    says: str
    kinds: tuple[Kind, ...]
    check: Callable[[Subject], None]


def clause(name: str, says: str, *kinds: Kind) -> Callable[[Callable[[Subject], None]], Clause]:
    """Turn a check into a clause."""
    return lambda check: Clause(name, says, kinds, check)


@dataclass(frozen=True)
class ClauseResult:
    """Result of a clause: it holds, is broken (`why` says how), or doesn't apply (`why` gives the reason)."""

    clause: Clause
    status: Literal["holds", "broken", "not applicable"]
    why: str = ""
