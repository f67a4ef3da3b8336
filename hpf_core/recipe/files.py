"""Reads a recipe and all that it extends into one tree."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from hpf_core.documents import yaml
from hpf_core.documents.errors import InvalidRecipe, Problem, fail, problem_at, raise_if
from hpf_core.documents.tree import Node, Origin, Path_, Source, canonical, describe, find_key
from hpf_core.errors import nearest
from hpf_core.recipe.environment import substitute
from hpf_core.recipe.models import DEFAULT_PLUGINS, is_off, is_on

_MOST_FILES = 20

STAGE_OFF = " off"
"""The entry that marks a stage as switched off, until `prepared` takes the stage out; no stage has such a field."""

USE_PATHS: frozenset[Path_] = frozenset(
    {*((kind,) for kind in DEFAULT_PLUGINS), ("data", "real"), ("data", "synthetic")}
)
"""Where a name stands for `{use: name}`."""


def read(path: Path, environment: Mapping[str, str] = os.environ) -> tuple[Node, tuple[Path, ...]]:
    """The merged tree of a recipe and what it extends, and the files read, the recipe first.

    Raises:
        InvalidRecipe: a file is missing or bad, the chain of `extends` runs in a circle or is absurdly long.
    """
    chain: list[tuple[Path, Node]] = []
    asked: Node | None = None
    while True:
        if "\0" in str(path):
            _fail_reading("a path cannot hold the character NUL", asked)
        resolved = Path(os.path.realpath(path))
        check_circle(resolved, [known for known, _ in chain], asked)
        if len(chain) == _MOST_FILES:
            raise_if([problem_at(asked, ("extends",), f"a chain of more than {_MOST_FILES} recipes")])
        tree, above = read_one(path, asked, environment)
        chain.append((resolved, tree))
        if above is None:
            break
        asked = above
        path = path.parent / str(above.value)
    merged = chain[-1][1]
    for _, tree in reversed(chain[:-1]):
        merged = merge(merged, tree)
    return merged, tuple(known for known, _ in chain)


def check_circle(path: Path, known: Sequence[Path], asked: Node | None) -> None:
    """Raises InvalidRecipe where a file that `asked` extends is among those read before it (real paths)."""
    resolved = Path(os.path.realpath(path))
    if resolved in known:
        circle = " -> ".join(each.name for each in [*known[known.index(resolved) :], resolved])
        raise_if([problem_at(asked, ("extends",), f"the recipe extends itself: {circle}")])


def read_one(path: Path, asked: Node | None, environment: Mapping[str, str]) -> tuple[Node, Node | None]:
    """One file's tree without its `extends`, and that; `asked` is the `extends` that led here.

    Raises:
        InvalidRecipe: the file is missing or bad.
    """
    name = _shown(path)
    text = yaml.decode(_bytes(path, name, asked), name)
    source = Source(name, yaml.split_lines(text), path.parent)
    tree = yaml.parse(text, source)
    if tree.value is None:
        fail(f"{name}: is empty; a recipe has at least `extends: other.yaml`, or `stages:`")
    if not tree.is_mapping:
        fail(f"a recipe is a mapping, and this is {describe(tree.plain())}", at=tree.at)
    tree = substitute(tree, environment)
    above = tree.entries.get("extends")
    if above is None or above.value is None:
        above = None
    elif not isinstance(above.value, str) or not above.value:
        raise_if([problem_at(above, ("extends",), f"expected the path of a recipe, got {describe(above.plain())}")])
    return tree.with_entries({key: node for key, node in tree.entries.items() if key != "extends"}), above


def _bytes(path: Path, name: str, asked: Node | None) -> bytes:
    """At most one byte more than a recipe may have."""
    try:
        if not path.exists():
            beside = path.parent.iterdir() if path.parent.is_dir() else ()
            names = [p.name for p in beside if p.suffix in (".yaml", ".yml")]
            hint = nearest(path.name, names) if names else ""
            _fail_reading(f"{name}: there is no such file", asked, hint.replace("Known:", "Recipes there:"))
        if not path.is_file():
            _fail_reading(f"{name}: is {'a folder' if path.is_dir() else 'no regular file'}, not a recipe", asked)
        with path.open("rb") as file:
            return file.read(yaml.MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _fail_reading(f"{name}: cannot be read: {reason}", asked)


def _fail_reading(message: str, asked: Node | None, hint: str = "") -> NoReturn:
    raise InvalidRecipe(
        [Problem(message, hint=hint) if asked is None else problem_at(asked, ("extends",), message, hint)]
    )


def _shown(path: Path) -> str:
    """The path as short as it can be said: relative to the working directory where it is inside of it."""
    try:
        return str(Path(os.path.abspath(path)).relative_to(Path.cwd()))
    except ValueError:
        return os.path.normpath(path)


def merge(base: Node, over: Node, path: Path_ = ()) -> Node:
    """`over` on top of `base`: mappings merge, all else replaces; keys keep the base's order.

    Options belong to their plugin: a mapping with another `use` replaces the base's, and one without `use` over a
    plugin's name changes that plugin's options. `on` over a term keeps the options that the base gives it, and `off`
    over a stage keeps all that it says: `on` over that brings it back.
    """
    if is_stage(path) and base.is_mapping and (is_off(over.value) or is_on(over.value)):
        kept = {key: node for key, node in base.entries.items() if key != STAGE_OFF}
        return base.with_entries({**kept, STAGE_OFF: over} if is_off(over.value) else kept)
    if path in USE_PATHS and isinstance(base.value, str) and over.is_mapping and "use" not in over.entries:
        base = expanded(base)
    if not base.is_mapping:
        return over
    if not over.is_mapping:
        is_term = len(path) == 2 and path[0] == "terms"
        return base if is_term and is_on(over.value) and not is_switched_off(base) else over
    if _other_plugin(base, over, path):
        return over
    entries = dict(base.entries)
    for key, node in over.entries.items():
        own = find_key(entries, key)
        if own is None:
            entries[key] = node
        else:
            entries[own] = merge(entries[own], node, (*path, canonical(key)))
    return replace(over, value=entries)


def is_stage(path: Path_) -> bool:
    """Whether a stage stands at this path."""
    return len(path) == 2 and path[0] == "stages"


def expanded(node: Node) -> Node:
    """`{use: name}` for a plugin's name."""
    return replace(node, value={"use": replace(node, key_at=node.at)})


