"""Merges trees: a recipe's bases, an ablation's variant, `--set`, `--seed`, and the inherited values of controls."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from hpf_core.documents.errors import Problem, fail, problem_at, raise_if
from hpf_core.documents.tree import Node, Path_, canonical, describe, find_key, path_text, shorten
from hpf_core.errors import nearest
from hpf_core.interfaces import Kind
from hpf_core.recipe.models import Recipe, is_off, is_on
from hpf_core.recipe.read import literal

NAMED: tuple[Kind, ...] = ("hand", "renderer", "backbone")
"""Required plugins. A recipe that names none gets the defaults."""

_STAGE_OFF = " off"  # marks a stage that is off, until `complete` removes it; not a stage's field
_USE_PATHS: frozenset[Path_] = frozenset({*((kind,) for kind in NAMED), ("data", "real"), ("data", "synthetic")})
_USE_LISTS: frozenset[Path_] = frozenset({("transforms",), ("observers",), ("evaluate", "refiners")})
_INDEX = re.compile(r"\[(\d{1,6})\]")


# ------------------------------------------------------------------------------------------------------- trees on trees


def with_defaults(tree: Node, defaults: Mapping[Kind, str]) -> Node:
    """Add the default hand, renderer and backbone if the tree names none."""
    entries = dict(tree.entries)
    for kind in NAMED:
        part = entries.get(kind)
        if kind in defaults and part is None:
            entries[kind] = Node(defaults[kind], tree.at)
        elif kind in defaults and part is not None and part.is_mapping and "use" not in part.entries:
            entries[kind] = part.with_entries({"use": Node(defaults[kind], part.at, part.at), **part.entries})
    return tree.with_entries(entries)


def merge(base: Node, over: Node, path: Path_ = ()) -> Node:
    """Merge `over` into `base`: mappings merge, other values replace. Keys keep the base's order.

    Options belong to their plugin. A mapping with another `use` replaces the base's mapping. A mapping without `use`
    changes the options of the plugin that the base names. `on` over a term keeps the base's options. `off` over a stage
    keeps all of its fields, so a later `on` restores the stage.
    """
    if _is_stage(path) and base.is_mapping and (is_off(over.value) or is_on(over.value)):
        kept = {key: node for key, node in base.entries.items() if key != _STAGE_OFF}
        return base.with_entries({**kept, _STAGE_OFF: over} if is_off(over.value) else kept)
    if path in _USE_PATHS and isinstance(base.value, str) and over.is_mapping and "use" not in over.entries:
        base = _expanded(base)
    if not base.is_mapping:
        return over
    if not over.is_mapping:
        return base if _is_term(path) and is_on(over.value) and not _is_term_off(base) else over
    new = over.entries.get("use")
    if new is not None and isinstance(new.value, str) and canonical(new.value) != canonical(_plugin(base, path)):
        return over
    entries = dict(base.entries)
    for key, node in over.entries.items():
        own = find_key(entries, key)
        if own is None:
            entries[key] = node
        else:
            entries[own] = merge(entries[own], node, (*path, canonical(key)))
    return replace(over, value=entries)


def merge_all(trees: Sequence[Node]) -> Node:
    """Merge a recipe, its base, the base's base, ...: each of the trees over all that follow it."""
    return functools.reduce(merge, reversed(trees))


def merge_variant(base: Node, variant: Node) -> Node:
    """Merge an ablation's variant into any base. Switching off a stage that the base lacks has no effect."""
    stages, known = variant.entries.get("stages"), base.entries.get("stages")
    if stages is not None and stages.is_mapping:
        present = known.entries if known is not None else {}
        kept = {
            name: stage
            for name, stage in stages.entries.items()
            if find_key(present, name) is not None or not is_off(stage.value) or stage.is_mapping
        }
        variant = variant.with_entries({**variant.entries, "stages": stages.with_entries(kept)})
    return merge(base, variant)


def _is_stage(path: Path_) -> bool:
    return path[:-1] == ("stages",)


def _is_term(path: Path_) -> bool:
    return path[:-1] == ("terms",)


def _expanded(node: Node) -> Node:
    """Expand a plugin's name to `{use: name}`."""
    return replace(node, value={"use": replace(node, key_at=node.at)})


