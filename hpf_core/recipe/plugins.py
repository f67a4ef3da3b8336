"""Finds a checked recipe's plugins, checks their options with the plugins' own models, and checks package versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

import hpf_core
from hpf_core.documents.errors import Problem, Problems, fail, problem_at
from hpf_core.documents.tree import Node, Path_, canonical, constant, shorten
from hpf_core.errors import PluginError, nearest
from hpf_core.interfaces import Config, Kind, PluginSpec
from hpf_core.recipe.merge import term_names
from hpf_core.recipe.models import Recipe, TermUse, Use, is_off, is_on
from hpf_core.recipe.validate import validate, with_defaults

Kinds = Kind | tuple[Kind, ...]
TERM_KINDS: tuple[Kind, ...] = ("data_term", "prior")
ALLOW = "--allow-other-plugins"
"""The option of `hpf run` that allows plugins of other versions."""

_OURS = frozenset({"hpf", "torch"})  # no plugin's packages: other versions cause a note, never an error
_EXAMPLE = "Write for example: plugins: [hpf-my-prior==0.1.0, 'hpf-other>=1.2,<2']"


class Offer(Protocol):
    """A plugin according to the plugin host (`hpf_core.plugins.Registered`)."""

    @property
    def spec(self) -> PluginSpec: ...
    @property
    def package(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def preset(self) -> Mapping[str, Any]: ...


class Host(Protocol):
    """The part of the plugin host that recipes need (`hpf_core.plugins.PluginHost`)."""

    @property
    def defaults(self) -> Mapping[Kind, str]:
        """The default plugin of each kind."""
        ...

    def get(self, kind: Kinds, name: str) -> Offer:
        """Return the plugin of a name or alias; raises `PluginError` for an unknown name."""
        ...


@dataclass(frozen=True)
class Part:
    """A plugin and its checked options.

    Attributes:
        name: the plugin's own name, even if the recipe uses an alias.
        spec: its specification.
        config: its options, an instance of `spec.config`.
        package: the plugin's distribution.
        version: the distribution's version.
    """

    name: str
    spec: PluginSpec
    config: Config
    package: str
    version: str


@dataclass(frozen=True)
class TermPart(Part):
    """A data term or a prior with its options and weight.

    Attributes:
        name: the name in the recipe, `_` for `-`. Two terms may use one plugin.
        weight: factor of its raw value in the total loss, 1 per unit of the term; > 0.
    """

    weight: float


@dataclass(frozen=True)
class ChosenPlugins:
    """A recipe's plugins except its terms; `transforms`, `observers`, `refiners` in the recipe's order.

    `hand`, `renderer` and `backbone` are None only while one of them has an error.
    """

    hand: Part | None
    renderer: Part | None
    backbone: Part | None
    real: Part | None
    synthetic: Part | None
    transforms: tuple[Part, ...]
    observers: tuple[Part, ...]
    refiners: tuple[Part, ...]

    def all(self) -> list[Part]:
        """All existing parts."""
        single = (self.hand, self.renderer, self.backbone, self.real, self.synthetic)
        return [*(part for part in single if part is not None), *self.transforms, *self.refiners, *self.observers]


PLACES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("hand", ("hand",)),
    ("renderer", ("renderer",)),
    ("backbone", ("backbone",)),
    ("dataset", ("data", "real")),
    ("dataset", ("data", "synthetic")),
    ("transform", ("transforms",)),
    ("observer", ("observers",)),
    ("refiner", ("evaluate", "refiners")),
)
"""The recipe's entries with plugins, or lists of plugins, other than terms."""


def find_parts(recipe: Recipe, host: Host, problems: Problems) -> ChosenPlugins:
    """Find a recipe's plugins except its terms; `problems` receives all errors."""

    def one(kind: Kind, use: Use | None, path: Path_) -> Part | None:
        return None if use is None else _part(kind, use.use, use, problems.tree.at_path(path), path, host, problems)

    found: dict[str, Any] = {}
    for kind, path in PLACES:
        value: Any = recipe
        for token in path:
            value = getattr(value, token, ())
        if isinstance(value, Use | None):
            found[path[-1]] = one(kind, value, path)
        else:
            parts = [one(kind, use, (*path, index)) for index, use in enumerate(value)]
            found[path[-1]] = tuple(part for part in parts if part is not None)
    return ChosenPlugins(**found)


def is_term(name: str, host: Host) -> bool:
    """Whether a working term of this name exists."""
    try:
        host.get(TERM_KINDS, name)
    except PluginError:
        return False
    return True


