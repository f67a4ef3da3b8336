"""Builds one plugin from its specification: the only place that calls a factory."""

from __future__ import annotations

from typing import TypeVar

from hpf_core import guests
from hpf_core.errors import PluginError
from hpf_core.interfaces import Build, Config, PluginSpec

_Made = TypeVar("_Made")


def build_plugin(
    spec: PluginSpec, config: Config, build: Build, expected: type[_Made] | None = None, name: str | None = None
) -> _Made:
    """What the factory of a specification builds.

    Args:
        spec: the specification.
        config: its options, checked.
        build: what the factory may build from.
        expected: the class that the result must have; None for no check.
        name: the plugin in words, with its package, for messages; by default kind and name alone.

    Raises:
        PluginError: the factory fails, or builds something of another class.
    """
    who = name or f"{spec.kind} '{spec.name}'"
    with guests.called(who, "be built"):
        made = spec.factory(config, build)
    if expected is not None and not isinstance(made, expected):
        raise PluginError(f"{who} built a {type(made).__name__}, not a {expected.__name__}")
    return made
