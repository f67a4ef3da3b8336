"""What the host knows of each plugin: who offers it, what it is, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from hpf_core.interfaces import KINDS, Kind, PluginSpec

Status = Literal["ok", "broken", "blocked"]


class PluginWarning(UserWarning):
    """A plugin that nobody asked for is broken, or a filter names a plugin that is not there."""


def normalise(name: str) -> str:
    """The form in which names are compared: lowercase, with `-` for `_` and `.`, as package names are."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from.

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
        """Whether one of the normalised names is the package's or the entry point's."""
        return not names.isdisjoint({normalise(self.package), normalise(self.entry_point)})


@dataclass(frozen=True)
class Registered:
    """A plugin that stands ready, and who offers it.

    Attributes:
        spec: what the package's hook yielded.
        package, version, entry_point: the distribution that offers it.
        preset: options that the alias presets by which it was asked for; empty under its own name.
    """

    spec: PluginSpec
    package: str
    version: str
    entry_point: str
    preset: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def origin(self) -> Origin:
        """The distribution and its entry point."""
        return Origin(self.package, self.version, self.entry_point)


@dataclass(frozen=True)
class PluginRow:
    """A line of `hpf plugins list`.

    Attributes:
        kind: the plugin's kind; None for a whole entry point that is broken or blocked, whose kinds nobody knows.
        name: the plugin's name, or the entry point's where that is all there is.
        package, version, entry_point: the distribution that offers it.
        status: "ok", "broken" or "blocked" (which was not imported).
        reason: why it is broken or blocked; empty if neither.
        summary, source, aliases: as the specification says; empty where there is none.
        cause: the exception that broke it, if one did.
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
    def origin(self) -> Origin:
        """The distribution and its entry point."""
        return Origin(self.package, self.version, self.entry_point)

    def __str__(self) -> str:
        # A row that bears the entry point's name speaks of a whole entry point, or of one of its hooks.
        what = f"the {kind_words(self.kind)} {self.name!r} of " if self.kind and self.name != self.entry_point else ""
        return f"{what}{self.origin}: {self.reason}" if self.reason else f"{what}{self.origin}"


def kind_words(kinds: Kind | tuple[Kind, ...]) -> str:
    """The kinds as people say them: "data term or prior"."""
    if isinstance(kinds, str):
        kinds = (kinds,)
    return "plugin" if set(kinds) == set(KINDS) else " or ".join(kind.replace("_", " ") for kind in kinds)