def _part(
    kind: Kinds, name: str, use: Use | TermUse, node: Node, path: Path_, host: Host, problems: Problems
) -> Part | None:
    """A plugin with its options checked; None if there is an error, which `problems` receives."""
    try:
        offer = host.get(kind, name)
    except PluginError as error:
        problems.found.append(problem_at(node.entries.get("use", node), path, str(error)))
        return None
    config = check_options(offer, use.options, node, path, problems.found, tuple(type(use).model_fields))
    return None if config is None else Part(offer.spec.name, offer.spec, config, offer.package, offer.version)


def check_options(
    offer: Offer, options: Mapping[str, Any], node: Node, path: Path_, problems: list[Problem], extra: tuple[str, ...]
) -> Config | None:
    """A plugin's options, checked by its own model; None and the problems if they are wrong. See `validate`."""
    owner = f"{offer.spec.name} (plugin of {offer.package} {offer.version})"
    return validate(offer.spec.config, {**offer.preset, **options}, node, path, problems, owner, "Options", extra)


def assumed_plugin(kind: Kinds, written: Any, host: Host) -> Any:
    """A plugin's entry with the defaults of its options; unchecked. An unknown plugin's entry stays as written."""
    entry = {"use": written} if isinstance(written, str) else written
    try:
        offer = host.get(kind, entry["use"])
    except (PluginError, KeyError, TypeError, AttributeError):
        return written
    options = with_defaults(offer.spec.config, {**offer.preset, **entry})
    return {"weight": float(offer.spec.default_weight), **options, "use": offer.spec.name}


def assumed_term(name: str, written: Any, host: Host) -> Any:
    """A term's entry with its weight and the defaults of its options, or "off"; unchecked."""
    if is_off(written) or (isinstance(written, dict) and written.get("weight") == 0):
        return "off"
    if is_on(written):
        written = {}
    return assumed_plugin(TERM_KINDS, {"use": name, **written} if isinstance(written, dict) else written, host)


# --------------------------------------------------------------------------------------------------------------- terms


@dataclass(frozen=True)
class Terms:
    """The terms of a recipe by name.

    Attributes:
        on: the active terms without errors.
        off: the names of terms that the recipe or `--without` switches off. HPF doesn't look up their plugins, so users
            can switch off a broken term.
        uses: every term's entry.
        places: the first occurrence of each term in a stage's list.
    """

    on: Mapping[str, TermPart]
    off: frozenset[str]
    uses: Mapping[str, TermUse]
    places: Mapping[str, Path_]

    def switched_off(self, host: Host) -> dict[str, Any]:
        """A saved recipe's entries for terms that are off, except those with an unknown plugin."""
        uses = {name: self.uses[name].use for name in sorted(self.off)}
        return {
            name: "off" if plugin is None else {"use": plugin, "weight": 0.0}
            for name, plugin in uses.items()
            if is_term(plugin or name, host)
        }

    def idle(self, recipe: Recipe, resting: Collection[str]) -> list[str]:
        """A note for each term with options that no stage lists. Terms in `resting` belong to stages that are off."""
        idle = [name for name in recipe.terms if name in self.on and name not in {*self.places, *resting}]
        return [f"terms.{name}: is in no stage's list and does nothing" for name in idle]


def find_terms(
    recipe: Recipe, added: Collection[str], removed: Collection[str], host: Host, problems: Problems
) -> Terms:
    """Find the terms of a checked recipe.

    Args:
        recipe: the checked recipe.
        added, removed: the terms of `--with` and `--without`.
        host: finds plugins.
        problems: receives all errors.

    Raises:
        InvalidRecipe: `--without` names no term of this recipe.
    """
    names = term_names(problems.tree)
    for name in removed:
        if name not in names:
            fail(f"--without {name}: the recipe has no such term", hint=nearest(name, names))
    uses = {name: recipe.terms.get(name, TermUse()) for name in names}
    for name in added:
        use = uses.get(name, TermUse())
        uses[name] = use.model_copy(update={"weight": None}) if use.off else use
    off = frozenset(name for name, use in uses.items() if use.off or name in removed)
    places: dict[str, Path_] = {}
    for stage_name, stage in recipe.stages.items():
        for index, term in enumerate(stage.terms):
            places.setdefault(canonical(term), ("stages", stage_name, "terms", index))
    on: dict[str, TermPart] = {}
    for name, use in uses.items():
        path: Path_ = ("terms", name) if name in recipe.terms else places.get(name, ())
        node = problems.tree.at_path(path) if path else constant(name, f"--with {name}")
        if name not in off:
            part = _part(TERM_KINDS, use.use or name, use, node, path, host, problems)
            if part is not None:
                weight = float(part.spec.default_weight if use.weight is None else use.weight)
                on[name] = TermPart(**{**vars(part), "name": name}, weight=weight)
        elif name not in places and not is_term(use.use or name, host):
            # Nothing confirms that the name is a term. It may be a misspelt name of an active term.
            message = f"{use.use or name!r} is disabled, but no such term exists"
            problems.add(path, message, nearest(name, places), key=True)
    return Terms(on, off, uses, places)


