"""The host's record of each plugin: its package, its specification, and its errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from hpf_core.interfaces import KINDS, Kind, PluginSpec

Status = Literal["ok", "broken", "blocked"]


class PluginWarning(UserWarning):
    """An unused plugin is broken, or a filter names an unknown plugin."""


def normalise(name: str) -> str:
    """The canonical form of names for comparison: lowercase, with `-` for `_` and `.`, as for package names."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


@dataclass(frozen=True)
class PluginOrigin:
    """The origin of a plugin.

    Attributes:
        package: the distribution's name.
        version: the distribution's version.
        entry_point: the entry point's name.
    """

    package: str
    version: str
    entry_point: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} (entry point {self.entry_point!r})"

    def matches(self, names: frozenset[str]) -> bool:
        """Whether one of the normalised names is that of the package or the entry point."""
        return not names.isdisjoint({normalise(self.package), normalise(self.entry_point)})


@dataclass(frozen=True)
class Registered:
    """A usable plugin and its package.

    Attributes:
        spec: the specification from the package's hook.
        package, version, entry_point: the distribution that offers it.
        preset: preset options of the alias in the request; empty for the plugin's own name.
    """

    spec: PluginSpec
    package: str
    version: str
    entry_point: str
    preset: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def origin(self) -> PluginOrigin:
        """The distribution and its entry point."""
        return PluginOrigin(self.package, self.version, self.entry_point)


@dataclass(frozen=True)
class PluginRow:
    """A line of `hpf plugins list`.

    Attributes:
        kind: the plugin's kind; None for an entire entry point that is broken or blocked, whose kinds are unknown.
        name: the plugin's name, or the entry point's if only this is known.
        package, version, entry_point: the distribution that offers it.
        status: "ok", "broken" or "blocked" (not imported).
        reason: reason of "broken" or "blocked"; else empty.
        summary, source, aliases: from the specification; empty without one.
        cause: the exception behind a broken plugin, if any.
    """

    kind: Kind | None
    name: str
    package: str
    version: str
    entry_point: str
    status: Status
    reason: str = ""
    summary: str = ""
    source: str = ""
    aliases: tuple[str, ...] = ()
    cause: BaseException | None = field(default=None, compare=False, repr=False)

    @property
    def origin(self) -> PluginOrigin:
        """The distribution and its entry point."""
        return PluginOrigin(self.package, self.version, self.entry_point)

    def __str__(self) -> str:
        # A row with the entry point's name describes an entire entry point, or one of its hooks.
        what = f"the {kind_words(self.kind)} {self.name!r} of " if self.kind and self.name != self.entry_point else ""
        return f"{what}{self.origin}: {self.reason}" if self.reason else f"{what}{self.origin}"


def kind_words(kinds: Kind | tuple[Kind, ...]) -> str:
    """The kinds in words: "data term or prior"."""
    if isinstance(kinds, str):
        kinds = (kinds,)
    return "plugin" if set(kinds) == set(KINDS) else " or ".join(kind.replace("_", " ") for kind in kinds)
