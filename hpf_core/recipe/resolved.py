"""From a recipe's file to a `Resolved`: the whole pipeline, and every default filled in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpf_core.documents.errors import InvalidRecipe, Problems, fail, problem_at
from hpf_core.documents.tree import Node, Path_, canonical, constant, path_text, shorten, tree_of
from hpf_core.documents.writer import to_yaml
from hpf_core.errors import InputError
from hpf_core.files.hub import is_hub, parse_hub
from hpf_core.recipe import merge
from hpf_core.recipe.models import Recipe, Stage
from hpf_core.recipe.plugins import (
    PLACES,
    ChosenPlugins,
    Host,
    Part,
    Terms,
    assumed_plugin,
    assumed_term,
    check_pins,
    check_saved,
    deprecations,
    find_parts,
    find_terms,
    version_notes,
    versions_of,
)
from hpf_core.recipe.read import read_chain
from hpf_core.recipe.stages import Planner, Selection, StagePlan, selected
from hpf_core.recipe.validate import validate, with_defaults

_NOT_SET = object()


@dataclass(frozen=True)
class Resolved(ChosenPlugins):
    """The complete information for a run. Two are equal if their runs are the same.

    Attributes:
        hand, renderer, backbone: the required parts of every recipe.
        real, synthetic: the datasets, or None.
        transforms, observers, refiners: in the recipe's order.
        recipe: the whole recipe with the defaults of HPF and of all plugins.
        stages: the stages to run, in order.
        changes: the command line's changes, in words.
        notes: remarks for the user that aren't errors, such as an unset environment variable.
        sources: the files, the recipe itself first.
    """

    hand: Part
    renderer: Part
    backbone: Part
    recipe: Recipe
    stages: tuple[StagePlan, ...]
    changes: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    sources: tuple[Path, ...] = field(default=(), compare=False)

    def document(self) -> dict[str, Any]:
        """The recipe as plain data: dicts, lists, texts, numbers."""
        document = self.recipe.model_dump(mode="json", exclude={"extends"})
        for name, use in self.recipe.terms.items():
            if use.off and use.use is None and not use.options:
                document["terms"][name] = "off"
        return document

    def to_yaml(self) -> str:
        """The recipe as a file. A run of this file resolves to an equal recipe."""
        return to_yaml(self.document())


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
    """Read a recipe and resolve it. This builds and starts nothing.

    Args:
        path: the recipe's file.
        sets: `path=value` assignments, values in YAML.
        with_terms: terms to add to every suitable stage; each item may list several, separated by commas.
        without_terms: terms to switch off; likewise.
        stages: the stages to run, all if None; likewise. A control needs the stage that it controls.
        seed: replaces the recipe's seed.
        over: an ablation's variant, merged into the recipe. The command line's changes apply after the variant.
        host: finds plugins.
        allow_other_plugins: whether a saved recipe may use other plugin versions than at the time of saving.

    Raises:
        RecipeError: the recipe or the changes are wrong; the error lists all problems of one pass.
    """
    written, sources = _merged(Path(path), host)
    selection = Selection(
        with_terms=merge.split_names(with_terms, "--with"),
        without_terms=merge.split_names(without_terms, "--without"),
        stages=None if stages is None else merge.split_names(stages, "--stages"),
    )
    for name in selection.with_terms:
        if name in selection.without_terms:
            fail(f"--with {name} and --without {name}: choose one of them")
    tree, paths = merge.apply_sets(written, sets, selection.with_terms)
    if over is not None:
        chain = read_chain(Path(over), same_folder=True)
        variant = merge.merge_all([each for _, each in chain])
        written, sources = merge.merge_variant(written, variant), [*(each for each, _ in chain), *sources]
        tree = merge.set_again(merge.merge_variant(tree, variant), sets, selection.with_terms)
    if seed is not None:
        tree = tree.with_entries({**tree.entries, "seed": constant(seed, f"--seed {seed}")})
    stem = _name_of(Path(over or path))
    resolved = _resolve(tree, selection, host, stem, allow_other_plugins)
    changes: list[str] = []
    if paths or seed is not None:
        before, after = _assumed(written, host, stem), resolved.document()
        changes += dict.fromkeys(_change(path, before, after, "--set") for path in paths)
        changes += [_change(("seed",), before, after, "--seed")] if seed is not None else []
    return replace(resolved, changes=(*changes, *resolved.changes), sources=tuple(sources))


def from_document(document: Mapping[str, Any], name: str, host: Host) -> Resolved:
    """Resolve plain data, such as a changed `Resolved.document()`.

    Args:
        document: the recipe; its paths are absolute.
        name: the recipe's name in errors.
        host: finds plugins.

    Raises:
        RecipeError: the document is wrong.
    """
    return _resolve(merge.with_defaults(tree_of(document, name), host.defaults), Selection(), host, name)


def _merged(path: Path, host: Host) -> tuple[Node, list[Path]]:
    """Return the merged tree of a recipe and its bases, and their files, the recipe first."""
    chain = read_chain(path)
    trees = [tree for _, tree in chain]
    trees[-1] = merge.with_defaults(trees[-1], host.defaults)
    return merge.merge_all(trees), [each for each, _ in chain]


def _resolve(written: Node, selection: Selection, host: Host, stem: str, allow_other_plugins: bool = True) -> Resolved:
    """Resolve a merged tree; the result's `changes` lists the effects of the selection."""
    changes: list[str] = []
    tree, inherited_real, resting = merge.complete(written)
    tree, warmups = merge.shorten_warmups(tree)
    problems = Problems(tree)
    recipe = validate(Recipe, tree.plain(), tree, (), problems.found, choices="Known here")
    problems.raise_if_any()
    assert recipe is not None
    for path, old in warmups.items():
        changes.append(f"{path_text(path)}: {old} -> {tree.at_path(path).value} (a tenth of the steps of --set)")
    stages = selected(recipe, selection.stages)
    if len(stages) < len(recipe.stages):
        left = ", ".join(name for name in recipe.stages if name not in stages)
        changes.append(f"stages: only {', '.join(stages)}, not {left} (--stages)")
    parts = find_parts(recipe, host, problems)
    _check_measured(recipe, problems)
    init = _init(recipe, problems)
    terms = find_terms(recipe, selection.with_terms, selection.without_terms, host, problems)
    plans = Planner(recipe, selection, terms, parts.backbone, inherited_real, problems, changes).plan(stages)
    problems.raise_if_any()
    used = {term.name: term for plan in plans for term in plan.terms}
    everything = [*parts.all(), *used.values()]
    versions = versions_of(everything)
    check_pins(recipe, everything, problems)
    if not allow_other_plugins:
        check_saved(recipe, versions, problems)
    problems.raise_if_any()
    return Resolved(
        **vars(parts),
        recipe=_filled(recipe, stem, init, parts, plans, terms, versions, host),
        stages=plans,
        changes=tuple(changes),
        notes=(
            *_unset_variables(tree),
            *terms.idle(recipe, resting),
            *version_notes(recipe, versions),
            *deprecations(everything),
        ),
    )


