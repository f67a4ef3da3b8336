"""From a recipe's path to a `Resolved`: read, merge, change, check, find the plugins, plan the stages."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hpf_core
from hpf_core.documents.errors import Problem, fail, problem_at, raise_if
from hpf_core.documents.tree import Node, path_text, shorten
from hpf_core.errors import RecipeError
from hpf_core.recipe import files, rows
from hpf_core.recipe.changes import describe_sets
from hpf_core.recipe.document import document, dumped_terms
from hpf_core.recipe.models import Recipe
from hpf_core.recipe.overrides import apply_sets, split_names
from hpf_core.recipe.parts import find_parts, node_at
from hpf_core.recipe.pins import deprecations, pin_problems, saved_problems
from hpf_core.recipe.prepare import prepared
from hpf_core.recipe.resolved import Host, Part, Resolved, TermPart
from hpf_core.recipe.stages import Planner, Selection, selected
from hpf_core.recipe.term_table import TermTable
from hpf_core.recipe.validation import validate


def load(
    path: Path | str,
    *,
    sets: Sequence[str] = (),
    with_terms: Sequence[str] = (),
    without_terms: Sequence[str] = (),
    stages: Sequence[str] | None = None,
    seed: int | None = None,
    over: Path | None = None,
    host: Host,
    allow_other_plugins: bool = True,
) -> Resolved:
    """Read a recipe and resolve it; nothing is built and nothing is started.

    Args:
        path: the recipe's file.
        sets: `path=value` assignments, values in YAML.
        with_terms: terms to add to every stage that fits; each item may list several, separated by commas.
        without_terms: terms to switch off; likewise.
        stages: the stages to run, all if None; likewise. A control needs the stage it is a control of.
        seed: takes the place of the recipe's seed.
        over: a row of an ablation (`rows.read`), laid over the recipe; the command line's changes hold in it, too.
        host: where plugins are found.
        allow_other_plugins: whether a saved recipe may use plugins of other versions than it was saved with.

    Raises:
        RecipeError: whatever is wrong with the recipe or the changes, all that could be found in one go.
    """
    written, sources = files.read(Path(path))
    selection = Selection(
        with_terms=split_names(with_terms, "--with"),
        without_terms=split_names(without_terms, "--without"),
        stages=None if stages is None else split_names(stages, "--stages"),
    )
    for name in selection.with_terms:
        if name in selection.without_terms:
            fail(f"--with {name} and --without {name}: it can be one of them")
    tree, paths = apply_sets(written, sets, selection.with_terms)
    if over is not None:
        row, own = rows.read(Path(over))
        written, sources = rows.lay(written, row), (*own, *sources)
        tree = rows.set_again(rows.lay(tree, row), sets, selection.with_terms)
    if seed is not None:
        tree = tree.with_entries({**tree.entries, "seed": files.constant(seed, f"--seed {seed}")})
    stem = _name_of(Path(over or path))
    resolved = _resolve(tree, selection, host, stem, allow_other_plugins)
    changes: list[str] = []
    if paths or seed is not None:
        before, after = _document_before(written, host, stem), resolved.document()
        changes += describe_sets(paths, before, after, "--set")
        changes += describe_sets([("seed",)] if seed is not None else [], before, after, "--seed")
    return replace(resolved, changes=(*changes, *resolved.changes), sources=sources)


def from_document(document: Mapping[str, Any], name: str, host: Host) -> Resolved:
    """The resolved recipe of plain data, such as a changed `Resolved.document()`.

    Args:
        document: the recipe; its paths are absolute.
        name: how errors call it.
        host: where plugins are found.

    Raises:
        RecipeError: it is wrong.
    """
    return _resolve(rows.tree_of(document, name), Selection(), host, name)


def _resolve(written: Node, selection: Selection, host: Host, stem: str, allow_other_plugins: bool = True) -> Resolved:
    """The resolved recipe of a tree; `changes` holds what the selection did."""
    problems: list[Problem] = []
    tree, inherited_real, resting = prepared(written)
    recipe = validate(Recipe, tree.plain(), tree, (), problems, choices="Known here")
    raise_if(problems)
    assert recipe is not None
    changes: list[str] = []
    stages = selected(recipe, selection.stages)
    if len(stages) < len(recipe.stages):
        left = ", ".join(name for name in recipe.stages if name not in stages)
        changes.append(f"stages: only {', '.join(stages)}, not {left} (--stages)")

    parts = find_parts(recipe, tree, host, problems)
    _check_measured(recipe, tree, problems)
    init = _init(recipe, tree, problems)
    terms = TermTable.of(tree, recipe, selection, host, problems)
    planner = Planner(tree, recipe, selection, terms.on, terms.off, parts.backbone, inherited_real, problems, changes)
    plans = planner.plan(stages)
    raise_if(problems)
    used = {term.name: term for plan in plans for term in plan.terms}
    everything: list[Part | TermPart] = [*parts.all(), *used.values()]
    versions = _versions(everything)
    problems += pin_problems(recipe, tree, everything)
    if not allow_other_plugins:
        problems += saved_problems(recipe, tree, versions)
    raise_if(problems)
    plain = document(recipe, stem, init, parts, plans, dumped_terms(used.values()) | terms.switched_off(host), versions)
    assert parts.hand is not None
    assert parts.renderer is not None
    assert parts.backbone is not None
    return Resolved(
        recipe=Recipe.model_validate_json(json.dumps(plain), strict=True),
        hand=parts.hand,
        renderer=parts.renderer,
        backbone=parts.backbone,
        real=parts.real,
        synthetic=parts.synthetic,
        transforms=parts.transforms,
        observers=parts.observers,
        refiners=parts.refiners,
        stages=plans,
        changes=tuple(changes),
        notes=(
            *_unset_variables(tree),
            *terms.idle(recipe, resting),
            *_other_versions(recipe, versions),
            *deprecations(everything),
        ),
    )


def _check_measured(recipe: Recipe, tree: Node, problems: list[Problem]) -> None:
    """What is to be measured must be there."""
    if recipe.evaluate is not None and getattr(recipe.data, recipe.evaluate.data) is None:
        without = f"the recipe has no data.{recipe.evaluate.data} to measure on"
        problems.append(problem_at(tree.get("evaluate"), ("evaluate",), without))
    if recipe.log.unseen_every is not None and recipe.data.synthetic is None:
        without = "the recipe has no data.synthetic to measure on"
        problems.append(problem_at(tree.get("log"), ("log", "unseen_every"), without))


def _document_before(written: Node, host: Host, stem: str) -> Mapping[str, Any]:
    """The recipe without the command line's changes; as it is written where it is wrong without them."""
    try:
        return _resolve(written, Selection(), host, stem).document()
    except RecipeError:
        plain: dict[str, Any] = written.plain()
        return plain


