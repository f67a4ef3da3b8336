"""Which packages' plugins a recipe may use, which it was saved with, and what of them is deprecated."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import hpf_core
from hpf_core.documents.errors import Problem, problem_at
from hpf_core.documents.tree import Node, shorten
from hpf_core.errors import RecipeError
from hpf_core.recipe.models import Recipe
from hpf_core.recipe.parts import node_at
from hpf_core.recipe.resolved import Part, Resolved, TermPart

_OURS = frozenset({"hpf", "torch"})
"""What is no plugin's package: other versions of these are noted, never refused."""

ALLOW = "--allow-other-plugins"
"""The option of `hpf run` that lets plugins of other versions run."""


def pin_problems(recipe: Recipe, tree: Node, parts: Iterable[Part | TermPart]) -> list[Problem]:
    """What is wrong with the recipe's `plugins`: a package that isn't there, has another version, or isn't listed."""
    if recipe.plugins is None:
        return []
    problems: list[Problem] = []
    used = {canonicalize_name(part.package): part for part in parts if part.package not in _OURS}
    listed = set()
    for index, text in enumerate(recipe.plugins):
        path = ("plugins", index)
        node = node_at(tree, path)
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            problems.append(problem_at(node, path, f"expected a package and its versions, got {text!r}", _EXAMPLE))
            continue
        name = canonicalize_name(wanted.name)
        listed.add(name)
        version = used[name].version if name in used else _installed(wanted.name)
        if version is None:
            problems.append(
                problem_at(node, path, f"the package {wanted.name} isn't installed", f"pip install '{text}'")
            )
        elif not _will_do(wanted, version):
            problems.append(
                problem_at(node, path, f"{wanted.name} {version} is installed, and the recipe needs {wanted.specifier}")
            )
    for name, part in used.items():
        if name not in listed:
            problems.append(
                problem_at(
                    node_at(tree, ("plugins",)),
                    ("plugins",),
                    f"the {part.spec.kind.replace('_', ' ')} {part.spec.name!r} is of the package {part.package}, "
                    "which isn't listed here",
                    f"Add {part.package}=={part.version}, if its code is to be run.",
                )
            )
    return problems


_EXAMPLE = "Write for example: plugins: [hpf-my-prior==0.1.0, 'hpf-other>=1.2,<2']"


def other_plugins(saved: Mapping[str, str], used: Mapping[str, str]) -> list[str]:
    """In words, the plugins' packages that a saved recipe had in another version, or that took another one's place."""
    found = [
        f"it was saved with {package} {shorten(version)}, and this is {used[package]}"
        for package, version in saved.items()
        if package not in _OURS and package in used and used[package] != version
    ]
    gone = sorted(saved.keys() - used.keys() - _OURS)
    new = sorted(used.keys() - saved.keys() - _OURS)
    if saved and gone and new:
        found.append(f"it was saved with plugins of {', '.join(gone)}, and these are of {', '.join(new)}")
    return found


def saved_problems(recipe: Recipe, tree: Node, used: Mapping[str, str]) -> list[Problem]:
    """What of `other_plugins` is wrong with a saved recipe that is to be run."""
    node = node_at(tree, ("versions",))
    hint = f"Install what it was saved with, or add {ALLOW}: the results may then be other ones."
    return [problem_at(node, ("versions",), said, hint) for said in other_plugins(recipe.versions, used)]


def check_resumed(begun: Path, resolved: Resolved) -> None:
    """Whether a run that was begun with this saved recipe may go on with the plugins that are installed now.

    Raises:
        RecipeError: they are of other versions. A recipe that can't be read is left to who resumes it.
    """
    try:
        document = YAML(typ="safe").load(begun.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError):
        return
    saved = document.get("versions") if isinstance(document, dict) else None
    if isinstance(saved, dict):
        said = other_plugins({str(k): str(v) for k, v in saved.items()}, resolved.recipe.versions)
        if said:
            raise RecipeError(
                f"{begun.parent} can't be resumed with other plugins: {'; '.join(said)}. Install those that it was "
                f"begun with, or add {ALLOW}: the result is then neither the one nor the other."
            )


def deprecations(parts: Sequence[Part | TermPart]) -> list[str]:
    """What recipes should no longer write, and what to write instead."""
    found = []
    for part in parts:
        what = f"the {part.spec.kind.replace('_', ' ')} {part.spec.name!r} ({part.package} {part.version})"
        if part.spec.deprecated:
            found.append(f"{what} is deprecated: {part.spec.deprecated}")
        for name, info in type(part.config).model_fields.items():
            if info.deprecated and name in part.config.model_fields_set:
                values = part.config.model_dump(include={name})
                if info.is_required() or values[name] != info.get_default(call_default_factory=True):
                    instead = info.deprecated if isinstance(info.deprecated, str) else "leave it out"
                    found.append(f"option {name!r} of {what} is deprecated: {instead}")
    return list(dict.fromkeys(found))


def used_plugins(resolved: Resolved) -> dict[str, dict[str, Any]]:
    """Whose code a run runs: for each plugin that it uses, "kind:name", its package, version and source, and how the
    package was installed where that says more (a folder that may be edited, a repository with its commit)."""
    parts: list[Part | TermPart | None] = [resolved.hand, resolved.renderer, resolved.backbone]
    parts += [resolved.real, resolved.synthetic, *resolved.transforms, *resolved.refiners, *resolved.observers]
    parts += [term for stage in resolved.stages for term in stage.terms]
    return {
        f"{part.spec.kind}:{part.spec.name}": {
            "package": part.package,
            "version": part.version,
            "source": part.spec.source,
            "installed": _how_installed(part.package),
        }
        for part in parts
        if part is not None
    }


def _how_installed(package: str) -> str:
    """From where, as the installer wrote it down (PEP 610); empty for a package index."""
    try:
        name = hpf_core.DISTRIBUTION if package == "hpf" else package
        text = importlib.metadata.distribution(name).read_text("direct_url.json")
        about = YAML(typ="safe").load(text) if text else {}  # JSON is YAML
        url, commit = about.get("url", ""), about.get("vcs_info", {}).get("commit_id", "")
        editable = about.get("dir_info", {}).get("editable", False)
    except (importlib.metadata.PackageNotFoundError, YAMLError, AttributeError, OSError, ValueError):
        return ""
    return f"editable {url}" if editable else f"{url}@{commit}" if commit else str(url)


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def _will_do(wanted: Requirement, version: str) -> bool:
    try:
        return wanted.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return not wanted.specifier
