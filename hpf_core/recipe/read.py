"""Reads a recipe and its bases into trees."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from hpf_core.documents import yaml
from hpf_core.documents.environment import substitute
from hpf_core.documents.errors import fail
from hpf_core.documents.tree import Node, Source, describe
from hpf_core.errors import nearest

_MOST_FILES = 20


def read_chain(
    path: Path, environment: Mapping[str, str] = os.environ, same_folder: bool = False
) -> list[tuple[Path, Node]]:
    """Return the real path and the tree of a recipe and of each of its bases, the recipe first.

    With `same_folder`, bases in other folders are not read: an ablation merges its variants into any base.

    Raises:
        InvalidRecipe: a file is missing or bad, or the chain of `extends` is circular or too long.
    """
    chain: list[tuple[Path, Node]] = []
    asked: Node | None = None
    while True:
        if "\0" in str(path):
            _fail_reading("a path cannot hold the character NUL", asked)
        real = Path(os.path.realpath(path))
        known = [each for each, _ in chain]
        if same_folder and known and real.parent != known[0].parent:
            return chain
        if real in known:
            circle = " -> ".join(each.name for each in [*known[known.index(real) :], real])
            _fail_reading(f"the recipe extends itself: {circle}", asked)
        if len(chain) == _MOST_FILES:
            _fail_reading(f"a chain of more than {_MOST_FILES} recipes", asked)
        tree, above = _read_one(path, asked, environment)
        chain.append((real, tree))
        if above is None:
            return chain
        asked, path = above, path.parent / str(above.value)


def _read_one(path: Path, asked: Node | None, environment: Mapping[str, str]) -> tuple[Node, Node | None]:
    """Return a file's tree without `extends`, and its `extends`; `asked` is the `extends` that names this file."""
    name = _shown(path)
    text = yaml.decode(_bytes(path, name, asked), name)
    tree = yaml.parse(text, Source(name, yaml.split_lines(text), path.parent))
    if tree.value is None:
        fail(f"{name}: is empty; a recipe has at least `extends: other.yaml`, or `stages:`")
    if not tree.is_mapping:
        fail(f"a recipe is a mapping, and this is {describe(tree.plain())}", at=tree.at)
    tree = substitute(tree, environment)
    above = tree.entries.get("extends")
    if above is not None and above.value is not None and not (isinstance(above.value, str) and above.value):
        _fail_reading(f"expected the path of a recipe, got {describe(above.plain())}", above)
    own = tree.with_entries({key: node for key, node in tree.entries.items() if key != "extends"})
    return own, None if above is None or above.value is None else above


def _bytes(path: Path, name: str, asked: Node | None) -> bytes:
    """Read at most one byte more than the limit of a recipe."""
    try:
        if not path.exists():
            _fail_reading(f"{name}: there is no such file", asked, _recipes_near(path))
        if not path.is_file():
            _fail_reading(f"{name}: is {'a folder' if path.is_dir() else 'no regular file'}, not a recipe", asked)
        with path.open("rb") as file:
            return file.read(yaml.MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: an illegal path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _fail_reading(f"{name}: cannot be read: {reason}", asked)


def _recipes_near(path: Path) -> str:
    """Recipes in the folder of a missing file and in its folder `recipes`, the most similar names first."""
    found = [
        each.relative_to(path.parent)
        for folder in (path.parent, path.parent / "recipes")
        if folder.is_dir()
        for each in folder.iterdir()
        if each.suffix in (".yaml", ".yml") and not each.name.startswith(".") and _looks_like_a_recipe(each)
    ]
    names = {each.name: str(each) for each in reversed(found)}
    hint = nearest(path.name, names).replace("Known:", "Recipes there:") if names else ""
    for name, shown in names.items():
        hint = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w/-])", lambda _, shown=shown: shown, hint)  # type: ignore[misc]
    return hint


def _looks_like_a_recipe(path: Path) -> bool:
    """Whether a file has the key `stages` or `extends`: other programs use YAML files too."""
    try:
        with path.open("rb") as file:
            return re.search(rb"^(stages|extends)\s*:", file.read(yaml.MOST_BYTES), re.MULTILINE) is not None
    except OSError:
        return False


def _fail_reading(message: str, asked: Node | None, hint: str = "") -> NoReturn:
    fail(message, "" if asked is None else "extends", None if asked is None else asked.at, hint)


def _shown(path: Path) -> str:
    """The path relative to the working directory, if the path is below it."""
    try:
        return str(Path(os.path.abspath(path)).relative_to(Path.cwd()))
    except (ValueError, OSError):  # OSError: the working directory was deleted
        return os.path.normpath(path)


def literal(text: str, name: str) -> Node:
    """Parse a value on the command line into a tree.

    Raises:
        InvalidRecipe: the value is no YAML.
    """
    return yaml.parse(text, Source(name, is_file=False))
