"""Rows of an ablation: small recipes that are laid over a base recipe, whatever they themselves extend."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpf_core.documents.tree import Node, Origin, Path_, Source, find_key
from hpf_core.recipe import files
from hpf_core.recipe.models import is_off
from hpf_core.recipe.overrides import apply_sets


def read(path: Path, environment: Mapping[str, str] = os.environ) -> tuple[Node, tuple[Path, ...]]:
    """What a row says by itself, and the files read, the row's own first.

    A row that extends another one in its own folder says what that one says, too; what it extends elsewhere is the base
    that it was written for, and isn't read.

    Raises:
        InvalidRecipe: a file is missing or bad, or rows extend each other in a circle.
    """
    tree, above = files.read_one(path, None, environment)
    read_files = [Path(os.path.realpath(path))]
    while above is not None:
        parent = path.parent / str(above.value)
        if Path(os.path.realpath(parent)).parent != read_files[0].parent:
            break
        files.check_circle(parent, read_files, above)
        lower, next_above = files.read_one(parent, above, environment)
        tree = files.merge(lower, tree)
        read_files.append(Path(os.path.realpath(parent)))
        path, above = parent, next_above
    return tree, tuple(read_files)


def lay(base: Node, row: Node) -> Node:
    """The base's tree with a row's over it. A stage that the row switches off and the base lacks is off already."""
    stages, known = row.entries.get("stages"), base.entries.get("stages")
    if stages is not None and stages.is_mapping:
        there = known.entries if known is not None else {}
        kept = {
            name: stage
            for name, stage in stages.entries.items()
            if find_key(there, name) is not None or not is_off(stage.value) or stage.is_mapping
        }
        row = row.with_entries({**row.entries, "stages": stages.with_entries(kept)})
    return files.merge(base, row)


def set_again(tree: Node, sets: Sequence[str], added_terms: Collection[str]) -> Node:
    """The command line's `--set` once more, over a row that lies on a base in which they are set: they win over it.

    Those that give a whole plugin or mapping aren't repeated, since they would wipe out the row's options of it, nor
    are those below something that the row switches off.
    """
    for text in sets:
        changed, (path,) = apply_sets(tree, [text], added_terms)
        if path in files.USE_PATHS or files.literal(text.partition("=")[2], "--set").is_mapping:
            continue
        if not any(_is_off(tree, path[:depth]) for depth in range(1, len(path))):
            tree = changed
    return tree


def _is_off(tree: Node, path: Path_) -> bool:
    node: Node | None = tree
    for token in path:
        node = None if node is None else node.child(token)
    if node is None or isinstance(node.value, tuple):
        return False
    if len(path) == 2 and path[0] == "terms":
        return files.is_switched_off(node)
    return not node.is_mapping and is_off(node.value)


def tree_of(document: Any, name: str) -> Node:
    """The tree of plain data, such as `Resolved.document()`."""
    at = Origin(Source(name, is_file=False))
    if isinstance(document, Mapping):
        return Node({str(key): tree_of(value, name) for key, value in document.items()}, at, at)
    if isinstance(document, list | tuple):
        return Node(tuple(tree_of(item, name) for item in document), at)
    return Node(document, at)