def _is_term_off(term: Node) -> bool:
    """Whether an entry of `terms` is off by `off`, false, null or a weight of 0."""
    weight = term.entries.get("weight")
    if term.is_mapping:
        return weight is not None and not isinstance(weight.value, bool) and weight.value == 0
    return is_off(term.value)


def _plugin(node: Node, path: Path_) -> str:
    """The plugin of a mapping of options at this path; empty if the mapping names none."""
    own = node.entries.get("use")
    if own is not None:
        return own.value if isinstance(own.value, str) else ""
    return str(path[1]) if _is_term(path) else ""


# --------------------------------------------------------------------------------------------------- the command line


def split_names(values: Iterable[str], option: str) -> tuple[str, ...]:
    """Split the comma-separated names of a repeatable option, in canonical spelling.

    Raises:
        InvalidRecipe: a name is empty.
    """
    names = [name.strip() for value in values for name in value.split(",")]
    if "" in names:
        fail(f"{option} needs a name")
    return tuple(dict.fromkeys(canonical(name) for name in names))


def term_names(tree: Node) -> list[str]:
    """Every term in a stage's list or under `terms`, in canonical spelling."""
    terms, stages = tree.entries.get("terms"), tree.entries.get("stages")
    names = [canonical(name) for name in (terms.entries if terms else {})]
    for stage in stages.entries.values() if stages else ():
        names += _listed_terms(stage)
    return list(dict.fromkeys(names))


def apply_sets(tree: Node, sets: Iterable[str], added_terms: Collection[str]) -> tuple[Node, tuple[Path_, ...]]:
    """Apply each `path=value`; returns the tree and the paths.

    Args:
        tree: the recipe.
        sets: assignments such as "terms.m2d.weight=0.5" or "transforms[0].sigma_mm=5"; values are YAML.
        added_terms: terms of `--with`; their options may be set too.

    Raises:
        InvalidRecipe: a text is no assignment or no YAML, or its path doesn't exist.
    """
    paths: list[Path_] = []
    for text in sets:
        name = f"--set {shorten(text)}"
        target, equals, value = text.partition("=")
        tokens = [token.strip() for token in _INDEX.sub(r".\1", target).split(".")]
        if not equals or "" in tokens:
            fail(f"{name}: expected path=value, such as --set terms.m2d.weight=0.5")
        path = _known_path(tree, tokens, name, added_terms)
        tree = _put(tree, path, (), literal(value, name), name)
        paths.append(path)
    return tree, tuple(paths)


def set_again(tree: Node, sets: Sequence[str], added_terms: Collection[str]) -> Node:
    """Apply the command line's `--set` again after a variant, so that the command line has precedence.

    This skips assignments of a whole plugin or mapping, which would remove the variant's options. It also skips
    assignments below a value that the variant switches off.
    """
    for text in sets:
        changed, (path,) = apply_sets(tree, [text], added_terms)
        if path in _USE_PATHS or literal(text.partition("=")[2], "--set").is_mapping:
            continue
        if not any(_is_off_at(tree, path[:depth]) for depth in range(1, len(path))):
            tree = changed
    return tree


def _is_off_at(tree: Node, path: Path_) -> bool:
    node: Node | None = tree
    for token in path:
        node = None if node is None else node.child(token)
    if node is None or isinstance(node.value, tuple):
        return False
    return _is_term_off(node) if _is_term(path) else not node.is_mapping and is_off(node.value)


