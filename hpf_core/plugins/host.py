"""The plugin host: pluggy with isolation between plugins.

In pluggy one failing import stops all plugins, one package can silently shadow another, and a misspelt hook goes
unnoticed. Here each entry point loads separately, and an error becomes a row with its reason. A broken plugin affects
only recipes that use it; they get an error with its cause.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Any

import pluggy

from hpf_core import hookspecs
from hpf_core.errors import PluginError, nearest
from hpf_core.hookspecs import GROUP, HOOKS
from hpf_core.interfaces import KINDS, Kind, PluginSpec
from hpf_core.plugins import discovery, registration
from hpf_core.plugins.checks import spec_problem
from hpf_core.plugins.discovery import BUNDLED, EntryPointError
from hpf_core.plugins.records import PluginOrigin, PluginRow, PluginWarning, Registered, Status, kind_words, normalise
from hpf_core.plugins.registration import RegistrationError

FILTER = "HPF_PLUGINS"
"""Environment variable: the packages or entry points, separated by commas, to load besides HPF's own."""

# Recipes list data terms and priors together under `terms`, so both share one namespace.
_SHARED_NAMES: tuple[tuple[Kind, ...], ...] = (("data_term", "prior"),)


class PluginHost(pluggy.PluginManager):
    """All installed plugins: `PluginHost.load()`, then `get` one, or list `registered` and `rows`.

    `PluginHost()` is an empty host, for tests and for programs that `add` their own plugins.
    """

    def __init__(self) -> None:
        super().__init__(GROUP)
        self.add_hookspecs(hookspecs)
        self.defaults: dict[Kind, str] = {}
        """The plugin of each kind if a recipe names none: HPF's own, or a program's choice."""
        self._offers: list[Registered] = []
        self._faults: list[PluginRow] = []
        self._unknown: list[str] = []

    @classmethod
    def load(cls, blocked: Iterable[str] = (), only: Iterable[str] | None = None) -> PluginHost:
        """A host with every plugin of the installed packages with the entry-point group `hpf`.

        Args:
            blocked: packages or entry points that are not imported.
            only: packages or entry points to import; HPF's own are always imported, unless blocked. The default is the
                list in the environment variable `HPF_PLUGINS` ("a,b"; empty for only HPF's own), else all.

        Warns:
            PluginWarning: for each broken plugin, and each unknown name in `blocked` or `only`.
        """
        if only is None and FILTER in os.environ:
            only = [name for name in os.environ[FILTER].split(",") if name.strip()]
        host = cls()
        host._load(_names(blocked), None if only is None else _names(only))
        for problem in host.problems():
            warnings.warn(problem, PluginWarning, stacklevel=2)
        return host

    def add(
        self, plugin: object, package: str = "local", version: str = "0", entry_point: str | None = None
    ) -> list[PluginRow]:
        """Register a module or object with hooks, as if the package's entry point named it.

        It raises nothing: an error becomes a row, as for every plugin.

        Returns:
            The new rows.
        """
        origin = PluginOrigin(package, version, entry_point or self.get_canonical_name(plugin))
        faults, offers = len(self._faults), len(self._offers)
        try:
            registration.register(self, plugin, f"{origin.package}:{origin.entry_point}")
        except RegistrationError as error:
            self._fault(origin, None, "broken", str(error), error.__cause__)
        else:
            try:
                self.defaults |= registration.defaults(self, plugin, normalise(package) == BUNDLED)
            except RegistrationError as error:
                self._fault(origin, None, "broken", str(error), error.__cause__)
            for hook, kind in HOOKS.items():
                self._collect(plugin, origin, hook, kind)
        return [self._row(offer) for offer in self._offers[offers:]] + self._faults[faults:]

    def get(self, kind: Kind | tuple[Kind, ...], name: str) -> Registered:
        """The plugin of this kind (or of one of these kinds) with this name or alias; `-` and `_` are the same.

        Raises:
            PluginError: no such plugin (with the nearest names and the broken plugins that may have offered it), the
                plugin is broken, or several packages offer it.
        """
        kinds = (kind,) if isinstance(kind, str) else kind
        found = [
            offer for offer in self._offers if offer.spec.kind in kinds and normalise(name) in _names_of(offer.spec)
        ]
        for offer in found:
            rivals = self._rivals(offer, name)
            if rivals:
                raise PluginError(_clash(rivals, name))
        if len(found) > 1:
            raise PluginError(f"{name!r} is a {' and a '.join(kind_words(o.spec.kind) for o in found)}: add the kind.")
        if not found:
            raise self._missing(kinds, name)
        return replace(found[0], preset=MappingProxyType(dict(_names_of(found[0].spec)[normalise(name)])))

    def default(self, kind: Kind) -> Registered:
        """The plugin of a kind if a recipe names none.

        Raises:
            PluginError: no such plugin, or it is broken.
        """
        if kind not in self.defaults:
            name = kind_words(kind)
            raise PluginError(f"No {name} is the default, because HPF's own plugins are not loaded: name the {name}.")
        return self.get(kind, self.defaults[kind])

    def bearers(self, kind: Kind, name: str) -> list[Registered]:
        """All plugins of this kind, and of kinds in the same namespace, with this name or alias."""
        kinds = next((shared for shared in _SHARED_NAMES if kind in shared), (kind,))
        wanted = normalise(name)
        return [offer for offer in self._offers if offer.spec.kind in kinds and wanted in _names_of(offer.spec)]

    def registered(self, kind: Kind | tuple[Kind, ...] | None = None) -> list[Registered]:
        """The usable plugins, in the order of `KINDS`, HPF's own before others."""
        kinds = KINDS if kind is None else (kind,) if isinstance(kind, str) else kind
        return [offer for offer in self._ordered() if offer.spec.kind in kinds and not self._rivals(offer)]

    def rows(self) -> list[PluginRow]:
        """Every plugin: usable ones and clashing ones, then broken and blocked ones."""
        return [self._row(offer) for offer in self._ordered()] + list(self._faults)

    def problems(self) -> list[str]:
        """The warnings of `load`: each broken plugin, each clash, each unknown name in a filter."""
        broken = [f"Broken plugin, not used: {row}" for row in self._faults if row.status == "broken"]
        clashes = [reason for offer in self._ordered() if (reason := self._row(offer).reason)]
        return [*broken, *dict.fromkeys(clashes), *self._unknown]

    # ------------------------------------------------------------------------------------------------------- loading

    def _load(self, blocked: frozenset[str], only: frozenset[str] | None) -> None:
        found = discovery.find()
        for origin, point in found:
            if origin.matches(blocked):
                self._block(origin, "blocked: not imported")
            elif only is not None and normalise(origin.package) != BUNDLED and not origin.matches(only):
                names = ", ".join(sorted(only)) or "none but HPF's own"
                self._block(origin, f"not among the plugins to load ({names}): not imported")
            else:
                self._load_one(origin, point)
        known = {normalise(name) for origin, _ in found for name in (origin.package, origin.entry_point)}
        for name in sorted((blocked | (only or frozenset())) - known):
            self._unknown.append(f"No plugin package or entry point is called {name!r}. {nearest(name, known)}")
        if not any(normalise(origin.package) == BUNDLED for origin, _ in found):
            reason = "HPF is not installed, so its own plugins are missing: pip install . in a clone of HPF"
            self._fault(PluginOrigin(BUNDLED, "?", "bundled"), None, "broken", reason)

    def _load_one(self, origin: PluginOrigin, point: EntryPoint | EntryPointError) -> None:
        try:
            if isinstance(point, EntryPointError):
                raise point
            plugin = discovery.load(point)
        except EntryPointError as error:
            self._fault(origin, None, "broken", str(error), error.__cause__)
        else:
            self.add(plugin, origin.package, origin.version, origin.entry_point)

    def _block(self, origin: PluginOrigin, reason: str) -> None:
        self.set_blocked(f"{origin.package}:{origin.entry_point}")
        self._fault(origin, None, "blocked", reason)

    def _collect(self, plugin: object, origin: PluginOrigin, hook: str, kind: Kind) -> None:
        """Call one hook of one plugin, and keep the valid results."""
        try:
            specs = [spec for given in registration.call(self, plugin, hook) for spec in given]
        except RegistrationError as error:
            self._fault(origin, kind, "broken", str(error), error.__cause__)
            return
        for spec in specs:
            reason = spec_problem(spec, kind, hook)
            if reason:
                name = spec.name if isinstance(spec, PluginSpec) and isinstance(spec.name, str) else None
                self._fault(origin, kind, "broken", reason, name=name)
            elif isinstance(spec, PluginSpec):
                self._offers.append(Registered(spec, origin.package, origin.version, origin.entry_point))

    def _fault(
        self,
        origin: PluginOrigin,
        kind: Kind | None,
        status: Status,
        reason: str,
        cause: BaseException | None = None,
        name: str | None = None,
    ) -> None:
        name = name or origin.entry_point
        package, version, entry_point = origin.package, origin.version, origin.entry_point
        self._faults.append(PluginRow(kind, name, package, version, entry_point, status, reason, cause=cause))

    # ------------------------------------------------------------------------------------------------------- look-up

    def _ordered(self) -> Iterator[Registered]:
        for kind in KINDS:
            yield from (offer for offer in self._offers if offer.spec.kind == kind)

    def _rivals(self, offer: Registered, name: str | None = None) -> list[Registered]:
        """All offers in the same namespace with this name (by default the offer's own); empty for a unique name."""
        bearers = self.bearers(offer.spec.kind, offer.spec.name if name is None else name)
        return bearers if len(bearers) > 1 else []

    def _row(self, offer: Registered) -> PluginRow:
        spec = offer.spec
        clashes = {name: rivals for name in (spec.name, *spec.aliases) if (rivals := self._rivals(offer, name))}
        return PluginRow(
            kind=spec.kind,
            name=spec.name,
            package=offer.package,
            version=offer.version,
            entry_point=offer.entry_point,
            # A clash of an alias doesn't affect the plugin's own name.
            status="broken" if spec.name in clashes else "ok",
            # The spelling of the first one, so that all have the same reason.
            reason=" ".join(_clash(rivals, _spelt(rivals[0].spec, name)) for name, rivals in clashes.items()),
            summary=f"(deprecated: {spec.deprecated}) {spec.summary}".strip()
            if spec.deprecated
            else spec.summary.strip(),
            source=spec.source.strip(),
            aliases=tuple(spec.aliases),
        )

    def _missing(self, kinds: tuple[Kind, ...], name: str) -> PluginError:
        """The reason for a missing plugin: broken or blocked, of another kind, or unknown."""
        wanted = normalise(name)
        suspects = [row for row in self._faults if row.kind is None or row.kind in kinds]
        broken = [row for row in suspects if row.status == "broken"]
        culprits = [row for row in broken if normalise(row.name) == wanted or row.origin.matches(frozenset({wanted}))]
        if culprits:
            error = PluginError(f"The {kind_words(kinds)} {name!r} is broken:{_listed(culprits)}")
            error.__cause__ = culprits[0].cause
            return error
        message = f"There is no {kind_words(kinds)} {name!r}"
        elsewhere = next((offer.spec.kind for offer in self._ordered() if wanted in _names_of(offer.spec)), None)
        if elsewhere:
            message += f": it is a {kind_words(elsewhere)}."
        else:
            message += f". {nearest(name, [n for o in self.registered(kinds) for n in (o.spec.name, *o.spec.aliases)])}"
        if broken:
            message += f"\nThese plugins are broken, and may provide it:{_listed(broken)}"
        blocked = [row for row in suspects if row.status == "blocked"]
        if blocked:
            message += f"\nThese were not loaded, and may provide it:{_listed(blocked)}"
        return PluginError(message)


def _names(names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, str):  # a string is an iterable of letters: surely an error
        names = (names,)
    return frozenset(normalise(name) for name in names)


def _names_of(spec: PluginSpec) -> Mapping[str, Mapping[str, Any]]:
    """The normalised names of a plugin, and the preset options of each."""
    return {normalise(spec.name): {}} | {normalise(alias): preset for alias, preset in spec.aliases.items()}


def _spelt(spec: PluginSpec, name: str) -> str:
    """The plugin's own spelling of one of its names."""
    return next(own for own in (spec.name, *spec.aliases) if normalise(own) == normalise(name))


def _clash(offers: list[Registered], name: str) -> str:
    kinds = tuple(dict.fromkeys(offer.spec.kind for offer in offers))
    message = (
        f"The {kind_words(kinds)} {name!r} is offered by {' and by '.join(str(offer.origin) for offer in offers)}."
    )
    if len({offer.package for offer in offers}) == 1:
        return f"{message} Its package must give each plugin its own name."
    return f"{message} Uninstall one of them, or list in {FILTER} the packages to load."


def _listed(rows: list[PluginRow]) -> str:
    return "".join(f"\n  - {row}" for row in rows)
