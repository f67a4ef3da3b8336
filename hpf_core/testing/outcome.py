"""Outcomes of a check other than success: broken, or not applicable."""

from __future__ import annotations


class Broken(AssertionError):
    """A plugin breaks a clause. The message says how, and states the requirement."""


class NotApplicable(Exception):
    """A clause that requires nothing of this plugin. The message gives the reason."""


def need(holds: object, why: str) -> None:
    """Raise `Broken` unless the condition holds."""
    if not bool(holds):
        raise Broken(why)
