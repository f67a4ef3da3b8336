"""Plain values that know where they were written, and how messages name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Scalar = str | int | float | bool | None
Path_ = tuple[str | int, ...]
"""Where a value is in a document: keys and list indices from the top, e.g. ("stages", "fit", "terms", 2)."""


@dataclass(frozen=True)
class Source:
    """A text that values come from.

    Attributes:
        name: how people call it: a file as it was given, or an option such as "--set terms.m2d.weight=1".
        lines: its lines.
        folder: where relative paths in it start; the working directory for the command line.
        is_file: whether line and column mean something to a reader.
    """

    name: str
    lines: tuple[str, ...] = ()
    folder: Path = Path()
    is_file: bool = True


@dataclass(frozen=True)
class Origin:
    """A place in a source; `line` and `column` count from 1."""

    source: Source
    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Node:
    """A value and where it was written.

    Attributes:
        value: a scalar, a dict of nodes or a tuple of nodes.
        at: where the value begins.
        key_at: where its key begins, for entries of a mapping.
        unset: environment variables that it names and that are not set.
    """

    value: Scalar | dict[str, Node] | tuple[Node, ...]
    at: Origin
    key_at: Origin | None = None
    unset: tuple[str, ...] = ()

    @property
    def entries(self) -> dict[str, Node]:
        """Its entries if it is a mapping, else none."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """Its items if it is a list, else none."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    def get(self, name: str) -> Node | None:
        """The entry with this key; `-` and `_` are the same."""
        key = find_key(self.entries, name)
        return None if key is None else self.entries[key]

    def with_entries(self, entries: Mapping[str, Node]) -> Node:
        """The same place with other entries."""
        return replace(self, value=dict(entries))

    def child(self, token: str | int) -> Node | None:
        """The entry or item of one step of a path."""
        if isinstance(token, int):
            return self.items[token] if 0 <= token < len(self.items) else None
        return self.entries.get(token)

    def at_path(self, path: Path_) -> Node:
        """The node at a path, or the deepest one on the way to it."""
        node = self
        for token in path:
            child = node.child(token)
            if child is None:
                break
            node = child
        return node

    def plain(self) -> Any:
        """The value as plain dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, tuple) else self.value

    def walk(self, path: Path_ = ()) -> Iterator[tuple[Path_, Node]]:
        """Every node below and including this one, with its path."""
        yield path, self
        for key, node in self.entries.items():
            yield from node.walk((*path, key))
        for index, node in enumerate(self.items):
            yield from node.walk((*path, index))


def constant(value: Scalar, name: str) -> Node:
    """The value of an option of the command line."""
    return Node(value, Origin(Source(name, is_file=False)))


def tree_of(document: Any, name: str) -> Node:
    """The tree of plain data, such as `Resolved.document()`."""
    at = Origin(Source(name, is_file=False))
    if isinstance(document, Mapping):
        return Node({str(key): tree_of(value, name) for key, value in document.items()}, at, at)
    if isinstance(document, list | tuple):
        return Node(tuple(tree_of(item, name) for item in document), at)
    return Node(document, at)


# --------------------------------------------------------------------------------------------------------------- words


def canonical(name: str) -> str:
    """A name as it is compared: `-` and `_` are the same."""
    return name.replace("-", "_")


def find_key(mapping: Mapping[str, Any], name: str) -> str | None:
    """The key of the mapping that is this name, or None."""
    if name in mapping:
        return name
    wanted = canonical(name)
    return next((key for key in mapping if canonical(key) == wanted), None)


def path_text(path: Path_) -> str:
    """`stages.fit.terms[2]`; a key that holds a dot or a blank is quoted."""
    text = ""
    for token in path:
        if isinstance(token, int):
            text += f"[{token}]"
        else:
            plain = token and token.isprintable() and not set(token) & set(". []:")
            shown = shorten(token if plain else repr(token), 60)
            text += f".{shown}" if text else shown
    return text


def shorten(text: str, most: int = 80) -> str:
    """At most `most` characters of a text."""
    return text if len(text) <= most else text[: most - 3] + "..."


def describe(value: Any) -> str:
    """A value as an error message names it, never long."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {shorten(repr(value))}"
    if isinstance(value, str):
        return f"the text {shorten(repr(value))}"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
