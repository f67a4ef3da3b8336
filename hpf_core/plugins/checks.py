"""Validates specifications for the host; reports the first error."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.errors import PydanticUserError

from hpf_core.errors import nearest
from hpf_core.frames import Estimate
from hpf_core.interfaces import INTERFACE_VERSION, Config, Kind, PluginSpec
from hpf_core.plugins.records import normalise

NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
CHANGES = "docs/plugins-1-to-2.md"
"""The migration page for plugins of the last major version."""
RESERVED_NAMES = frozenset({"on", "off", "true", "false", "null"})  # YAML and recipes read them as something else
RESERVED_OPTIONS = frozenset({"use"})  # the key beside the options with the plugin's name
TERM_OPTIONS = frozenset({"weight"})  # the key beside a term's options
ESTIMATE = frozenset(f.name for f in dataclasses.fields(Estimate)) - {"points"}
NEEDS = ESTIMATE | {"real", "synthetic"}


def spec_problem(spec: object, kind: Kind, hook: str) -> str | None:
    """The first error of `spec`, which `hook` gave for `kind`; None if valid."""
    if not isinstance(spec, PluginSpec):
        return f"{hook} gave {_shown(spec)}, and not a PluginSpec"
    # The interface version comes first: other apparent errors may be valid in another version.
    return (
        _interface_problem(spec.interface)
        or _kind_problem(spec, kind, hook)
        or _name_problem(spec.name, "name")
        or _text_problem(spec)
        or _config_problem(spec)
        or _alias_problem(spec)
        or _words_problem(spec.needs, NEEDS, "needs")
        or _words_problem(spec.provides, ESTIMATE, "provides")
        or _weight_problem(spec.default_weight)
    )


def _interface_problem(interface: Any) -> str | None:
    bounds = interface if _is_pair(interface, tuple) else (interface, interface)
    if not all(_is_pair(bound, int) for bound in bounds):
        return (
            f"its interface must be two whole numbers such as {INTERFACE_VERSION}, or the oldest and the newest, "
            f"not {_shown(interface)}"
        )
    oldest, newest = bounds
    theirs = interface_words(interface)
    ours = interface_words(INTERFACE_VERSION)
    if oldest > newest:
        return f"its interface {theirs} has the newest before the oldest"
    if oldest > INTERFACE_VERSION:
        return f"it is built for interface {theirs}, newer than this HPF's {ours}: upgrade HPF"
    if newest[0] < INTERFACE_VERSION[0]:
        return (
            f"it is built for interface {theirs}, which this HPF ({ours}) no longer supports: upgrade the plugin, or "
            f"change it as {CHANGES} says"
        )
    return None


def interface_words(interface: Any) -> str:
    """ "1.0", or "1.0 to 2.3" for a range."""
    if _is_pair(interface, tuple):
        return " to ".join(interface_words(bound) for bound in interface)
    return ".".join(map(str, interface))


def _is_pair(value: Any, of: type) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(item) is of for item in value)


def _kind_problem(spec: PluginSpec, kind: Kind, hook: str) -> str | None:
    return None if spec.kind == kind else f"{hook} must give plugins of kind {kind!r}, and this one is {spec.kind!r}"


def _name_problem(name: Any, what: str) -> str | None:
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        return f"its {what} {_shown(name)} must be lowercase letters, digits, '-' and '_', beginning with a letter"
    if name in RESERVED_NAMES:
        return f"its {what} {name!r} is reserved in recipes"
    return None


def _text_problem(spec: PluginSpec) -> str | None:
    for what in ("summary", "source"):
        text = getattr(spec, what)
        if not isinstance(text, str) or not text.strip() or "\n" in text.strip():
            return f"its {what} must be one line of text, not {_shown(text)}"
    if not isinstance(spec.deprecated, str) or "\n" in spec.deprecated:
        return f"its deprecated must be one line that names the replacement, not {_shown(spec.deprecated)}"
    return None if callable(spec.factory) else f"its factory must be callable, not {_shown(spec.factory)}"


def _config_problem(spec: PluginSpec) -> str | None:
    config = spec.config
    if not (isinstance(config, type) and issubclass(config, Config)):
        return f"its config must be a subclass of hpf.plugin.Config, not {_shown(config)}"
    try:
        config.model_rebuild()
    except (PydanticUserError, NameError) as error:
        return f"its config {config.__name__} cannot be completed: {str(error).splitlines()[0]}"
    reserved = RESERVED_OPTIONS | (TERM_OPTIONS if spec.kind in ("data_term", "prior") else frozenset())
    taken = sorted(reserved.intersection(config.model_fields))
    return f"its option {taken[0]!r} has the name of a recipe's own key" if taken else None


def _alias_problem(spec: PluginSpec) -> str | None:
    if not isinstance(spec.aliases, Mapping):
        return f"its aliases must be a mapping from names to options, not {_shown(spec.aliases)}"
    seen = {normalise(spec.name)}
    for alias, preset in spec.aliases.items():
        problem = _name_problem(alias, "alias")
        if problem:
            return problem
        if normalise(alias) in seen:
            return f"its alias {alias!r} is given twice, or is its own name"
        seen.add(normalise(alias))
        if not isinstance(preset, Mapping):
            return f"its alias {alias!r} must preset a mapping of options, not {_shown(preset)}"
        for option in preset:
            if option not in spec.config.model_fields:
                return (
                    f"its alias {alias!r} presets {option!r}, which is no option of it. "
                    f"{nearest(str(option), spec.config.model_fields)}"
                )
    return None


def _words_problem(words: Any, known: Iterable[str], what: str) -> str | None:
    if not isinstance(words, frozenset):
        return f"its {what} must be a frozenset of words, not {_shown(words)}"
    for word in sorted(words.difference(known), key=str):
        return f"its {what} has {word!r}, which nothing provides. {nearest(str(word), known)}"
    return None


def _weight_problem(weight: Any) -> str | None:
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
        return f"its default_weight must be a number >= 0, not {_shown(weight)}"
    return None


def _shown(value: object) -> str:
    """The value and its type in a few words, for any object."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value) if isinstance(value, str | int | float | tuple | list | dict | set | frozenset) else ""
    kind = type(value).__name__
    return f"{text} ({kind})" if 0 < len(text) <= 60 else f"an object of type {kind}"