def _init(recipe: Recipe, tree: Node, problems: list[Problem]) -> str | None:
    """Where the weights come from, a file by its absolute path."""
    if recipe.init is None or recipe.init == "shipped":
        return recipe.init
    node = node_at(tree, ("init",))
    path = Path(os.path.abspath(node.at.source.folder / Path(recipe.init).expanduser()))
    if not path.is_file():
        hint = "A relative path starts from the recipe's folder; on the command line, from the working directory."
        problems.append(problem_at(node, ("init",), f"there is no file {path}; or null, or shipped", hint))
    return str(path)


def _name_of(path: Path) -> str:
    """A recipe's name from its file's, free of what no name may hold."""
    stem = path.stem.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() and c not in "/\\" else "_" for c in stem)[:200] or "recipe"


def _versions(parts: Sequence[Part | TermPart]) -> dict[str, str]:
    """The packages that a run rests on: HPF, torch, and every plugin's."""
    found = {"hpf": hpf_core.__version__, "torch": importlib.metadata.version("torch")}
    for part in parts:
        found.setdefault(part.package, part.version)
    return found


def _other_versions(recipe: Recipe, versions: Mapping[str, str]) -> list[str]:
    return [
        f"versions.{package}: the recipe was saved with {shorten(saved)}, and this is {versions[package]}"
        for package, saved in recipe.versions.items()
        if package in versions and versions[package] != saved
    ]


def _unset_variables(tree: Node) -> list[str]:
    notes = []
    for path, node in tree.walk():
        for name in node.unset:
            where = problem_at(node, path, "").where
            notes.append(f"{path_text(path)}: the environment variable {name} is not set ({where})")
    return notes