def _known_path(tree: Node, tokens: list[str], name: str, added_terms: Collection[str]) -> Path_:
    """The path in the tree's own spelling, as far as the tree or the models define it."""
    head = find_key(Recipe.model_fields, tokens[0])
    if head is None or head in ("extends", "versions"):
        legal = [field for field in Recipe.model_fields if field not in ("extends", "versions")]
        fail(f"{name}: a recipe has no {shorten(repr(tokens[0]))} to set", hint=nearest(tokens[0], legal))
    path: list[str | int] = [head]
    node = tree.entries.get(head)
    for position, token in enumerate(tokens[1:], start=1):
        if node is not None and isinstance(node.value, tuple):
            if not re.fullmatch("[0-9]{1,6}", token) or int(token) >= len(node.items):
                held = f"{len(node.items)} items, counted from 0" if node.items else "no items"
                fail(f"{name}: {path_text(tuple(path))} is a list of {held}")
            path.append(int(token))
            node = node.items[int(token)]
            continue
        key = find_key(node.entries, token) if node is not None else None
        if key is None and position == 1 and head in ("stages", "terms"):
            known = term_names(tree) if head == "terms" else list(node.entries if node is not None else ())
            if head == "stages" or canonical(token) not in {*known, *added_terms}:
                hint = nearest(token, known)
                if head == "terms":
                    hint += " Add a term that the recipe lacks by --with."
                fail(f"{name}: the recipe has no {head.removesuffix('s')} {shorten(repr(token))}", hint=hint)
        path.append(key or canonical(token))
        node = node.entries.get(key) if node is not None and key is not None else None
    return tuple(path)


def _put(node: Node | None, path: Path_, done: Path_, value: Node, name: str) -> Node:
    """Put `value` at `path` below the node; creates missing mappings on the path."""
    if not path:
        switched = node is not None and _is_stage(done) and (is_off(value.value) or is_on(value.value))
        return merge(node, value, done) if node is not None and switched else replace(value, key_at=value.at)
    switch = node is not None and _is_term(done) and not node.is_mapping and (is_on(node.value) or is_off(node.value))
    if node is not None and isinstance(node.value, str) and _is_use(done) and not switch:
        node = _expanded(node)
    if node is None or node.value is None or switch:
        # An option alone doesn't switch a term on; a weight does.
        off = node is not None and switch and is_off(node.value)
        node = Node({"weight": Node(0.0, value.at, value.at)} if off else {}, value.at, value.at)
    token, rest = path[0], path[1:]
    if isinstance(token, int):
        items = list(node.items)
        items[token] = _put(items[token], rest, (*done, token), value, name)
        return replace(node, value=tuple(items))
    if not node.is_mapping:
        fail(f"{name}: {path_text(done)} is {describe(node.plain())} and has no {token!r}")
    names_plugin = token == "use" and not rest and _is_use(done) and isinstance(value.value, str)
    if names_plugin and canonical(str(value.value)) != canonical(_plugin(node, done)):
        node = node.with_entries({})  # options belong to their plugin: another plugin starts with its defaults
    return node.with_entries({**node.entries, token: _put(node.entries.get(token), rest, (*done, token), value, name)})


def _is_use(path: Path_) -> bool:
    """Whether this path holds a plugin's name or its options."""
    return _is_term(path) or path in _USE_PATHS or path[:-1] in _USE_LISTS


# --------------------------------------------------------------------------------------- what follows from other values


class Complete(NamedTuple):
    """A completed tree.

    Attributes:
        tree: the tree without stages that are off.
        inherited_real: the controls that inherit their number of real frames.
        resting: the terms, in canonical spelling, in the lists of stages that are off.
    """

    tree: Node
    inherited_real: frozenset[str]
    resting: frozenset[str]


def complete(tree: Node) -> Complete:
    """Complete a merged tree: canonical names of terms, no stages that are off, inherited values of controls.

    Raises:
        InvalidRecipe: a control's stage is missing, off, later, the control itself, or another control; the recipe
            switches off a stage that doesn't exist; or no stage is left.
    """
    entries = dict(tree.entries)
    terms, stages = entries.get("terms"), entries.get("stages")
    if terms is not None and (terms.is_mapping or terms.value is None):  # null: an empty `terms:`
        entries["terms"] = terms.with_entries({canonical(name): use for name, use in terms.entries.items()})
    inherited_real: set[str] = set()
    resting: set[str] = set()
    if stages is not None and stages.is_mapping:
        on, off = _without_off(stages)
        entries["stages"], inherited_real = _inherit(on, tuple(off))
        resting = {term for stage in off.values() for term in _listed_terms(stage)}
    return Complete(tree.with_entries(entries), frozenset(inherited_real), frozenset(resting))


