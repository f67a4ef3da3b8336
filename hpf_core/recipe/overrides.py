"""What the command line changes in a recipe's tree: `--set path=value`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from hpf_core.documents.errors import fail
from hpf_core.documents.tree import Node, Path_, canonical, describe, find_key, path_text, shorten
from hpf_core.errors import nearest
from hpf_core.recipe.files import USE_PATHS, expanded, is_stage, literal, merge, plugin_name
from hpf_core.recipe.models import Recipe, is_off, is_on

_INDEX = re.compile(r"\[(\d{1,6})\]")
_USE_LISTS: frozenset[Path_] = frozenset({("transforms",), ("observers",), ("evaluate", "refiners")})


def split_names(values: Iterable[str], option: str) -> tuple[str, ...]:
    """The names that a repeatable option lists, commas allowed.

    Raises:
        InvalidRecipe: a name is empty.
    """
    names = [name.strip() for value in values for name in value.split(",")]
    if "" in names:
        fail(f"{option} needs a name")
    return tuple(dict.fromkeys(canonical(name) for name in names))


def apply_sets(tree: Node, sets: Iterable[str], added_terms: Collection[str]) -> tuple[Node, tuple[Path_, ...]]:
    """The tree with each `path=value` set, and the paths.

    Args:
        tree: the recipe.
        sets: assignments such as "terms.m2d.weight=0.5" or "transforms[0].sigma_mm=5"; values are YAML.
        added_terms: terms that `--with` adds, whose options may be set too.

    Raises:
        InvalidRecipe: no assignment, no YAML, or a path that leads nowhere.
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


def term_names(tree: Node) -> list[str]:
    """Every term that the recipe speaks of: in a stage's list or under `terms`, in canonical spelling."""
    terms = tree.entries.get("terms")
    found = [canonical(name) for name in (terms.entries if terms else {})]
    stages = tree.entries.get("stages")
    for stage in stages.entries.values() if stages else ():
        listed = stage.entries.get("terms")
        found += [canonical(item.value) for item in (listed.items if listed else ()) if isinstance(item.value, str)]
    return list(dict.fromkeys(found))


def _known_path(tree: Node, tokens: list[str], name: str, added_terms: Collection[str]) -> Path_:
    """The path in the tree's own spelling, as far as the tree or the models know it."""
    head = find_key(Recipe.model_fields, tokens[0])
    if head is None or head in ("extends", "versions"):
        legal = [field for field in Recipe.model_fields if field not in ("extends", "versions")]
        fail(f"{name}: a recipe has no {shorten(repr(tokens[0]))} to set", hint=nearest(tokens[0], legal))
    path: list[str | int] = [head]
    node = tree.entries.get(head)
    for position, token in enumerate(tokens[1:], start=1):
        if node is not None and isinstance(node.value, tuple):
            if not token.isdecimal() or int(token) >= len(node.items):
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
                    hint += " A term that the recipe lacks is added by --with."
                fail(f"{name}: the recipe has no {head.removesuffix('s')} {shorten(repr(token))}", hint=hint)
        path.append(key or canonical(token))
        node = node.entries.get(key) if node is not None and key is not None else None
    return tuple(path)


def _put(node: Node | None, path: Path_, done: Path_, value: Node, name: str) -> Node:
    """The node with `value` at `path` below it; what lacks on the way is made."""
    if not path:
        switched = node is not None and is_stage(done) and (is_off(value.value) or is_on(value.value))
        return merge(node, value, done) if node is not None and switched else replace(value, key_at=value.at)
    if node is not None and isinstance(node.value, str) and _is_use(done) and not _is_switch(node, done):
        node = expanded(node)
    if node is None or node.value is None or _is_switch(node, done):
        # An option alone does not switch a term on again; a weight does.
        off = node is not None and _is_switch(node, done) and is_off(node.value)
        node = Node({"weight": Node(0.0, value.at, value.at)} if off else {}, value.at, value.at)
    token, rest = path[0], path[1:]
    if isinstance(token, int):
        items = list(node.items)
        items[token] = _put(items[token], rest, (*done, token), value, name)
        return replace(node, value=tuple(items))
    if not node.is_mapping:
        fail(f"{name}: {path_text(done)} is {describe(node.plain())} and has no {token!r}")
    names_plugin = token == "use" and not rest and _is_use(done) and isinstance(value.value, str)
    if names_plugin and canonical(str(value.value)) != canonical(plugin_name(node, done)):
        node = node.with_entries({})  # options belong to their plugin: another one begins at its defaults
    return node.with_entries({**node.entries, token: _put(node.entries.get(token), rest, (*done, token), value, name)})


def _is_use(path: Path_) -> bool:
    """Whether a plugin's name or its options stand at this path."""
    is_term = len(path) == 2 and path[0] == "terms"
    return is_term or path in USE_PATHS or (bool(path) and isinstance(path[-1], int) and path[:-1] in _USE_LISTS)


def _is_switch(node: Node, path: Path_) -> bool:
    """Whether this is a term that a mere `on` or `off` stands for."""
    return len(path) == 2 and path[0] == "terms" and not node.is_mapping and (is_on(node.value) or is_off(node.value))
