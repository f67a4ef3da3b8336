"""Selects plugins by the names of packages and plugins on a command line, and parses their options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hpf_core.documents.errors import Problem, raise_if
from hpf_core.documents.tree import Node, constant
from hpf_core.errors import InputError, PluginError, nearest
from hpf_core.interfaces import KINDS, Kind
from hpf_core.plugins.host import PluginHost
from hpf_core.plugins.records import Registered, normalise
from hpf_core.recipe.plugins import check_options
from hpf_core.recipe.read import literal


def chosen(host: PluginHost, names: Iterable[str], kind: Kind | None = None) -> list[Registered]:
    """The plugins for each name: all of a package's plugins, or one by its own name; without duplicates.

    Args:
        host: the host with the plugins.
        names: packages, entry points or plugins.
        kind: excludes plugins of other kinds.

    Raises:
        PluginError: a name is unknown, or its plugin is broken.
    """
    found: list[Registered] = []
    for name in names:
        wanted = frozenset({normalise(name)})
        broken = [row for row in host.rows() if row.status != "ok" and row.origin.matches(wanted)]
        if broken:
            reasons = "".join(f"\n  - {row}" for row in broken)
            raise PluginError(f"{name} can't be checked:{reasons}") from broken[0].cause
        offers = [offer for offer in host.registered() if offer.origin.matches(wanted)]
        if not offers:
            offers = [_by_name(host, kind, name)]
        found += [offer for offer in offers if kind in (None, offer.spec.kind) and offer not in found]
    if not found:
        raise PluginError(f"There is no {str(kind).replace('_', ' ')} in {', '.join(names)}.")
    return found


def options_of(offer: Registered, sets: Sequence[str]) -> dict[str, Any]:
    """A plugin's options from `NAME=VALUE`, with values in a recipe's YAML.

    Raises:
        InputError: an option lacks its name or value, isn't YAML, or isn't an option of the plugin.
    """
    given: dict[str, Node] = {}
    for text in sets:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--set {text}: expected OPTION=VALUE, such as steps=10")
        node = literal(value, f"--set {text}")
        given[name.strip()] = replace(node, key_at=node.at)
    tree = constant(None, "--set").with_entries(given)
    options: dict[str, Any] = tree.plain()
    problems: list[Problem] = []
    if given:
        check_options(offer, options, tree, (), problems, ())
    raise_if(problems)
    return options


def _by_name(host: PluginHost, kind: Kind | None, name: str) -> Registered:
    packages = {offer.package for offer in host.registered()}
    try:
        return host.get(KINDS if kind is None else kind, name)
    except PluginError as error:
        raise PluginError(f"{error}\nNor is it a package with plugins. {nearest(name, packages)}") from error
