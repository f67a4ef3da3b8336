"""Finds entry points on disk and imports them separately: one failure doesn't affect the others."""

from __future__ import annotations

import importlib
from importlib.metadata import Distribution, EntryPoint, distributions

from hpf_core.guests import interrupts, said, stdout_held
from hpf_core.hookspecs import GROUP
from hpf_core.plugins.records import PluginOrigin, normalise

BUNDLED = "hpf"
"""The label of HPF's own plugins for any distribution name. They come first, and filters never exclude them."""

_BUNDLE = "hpf_plugins.bundle"
"""The module of HPF's own entry point."""


class EntryPointError(Exception):
    """An entry point without a usable plugin. The message is the reason; `__cause__` is the exception of the import."""


def find() -> list[tuple[PluginOrigin, EntryPoint | EntryPointError]]:
    """Every entry point of the group: first HPF's own, then by package and name.

    Distributions are read separately: `importlib.metadata.entry_points()` raises for all of them if one has damaged
    metadata, related to HPF or not. As in that function, the first distribution of a name on `sys.path` wins.
    """
    found: list[tuple[PluginOrigin, EntryPoint | EntryPointError]] = []
    seen: set[str] = set()
    for distribution in distributions():
        package, version = _identity(distribution)
        if normalise(package) in seen:
            continue
        seen.add(normalise(package))
        try:
            text = distribution.read_text("entry_points.txt") or ""
            if f"[{GROUP}]" not in text:
                continue
            points = [point for point in distribution.entry_points if point.group == GROUP]
        except Exception as error:
            # An unreadable file might not concern HPF; one that names its group does.
            if isinstance(error, UnicodeDecodeError | OSError):
                continue
            found.append(
                (
                    PluginOrigin(package, version, "?"),
                    _chained(f"its entry_points.txt is damaged: {said(error)}", error),
                )
            )
            continue
        for point in points:
            label = BUNDLED if point.value == _BUNDLE else package
            found.append((PluginOrigin(label, version, point.name), point))
    found.sort(
        key=lambda item: (normalise(item[0].package) != BUNDLED, normalise(item[0].package), item[0].entry_point)
    )
    return _one_bundle(found)


def _one_bundle(
    found: list[tuple[PluginOrigin, EntryPoint | EntryPointError]],
) -> list[tuple[PluginOrigin, EntryPoint | EntryPointError]]:
    """HPF's own entry point, once: an environment may have two names of the distribution."""
    own = [item for item in found if item[0].package == BUNDLED]
    return [*own[:1], *(item for item in found if item[0].package != BUNDLED)]


def load(point: EntryPoint) -> object:
    """The module or object of an entry point.

    Raises:
        EntryPointError: the entry point is malformed, points to nothing, or its import fails for any reason.
    """
    match = point.pattern.match(point.value)
    if match is None:
        raise EntryPointError(f"its value {point.value!r} is malformed: expected 'package.module' or 'module:object'")
    name = match.group("module")
    try:
        with stdout_held():
            plugin: object = importlib.import_module(name)
    except BaseException as error:
        if interrupts(error):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise EntryPointError(f"its module doesn't exist: {error.name!r}") from error
        reason = f"importing {name} failed: {said(error)}"
        if isinstance(error, ImportError) and (error.name or "").startswith("hpf_core"):
            reason += " (is it built for another version of HPF?)"
        raise EntryPointError(reason) from error
    for attribute in (match.group("attr") or "").split("."):
        if not attribute:
            continue
        try:
            plugin = getattr(plugin, attribute)
        except AttributeError as error:
            raise EntryPointError(f"it points to nothing: {point.value!r} has no {attribute!r}") from error
    return plugin


def _identity(distribution: Distribution) -> tuple[str, str]:
    """Name and version, also of a distribution with damaged metadata."""
    try:
        metadata = distribution.metadata
        name, version = metadata["Name"] or "", metadata["Version"] or ""
    except Exception:  # the parser may raise anything for a damaged file
        name = version = ""
    folder = getattr(distribution, "_path", None)
    return name or (folder.name.split("-")[0] if folder is not None else "?"), version or "?"


def _chained(message: str, cause: BaseException) -> EntryPointError:
    error = EntryPointError(message)
    error.__cause__ = cause
    return error