def is_switched_off(term: Node) -> bool:
    """Whether an entry of `terms` is off, be it by `off`, false, null or a weight of 0."""
    if term.is_mapping:
        weight = term.entries.get("weight")
        return weight is not None and not isinstance(weight.value, bool) and weight.value == 0
    return is_off(term.value)


def _other_plugin(base: Node, over: Node, path: Path_) -> bool:
    new = over.entries.get("use")
    if new is None or not isinstance(new.value, str):
        return False
    return canonical(new.value) != canonical(plugin_name(base, path))


def plugin_name(node: Node, path: Path_) -> str:
    """The plugin that a mapping of options at this path is for; empty where it does not say."""
    own = node.entries.get("use")
    if own is not None:
        return own.value if isinstance(own.value, str) else ""
    if len(path) == 2 and path[0] == "terms":
        return str(path[1])
    return DEFAULT_PLUGINS.get(str(path[0]), "") if len(path) == 1 else ""


def literal(text: str, name: str) -> Node:
    """The tree of a value that the command line gives.

    Raises:
        InvalidRecipe: it is no YAML.
    """
    return yaml.parse(text, Source(name, is_file=False, folder=Path()))


def constant(value: str | int | float | bool | None, name: str) -> Node:
    """A value that an option of the command line stands for."""
    return Node(value, Origin(Source(name, is_file=False, folder=Path())))
