"""How a check ends that doesn't hold, or asks nothing."""

from __future__ import annotations


class Broken(AssertionError):
    """A plugin breaks a clause. The message says how, and what the clause asks for."""


class NotApplicable(Exception):
    """A clause that asks nothing of this plugin. The message says why."""


def need(holds: object, why: str) -> None:
    """Raise `Broken` unless it holds."""
    if not bool(holds):
        raise Broken(why)
