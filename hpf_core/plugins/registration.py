"""Registers one plugin with pluggy, calls its hooks separately, and describes its errors in words."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pluggy

from hpf_core.errors import nearest
from hpf_core.guests import interrupts, said, stdout_held
from hpf_core.hookspecs import GROUP, HOOKS
from hpf_core.interfaces import Kind, PluginSpec


class RegistrationError(Exception):
    """A refused plugin. The message is the reason; `__cause__` is the exception behind it, if any."""


def register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    """Register a module or object; remove all traces of a refused one.

    Raises:
        RegistrationError: the plugin is already registered, implements no hook, or one of its hooks is unknown, takes
            arguments, is a wrapper, or lacks its marker.
    """
    if plugin is None:
        raise RegistrationError("it is None")
    if manager.has_plugin(name):
        raise RegistrationError(f"its package has another plugin that is called {name!r}")
    try:
        if manager.register(plugin, name) is None:
            raise RegistrationError(f"{name!r} is blocked")
        manager.check_pending()
        reason = _wrapper(manager, plugin) or _unmarked(manager, plugin)
        if reason:
            raise RegistrationError(reason)
    except BaseException as error:
        # pluggy before 1.7 also keeps the name of a plugin that it refuses itself.
        if manager.has_plugin(name):
            reason = _misspelt(manager, plugin)
            manager.unregister(name=name)
        else:
            reason = ""
        if isinstance(error, RegistrationError) or not isinstance(error, Exception):
            raise
        if isinstance(error, pluggy.PluginValidationError):
            reason = reason or _arguments(plugin) or " ".join(str(error).split())
        elif isinstance(error, ValueError):
            reason = f"the same object is registered already, as {manager.get_name(plugin)!r}"
        else:
            reason = f"it could not be examined: {said(error)}"
        raise RegistrationError(reason) from error


def call(manager: pluggy.PluginManager, plugin: object, hook: str) -> Iterator[list[object]]:
    """The results of one hook of one plugin: a list for each function that implements it.

    The host calls these functions directly, not through pluggy's relay, so other plugins can't interfere.

    Raises:
        RegistrationError: the function raises, or doesn't return an iterable of specifications.
    """
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        if implementation.plugin is not plugin:
            continue
        try:
            with stdout_held():
                given = implementation.function()
                if isinstance(given, str | Mapping | PluginSpec) or not isinstance(given, Iterable):
                    raise RegistrationError(f"{hook} must return an iterable of PluginSpec, not {type(given).__name__}")
                specs = list(given)
        except RegistrationError:
            raise
        except BaseException as error:
            if interrupts(error):
                raise
            raise RegistrationError(f"calling {hook} failed: {said(error)}") from error
        yield specs


def defaults(manager: pluggy.PluginManager, plugin: object, is_bundled: bool) -> Mapping[Kind, str]:
    """The default plugins of each kind, from one plugin's `hpf_defaults`.

    Raises:
        RegistrationError: a third-party plugin implements the hook, or the hook fails.
    """
    implementations = [each for each in manager.hook.hpf_defaults.get_hookimpls() if each.plugin is plugin]
    if implementations and not is_bundled:
        raise RegistrationError("hpf_defaults is for HPF's own plugins; recipes name the plugins of other packages")
    try:
        given: list[Any] = [each.function() for each in implementations]
        return {kind: name for each in given for kind, name in each.items()}
    except Exception as error:
        raise RegistrationError(f"calling hpf_defaults failed: {said(error)}") from error


def _misspelt(manager: pluggy.PluginManager, plugin: object) -> str:
    """The unknown hooks of a plugin, with the nearest known names."""
    unknown = sorted(caller.name for caller in manager.get_hookcallers(plugin) or [] if not caller.has_spec())
    return " ".join(f"there is no hook {name!r}. {nearest(name, HOOKS)}" for name in unknown)


def _wrapper(manager: pluggy.PluginManager, plugin: object) -> str:
    """Reason against wrappers: a wrapper would change the plugins of other packages."""
    for caller in manager.get_hookcallers(plugin) or []:
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin and (implementation.wrapper or implementation.hookwrapper):
                return f"{caller.name} is a wrapper: a hook of HPF only offers plugins"
    return ""


def _unmarked(manager: pluggy.PluginManager, plugin: object) -> str:
    """Functions that look like hooks without a marker, or the absence of hooks."""
    unmarked = [
        name
        for name, value in inspect.getmembers_static(plugin)
        if name in HOOKS and callable(value) and getattr(value, f"{GROUP}_impl", None) is None
    ]
    if unmarked:
        return f"{', '.join(unmarked)} is not marked: put @hookimpl of hpf.plugin above it"
    if not manager.get_hookcallers(plugin):
        return "it implements no hook: mark functions such as hpf_priors with @hookimpl of hpf.plugin"
    return ""


def _arguments(plugin: object) -> str:
    """Hooks that take arguments; hooks must take none."""
    for hook in HOOKS:
        function = inspect.getattr_static(plugin, hook, None)
        if inspect.isfunction(function):
            asked = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
            asked = asked if inspect.ismodule(plugin) else asked[1:]
            if asked:
                return f"{hook} has no arguments, but this one has {', '.join(asked)}"
    return ""