# ------------------------------------------------------------------------------------------------------------ packages


def versions_of(parts: Iterable[Part]) -> dict[str, str]:
    """The packages of a run: HPF, torch, and every plugin's."""
    versions = {"hpf": hpf_core.__version__, "torch": importlib.metadata.version("torch")}
    for part in parts:
        versions.setdefault(part.package, part.version)
    return versions


def check_pins(recipe: Recipe, parts: Iterable[Part], problems: Problems) -> None:
    """Check the recipe's `plugins`: each package is installed in a listed version, and every used package is listed."""
    if recipe.plugins is None:
        return
    used = {canonicalize_name(part.package): part for part in parts if part.package not in _OURS}
    listed = set()
    for index, text in enumerate(recipe.plugins):
        message, hint = "", ""
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            message, hint = f"expected a package and its versions, got {shorten(repr(text))}", _EXAMPLE
        else:
            name = canonicalize_name(wanted.name)
            listed.add(name)
            version = used[name].version if name in used else _installed(wanted.name)
            if version is None:
                message, hint = f"the package {wanted.name} isn't installed", f"pip install '{text}'"
            elif not _satisfies(wanted, version):
                message = f"{wanted.name} {version} is installed, but the recipe needs {wanted.specifier}"
        if message:
            problems.add(("plugins", index), message, hint)
    for name, part in used.items():
        if name not in listed:
            kind = part.spec.kind.replace("_", " ")
            message = f"the {kind} {part.spec.name!r} is from the package {part.package}, which isn't listed here"
            problems.add(("plugins",), message, f"Add {part.package}=={part.version} to run its code.")


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def _satisfies(wanted: Requirement, version: str) -> bool:
    try:
        return wanted.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return not wanted.specifier


def check_saved(recipe: Recipe, used: Mapping[str, str], problems: Problems) -> None:
    """Check that each plugin's package is the one in the saved recipe."""
    hint = f"Install the versions that it was saved with, or add {ALLOW}: the results may then differ."
    for text in other_plugins(recipe.versions, used):
        problems.add(("versions",), text, hint)


def version_notes(recipe: Recipe, versions: Mapping[str, str]) -> list[str]:
    """A note for each package of a saved recipe that now has another version."""
    return [
        f"versions.{package}: the recipe was saved with {shorten(saved)}, and this is {versions[package]}"
        for package, saved in recipe.versions.items()
        if package in versions and versions[package] != saved
    ]


def other_plugins(saved: Mapping[str, str], used: Mapping[str, str]) -> list[str]:
    """Describe the plugins' packages with another version than the saved one, and packages that replace others."""
    differences = [
        f"it was saved with {package} {shorten(version)}, and this is {used[package]}"
        for package, version in saved.items()
        if package not in _OURS and package in used and used[package] != version
    ]
    gone = sorted(saved.keys() - used.keys() - _OURS)
    new = sorted(used.keys() - saved.keys() - _OURS)
    if saved and gone and new:
        differences.append(f"it was saved with plugins of {', '.join(gone)}, and these are of {', '.join(new)}")
    return differences


def deprecations(parts: Iterable[Part]) -> list[str]:
    """Deprecated names in the recipe, and their replacements."""
    notes = []
    for part in parts:
        what = f"the {part.spec.kind.replace('_', ' ')} {part.spec.name!r} ({part.package} {part.version})"
        if part.spec.deprecated:
            notes.append(f"{what} is deprecated: {part.spec.deprecated}")
        for name, info in type(part.config).model_fields.items():
            if info.deprecated and name in part.config.model_fields_set:
                value = part.config.model_dump(include={name})[name]
                if info.is_required() or value != info.get_default(call_default_factory=True):
                    instead = info.deprecated if isinstance(info.deprecated, str) else "leave it out"
                    notes.append(f"option {name!r} of {what} is deprecated: {instead}")
    return list(dict.fromkeys(notes))