def shorten_warmups(tree: Node) -> tuple[Node, dict[Path_, int]]:
    """Shorten warm-ups to a tenth if the command line's `steps` made their stage shorter; returns the old values too.

    This shortens only a warm-up from a recipe's file. A warm-up from the command line causes an error instead.
    """
    before: dict[Path_, int] = {}
    for name, stage in (tree.entries["stages"].entries if "stages" in tree.entries else {}).items():
        steps, warmup = stage.entries.get("steps"), stage.entries.get("warmup")
        if steps is None or warmup is None or steps.at.source.is_file or not warmup.at.source.is_file:
            continue
        if type(steps.value) is int and type(warmup.value) is int and 0 < steps.value < warmup.value:
            path: Path_ = ("stages", name, "warmup")
            before[path] = warmup.value
            tree = _put(tree, path, (), replace(warmup, value=steps.value // 10), "")
    return tree, before


def _listed_terms(stage: Node) -> list[str]:
    listed = stage.get("terms")
    return [canonical(item.value) for item in (listed.items if listed else ()) if isinstance(item.value, str)]


def _without_off(stages: Node) -> tuple[Node, dict[str, Node]]:
    """Split the stages into those that are on and those that are off."""
    off = {name: stage for name, stage in stages.entries.items() if _STAGE_OFF in stage.entries}
    on = {name: stage for name, stage in stages.entries.items() if name not in off}
    problems = [
        problem_at(
            stage,
            ("stages", name),
            f"{shorten(repr(name))} is switched off, but this recipe extends no recipe with such a stage",
            nearest(name, [other for other in (*on, *off) if other != name]),
            key=True,
        )
        for name, stage in on.items()
        if not stage.is_mapping and is_off(stage.value)
    ]
    if off and not on:
        message = f"no stage is left: {', '.join(off)} {'are' if len(off) > 1 else 'is'} switched off"
        problems.append(problem_at(stages, ("stages",), message, key=True))
    raise_if(problems)
    return stages.with_entries(on), off


def _inherit(stages: Node, off: tuple[str, ...]) -> tuple[Node, set[str]]:
    problems: list[Problem] = []
    result: dict[str, Node] = {}
    inherited_real: set[str] = set()
    for name, stage in stages.entries.items():
        asked = stage.entries.get("control_of")
        result[name] = stage
        if asked is None or not isinstance(asked.value, str):
            continue
        partner_name = find_key(stages.entries, asked.value)
        wrong = _partner_problem(stages, name, asked.value, partner_name, result, off)
        if wrong is not None or partner_name is None:
            problems.append(problem_at(asked, ("stages", name, "control_of"), *(wrong or ("",))))
            continue
        partner = stages.entries[partner_name]
        own_draw, base_draw = stage.entries.get("draw"), partner.entries.get("draw")
        # A control states its own terms, otherwise it would equal its stage.
        fields = {key: node for key, node in partner.entries.items() if key != "terms"} | stage.entries
        fields["control_of"] = replace(asked, value=partner_name)
        if own_draw is None:
            inherited_real.add(name)
        elif own_draw.is_mapping and base_draw is not None and "synthetic" in base_draw.entries:
            # The same synthetic draw defines a control. A control states its own draw of real frames.
            synthetic = {"synthetic": base_draw.entries["synthetic"]}
            fields["draw"] = own_draw.with_entries(synthetic | own_draw.entries)
        result[name] = stage.with_entries(fields)
    raise_if(problems)
    return stages.with_entries(result), inherited_real


def _partner_problem(
    stages: Node, name: str, asked: str, partner_name: str | None, before: dict[str, Node], off: tuple[str, ...]
) -> tuple[str, str] | None:
    """The error in a control's `control_of`, with a hint; None if it is right."""
    if partner_name is None and canonical(asked) in map(canonical, off):
        return f"stage {asked} is switched off", f"Switch its control off as well, by `{name}: off`."
    if partner_name is None:
        others = [key for key in stages.entries if key != name]
        return f"there is no stage {shorten(repr(asked))}", nearest(asked, others)
    if partner_name == name:
        return "a stage cannot be a control of itself", ""
    control = stages.entries[partner_name].entries.get("control_of")
    if control is not None and control.value is not None:
        return f"stage {partner_name} is a control itself", "Name the stage that it is a control of."
    if partner_name not in before:
        return f"stage {partner_name} comes after its control {name}", "Write the control below its stage."
    return None