def _check_measured(recipe: Recipe, problems: Problems) -> None:
    """Check that the evaluated datasets are given."""
    if recipe.evaluate is not None and getattr(recipe.data, recipe.evaluate.data) is None:
        problems.add(("evaluate",), f"the recipe has no data.{recipe.evaluate.data} to measure on")
    if recipe.log.unseen_every is not None and recipe.data.synthetic is None:
        problems.add(("log", "unseen_every"), "the recipe has no data.synthetic to measure on")


def _init(recipe: Recipe, problems: Problems) -> str | None:
    """The file of the initial weights as an absolute path, also if the recipe names a folder of weights.

    A place on a model hub stays as it is: reading a recipe fetches nothing.
    """
    if recipe.init is None or recipe.init == "shipped":
        return recipe.init
    if is_hub(recipe.init):
        try:
            parse_hub(recipe.init)
        except InputError as error:
            problems.add(("init",), str(error).rstrip("."))
        return recipe.init
    node = problems.tree.at_path(("init",))
    path = os.path.abspath(node.at.source.folder / os.path.expanduser(recipe.init))
    if os.path.isdir(path):  # a folder of weights, as `hpf export --folder` writes it
        path = os.path.join(path, "weights.safetensors")
    if not os.path.isfile(path):
        hint = "A relative path starts from the recipe's folder; on the command line, from the working directory."
        problems.add(("init",), f"there is no file {path}; or null, shipped, or hf://OWNER/NAME@COMMIT", hint)
    return path


def _name_of(path: Path) -> str:
    """Derive a recipe's name from its file's name, without illegal characters."""
    stem = path.stem.encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() and c not in "/\\" else "_" for c in stem)[:200] or "recipe"


def _unset_variables(tree: Node) -> list[str]:
    return [
        f"{path_text(path)}: the environment variable {name} is not set ({problem_at(node, path, '').where})"
        for path, node in tree.walk()
        for name in node.unset
    ]


# ------------------------------------------------------------------------------------------- every default is filled in


def _filled(
    recipe: Recipe,
    stem: str,
    init: str | None,
    parts: ChosenPlugins,
    plans: Sequence[StagePlan],
    terms: Terms,
    versions: Mapping[str, str],
    host: Host,
) -> Recipe:
    """The recipe for a repetition of the run, with the options of all plugins, as in a run's folder."""
    used = {term.name: {**(_dumped(term) or {}), "weight": term.weight} for plan in plans for term in plan.terms}
    evaluate = recipe.evaluate and recipe.evaluate.model_dump() | {"refiners": [*map(_dumped, parts.refiners)]}
    document = recipe.model_dump() | {
        "extends": None,
        "name": recipe.name or stem,
        "hand": _dumped(parts.hand),
        "renderer": _dumped(parts.renderer),
        "backbone": _dumped(parts.backbone),
        "init": init,
        "data": {"real": _dumped(parts.real), "synthetic": _dumped(parts.synthetic)},
        "transforms": [*map(_dumped, parts.transforms)],
        "observers": [*map(_dumped, parts.observers)],
        "stages": {plan.name: _dumped_stage(plan) for plan in plans},
        "terms": used | terms.switched_off(host),
        "evaluate": evaluate,
        "versions": dict(versions),
    }
    return Recipe.model_validate_json(json.dumps(document), strict=True)


def _dumped(part: Part | None) -> dict[str, Any] | None:
    if part is None:
        return None
    # round_trip omits computed fields, because the model doesn't accept them as input.
    return {"use": part.spec.name, **part.config.model_dump(mode="json", by_alias=True, round_trip=True)}


def _dumped_stage(plan: StagePlan) -> dict[str, Any]:
    fields = {field: getattr(plan, field) for field in Stage.model_fields if field not in ("draw", "terms")}
    draw = {"real": plan.draw_real, "synthetic": plan.draw_synthetic, "clip": plan.draw_clip}
    return {"draw": draw, **fields, "terms": [term.name for term in plan.terms]}


# ----------------------------------------------------------------------------------------------------- what was changed


def _assumed(written: Node, host: Host, stem: str) -> dict[str, Any]:
    """The recipe before the command line's changes, with defaults for missing values; unchecked."""
    try:
        tree = merge.complete(written).tree
    except InvalidRecipe:
        tree = written  # the changes may repair the recipe
    document = {**with_defaults(Recipe, tree.plain()), "name": tree.plain().get("name") or stem}
    if isinstance(stages := document.get("stages"), dict):
        document["stages"] = {name: with_defaults(Stage, stage) for name, stage in stages.items()}
    terms = document["terms"] if isinstance(document["terms"], dict) else {}
    document["terms"] = {name: assumed_term(name, terms.get(name, "on"), host) for name in merge.term_names(tree)}
    for kind, path in PLACES:
        holder, last = _value_at(path[:-1], document), path[-1]
        value = holder.get(last) if isinstance(holder, dict) else None
        if isinstance(value, list):
            holder[last] = [assumed_plugin(kind, each, host) for each in value]
        elif value is not None:
            holder[last] = assumed_plugin(kind, value, host)
    return document


def _change(path: Path_, before: Any, after: Any, option: str) -> str:
    """A line such as "terms.m2d.weight: 1.0 -> 0.5 (--set)"."""
    if path[0] == "terms" and len(path) > 1:
        path = ("terms", canonical(str(path[1])), *path[2:])
    old, new = _value_at(path, before), _value_at(path, after)
    if isinstance(new, float) and type(old) is int:
        old = float(old)
    was, now = _shown(path, old), _shown(path, new)
    return f"{path_text(path)}: {f'stays {now}' if was == now else f'{was} -> {now}'} ({option})"


def _value_at(path: Path_, document: Any) -> Any:
    """The value at a path of a document; "off" below a value that is off; `_NOT_SET` for a missing value."""
    value = document
    for token in path:
        try:
            value = value[token]
        except (KeyError, IndexError, TypeError):
            return "off" if value == "off" else _NOT_SET
    return value


def _shown(path: Path_, value: Any) -> str:
    if len(path) == 2 and path[0] == "stages":
        return "off" if value is _NOT_SET else "on"
    if value is _NOT_SET:
        return "not set"
    if isinstance(value, Mapping) and "use" in value:  # a plugin with all options
        return f"on, weight {value['weight']:g}" if len(path) == 2 and path[0] == "terms" else str(value["use"])
    return shorten(value) if isinstance(value, str) and value else shorten(json.dumps(value, ensure_ascii=False))
